#!/usr/bin/env python3
"""Compute golden files with TensorPack's or AWS Samples' own code.

    make_golden.py CHECKOUT OUT [CASE ...]

CHECKOUT is your clone's examples/FasterRCNN, or that of mask-rcnn-tensorflow; OUT gets the files,
laid out as in tests/golden. A CASE is FRAMEWORK-ARCHITECTURE-PHOTOGRAPH, such as
tensorpack-resnet50-chelsea; without one, all of TensorPack's are made. Needs the extra `original`
of the backend; AWS Samples' code needs a GPU.

Each file holds, as `maskrcnn_server.trace.Trace` says it, `boxes` (in the photograph), `scores`,
`class_ids`, `masks_packed` (`np.packbits` along rows), and of the network `raw_boxes`, `raw_masks`,
`raw_proposal_boxes`, `raw_class_scores` and `raw_resized_shape`.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/golden"
sys.path.insert(0, str(GOLDEN))

from make_weights import weights  # noqa: E402

from maskrcnn_aws_samples.backend import AwsSamplesBackend  # noqa: E402
from maskrcnn_server.backend import Backend, ModelConfig, PredictOptions  # noqa: E402
from maskrcnn_server.masks import BitMasks  # noqa: E402
from maskrcnn_server.trace import Trace, Traces  # noqa: E402
from maskrcnn_tensorpack.backend import TensorPackBackend  # noqa: E402

BACKENDS: dict[str, type[Backend]] = {
    "tensorpack": TensorPackBackend,
    "aws_samples": AwsSamplesBackend,
}
SCORE_THRESHOLD = 0.05


def main(checkout: str, out: str, *cases: str) -> None:
    """Make the cases one after another."""
    for case in cases or tuple(every_case()):
        framework, rest = case.split("-", 1)
        architecture, photograph = rest.rsplit("-", 1)
        trace = original(framework, architecture, photograph, Path(checkout))
        target = Path(out) / place(framework, architecture, photograph)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, trace)
        print(f"{target}: {len(trace.scores)} detections")  # noqa: T201 (it is a script)


def every_case() -> Iterator[str]:
    """TensorPack's files in tests/golden."""
    for path in sorted(GOLDEN.glob("tensorpack-*.npz")):
        yield path.stem
    for path in sorted(GOLDEN.glob("variants/*/golden-*.npz")):
        yield f"tensorpack-{path.parent.name}-{path.stem.removeprefix('golden-')}"


def place(framework: str, architecture: str, photograph: str) -> Path:
    """Where a case's file is, below tests/golden."""
    if (GOLDEN / "variants" / architecture).is_dir():
        return Path("variants", architecture, f"golden-{photograph}.npz")
    return Path(f"{framework}-{architecture}-{photograph}.npz")


def original(framework: str, architecture: str, photograph: str, checkout: Path) -> Trace:
    """What the framework's own code computes of a photograph, with seeded weights."""
    with Path(ROOT / "tests/images" / f"{photograph}.png").open("rb") as file:
        image = np.array(PIL.Image.open(file).convert("RGB"))
    with tempfile.TemporaryDirectory() as folder:
        model_dir = Path(folder)
        np.savez(model_dir / "model.npz", allow_pickle=False, **weights(architecture, framework))
        configuration = GOLDEN / "variants" / architecture / "config.yaml"
        if configuration.exists():
            (model_dir / "config.yaml").write_bytes(configuration.read_bytes())
        config = ModelConfig(model_dir=model_dir, engine="original", original=checkout)
        model = BACKENDS[framework]().load(config)
        assert isinstance(model, Traces)  # noqa: S101 (both backends' are)
        try:
            return model.trace(image, PredictOptions(score_threshold=SCORE_THRESHOLD))
        finally:
            model.close()


def write(target: Path, trace: Trace) -> None:
    """Write one file."""
    found = trace.detections
    arrays: dict[str, Any] = {
        "boxes": found.boxes,
        "scores": found.scores,
        "class_ids": found.category_ids,
        "raw_boxes": trace.boxes,
        "raw_proposal_boxes": trace.proposals,
        "raw_class_scores": trace.class_scores,
        "raw_resized_shape": np.array(trace.resized.shape),
    }
    if isinstance(found.masks, BitMasks) and trace.soft_masks is not None:
        arrays["raw_masks"] = trace.soft_masks
        arrays["masks_packed"] = np.packbits(found.masks.bitmaps, axis=2)
    np.savez_compressed(target, allow_pickle=False, **arrays)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
