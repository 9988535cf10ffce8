"""What a forward pass takes: several examples in one flat row, without padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One row of T tokens that holds several examples one after the other; none may see another (law 7)."""

    input_ids: torch.Tensor
    """int64 [1, T]."""
    position_ids: torch.Tensor
    """int64 [1, T], from 0 in every example."""
    loss_weights: torch.Tensor
    """float32 [1, T]: 0 = context, > 0 = a target. The first token of an example has nothing before it: always 0."""
    targets: torch.Tensor
    """int64 [N]: the positions of the N targets in the row, ascending."""
    lengths: tuple[int, ...]
    """Tokens of each example, in order; they sum to T. Python integers, so that splitting never waits for a device."""
