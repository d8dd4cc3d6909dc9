"""A model in this process, by a specification that was sent there."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from scripted_backend import Host, Scripted

from maskrcnn_predict import local
from maskrcnn_predict.local import ModelSpec
from maskrcnn_server.backend import Probe
from maskrcnn_server.errors import InvalidImage, InvalidSetting, RequestError
from maskrcnn_server.options import Options

DEMO = Path(__file__).parents[3] / "backends/tensorpack/maskrcnn_tensorpack/demo"


@pytest.fixture
def scripted(host: Host, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The only backend of the installation."""
    backend = Scripted("scripted", Probe(facts={}))
    plugins = host(backend)
    monkeypatch.setattr(local, "installed", lambda: plugins)
    return backend


def test_a_specification_that_was_sent_says_everything_about_loading(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(
        address=str(tmp_path),
        backend="scripted",
        device="cpu",
        threads=3,
        streams=2,
        score_threshold=0.25,
        config={"A.B": "1"},
        options={"variant": "tf1"},
    )
    monkeypatch.setenv("MASKRCNN_THREADS", "7")
    monkeypatch.setenv("CONFIG__A__B", "2")
    monkeypatch.setenv("CONFIG__A__C", "3")
    with pickle.loads(pickle.dumps(spec)).open() as model:  # noqa: S301 (our own)
        assert model.metadata.score_threshold == 0.25
    config = scripted.config
    assert config is not None
    assert (config.model_dir, config.device, config.threads) == (tmp_path, "cpu", 3)
    assert (config.streams, config.overrides) == (2, {"A.B": "1", "A.C": "3"})
    assert config.options == {"variant": "tf1"}


def test_what_a_specification_leaves_open_is_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKRCNN_MODEL", str(tmp_path))
    monkeypatch.setenv("MASKRCNN_ENGINE", "torch")
    settings = ModelSpec(threads=1).settings().model
    assert (settings.address, settings.engine, settings.threads) == (str(tmp_path), "torch", 1)


def test_a_wrong_specification_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InvalidSetting, match="MASKRCNN_THREADS=0"):
        ModelSpec(threads=0).open()


@pytest.mark.usefixtures("scripted")
def test_arrays_in_detections_out_in_order(tmp_path: Path, pixels: np.ndarray) -> None:
    with ModelSpec(address=str(tmp_path)).open() as model:
        wide = np.zeros((8, 30, 3), np.uint8)
        wide[:, 20:, 1] = 255
        red, green = model.predict([pixels, wide])
        assert red.boxes.tolist() == [[3, 2, 9, 5]]
        assert (green.size, green.boxes.tolist()) == ((8, 30), [[20, 0, 30, 8]])
        assert model.predict([]) == []
        (nothing,) = model.predict([pixels], Options(classes=["green"]))
        assert len(nothing) == 0
        with pytest.raises(RequestError, match="purple"):
            model.predict([pixels], Options(classes=["purple"]))


@pytest.mark.usefixtures("scripted")
def test_a_file_in_coco_results_out(tmp_path: Path, png: bytes) -> None:
    model = ModelSpec(address=str(tmp_path)).open()
    (result,) = model.invoke(png)
    assert (result["category_name"], result["bbox"], result["area"]) == ("red", [3, 2, 6, 3], 18)
    assert "segmentation" not in model.invoke(png, Options(masks=False))[0]
    assert model.invoke(png, Options(classes=["green"])) == []
    with pytest.raises(InvalidImage):
        model.invoke(b"no image")
    model.close()
    model.close()


@pytest.mark.usefixtures("scripted")
def test_threads_predict_at_the_same_time(tmp_path: Path, png: bytes) -> None:
    found: list[int] = []
    with ModelSpec(address=str(tmp_path)).open(concurrency=8) as model:
        threads = [
            threading.Thread(target=lambda: found.append(len(model.invoke(png)))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [1] * 8


def test_the_demo_model_is_opened_by_a_specification() -> None:
    spec = ModelSpec(address=str(DEMO / "model"), backend="tensorpack", threads=1)
    image = min(path for path in DEMO.rglob("*") if path.suffix in (".png", ".jpg"))
    with spec.open() as model:
        assert model.metadata.backend == "tensorpack"
        assert len(model.invoke(image.read_bytes())) >= 1
