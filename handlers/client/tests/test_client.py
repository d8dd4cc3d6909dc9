"""The client against a server: the real service over a model that sees colours."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskrcnn_client import (
    AsyncClient,
    Client,
    ImageRefused,
    InvalidOption,
    InvalidReply,
    InvalidTarget,
    NotInstalled,
    Prediction,
    RequestRefused,
    ServerFailed,
    ServerUnavailable,
    ServerUnreachable,
    images,
    retry,
)
from maskrcnn_client.errors import ConnectionBroken
from maskrcnn_client.replies import Reply, Request
from maskrcnn_handlers.request.images import decode

Encode = Callable[..., bytes]


class Script:
    """A transport that gives these replies, in turn."""

    limit_mb: float | None = None

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.requests: list[Request] = []

    def send(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    @contextlib.contextmanager
    def opened(self, request: Request) -> Iterator[tuple[Reply, Iterator[bytes]]]:
        """A streamed reply has its lines as the body."""
        reply = self.send(request)
        yield reply, (line + b"\n" for line in reply.body.splitlines())

    def close(self) -> None:
        """Nothing to close."""


NOTHING_FOUND = Reply(200, b"[]", attributes="height=8;width=10")


def predicted(image: bytes) -> Prediction:
    return Client(Script(NOTHING_FOUND)).predict(image)


def refused(status: int, code: str, after: float | None = None, **detail: object) -> Reply:
    error = {"code": code, "message": f"it is {code}", "detail": detail}
    return Reply(status, json.dumps({"error": error, "request_id": "r"}).encode(), after)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client waited, each time; nobody really waits."""
    waited: list[float] = []
    monkeypatch.setattr("maskrcnn_client.client.time.sleep", waited.append)
    return waited


@pytest.fixture
def large(encode: Encode) -> bytes:
    """A PNG of 1.6 MB, noise with a red block; the server takes 1 MiB."""
    pixels = np.random.RandomState(0).randint(0, 100, (600, 900, 3), np.uint8)
    pixels[100:300, 200:500, 0] = 255
    return encode(pixels)


def assert_is_the_red_box(found: Prediction) -> None:
    assert found.names == ["red"]
    assert found.boxes.tolist() == [[3, 2, 9, 5]]
    assert found.scores.tolist() == [1]
    assert found.masks().shape == (1, 8, 10)
    assert found.masks().sum() == 18


