"""What only a GPU can show: kernels and graphs against the CPU's answers."""

import pytest
import torch
from torch import Tensor

from maskrcnn_torch.devices import description, usable_cuda
from maskrcnn_torch.graphs import GraphCache
from maskrcnn_torch.resize import resize
from maskrcnn_torch.roi_align import gathered_roi_align, roi_align
from maskrcnn_torch.suppression import suppress, suppress_exactly, top

PROBLEM = usable_cuda()
pytestmark = pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))


@pytest.fixture
def made() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def boxes_of(made: torch.Generator, count: int) -> Tensor:
    low = torch.rand((count, 2), generator=made) * 900
    return torch.cat([low, low + torch.rand((count, 2), generator=made) * 300], 1)


@pytest.mark.parametrize("samples", [0, 1, 2])
@pytest.mark.parametrize("half_pixel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_regions_are_pooled_as_on_a_cpu(
    made: torch.Generator, dtype: torch.dtype, half_pixel: bool, samples: int
) -> None:
    maps = [torch.rand((2, 256, 200 >> i, 304 >> i), generator=made).to(dtype) for i in range(4)]
    maps = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    boxes = boxes_of(made, 300)
    images, levels = torch.arange(300) % 2, torch.arange(300) % 4
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    expected = gathered_roi_align(maps, scales, boxes, images, levels, 7, samples, half_pixel, 0.0)
    there = (boxes.cuda(), images.cuda(), levels.cuda())
    on_gpu = [m.cuda() for m in maps]
    for function in (roi_align, gathered_roi_align):
        found = function(on_gpu, scales, *there, 7, samples, half_pixel, 0.0)
        tolerance = 1e-4 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(found.cpu(), expected, atol=tolerance, rtol=0)


def test_boxes_are_kept_as_on_a_cpu(made: torch.Generator) -> None:
    boxes, present = boxes_of(made, 8000).view(4, 2000, 4), torch.rand((4, 2000)) < 0.9
    keep, settled = suppress(boxes.cuda(), present.cuda(), 0.5, 40)
    assert settled
    assert torch.equal(keep.cpu(), suppress_exactly(boxes, present, 0.5))
    assert torch.equal(suppress_exactly(boxes.cuda(), present.cuda(), 0.5), keep)


def test_the_best_are_those_of_a_cpu(made: torch.Generator) -> None:
    scores = torch.rand((4, 150_000), generator=made).mul(1000).round()
    for expected, found in zip(top(scores, 2000), top(scores.cuda(), 2000), strict=True):
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("whole", [True, False])
def test_images_are_resized_as_on_a_cpu(made: torch.Generator, whole: bool) -> None:
    image = torch.randint(0, 256, (480, 640, 3), generator=made).to(torch.uint8)
    for size in ((800, 1067), (100, 133)):
        assert torch.equal(resize(image.cuda(), size, whole).cpu(), resize(image, size, whole))


def test_graphs_in_any_order_answer_as_functions_do(made: torch.Generator) -> None:
    weights = torch.rand((64, 64), generator=made).cuda()

    def function(value: Tensor) -> tuple[Tensor, ...]:
        product = (value @ weights).relu()
        keep, _ = suppress(product[:, :4].contiguous(), product[:, 0] > 0, 0.5, 4)
        return product.sum(1), keep

    cache = GraphCache(3)
    values = [torch.rand((rows, 64), generator=made).cuda() for rows in (5, 300, 40, 7)]
    for turn in (0, 0, 1, 1, 2, 2, 1, 0, 2, 3, 3, 0, 0, 3, 1):
        values[turn] += 1
        found = [part.clone() for part in cache.run("function", function, values[turn])]
        for part, expected in zip(found, function(values[turn]), strict=True):
            torch.testing.assert_close(part, expected)


def test_outputs_outlive_runs_of_other_keys() -> None:
    cache = GraphCache(2)
    first, second = torch.ones((1000, 1000), device="cuda"), torch.ones((999, 999), device="cuda")

    def function(value: Tensor) -> tuple[Tensor, ...]:
        return ((value * 3 + 1) * 2,)

    cache.warm("a", function, first)
    cache.warm("a", function, second)
    (kept,) = cache.run("a", function, second)
    cache.run("a", function, first * 5)
    assert (kept == 8).all()


def test_the_gpu_is_described() -> None:
    assert set(description(torch.device("cuda", 0))) > {"name", "compute_capability", "memory"}
