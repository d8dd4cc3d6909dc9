import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Exports, Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.detections import Detections
from maskrcnn_tensorpack.backend import TensorPackBackend

pytestmark = pytest.mark.full

LOAD = """
import sys
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
image = np.load(sys.argv[2])
one = model.signatures["serving_default"](image=tf.constant(image))
two = model.signatures["batch"](images=tf.constant(np.stack([image, image[:, ::-1]])))
assert not any(name.startswith("maskrcnn") for name in sys.modules)
np.savez(sys.argv[3], **{k: v.numpy() for k, v in one.items()})
np.savez(sys.argv[4], **{k: v.numpy() for k, v in two.items()})
"""


def export(model_dir: Path, target: Path, form: str) -> Path:
    backend = TensorPackBackend()
    assert isinstance(backend, Exports)
    backend.exporters()[form](ModelConfig(model_dir=model_dir), target)
    return target


def test_saved_model_finds_the_same_without_this_project(
    demo_dir: Path, demo_model: Model, photograph: Callable[[str], Image], tmp_path: Path
) -> None:
    """In a process that knows TensorFlow only; its resize rounds some pixels otherwise."""
    image = photograph("demo/golden/shapes-9500003.png")
    np.save(tmp_path / "image.npy", image)
    target = export(demo_dir, tmp_path / "saved", "saved_model")
    files = [tmp_path / name for name in ("image.npy", "one.npz", "two.npz")]
    subprocess.run([sys.executable, "-c", LOAD, target, *files], check=True, capture_output=True)
    (expected,) = demo_model.predict([image], PredictOptions())
    one, two = (np.load(file) for file in files[1:])
    result = compare(_detections(one, image), expected, box_tolerance=0.5)
    assert len(result.pairs) == len(expected) == len(one["scores"]) == 9
    assert result.score_differences.max() < 0.02
    assert one["masks"].shape == (9, 28, 28)
    assert sorted(set(two["image"].tolist())) == [0, 1]
    np.testing.assert_allclose(two["scores"][two["image"] == 0], one["scores"], atol=1e-4)


def _detections(answer: dict[str, np.ndarray], image: Image) -> Detections:
    return Detections(
        size=(image.shape[0], image.shape[1]),
        boxes=answer["boxes"],
        scores=answer["scores"],
        category_ids=answer["labels"].astype(np.int64),
    )
