"""The Open Inference Protocol, asked by Triton's own clients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from protocol_fixtures import Contract, Served

http = pytest.importorskip("tritonclient.http")
grpc = pytest.importorskip("tritonclient.grpc")

pytestmark = pytest.mark.filterwarnings(
    # pycocotools 2.0.11 hands numpy an array in a way that numpy 2 deprecates.
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore:.*greenlet.*:RuntimeWarning",
)

NAME = "colours"
TRANSPORTS = ("http", "grpc")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest, served: Served) -> Any:
    """The client's module of a transport, and a client."""
    if request.param == "http":
        return http, http.InferenceServerClient(served.address, network_timeout=20)
    return grpc, grpc.InferenceServerClient(served.grpc())


def bytes_input(module: Any, *files: bytes) -> Any:
    tensor = module.InferInput("image", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array(files, np.object_))
    return tensor


def decoded(texts: NDArray[Any]) -> NDArray[np.bool_]:
    return np.stack([coco_mask.decode(json.loads(text)).astype(bool) for text in texts])


def test_masks_are_those_of_the_notebook(
    transport: Any, picture: bytes, notebook: Contract
) -> None:
    module, client = transport
    found = client.infer(NAME, [bytes_input(module, picture)], request_id="a")
    assert found.get_response if module is http else found.get_response().id == "a"
    assert np.array_equal(decoded(found.as_numpy("masks_rle")), notebook.masks)
    assert np.array_equal(found.as_numpy("boxes").astype(int), notebook.boxes)
    assert found.as_numpy("scores").tolist() == pytest.approx(notebook.scores)
    assert found.as_numpy("labels").tolist() == [1, 2, 3]
    assert [name.decode() for name in found.as_numpy("names")] == notebook.names
    assert found.as_numpy("image_index").tolist() == [0, 0, 0]
    assert found.as_numpy("image_sizes").tolist() == [[60, 80]]


def test_pixels_give_the_same_as_a_file(
    transport: Any, scene: NDArray[np.uint8], notebook: Contract
) -> None:
    module, client = transport
    tensor = module.InferInput("image", [2, *scene.shape], "UINT8")
    tensor.set_data_from_numpy(np.stack([scene, scene[::-1]]))
    wanted = [module.InferRequestedOutput(n) for n in ("masks", "image_index", "masks_rle")]
    found = client.infer(NAME, [tensor], outputs=wanted)
    assert found.as_numpy("boxes") is None
    assert found.as_numpy("image_index").tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(decoded(found.as_numpy("masks_rle"))[:3], notebook.masks)
    first = np.zeros((60, 80), int)
    for number, mask in reversed(list(enumerate(notebook.masks, start=1))):
        first[mask] = number
    assert np.array_equal(found.as_numpy("masks")[0], first)
    assert np.array_equal(found.as_numpy("masks")[1], first[::-1])


def test_soft_masks_are_28_by_28(transport: Any, picture: bytes) -> None:
    module, client = transport
    wanted = [module.InferRequestedOutput("masks_28")]
    found = client.infer(NAME, [bytes_input(module, picture)], outputs=wanted)
    assert found.as_numpy("masks_28").shape == (3, 28, 28)
    assert found.as_numpy("masks_28").dtype == np.float32


def test_options_are_request_parameters(transport: Any, picture: bytes) -> None:
    module, client = transport
    tensor = bytes_input(module, picture)
    options = {"score_threshold": 0.85, "classes": "red,green"}
    assert client.infer(NAME, [tensor], parameters=options).as_numpy("labels").tolist() == [1, 2]
    options = {"max_detections": 1, "masks": False}
    found = client.infer(NAME, [tensor], parameters=options)
    assert found.as_numpy("labels").tolist() == [1]
    assert found.as_numpy("masks_rle") is None


