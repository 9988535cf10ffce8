"""How many floating-point operations a second this machine reaches at its best: what a training step is compared with."""

from __future__ import annotations

import time

import torch

from weft.objectives.stages import wait_for

_SIZES = (1024, 2048, 4096, 8192)
_REPEATS = 4
_LONGEST = 1.2
"""Seconds: a size that would take longer, at the best rate so far, is not tried."""


def peak_flops_per_second(device: torch.device, dtype: torch.dtype) -> tuple[float, int]:
    """The best rate of a few square matrix products in ``dtype``, and the size of the one that reached it.

    Sizes double for as long as they take about a second.
    """
    best, best_size = 0.0, 0
    for size in _SIZES:
        operations = 2 * size**3
        if best and _REPEATS * operations > _LONGEST * best:
            break
        left = torch.randn(size, size, device=device, dtype=dtype)
        right, out = torch.randn_like(left), torch.empty_like(left)
        rate = operations / min(_seconds(left, right, out) for _ in range(_REPEATS))
        best, best_size = max((best, best_size), (rate, size))
    return best, best_size


def _seconds(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> float:
    wait_for(out.device)
    start = time.perf_counter()
    torch.mm(left, right, out=out)
    wait_for(out.device)
    return time.perf_counter() - start
