"""The loss on held-out examples: one mean over all of their targets, whatever the batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from weft.data.packing import Rows, examples_of
from weft.objectives.base import Objective
from weft.training.collate import collate, target_count
from weft.types import Example

_LARGEST_EXPONENT = 700.0  # e^709 is the largest float64; a perplexity beyond e^700 is reported as e^700


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a model makes of a set of examples."""

    loss: float
    """Mean negative log-likelihood per target, in nats."""
    targets: float
    """Sum of the targets' weights."""

    @property
    def perplexity(self) -> float:
        """The exponential of the loss."""
        return math.exp(min(self.loss, _LARGEST_EXPONENT))


def evaluate(
    objective: Objective,
    examples: Sequence[Example],
    rows: Rows,
    device: torch.device | str = "cpu",
    *,
    batch_size: int = 8,
) -> Evaluation:
    """The loss of ``rows`` under ``objective``, as a sum over all divided once (law 6): no division into rows or batches
    changes it.

    Args:
        objective: in any mode, which it has again afterwards.
        examples: what the rows are made of.
        rows: at least one, with a target.
        device: where the objective's model is.
        batch_size: rows at a time.
    """
    assert len(rows), "nothing to evaluate"
    was_training = objective.training
    objective.eval()
    loss = targets = 0.0
    try:
        with torch.no_grad():
            for start in range(0, len(rows), batch_size):
                chosen = range(start, min(start + batch_size, len(rows)))
                held = [example for number in chosen for example in examples_of(rows[number], examples)]
                loss += objective(collate(held, device)).loss_sum.item()
                targets += sum(map(target_count, held))
    finally:
        objective.train(was_training)
    return Evaluation(loss=loss / targets, targets=targets)
