"""Kernels against PyTorch's operations, in Triton's interpreter; and their compilation."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maskrcnn_network.preparation import Preparation
from maskrcnn_torch.kernels import kernels_on
from maskrcnn_torch.preparation import prepare, prepared
from maskrcnn_torch.suppression import top

needs_triton = pytest.mark.skipif(not find_spec("triton"), reason="Triton is not installed")
CPU = torch.device("cpu")
CHANNELS_LAST = torch.channels_last


def test_a_cpu_has_no_kernels() -> None:
    assert kernels_on(CPU, torch.float32) == (None, "PyTorch")


@pytest.mark.full
@needs_triton
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("test_roi_align", "roi_align"),
        ("test_suppression", "suppress"),
        ("test_kernels", "top_each"),
        ("test_kernels", "maps"),
        ("test_kernels", "prepare"),
    ],
)
def test_kernels_do_what_operations_do(module: str, name: str) -> None:
    # In a process of its own: Triton's interpreter is chosen when it is imported.
    run = f"""
import os, sys
os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, {str(Path(__file__).parent)!r})
import {module}
{module}.compare_{name}()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", run], check=True)


def compare_top_each() -> None:
    """Lists of scores with many twins."""
    from maskrcnn_torch import ranking_kernels as module

    made = torch.Generator().manual_seed(1)
    for limit in (module.MAX_LISTS, 1):
        module.MAX_LISTS = limit
        for batch, sizes, k in (1, (3000, 700, 20, 7), 50), (3, (1500, 7), 30), (2, (2500,), 2500):
            lists = [torch.randn((batch, n), generator=made).mul(9).round() / 9 for n in sizes]
            for scores in lists:
                scores[:, ::7], scores[:, 3:5], scores[:, 5:6] = -torch.inf, -0.0, 0.0
            for found, scores in zip(module.fused_top_each(lists, k), lists, strict=True):
                assert all(map(torch.equal, found, top(scores, k)))


def compare_maps() -> None:
    """Odd and even sides, whole and half precision."""
    from maskrcnn_torch.map_kernels import fused_add_bias, fused_add_upsampled, fused_max_pool

    made = torch.Generator().manual_seed(1)

    def a_map(*shape: int, dtype: torch.dtype) -> Tensor:
        return torch.randn(shape, generator=made).to(dtype).contiguous(memory_format=CHANNELS_LAST)

    for dtype in (torch.float32, torch.float16):
        shapes = (2, 24, 6, 10), (2, 24, 3, 5), (1, 24, 1, 1)
        x, coarse, bias = (a_map(*shape, dtype=dtype) for shape in shapes)
        bias = bias.flatten()
        upsampled = functional.interpolate(coarse, scale_factor=2.0)
        assert torch.equal(fused_add_upsampled(x.clone(), coarse), x + upsampled)
        assert torch.equal(fused_add_bias(x.clone(), bias), x + bias[:, None, None])
        for pads in ((1, 0), (0, 1), (1, 1)):
            for shape in ((2, 24, 12, 20), (1, 8, 13, 21)):
                x = a_map(*shape, dtype=dtype).relu()
                expected = functional.max_pool2d(functional.pad(x, (*pads, *pads)), 3, 2)
                assert torch.equal(fused_max_pool(x, pads), expected)


SIZES = ((30, 40), (30, 40), (49, 66), (30, 40))
"""Sizes of images: some are alike, one is not resized."""


def compare_prepare() -> None:
    """Every kind of resampling, and an image that is not resized."""
    from maskrcnn_torch.preparation_kernel import fused_prepare

    made = np.random.default_rng(1)
    images = [made.integers(0, 256, (*size, 3)).astype(np.uint8) for size in SIZES]
    options: Any = {"short_edge": 49, "mean": (1.0, 2.0, 3.0), "multiple_of": 32}
    for resampling in ("opencv", "float", "pillow"):
        for other in ({"channels": "BGR"}, {"std": (2.0, 3.0, 4.0)}):
            rule = Preparation(**options, **other, resampling=resampling)
            sizes = [rule.resized_size((i.shape[0], i.shape[1])) for i in images]
            for dtype in (torch.float32, torch.float16):
                found, expected = (
                    prepared(rule, images, sizes, CPU, dtype, by) for by in (fused_prepare, prepare)
                )
                assert torch.equal(found, expected)


