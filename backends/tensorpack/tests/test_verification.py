"""Faults that are put into this network on purpose: each is found, and where it is.

The reference is this network without them and, where `TENSORPACK_FASTERRCNN` names a checkout,
TensorPack's own code.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from maskrcnn_network.checkpoints.rows import channels_last
from maskrcnn_network.graph.network import Network
from maskrcnn_network.model import NetworkModel, Reading
from maskrcnn_network.tensorpack_config import TensorPackConfig
from maskrcnn_server.backend import Image, Model, ModelConfig, PredictOptions
from maskrcnn_server.engine import Setup
from maskrcnn_server.machine import available_cpus
from maskrcnn_server.masks import BitMasks
from maskrcnn_server.trace import Trace, Traces
from maskrcnn_study.verification import first_difference, verify
from maskrcnn_tensorpack.backend import TensorPackBackend

pytestmark = pytest.mark.full

OPTIONS = PredictOptions(score_threshold=0.05)
CHECKOUT = os.environ.get("TENSORPACK_FASTERRCNN")
OVERRIDES = {"PREPROC.MAX_SIZE": "340"}
"""Which `finalize_configs` rounds up to 352, as it rounds 1333 to 1344."""

Config = Callable[[TensorPackConfig], TensorPackConfig]
Variables = dict[str, NDArray[np.float32]]


class Unrounded(TensorPackConfig):
    @property
    def long_edge(self) -> int:
        return self.max_size


def build(
    demo_dir: Path,
    config: Config = lambda config: config,
    variables: Callable[[Variables], Variables] = lambda variables: variables,
    shift: float = 0.0,
) -> NetworkModel:
    """The demo model with something wrong in it."""
    dialect = TensorPackBackend()
    wanted = ModelConfig(model_dir=demo_dir, overrides=OVERRIDES)
    folder = dialect.read(wanted)
    changed = config(folder.config)
    right = dialect.rules(changed)
    wrong = replace(right, sampling=replace(right.sampling, shift=shift))
    network = Network(folder.architecture, changed, wrong)
    choice = dialect.choice(wanted)
    setup = Setup(device=choice.device, threads=available_cpus())
    return NetworkModel(
        folder.metadata("tensorpack", 0.5, None),
        Reading(
            preparation=changed.preparation, paste=changed.paste, detections=changed.detections
        ),
        choice.engine.open(network, variables(folder.variables()), setup),
    )


def permuted(variables: Variables) -> Variables:
    """With the rows of fc6 turned once more than they should be."""
    return variables | {"fastrcnn/fc6/W": channels_last(variables["fastrcnn/fc6/W"])}


def classes_shifted(variables: Variables) -> Variables:
    """With each class's mask where the next one's should be."""
    shifted = {f"maskrcnn/conv/{v}": np.roll(variables[f"maskrcnn/conv/{v}"], 1, -1) for v in "Wb"}
    return variables | shifted


def fast_paste(trace: Trace, size: tuple[int, int]) -> Trace:
    """Pasted as `ACCURATE_PASTE=False` does."""
    assert trace.soft_masks is not None
    bitmaps = np.zeros((len(trace.soft_masks), *size), np.bool_)
    for bitmap, mask, box in zip(bitmaps, trace.soft_masks, trace.detections.boxes, strict=True):
        x0, y0 = (int(v + 0.5) for v in box[:2])
        x1, y1 = (max(int(v - 0.5), low) for v, low in zip(box[2:], (x0, y0), strict=True))
        pasted = cv2.resize(mask, (x1 + 1 - x0, y1 + 1 - y0)) > 0.5
        target = bitmap[y0 : y1 + 1, x0 : x1 + 1]
        target[:] = pasted[: target.shape[0], : target.shape[1]]
    return replace(trace, detections=replace(trace.detections, masks=BitMasks(bitmaps)))


@pytest.fixture(scope="module")
def picture(photograph: Callable[[str], Image]) -> Image:
    """Two of the demo's beside each other: so wide that the long edge counts."""
    return np.hstack([photograph(f"demo/golden/shapes-950000{i}.png")[:200] for i in (3, 4)])


@pytest.fixture(
    scope="module",
    params=[
        "auto",
        pytest.param(
            "original",
            marks=pytest.mark.skipif(
                CHECKOUT is None, reason="TENSORPACK_FASTERRCNN names no checkout of the real code"
            ),
        ),
    ],
)
def reference(request: pytest.FixtureRequest, demo_dir: Path, picture: Image) -> Iterator[Trace]:
    config = ModelConfig(model_dir=demo_dir, overrides=OVERRIDES, engine=request.param)
    options = {} if CHECKOUT is None else {"fasterrcnn": CHECKOUT}
    model: Model = TensorPackBackend().load(replace(config, options=options))
    assert isinstance(model, Traces)
    yield model.trace(picture, OPTIONS)
    model.close()


def test_without_a_fault_nothing_differs(demo_dir: Path, picture: Image, reference: Trace) -> None:
    findings = verify(build(demo_dir).trace(picture, OPTIONS), reference)
    assert first_difference(findings) is None, findings
    assert len(reference.detections) >= 5


FAULTS: dict[str, tuple[str, Callable[[Path, Image], Trace]]] = {
    "RGB for BGR in the picture": (
        "resized picture",
        lambda folder, image: build(folder).trace(np.ascontiguousarray(image[..., ::-1]), OPTIONS),
    ),
    "RGB for BGR in the network": (
        "features",
        lambda folder, image: build(
            folder, config=lambda c: c.model_copy(update={"channels": "RGB"})
        ).trace(image, OPTIONS),
    ),
    "1333 for 1344": (
        "resized picture",
        lambda folder, image: build(folder, config=lambda c: Unrounded(**c.model_dump())).trace(
            image, OPTIONS
        ),
    ),
    "suppression of proposals at 0.6": (
        "proposals",
        lambda folder, image: build(
            folder, config=lambda c: c.model_copy(update={"proposal_nms_threshold": 0.6})
        ).trace(image, OPTIONS),
    ),
    "RoIAlign shifted by half a place": (
        "class scores",
        lambda folder, image: build(folder, shift=0.5).trace(image, OPTIONS),
    ),
    "rows of fc6 permuted": (
        "class scores",
        lambda folder, image: build(folder, variables=permuted).trace(image, OPTIONS),
    ),
    "score threshold of 0.3": (
        "boxes",
        lambda folder, image: build(folder).trace(image, PredictOptions(score_threshold=0.3)),
    ),
    "suppression of detections at 0.3": (
        "boxes",
        lambda folder, image: build(
            folder, config=lambda c: c.model_copy(update={"detection_nms_threshold": 0.3})
        ).trace(image, OPTIONS),
    ),
    "masks of the next class": (
        "masks",
        lambda folder, image: build(folder, variables=classes_shifted).trace(image, OPTIONS),
    ),
    "fast paste": (
        "pasted masks",
        lambda folder, image: fast_paste(
            build(folder).trace(image, OPTIONS), (image.shape[0], image.shape[1])
        ),
    ),
}
"""By name, the stage at which each is to be found, and what a network with it computes."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_where_it_is(
    fault: str, demo_dir: Path, picture: Image, reference: Trace
) -> None:
    stage, compute = FAULTS[fault]
    difference = first_difference(verify(compute(demo_dir, picture), reference))
    assert difference is not None
    assert difference.stage == stage
