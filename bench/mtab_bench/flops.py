"""How much arithmetic a model is, and how fast this machine can do arithmetic at best."""

import time
from collections.abc import Callable

SIZES = (1024, 2048)
"""Rows and columns of the square matrices that are multiplied."""
_REPEATS = 3


def count_flops(forward: Callable[[], object]) -> int:
    """Floating-point operations of matrix products and convolutions in one call of a model, in PyTorch.

    A product and a sum are two. What PyTorch computes with one fused operator (its encoder layers and its
    attention at inference) is taken apart, so that the products inside are counted.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
            forward()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def matrix_rate(threads: int) -> float:
    """The best rate, in GFLOP/s, at which square float32 matrices of `SIZES` are multiplied now."""
    import torch

    torch.set_num_threads(threads)
    best = 0.0
    for size in SIZES:
        a, b, product = (torch.ones(size, size) for _ in range(3))
        torch.mm(a, b, out=product)
        for _ in range(_REPEATS):
            begun = time.perf_counter()
            torch.mm(a, b, out=product)
            best = max(best, 2e-9 * size**3 / (time.perf_counter() - begun))
    return best
