"""The learning rate as a pure function of the step: nothing to store, nothing to restore (law 10)."""

from __future__ import annotations

import math
from typing import Literal


def warmup_length(total: int, *, steps: int | None, ratio: float) -> int:
    """How many of ``total`` steps warm up: ``steps`` where given, else the share ``ratio``, rounded up."""
    return steps if steps is not None else math.ceil(ratio * total)


def learning_rate(
    step: int, total: int, warmup: int, peak: float, kind: Literal["cosine", "linear", "constant"]
) -> float:
    """The learning rate of optimizer step ``step`` of 1 … ``total``.

    Warm-up is linear, ``peak · step / warmup``, so its last step has the peak; without warm-up the first step has it.
    With w = max(warmup, 1), the share of the decline that lies behind a later step is x = (step − w) / (total − w + 1):
    ``cosine`` is peak · (1 + cos πx) / 2 (Loshchilov & Hutter 2017, arXiv:1608.03983), ``linear`` is peak · (1 − x).
    Both would reach zero one step after the last, so no step is spent at a rate of zero.
    """
    assert 1 <= step <= total, f"step {step} of {total}"
    if step <= warmup:
        return peak * step / warmup
    top = max(warmup, 1)
    declined = (step - top) / (total - top + 1)
    match kind:
        case "cosine":
            return peak * (1 + math.cos(math.pi * declined)) / 2
        case "linear":
            return peak * (1 - declined)
        case "constant":
            return peak
