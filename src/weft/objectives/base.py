"""What every objective takes and gives back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from weft.objectives.batch import Batch


class LossTerms(NamedTuple):
    """The loss of one batch as a sum, and what it is a sum over.

    Whoever holds all batches of a step divides once, by the targets of all of them (law 6). A named tuple, because
    DDP and Accelerate look for tensors inside tuples.
    """

    loss_sum: torch.Tensor
    """Weighted negative log-likelihoods in nats, summed over the targets: float32, 0-d, with a gradient."""
    target_count: torch.Tensor
    """The sum of the targets' weights: float32, 0-d."""


class Objective(nn.Module):
    """A module that owns the model: body and loss both run in its ``forward``, so that wrappers' hooks hold (law 8)."""

    model: nn.Module
    """The model as Transformers or PEFT made it: what is saved."""
    rung: str
    """How the examples of a row are kept apart, for the run's header,"""
    rung_reason: str
    """and why so."""
    logits_rung: str
    """How logits are computed where they count and nowhere else (weft.models.parts)."""
    fused_head: nn.Linear | None
    """The head, where weft.objectives.linear_loss computes its products; then it is not called as a module."""

    def forward(self, batch: Batch) -> LossTerms:
        """The loss terms of one batch."""
        raise NotImplementedError