def test_an_image_without_instances_has_empty_outputs(transport: Any, encode: Any) -> None:
    module, client = transport
    black = encode(np.zeros((8, 10, 3), np.uint8))
    found = client.infer(NAME, [bytes_input(module, black)])
    assert found.as_numpy("boxes").shape == (0, 4)
    assert found.as_numpy("image_sizes").tolist() == [[8, 10]]


def test_what_there_is_is_told(transport: Any, picture: bytes) -> None:
    module, client = transport
    as_json = {} if module is http else {"as_json": True}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "1")
    assert client.get_server_metadata(**as_json)["name"] == "maskrcnn-server"
    told = client.get_model_metadata(NAME, **as_json)
    assert (told["inputs"][0]["name"], told["inputs"][0]["datatype"]) == ("image", "BYTES")
    assert "masks_rle" in [one["name"] for one in told["outputs"]]
    config = client.get_model_config(NAME, **as_json)
    assert config.get("config", config)["input"][0]["data_type"] == "TYPE_STRING"
    index = client.get_model_repository_index(**as_json)
    (model,) = index if module is http else index["models"]
    assert (model["name"], model["state"]) == (NAME, "READY")
    for _ in range(2):
        client.infer(NAME, [bytes_input(module, picture, picture)])
    (stats,) = client.get_inference_statistics(NAME, **as_json)["model_stats"]
    assert (int(stats["inference_count"]), int(stats["execution_count"])) == (4, 2)
    assert int(stats["inference_stats"]["success"]["ns"]) > 0


@pytest.mark.parametrize(
    ("name", "files", "said", "code"),
    [
        ("colours", [b"no image"], "the bytes are no JPEG", "INVALID_ARGUMENT"),
        ("colours", [b""], "the image is empty", "INVALID_ARGUMENT"),
        ("other", [b"no image"], "no model other is loaded", "NOT_FOUND"),
    ],
    ids=["text", "nothing", "another model"],
)
def test_errors_have_the_protocols_form(
    transport: Any, name: str, files: list[bytes], said: str, code: str
) -> None:
    module, client = transport
    with pytest.raises(module.InferenceServerException, match=said) as raised:
        client.infer(name, [bytes_input(module, *files)])
    assert code in str(raised.value.status()) or module is http
    assert not raised.value.message().startswith("{")


def test_another_version_is_unknown(transport: Any, picture: bytes) -> None:
    module, client = transport
    with pytest.raises(module.InferenceServerException, match="no version '2'"):
        client.infer(NAME, [bytes_input(module, picture)], model_version="2")


def test_one_bad_image_is_named(transport: Any, picture: bytes) -> None:
    module, client = transport
    with pytest.raises(module.InferenceServerException, match="image 1: the bytes are no"):
        client.infer(NAME, [bytes_input(module, picture, b"bad")])


@pytest.mark.parametrize("kind", ["gzip", "deflate"])
def test_compressed_bodies_are_read_and_written(
    served: Served, picture: bytes, notebook: Contract, kind: str
) -> None:
    client = http.InferenceServerClient(served.address)
    found = client.infer(
        NAME,
        [bytes_input(http, picture)],
        request_compression_algorithm=kind,
        response_compression_algorithm="gzip",
    )
    assert np.array_equal(decoded(found.as_numpy("masks_rle")), notebook.masks)


def test_json_outputs_are_read_too(served: Served, picture: bytes, notebook: Contract) -> None:
    client = http.InferenceServerClient(served.address)
    names = ("boxes", "masks_rle", "labels")
    wanted = [http.InferRequestedOutput(name, binary_data=False) for name in names]
    found = client.infer(NAME, [bytes_input(http, picture)], outputs=wanted)
    assert np.array_equal(found.as_numpy("boxes").astype(int), notebook.boxes)
    masks = [coco_mask.decode(json.loads(text)) for text in found.as_numpy("masks_rle")]
    assert np.array_equal(np.stack(masks).astype(bool), notebook.masks)
