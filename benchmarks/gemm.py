"""The machine's best rate of matrix products in float32: ``python -m benchmarks.gemm REPORT``, a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from weft.training.peak import peak_flops_per_second

_SECONDS = 1.5
"""For each size."""

if __name__ == "__main__":
    rate, size = peak_flops_per_second(torch.device("cpu"), torch.float32, seconds=_SECONDS)
    Path(sys.argv[1]).write_text(json.dumps({"flops_per_second": rate, "size": size}), encoding="utf-8")