def test_an_image_may_be_anything(url: str, png: bytes, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    with Client(url) as asking:
        for picture in (path, str(path), png, pixels, PIL.Image.fromarray(pixels)):
            assert_is_the_red_box(asking.predict(picture))


ALONE = """
import sys
for package in ("PIL", "boto3", "supervision", "maskrcnn_server", "maskrcnn_handlers"):
    sys.modules[package] = None
import numpy as np
from maskrcnn_client import Client
pixels = np.zeros((8, 10, 3), np.uint8)
pixels[2:5, 3:9, 0] = 255
path = sys.argv[2]
with Client(sys.argv[1]) as client:
    for image in (path, open(path, "rb").read(), pixels, np.asfortranarray(pixels)):
        found = client.predict(image)
        assert found.boxes.tolist() == [[3, 2, 9, 5]]
        assert (found.masks() == (pixels[..., 0] > 0)).all()
    nothing = client.predict(path, masks=False, classes=["blue"])
    assert (len(nothing), nothing.size) == (0, (8, 10))
"""


def test_the_client_works_alone(url: str, png: bytes, tmp_path: Path) -> None:
    """Without the server's packages and Pillow: files, bytes and arrays are sent."""
    (tmp_path / "a.png").write_bytes(png)
    command = [sys.executable, "-c", ALONE, url, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_gray_pixels_are_sent(url: str) -> None:
    with Client(url) as asking:
        assert asking.predict(np.full((4, 5), 255, np.uint8)).names == ["red", "green", "blue"]


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "L", "1"])
def test_pillows_images_of_any_mode_are_sent(url: str, pixels: np.ndarray, mode: str) -> None:
    picture = PIL.Image.fromarray(pixels).convert(mode)
    with Client(url) as asking:
        assert asking.predict(picture).size == (8, 10)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        PIL.Image.new("F", (4, 4)),
    ],
    ids=["floats", "four channels", "no pixels", "mode F"],
)
def test_what_is_no_image_is_refused_before_it_is_sent(picture: Any) -> None:
    script = Script()
    with pytest.raises(ImageRefused):
        Client(script).predict(picture)
    assert script.requests == []


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_as_upright_as_the_server_has_it(
    pixels: np.ndarray, encode: Encode, form: str, orientation: int
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = encode(pixels, form, exif=exif)
    seen = decode(data, 10**6)
    assert images.measured(data) == seen.shape[:2]
    np.testing.assert_array_equal(np.asarray(images.upright(data)), seen)


def test_boxes_are_those_of_the_upright_image(url: str, pixels: np.ndarray, encode: Encode) -> None:
    turned = PIL.Image.fromarray(np.rot90(pixels).copy())
    exif = turned.getexif()
    exif[0x0112] = 6
    with Client(url) as asking:
        found = asking.predict(encode(turned, exif=exif))
    assert_is_the_red_box(found)
    assert found.draw().size == (10, 8)


def test_options_reach_the_server(url: str, encode: Encode) -> None:
    white = encode(np.full((4, 5, 3), 255, np.uint8))
    with Client(url) as asking:
        assert len(asking.predict(white)) == 3
        assert len(asking.predict(white, max_detections=1)) == 1
        assert asking.predict(white, score_threshold=1).names == [
            "red",
            "green",
            "blue",
        ]
        without = asking.predict(white, masks=False)
        assert without.boxes.tolist() == [[0, 0, 5, 4]] * 3
        with pytest.raises(ValueError, match="no masks"):
            without.masks()


def test_options_cannot_smuggle_others_in(png: bytes) -> None:
    script = Script(NOTHING_FOUND)
    with pytest.raises(InvalidOption, match="without ;"):
        Client(script).predict(png, classes=["a;format=sagemaker"])


def test_coco_results_are_pycocotools(url: str, png: bytes) -> None:
    with Client(url) as asking:
        (result,) = asking.predict(png).to_coco(7)
    assert result["image_id"] == 7
    assert result["bbox"] == [3, 2, 6, 3]
    assert json.loads(json.dumps(result)) == result
    assert coco_mask.area(result["segmentation"]) == result["area"] == 18


def test_nothing_found_is_an_answer(url: str) -> None:
    with Client(url) as asking:
        found = asking.predict(np.zeros((8, 10, 3), np.uint8))
    assert (len(found), found.names, found.to_coco(1)) == (0, [], [])
    assert found.masks().shape == (0, 8, 10)
    assert found.draw().size == (10, 8)


def test_the_drawing_shows_the_instance(url: str, pixels: np.ndarray) -> None:
    large = np.kron(pixels, np.ones((20, 20, 1), np.uint8))
    with Client(url) as asking:
        drawn = np.asarray(asking.predict(large).draw())
    assert drawn.shape == large.shape
    changed = (drawn != large).any(axis=2)
    assert changed[45:95, 65:175].all(), "the mask"
    assert not changed[120:].any(), "what is below it"


def test_errors_are_the_servers_own(url: str, png: bytes) -> None:
    with Client(url) as asking, pytest.raises(InvalidOption, match="score_threshold") as caught:
        asking.predict(png, score_threshold=2)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    assert caught.value.request_id


def test_a_coroutine_asks_the_same(url: str, png: bytes) -> None:
    async def ask() -> list[Prediction]:
        async with AsyncClient(url) as asking:
            return await asyncio.gather(*(asking.predict(png) for _ in range(3)))

    for found in asyncio.run(ask()):
        assert_is_the_red_box(found)


def test_a_busy_server_is_asked_again_when_it_says(png: bytes, naps: list[float]) -> None:
    script = Script(refused(429, "queue_full", 3.0), Reply(503, b"not ready"), NOTHING_FOUND)
    assert len(Client(script).predict(png)) == 0
    assert len(script.requests) == 3
    assert 3 <= naps[0] <= 3.5
    assert 0 <= naps[1] <= 1


def test_a_coroutine_is_as_patient(png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)

    class Busy:
        limit_mb = None
        requests = 0

        async def send(self, _: Request) -> Reply:
            self.requests += 1
            return NOTHING_FOUND if self.requests == 3 else refused(429, "queue_full")

        def opened(self, _: Request) -> Any:
            raise NotImplementedError

        async def close(self) -> None:
            """Nothing to close."""

    busy = Busy()
    assert len(asyncio.run(AsyncClient(busy).predict(png))) == 0
    assert busy.requests == 3


@pytest.mark.usefixtures("naps")
def test_a_connection_that_broke_off_is_made_again(png: bytes) -> None:
    script = Script(ConnectionBroken("reset"), NOTHING_FOUND)
    assert len(Client(script).predict(png)) == 0


def test_patience_ends(png: bytes, naps: list[float]) -> None:
    with pytest.raises(ServerUnavailable, match="it is queue_full"):
        Client(Script(refused(429, "queue_full", 61.0)), retry_s=60).predict(png)
    with pytest.raises(ServerUnavailable):
        Client(Script(refused(429, "queue_full")), retry_s=0).predict(png)
    assert naps == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused(422, "invalid_image"), ImageRefused),
        (refused(400, "of tomorrow"), RequestRefused),
        (refused(500, "of tomorrow"), ServerFailed),
        (Reply(404, b"<html>"), InvalidReply),
        (Reply(500, b'{"error": 1}'), InvalidReply),
        (ServerUnreachable("no route"), ServerUnreachable),
    ],
    ids=["typed", "unknown 400", "unknown 500", "a page", "other JSON", "unreachable"],
)
def test_nothing_else_is_tried_again(
    png: bytes, naps: list[float], reply: Reply | Exception, kind: type[Exception]
) -> None:
    script = Script(reply, NOTHING_FOUND)
    with pytest.raises(kind):
        Client(script).predict(png)
    assert (len(script.requests), naps) == (1, [])


