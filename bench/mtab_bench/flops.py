"""How much arithmetic a model is."""

from collections.abc import Callable


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
