"""What only a GPU can show: kernels and graphs against the CPU's answers."""

from typing import Any

import pytest
import torch
from torch import Tensor

from maskrcnn_network.graph.rules import Sampling
from maskrcnn_network.preparation import Preparation
from maskrcnn_torch.devices import description, usable_cuda
from maskrcnn_torch.graphs import GraphCache
from maskrcnn_torch.kernels import kernels_on, triton_kernels
from maskrcnn_torch.preparation import prepare
from maskrcnn_torch.roi_align import Pooling, gathered_roi_align
from maskrcnn_torch.suppression import suppress, top
from maskrcnn_torch.testing import FIXED

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
    kernels, name = kernels_on(torch.device("cuda", 0), dtype)
    assert kernels, name
    for function in (kernels.roi_align, gathered_roi_align):
        tolerance = 1e-4 if dtype == torch.float32 else 1e-2
        torch.testing.assert_close(function(there).cpu(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("keep", [100, 2000])
@pytest.mark.parametrize("lists", [5, 40])
def test_boxes_are_kept_as_on_a_cpu(made: torch.Generator, lists: int, keep: int) -> None:
    boxes = boxes_of(made, lists * 2000).view(lists, 2000, 4)
    present = torch.arange(2000) < torch.randint(0, 2001, (lists, 1), generator=made)
    found = triton_kernels().suppress(boxes.cuda(), present.cuda(), 0.5, keep).cpu()
    for row, stays in zip(found, suppress(boxes, present, 0.5), strict=True):
        expected = stays.nonzero()[:keep, 0]
        assert torch.equal(row[: len(expected)], expected)
        assert (row[len(expected) :] == -1).all()
    there = suppress(boxes.cuda(), present.cuda(), 0.5).cpu()
    assert torch.equal(there, suppress(boxes, present, 0.5))


def test_the_best_are_those_of_a_cpu(made: torch.Generator) -> None:
    lists = [torch.rand((4, n), generator=made).mul(1000).round() for n in (150_000, 3000, 700)]
    there = triton_kernels().top_each([scores.cuda() for scores in lists], 1000)
    for scores, found in zip(lists, there, strict=True):
        for expected, value in zip(top(scores, 1000), found, strict=True):
            assert torch.equal(value.cpu(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_maps_are_those_of_a_cpu(made: torch.Generator, dtype: torch.dtype) -> None:
    kernels = triton_kernels()
    shapes = (2, 256, 100, 76), (2, 256, 50, 38), (1, 256, 1, 1)
    x, coarse, bias = (torch.randn(shape, generator=made).to(dtype) for shape in shapes)
    x, coarse = (v.contiguous(memory_format=torch.channels_last) for v in (x, coarse))
    for name, other in (
        ("add_bias", bias.flatten()),
        ("add_upsampled", coarse),
        ("max_pool", (1, 0)),
    ):
        there = other.cuda() if isinstance(other, Tensor) else other
        found = getattr(kernels, name)(x.relu().cuda(), there).cpu()
        assert torch.equal(found, getattr(FIXED, name)(x.relu(), other))


@pytest.mark.parametrize("resampling", ["opencv", "float"])
def test_images_are_prepared_as_on_a_cpu(made: torch.Generator, resampling: Any) -> None:
    images = torch.randint(0, 256, (2, 480, 640, 3), generator=made).to(torch.uint8)
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    rule = Preparation(short_edge=1, resampling=resampling, channels="BGR", mean=mean, std=std)
    for height, width in ((800, 1067), (100, 133), (480, 640)):
        expected = torch.zeros((2, height + 9, width + 9, 3))
        found = [torch.zeros_like(expected, device="cuda") for _ in range(2)]
        prepare(expected, images, (height, width), rule)
        triton_kernels().prepare(found[0], images.cuda(), (height, width), rule)
        prepare(found[1], images.cuda(), (height, width), rule)
        assert torch.equal(found[0].cpu(), expected)
        assert torch.equal(found[1].cpu(), expected)


def test_graphs_in_any_order_answer_as_functions_do(made: torch.Generator) -> None:
    weights = torch.rand((64, 64), generator=made).cuda()

    def function(value: Tensor) -> tuple[Tensor, ...]:
        product = (value @ weights).relu()
        boxes, present = product[None, :, :4], product[None, :, 0] > -1
        return product.sum(1), triton_kernels().suppress(boxes, present, 0.5, 4)

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


def test_the_gpu_is_described() -> None:
    assert set(description(torch.device("cuda", 0))) > {"GPU", "compute capability", "driver"}