COMPILE = """
import importlib, json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

capability, kernels = json.loads(sys.argv[1])
for label, (module, name, types, constants, options) in kernels.items():
    kernel = getattr(importlib.import_module(f"maskrcnn_torch.{module}"), name)
    types |= dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    names = enumerate(kernel.arg_names)
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in names if signature[name] == "*fp16"}
    source = ASTSource(kernel, signature, constants, aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert f"sm_{capability}" in compiled.asm["ptx"], label
    print(label)
"""
EXACT = {"enable_fp_fusion": False}
ROI: dict[str, Any] = {
    "resolution": 7, "samples": 0, "max_samples": 1024, "half_pixel": True, "channels": 256,
    "block": 256,
}  # fmt: skip
MAPS = [f"map{i}" for i in range(4)]
FLOATS = [*(f"scale{i}" for i in range(4)), "offset"]
TABLES = ["left", "right", "to_left", "to_right", "above", "below", "to_above", "to_below"]


def roi_types(kind: str) -> dict[str, str]:
    """Types of the arguments of RoIAlign for features of this type."""
    features = dict.fromkeys([*MAPS, "pooled"], kind)
    return {**features, **dict.fromkeys(FLOATS, "fp32"), "boxes": "*fp32"} | dict.fromkeys(
        ["images", "levels"], "*i64"
    )


KERNELS: dict[str, tuple[str, str, dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "half regions": ("roi_kernel", "roi_kernel", roi_types("*fp16"), ROI, EXACT),
    "regions": ("roi_kernel", "roi_kernel", roi_types("*fp32"), {**ROI, "samples": 2}, EXACT),
    "suppression": (
        "suppression_kernel",
        "suppress_kernel",
        {"boxes": "*fp32", "kept": "*fp32", "presents": "*i64", "places": "*i64"}
        | {"threshold": "fp32"},
        {"block": 32, "chunk": 128},
        EXACT,
    ),
    "overlaps": (
        "suppression_kernel",
        "overlap_kernel",
        {"boxes": "*fp32", "bits": "*i32", "threshold": "fp32"},
        {"words_each": 8},
        EXACT,
    ),
    "sweep": (
        "suppression_kernel",
        "sweep_kernel",
        {"bits": "*i32", "present": "*i1", "places": "*i64"},
        {"words": 32},
        {"num_warps": 1},
    ),
    "packing": (
        "ranking_kernels",
        "pack_kernel",
        {"scores": "*fp32", "keys": "*i64"},
        {"block": 1024},
        {},
    ),
    "unpacking": (
        "ranking_kernels",
        "unpack_kernel",
        {"keys": "*i64", "scores": "*fp32", "places": "*i64", "missing": "fp32"},
        {"block": 1024},
        {},
    ),
    "bias": (
        "map_kernels",
        "bias_kernel",
        {"x": "*fp16", "bias": "*fp16"},
        {"channels": 256, "block": 2048},
        {"num_warps": 8},
    ),
    "upsampling": (
        "map_kernels",
        "upsampled_kernel",
        {"x": "*fp16", "coarse": "*fp16"},
        {"channels": 256, "block": 2048},
        {"num_warps": 8},
    ),
    "pooling": (
        "map_kernels",
        "pool_kernel",
        {"x": "*fp16", "pooled": "*fp16"},
        {"channels": 64, "block": 512},
        {},
    ),
    "preparation": (
        "preparation_kernel",
        "prepare_kernel",
        {"images": "*u8", "target": "*fp16", "mean": "*fp32", "std": "*fp32"}
        | dict.fromkeys(TABLES, "*i32"),
        {"whole": True, "flipped": True, "block": 512},
        EXACT,
    ),
}


@pytest.mark.full
@needs_triton
@pytest.mark.parametrize("capability", [75, 90])
def test_kernels_compile_for_a_gpu_that_is_not_here(capability: int) -> None:
    """In a process of its own: Triton's compiler crashes where TensorFlow's is loaded."""
    command = [sys.executable, "-c", COMPILE, json.dumps([capability, KERNELS])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(KERNELS)
