"""The machine's best rate of matrix products: ``python -m benchmarks.gemm REPORT``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

SIZES = (1024, 2048, 3072, 4096)
_SECONDS = 1.5
"""For each size; the best single product counts, because a machine does not become faster by chance."""


def rates() -> dict[int, float]:
    """Floating-point operations a second of a square float32 product of each size."""
    return {size: _rate(size) for size in SIZES}


def _rate(size: int) -> float:
    left, right = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    torch.mm(left, right, out=out)
    best, ends = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < ends:
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps({"flops_per_second": rates()}), encoding="utf-8")