RESULT = {"image_id": "", "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5, "area": 1.0}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{}",
        b"[1]",
        json.dumps([RESULT | {"bbox": [0, 0, 1]}]).encode(),
        json.dumps([RESULT | {"bbox": [0, 0, 1, "a"]}]).encode(),
        json.dumps([RESULT | {"bbox": [0, 0, 1, float("nan")]}]).encode(),
        json.dumps([RESULT | {"bbox": [5, 0, -3, 1]}]).encode(),
        json.dumps([RESULT | {"bbox": [1e308, 0, 1e308, 1]}]).encode(),
        json.dumps([RESULT | {"score": 2}]).encode(),
        json.dumps([RESULT | {"score": float("nan")}]).encode(),
        json.dumps([RESULT, RESULT | {"score": 0.75}]).encode(),
        json.dumps([RESULT | {"category_id": 0}]).encode(),
        json.dumps([RESULT | {"category_id": 2**70}]).encode(),
        json.dumps([RESULT | {"segmentation": {"counts": "1", "size": [8, 10]}}]).encode(),
        json.dumps([RESULT | {"segmentation": {"counts": "`2", "size": [10**6, 10**6]}}]).encode(),
        json.dumps([RESULT | {"segmentation": {"counts": "`2", "size": [8, 10]}}, RESULT]).encode(),
    ],
)
def test_an_answer_that_is_none_is_said_so(png: bytes, body: bytes) -> None:
    with pytest.raises(InvalidReply, match="the reply is not"):
        Client(Script(Reply(200, body, attributes="height=8;width=10"))).predict(png)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(st.sampled_from([*RESULT, "segmentation", "counts", "size"]), values)
    ),
    max_leaves=12,
)


@hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    st.lists(
        st.builds(
            RESULT.__or__,
            st.dictionaries(st.sampled_from([*RESULT, "segmentation"]), json_values, max_size=2),
        ),
        max_size=3,
    )
    | json_values
)
def test_any_json_is_an_answer_or_said_to_be_none(png: bytes, answer: object) -> None:
    with contextlib.suppress(InvalidReply):
        reply = Reply(200, json.dumps(answer).encode(), attributes="height=8;width=10")
        found = Client(Script(reply)).predict(png)
        assert len(found) == len(found.names) == len(found.to_coco(1))


