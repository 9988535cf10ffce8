"""How many floating-point operations a second this machine reaches at its best: what a training step is compared with."""

from __future__ import annotations

import time

import torch

from weft.objectives.stages import wait_for

_SIZES = (1024, 2048, 4096)
_MORE_SIZES = (8192,)
"""Of accelerators, which need larger products than a processor to be busy everywhere."""
_SECONDS = 0.3
_TOO_LONG = 4
"""Times the budget: a size of which one product would take longer, at the best rate so far, is not tried."""


def peak_flops_per_second(device: torch.device, dtype: torch.dtype, *, seconds: float = _SECONDS) -> tuple[float, int]:
    """The best rate of square matrix products in ``dtype``, and the size of the one that reached it.

    Of each size the fastest product counts, because a machine does not become faster by chance.

    Args:
        device: where they are computed.
        dtype: of the matrices.
        seconds: the budget of each size.
    """
    best, best_size = 0.0, 0
    for size in _SIZES if device.type == "cpu" else _SIZES + _MORE_SIZES:
        operations = 2 * size**3
        if best and operations > _TOO_LONG * seconds * best:
            break
        rate = operations / _fastest(size, device, dtype, seconds)
        best, best_size = max((best, best_size), (rate, size))
    return best, best_size


def _fastest(size: int, device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """Seconds of the fastest product, one at least, after one to warm up."""
    left = torch.randn(size, size, device=device, dtype=dtype)
    right, out = torch.randn_like(left), torch.empty_like(left)
    _seconds(left, right, out)
    fastest, spent = float("inf"), 0.0
    while spent < seconds:
        took = _seconds(left, right, out)
        fastest, spent = min(fastest, took), spent + took
    return fastest


def _seconds(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
    wait_for(out.device)
    start = time.perf_counter()
    torch.mm(left, right, out=out)
    wait_for(out.device)
    return time.perf_counter() - start
