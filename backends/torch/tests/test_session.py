"""Sessions on a CPU, and what they would do on a GPU as far as a CPU can do it."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from maskrcnn_network.engine import Output, RunOptions, RunsBatches, ShowsStages, TimesParts
from maskrcnn_network.graph.network import Network, Variables
from maskrcnn_network.preparation import Preparation
from maskrcnn_server.agreement import compare
from maskrcnn_server.backend import Image, ModelConfig, Precision
from maskrcnn_server.detections import Detections
from maskrcnn_server.engine import Setup
from maskrcnn_server.errors import OutOfDeviceMemory
from maskrcnn_tensorpack.backend import TensorPackBackend
from maskrcnn_torch.graphs import CudaGraph, GraphCache
from maskrcnn_torch.preparation import prepare, prepared
from maskrcnn_torch.roi_align import Pooling
from maskrcnn_torch.session import TorchSession
from maskrcnn_torch.testing import FIXED

ASK = RunOptions(score_threshold=0.05, limit=100, proposals=True)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def demo(demo_dir: Path) -> tuple[Network, Variables]:
    backend = TensorPackBackend()
    folder = backend.read(ModelConfig(model_dir=demo_dir))
    return Network(folder.architecture, folder.config, backend.rules(folder.config)), (
        folder.variables()
    )


@pytest.fixture
def opened(demo: tuple[Network, Variables]) -> Callable[..., TorchSession]:
    """Opens the demo model; `fixed`: as on a GPU, in fixed shapes."""

    def session(precision: Precision = "float32", *, fixed: bool = False) -> TorchSession:
        made = TorchSession(*demo, Setup(device="cpu", precision=precision, threads=2))
        made._ops.kernels = FIXED if fixed else None
        return made

    return session


@pytest.fixture
def images(photograph: Callable[[str], Image]) -> list[Image]:
    """Of one size."""
    paths = (f"demo/golden/shapes-{seed}.png" for seed in range(9500000, 9500004))
    return [np.ascontiguousarray(photograph(path)[:240, :250]) for path in paths]


def run(session: TorchSession, images: list[Image], options: RunOptions = ASK) -> Output:
    sizes = [session._rule.resized_size((i.shape[0], i.shape[1])) for i in images]
    return session.run(images, sizes, options)


def assert_same(found: Output, expected: Output, tolerance: float = 1e-3) -> None:
    for name in ("labels", "images"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("boxes", "scores", "masks"):
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=tolerance)
    assert found.proposals is not None
    assert expected.proposals is not None
    for name in found.proposals._fields:
        a, b = getattr(found.proposals, name), getattr(expected.proposals, name)
        np.testing.assert_allclose(a, b, atol=tolerance)


def test_a_session_has_the_abilities(opened: Callable[..., TorchSession]) -> None:
    session = opened()
    assert isinstance(session, RunsBatches)
    assert isinstance(session, ShowsStages)
    assert isinstance(session, TimesParts)
    assert session.batch_pixels == 0, "on a CPU, more images together are no faster"
    session.close()
    session.close()


def test_batches_find_what_single_images_do(
    opened: Callable[..., TorchSession], images: list[Image]
) -> None:
    session = opened()
    together, alone = run(session, images), [run(session, [image]) for image in images]
    assert len(together.boxes) == sum(len(found.boxes) for found in alone) > 0
    for i, found in enumerate(alone):
        own = together.images == i
        np.testing.assert_allclose(together.boxes[own], found.boxes, atol=1e-2)
        assert together.masks is not None
        assert found.masks is not None
        np.testing.assert_allclose(together.masks[own], found.masks, atol=1e-3)


def test_fixed_shapes_find_the_same(
    opened: Callable[..., TorchSession], images: list[Image]
) -> None:
    assert_same(run(opened(fixed=True), images), run(opened(), images))


def test_fewer_detections_and_no_masks_may_be_asked_for(
    opened: Callable[..., TorchSession], images: list[Image]
) -> None:
    session = opened()
    everything = run(session, images[:1])
    two = run(session, images[:1], replace(ASK, limit=2, proposals=False))
    np.testing.assert_array_equal(two.boxes, everything.boxes[:2])
    assert two.masks is not None
    assert len(two.masks) == 2
    assert two.proposals is None
    assert run(session, images[:1], replace(ASK, masks=False)).masks is None
    nothing = run(session, images[:1], replace(ASK, score_threshold=1.0))
    assert len(nothing.boxes) == 0
    assert nothing.masks is not None
    assert nothing.masks.shape == (0, 28, 28)


@pytest.mark.full
def test_graphs_find_the_same(opened: Callable[..., TorchSession], images: list[Image]) -> None:
    class FakeGraph(CudaGraph):
        device_type = "cpu"
        made: ClassVar[list[str]] = []

        def __init__(self, function: Callable[..., Any], inputs: Any, other: Any) -> None:
            self.made.append(f"{len(inputs)} inputs, {'some' if other else 'no'} other")
            self.function, self.later = function, {}

        def replay(self, *inputs: torch.Tensor) -> Any:
            return self.function(*inputs)

    expected, session = run(opened(), images), opened(fixed=True)
    session._graphs = GraphCache(session._detect, 4, FakeGraph)
    for _ in range(3):
        assert_same(run(session, images), expected)
    assert FakeGraph.made == ["3 inputs, no other", "0 inputs, some other"]
    session.warm([(100, 120)])
    assert len(FakeGraph.made) == 2 + 1 + len(session._slots())


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_nothing_waits_for_the_device(
    precision: Precision, opened: Callable[..., TorchSession]
) -> None:
    def pool(regions: Pooling) -> torch.Tensor:
        feature, side = regions.features[0], regions.resolution
        return feature.new_zeros((len(regions.boxes), feature.shape[1], side, side))

    def suppress(boxes: torch.Tensor, *_: object) -> torch.Tensor:
        return boxes.new_zeros((len(boxes), 100), dtype=torch.int64)

    session = opened(precision, fixed=True)
    # The kernels need a GPU.
    session._ops.kernels = FIXED._replace(roi_align=pool, suppress=suppress)
    images = torch.zeros((2, 3, 256, 320), dtype=session._dtype)
    inputs = (images, torch.tensor([[250.0, 300.0]] * 2), torch.full((), 0.05))
    with torch.inference_mode():
        session._detect(*inputs)
        sent = len(session._ops._constants)
        # Raises where something depends on what is in a tensor.
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            detected = session._detect(*map(fake.from_tensor, inputs))
            assert session._masks(8, detected).shape == (16, 28, 28)
    assert len(session._ops._constants) == sent, "nothing is sent there a second time"


class TooLarge:
    """Makes sessions run out of memory for more than so many images at once."""

    def __init__(self, session: TorchSession, room: int) -> None:
        self.room = room
        self.counts: list[int] = []
        self._inputs = session._inputs
        session._inputs = self  # type: ignore[assignment, method-assign]

    def __call__(self, images: list[Image], *rest: Any) -> Any:
        self.counts.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._inputs(images, *rest)


@pytest.mark.full
def test_what_does_not_fit_is_computed_in_parts(
    opened: Callable[..., TorchSession], images: list[Image]
) -> None:
    expected, session = run(opened(), images[:3]), opened()
    large = TooLarge(session, 1)
    assert_same(run(session, images[:3]), expected)
    assert large.counts == [3, 1, 2, 1, 1]


def test_one_image_that_does_not_fit_is_an_error(
    opened: Callable[..., TorchSession], images: list[Image]
) -> None:
    session = opened()
    large = TooLarge(session, 0)
    with pytest.raises(OutOfDeviceMemory, match="cpu has too little free memory for one image of"):
        run(session, images[:2])
    assert large.counts == [2, 1, 1]


@pytest.mark.parametrize("dedicated", [True, False])
def test_a_lost_gpu_ends_a_process_that_is_there_for_models(
    dedicated: bool,
    opened: Callable[..., TorchSession],
    images: list[Image],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = opened()
    ended: list[int] = []
    session._setup = replace(session._setup, dedicated=dedicated)

    def fail(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(session, "_inputs", fail)
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(torch.AcceleratorError):
        run(session, images[:1])
    assert ended == ([70] if dedicated else [])
    assert "any more: CUDA error: an illegal" in caplog.text


@pytest.mark.full
def test_float16_finds_what_float32_does(
    opened: Callable[..., TorchSession], photograph: Callable[[str], Image]
) -> None:
    full, half = opened(), opened("float16")
    for seed in range(9500000, 9500004):
        image = photograph(f"demo/golden/shapes-{seed}.png")
        expected, found = (run(s, [image], replace(ASK, score_threshold=0.5)) for s in (full, half))
        result = compare(detections(found), detections(expected), 0.05)
        assert not result.missing
        assert not result.surplus
        assert result.score_differences.max() < 3e-3


def detections(found: Output) -> Detections:
    return Detections(
        size=(1000, 1000), boxes=found.boxes, scores=found.scores, category_ids=found.labels
    )


def test_settings_of_pytorch_are_put_back(opened: Callable[..., TorchSession]) -> None:
    backends: Any = torch.backends
    convolutions, products = backends.cudnn.conv, backends.cuda.matmul
    before = convolutions.fp32_precision, products.fp32_precision
    for precision, kind in (("tf32", "tf32"), ("float32", "ieee")):
        with opened(precision)._computing():
            assert convolutions.fp32_precision == products.fp32_precision == kind
        assert (convolutions.fp32_precision, products.fp32_precision) == before


def test_stages_and_seconds_are_of_the_same_network(
    opened: Callable[..., TorchSession], images: list[Image]
) -> None:
    session = opened()
    height, width, _ = images[0].shape
    size = session._rule.resized_size((height, width))
    features, output = session.stages(images[0], size, replace(ASK, proposals=False))
    assert_same(output, run(session, images[:1]))
    masks = session.masks_of(features, output.boxes, output.labels)
    assert output.masks is not None
    np.testing.assert_allclose(masks, output.masks, atol=1e-4)
    seconds = session.seconds(images[0], size, ASK)
    assert list(seconds) == ["backbone", "rpn", "heads", "masks"]
    assert min(seconds.values()) > 0


@pytest.mark.parametrize("resampling", ["opencv", "float", "pillow"])
def test_images_are_prepared_as_on_the_host(resampling: Any, images: list[Image]) -> None:
    rule = Preparation(
        short_edge=101,
        resampling=resampling,
        channels="BGR",
        mean=(1.0, 2.0, 3.0),
        std=(2.0, 3.0, 4.0),
        multiple_of=32,
    )
    images = [images[0], images[0][:, ::-1].copy(), images[1], images[0]]
    sizes = [rule.resized_size((i.shape[0], i.shape[1])) for i in images]
    found = prepared(rule, images, sizes, CPU, torch.float32, prepare)
    expected = rule.batch(images, sizes, rule.padded_size(sizes[0]))
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), expected, atol=1e-4)
    assert found.is_contiguous(memory_format=torch.channels_last)