def test_an_image_that_is_refused_as_too_large_is_sent_smaller(
    url: str, large: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody told the client of the server's limit: it learns from the refusal."""
    assert len(large) > 2**20
    with Client(url) as asking, caplog.at_level(logging.WARNING):
        found = asking.predict(large)
    assert found.size == (600, 900)
    (note,) = found.notes
    assert note in caplog.text
    assert "more than the limit of 1 MiB" in note
    np.testing.assert_allclose(found.boxes[0], [200, 100, 500, 300], atol=16)


def test_what_loses_least_is_tried_first(large: bytes, encode: Encode) -> None:
    plain = encode(np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (4, 256, 3)), "BMP")
    for picture, limit_mb, expected in (
        (plain, 0.1, "lossless WebP"),
        (large, 0.9, "JPEG of quality"),
        (large, 0.02, "JPEG of 338 x 225 pixels"),
    ):
        script = Script(NOTHING_FOUND)
        (note,) = Client(script, max_payload_mb=limit_mb).predict(picture).notes
        assert note.startswith(f"sent as {expected}")
        assert len(script.requests[0].body) <= limit_mb * 2**20


def test_boxes_and_masks_are_scaled_back(url: str) -> None:
    blocks = np.zeros((600, 900, 3), np.uint8)
    blocks[100:300, 200:500, 0] = 255
    blocks[..., 2] = np.random.RandomState(0).randint(0, 60, (600, 900))
    with Client(url) as asking, Client(url, max_payload_mb=0.02) as limited:
        whole = asking.predict(blocks, max_detections=1)
        scaled = limited.predict(blocks, max_detections=1)
    assert "scaled back to 900 x 600" in scaled.notes[0]
    np.testing.assert_allclose(scaled.boxes, whole.boxes, atol=8)
    one, other = whole.masks()[0], scaled.masks()[0]
    assert other.shape == (600, 900)
    assert (one & other).sum() / (one | other).sum() > 0.9
    (result,) = scaled.to_coco(1)
    assert coco_mask.area(result["segmentation"]) == result["area"] == other.sum()
    np.testing.assert_allclose(
        result["bbox"][2], scaled.boxes[0, 2] - scaled.boxes[0, 0], rtol=1e-5
    )


def test_what_cannot_be_small_enough_is_refused(large: bytes) -> None:
    with pytest.raises(ImageRefused, match="every smaller version"):
        Client(Script(), max_payload_mb=0.0001).predict(large)


def test_a_server_that_is_not_there_is_said_at_once(png: bytes, naps: list[float]) -> None:
    asking = Client("http://me:secret@127.0.0.1:9")
    with asking, pytest.raises(ServerUnreachable, match="ConnectError") as caught:
        asking.predict(png)
    assert "secret" not in str(caught.value)
    assert naps == []


@pytest.mark.parametrize("target", ["ftp://host", "http://", "://"])
def test_a_target_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(InvalidTarget, match="not an http"):
        Client(target)


