"""Kernels that do what PyTorch's operations do slowly, or only by waiting for the device."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn_network.graph.operations import Pads
from maskrcnn_network.graph.sampling import Sampling
from maskrcnn_torch.preparation import Prepare
from maskrcnn_torch.roi_align import Pooling, gathered_roi_align


class Kernels(NamedTuple):
    """Functions that never wait for the device."""

    roi_align: Callable[[Pooling], Tensor]
    top_each: Callable[[Sequence[Tensor], int], list[tuple[Tensor, Tensor]]]
    suppress: Callable[[Tensor, Tensor, float, int], Tensor]
    add_bias: Callable[[Tensor, Tensor], Tensor]
    add_upsampled: Callable[[Tensor, Tensor], Tensor]
    max_pool: Callable[[Tensor, Pads], Tensor]
    prepare: Prepare


def kernels_on(device: torch.device, dtype: torch.dtype) -> tuple[Kernels | None, str]:
    """Kernels in Triton for features of a type on a device, or none, and what computes therefore.

    A trial shows whether Triton and its compilers work.
    """
    if device.type != "cuda":
        return None, "PyTorch"
    if find_spec("triton") is None:
        return None, "PyTorch, because Triton is not installed"
    if "tensorflow" in sys.modules and "triton" not in sys.modules:
        # Both contain LLVM: importing Triton would crash the process.
        return None, "PyTorch, because TensorFlow is loaded: isolate the model"
    maps = [torch.ones((1, 32, 4, 4), dtype=dtype, device=device)]
    box = torch.tensor([[0.0, 0.0, 8.0, 8.0]], device=device)
    none = torch.zeros(1, dtype=torch.int64, device=device)
    tried = Pooling(maps, [0.5], box, none, none, 2, Sampling(samples=2))
    try:
        kernels = triton_kernels()
        works = torch.allclose(kernels.roi_align(tried), gathered_roi_align(tried))
    except Exception as error:  # a missing compiler or an old driver may raise anything
        reason = (str(error) or repr(error)).partition("\n")[0]
        return None, f"PyTorch, because Triton fails: {reason}"
    if not works:
        return None, "PyTorch, because Triton computes wrong numbers"
    return kernels, "Triton"


def triton_kernels() -> Kernels:
    """The kernels, without a trial."""
    from maskrcnn_torch.map_kernels import fused_add_bias, fused_add_upsampled, fused_max_pool
    from maskrcnn_torch.preparation_kernel import fused_prepare
    from maskrcnn_torch.ranking_kernels import fused_top_each
    from maskrcnn_torch.roi_kernel import fused_roi_align
    from maskrcnn_torch.suppression_kernel import fused_suppress

    return Kernels(
        fused_roi_align,
        fused_top_each,
        fused_suppress,
        fused_add_bias,
        fused_add_upsampled,
        fused_max_pool,
        fused_prepare,
    )
