"""What only a GPU can show: kernels and graphs against the CPU's answers."""

import pytest
import torch
from torch import Tensor

from maskrcnn_network.graph.rules import Sampling
from maskrcnn_torch.devices import description, usable_cuda
from maskrcnn_torch.graphs import GraphCache
from maskrcnn_torch.resize import resize
from maskrcnn_torch.roi_align import Pooling, gathered_roi_align, pool_on
from maskrcnn_torch.suppression import suppress_exactly, suppress_in_rounds, top

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
    sampling = Sampling(samples=samples, half_pixel=half_pixel)
    pooling = Pooling(maps, [1 / 4, 1 / 8, 1 / 16, 1 / 32], boxes, images, levels, 7, sampling)
    expected = gathered_roi_align(pooling)
    there = pooling._replace(
        features=[m.cuda() for m in maps],
        boxes=boxes.cuda(),
        images=images.cuda(),
        levels=levels.cuda(),
    )
    kernel, name = pool_on(torch.device("cuda", 0), dtype)
    assert name == "Triton"
    for function in (kernel, gathered_roi_align):
        tolerance = 1e-4 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(function(there).cpu(), expected, atol=tolerance, rtol=0)


def test_boxes_are_kept_as_on_a_cpu(made: torch.Generator) -> None:
    boxes, present = boxes_of(made, 8000).view(4, 2000, 4), torch.rand((4, 2000)) < 0.9
    keep, settled = suppress_in_rounds(boxes.cuda(), present.cuda(), 0.5, 40)
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
        keep, _ = suppress_in_rounds(product[:, :4].contiguous(), product[:, 0] > 0, 0.5, 4)
        return product.sum(1), keep

    def total(made: tuple[Tensor, ...]) -> Tensor:
        return made[0].sum() + made[1].sum()

    cache = GraphCache(function, 3)
    values = [torch.rand((rows, 64), generator=made).cuda() for rows in (5, 300, 40, 7)]
    for turn in (0, 0, 1, 1, 2, 2, 1, 0, 2, 3, 3, 0, 0, 3, 1):
        values[turn] += 1
        ran = cache.run(values[turn])
        expected = function(values[turn])
        for part, other in zip(ran.result, expected, strict=True):
            torch.testing.assert_close(part, other)
        torch.testing.assert_close(ran.then("total", total), total(expected))


def test_results_outlive_runs_of_other_shapes() -> None:
    first, second = torch.ones((1000, 1000), device="cuda"), torch.ones((999, 999), device="cuda")
    cache = GraphCache(lambda value: (value * 3 + 1) * 2, 2)
    cache.run(first, at_once=True)
    kept = cache.run(second, at_once=True).result
    cache.run(first * 5)
    assert (kept == 8).all()


def test_the_gpu_is_described() -> None:
    assert set(description(torch.device("cuda", 0))) > {"GPU", "compute capability", "driver"}