@pytest.mark.parametrize(
    ("module", "library", "extra", "use"),
    [
        ("boto3", "boto3", "sagemaker", lambda _: Client("shapes")),
        ("supervision", "supervision", "draw", lambda png: predicted(png).draw()),
        ("PIL", "Pillow", "images", lambda png: Client(Script(), max_payload_mb=0).predict(png)),
        ("PIL", "Pillow", "images", lambda png: predicted(png).draw()),
    ],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, png: bytes, module: str, library: str, extra: str, use: Any
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    said = rf"{library}, which is not installed: pip install 'maskrcnn-client\[{extra}\]'"
    with pytest.raises(NotInstalled, match=said):
        use(png)


class Relaying(BaseHTTPRequestHandler):
    """Stands in for SageMaker, which wraps what a container answers in an error of its own."""

    replies: list[tuple[int, str, dict[str, object]]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = self.replies.pop(0)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("x-amzn-ErrorType", kind)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Locked(Relaying):
    """Refuses everybody, and keeps what it was given as a key."""

    given: list[str | None]

    def do_POST(self) -> None:
        self.given.append(self.headers["Authorization"])
        refused: dict[str, object] = {
            "error": {"code": "unauthorized", "message": "no", "detail": {}}
        }
        self.replies = [(401, "", refused)]
        super().do_POST()


@pytest.fixture
def locked() -> Iterator[tuple[str, list[str | None]]]:
    Locked.given = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Locked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Locked.given
    server.shutdown()
    server.server_close()


def test_the_key_is_sent_as_given_or_as_the_environment_has_it(
    locked: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch, png: bytes
) -> None:
    url, given = locked
    monkeypatch.delenv("MASKRCNN_API_KEY", raising=False)

    def ask(**options: str) -> None:
        with Client(url, **options) as client, pytest.raises(RequestRefused) as refused:  # type: ignore[arg-type]
            client.predict(png)
        assert refused.value.code == "unauthorized"

    ask()
    ask(api_key="mine")
    monkeypatch.setenv("MASKRCNN_API_KEY", "theirs")
    ask()
    ask(api_key="mine")
    assert given == [None, "Bearer mine", "Bearer theirs", "Bearer mine"]


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Has boto3 take this address for SageMaker's runtime."""

    def use(address: str) -> None:
        for name, value in {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_CONFIG_FILE": str(tmp_path / "absent"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def wrapping(sagemaker: Callable[[str], None]) -> Iterator[type[Relaying]]:
    handler = type("Wrapping", (Relaying,), {"replies": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sagemaker(f"http://127.0.0.1:{server.server_address[1]}")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_endpoint_is_asked_by_its_name(
    url: str, png: bytes, sagemaker: Callable[[str], None]
) -> None:
    sagemaker(url)
    with Client("shapes", region="us-east-1") as asking:
        assert_is_the_red_box(asking.predict(png))
        with pytest.raises(InvalidOption, match="score_threshold"):
            asking.predict(png, score_threshold=2)

    async def ask() -> Prediction:
        async with AsyncClient("shapes", region="us-east-1") as later:
            return await later.predict(png)

    assert_is_the_red_box(asyncio.run(ask()))


@pytest.mark.usefixtures("naps")
def test_what_the_container_says_is_found_in_what_sagemaker_says(
    wrapping: type[Relaying], png: bytes
) -> None:
    said = {"error": {"code": "invalid_image", "message": "it is cut off", "detail": {}}}
    wrapped = {"Message": "Received client error", "OriginalMessage": json.dumps(said)}
    wrapping.replies = [
        (424, "ModelError", wrapped | {"OriginalStatusCode": 429}),
        (400, "ThrottlingException", {"message": "Rate exceeded"}),
        (424, "ModelError", wrapped | {"OriginalStatusCode": 422}),
        (400, "ValidationError", {"message": "Endpoint shapes not found."}),
    ]
    with Client("shapes", region="us-east-1") as asking:
        with pytest.raises(ImageRefused, match="it is cut off"):
            asking.predict(png)
        assert len(wrapping.replies) == 1
        with pytest.raises(InvalidReply, match=r"400: .*Endpoint shapes not found"):
            asking.predict(png)


def test_an_endpoints_limit_is_known_before_anything_is_sent(
    wrapping: type[Relaying], encode: Encode
) -> None:
    wrapping.replies = [(424, "ModelError", {"OriginalStatusCode": 418, "OriginalMessage": "seen"})]
    noise = encode(np.random.RandomState(0).randint(0, 256, (1500, 1500, 3), np.uint8))
    assert len(noise) > 6 * 2**20
    asking = Client("shapes", region="us-east-1")
    with pytest.raises(InvalidReply, match="seen"):
        asking.predict(noise)


def test_an_endpoint_without_a_region_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    with pytest.raises(InvalidTarget, match="region"):
        Client("shapes")


def test_a_full_queue_passes(url: str, png: bytes) -> None:
    """More clients than the server admits: all are answered, none sees a 429."""
    asking = Client(url)
    found: list[Prediction] = []
    threads = [
        threading.Thread(target=lambda: found.append(asking.predict(png))) for _ in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asking.close()
    assert len(found) == 24
