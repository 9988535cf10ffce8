"""Which examples each step takes: known as a whole before the first one, and a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from weft.config.schema import TrainConfig

EFFECTIVE_BATCH = 16
"""Examples per optimizer step where ``batch_size`` or ``grad_accum`` is ``auto``."""
TOKENS_PER_MICRO_BATCH = 4096
"""What ``batch_size: auto`` fills, if every example were as long as the longest one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a run. Steps count from 1, epochs and positions within an epoch from 0."""

    epoch_length: int
    """Examples in an epoch."""
    batch_size: int
    """Examples per micro-batch and process."""
    grad_accum: int
    """Micro-batches per step and process."""
    processes: int
    total_steps: int

    @property
    def effective_batch(self) -> int:
        """Examples per optimizer step, over all micro-batches and processes."""
        return self.batch_size * self.grad_accum * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Steps that an epoch takes; its last one may be short, so that no example is lost or seen twice."""
        return math.ceil(self.epoch_length / self.effective_batch)

    def epoch(self, step: int) -> int:
        """The epoch that ``step`` belongs to."""
        return (step - 1) // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether ``step`` takes the last examples of its epoch."""
        return step % self.steps_per_epoch == 0

    def epochs_done(self, step: int) -> float:
        """Epochs behind a run that has taken ``step`` steps, by examples."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        return epochs + steps * self.effective_batch / self.epoch_length

    def examples(self, step: int, order: np.ndarray) -> np.ndarray:
        """The indices that ``step`` takes from ``order``, its epoch's order of examples."""
        start = (step - 1) % self.steps_per_epoch * self.effective_batch
        return order[start : start + self.effective_batch]

    def micro_batches(self, indices: np.ndarray, rank: int) -> list[np.ndarray]:
        """What process ``rank`` takes of a step's ``indices``, micro-batch by micro-batch.

        Every process gets the same number, because they meet after each step; in a short step a process's last one
        may be empty.
        """
        across = self.batch_size * self.processes
        offset = rank * self.batch_size
        starts = range(offset, len(indices) + offset, across)
        return [indices[start : start + self.batch_size] for start in starts]


def make_plan(config: TrainConfig, *, epoch_length: int, longest: int, processes: int = 1) -> Plan:
    """Resolve ``auto`` and count the steps.

    ``batch_size: auto`` is the largest number of examples whose tokens fit into :data:`TOKENS_PER_MICRO_BATCH` if each
    were as long as the longest, and ``grad_accum: auto`` the number of such micro-batches that makes
    :data:`EFFECTIVE_BATCH` examples a step over all processes (fewer if there are fewer examples, or if that number
    cannot be divided). Fractions of an epoch round up to whole steps, as does its last, short step.

    Args:
        config: the ``train`` section.
        epoch_length: examples in an epoch.
        longest: tokens of the longest example.
        processes: how many train together.
    """
    share = max(1, min(EFFECTIVE_BATCH, epoch_length) // processes)
    fits = max(1, TOKENS_PER_MICRO_BATCH // longest)
    match config.batch_size, config.grad_accum:
        case "auto", "auto":
            batch_size = max(size for size in range(1, share + 1) if share % size == 0 and size <= fits)
            grad_accum = share // batch_size
        case "auto", int(grad_accum):
            batch_size = max(1, min(fits, share // grad_accum))
        case int(batch_size), "auto":
            grad_accum = max(1, share // batch_size)
        case batch_size, grad_accum:
            pass
    plan = Plan(
        epoch_length=epoch_length, batch_size=batch_size, grad_accum=grad_accum, processes=processes, total_steps=0
    )
    return replace(plan, total_steps=config.max_steps or _steps(config.epochs, plan.steps_per_epoch))


def _steps(epochs: float, steps_per_epoch: int) -> int:
    # 1e-9: 0.07 epochs of 100 steps are 7 steps, though 0.07 * 100 is a little more in binary.
    return max(1, math.ceil(epochs * steps_per_epoch - 1e-9))
