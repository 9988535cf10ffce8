"""Which rows each step takes: known as a whole before the first one, and a pure function of the step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

from weft.config.schema import TrainConfig
from weft.data.packing import Packing, Row
from weft.errors import ConfigError

EFFECTIVE_BATCH = 16
"""Examples per optimizer step where ``batch_size`` or ``grad_accum`` is ``auto``."""
TOKENS_PER_MICRO_BATCH = 4096
"""What ``batch_size: auto`` fills, if every row were as long as the longest one."""
MOST_EPOCHS = 10**12
"""More are a slip of the hand."""
MOST_PACKED = 20_000_000
"""Examples that are packed only to count steps: up to a minute, at 1 to 3 µs each and as much as 100 of them an epoch."""
ALWAYS_PACKED = 100
"""Epochs that are packed however many examples they have, because training them takes far longer."""

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of a run. Steps count from 1, epochs and positions within an epoch from 0.

    A row is an example where nothing is packed. Epochs may differ in their number of rows, and so of steps.
    """

    packing: Packing
    """The rows of every epoch."""
    batch_size: int
    """Rows per micro-batch and process."""
    grad_accum: int
    """Micro-batches per step and process."""
    processes: int
    total_steps: int

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step, over all micro-batches and processes."""
        return self.batch_size * self.grad_accum * self.processes

    def steps_in(self, epoch: int) -> int:
        """Steps that an epoch takes; its last one may be short, so that no row is lost or seen twice."""
        return math.ceil(self.packing.row_count(epoch) / self.effective_batch)

    def steps_before(self, epoch: int) -> int:
        """Steps that the epochs before ``epoch`` take together."""
        if self.packing.alike:
            return epoch * self.steps_in(0)
        while len(self._borders) <= epoch:
            self._borders.append(self._borders[-1] + self.steps_in(len(self._borders) - 1))
        return self._borders[epoch]

    def ends_epoch(self, step: int) -> bool:
        """Whether ``step`` takes the last rows of its epoch."""
        return self._split(step)[1] == 0

    def epochs_done(self, step: int) -> float:
        """Epochs behind a run that has taken ``step`` steps, by rows."""
        epochs, steps = self._split(step)
        return epochs + steps * self.effective_batch / self.packing.row_count(epochs) if steps else float(epochs)

    def rows(self, step: int) -> list[Row]:
        """The rows that ``step`` takes."""
        epoch, steps = self._split(step - 1)
        rows = self.packing.rows(epoch)
        start = steps * self.effective_batch
        return [rows[index] for index in range(start, min(start + self.effective_batch, len(rows)))]

    def micro_batches(self, rows: Sequence[Item], rank: int) -> list[Sequence[Item]]:
        """What process ``rank`` takes of a step's ``rows``, micro-batch by micro-batch.

        Every process gets the same number, because they meet after each step; in a short step a process's last one
        may be empty.
        """
        across = self.batch_size * self.processes
        offset = rank * self.batch_size
        starts = range(offset, len(rows) + offset, across)
        return [rows[start : start + self.batch_size] for start in starts]

    @cached_property
    def _borders(self) -> list[int]:
        """``steps_before`` of epochs 0, 1, …, as far as they were asked for: finding one may mean to pack."""
        return [0]

    def _split(self, steps: int) -> tuple[int, int]:
        """The whole epochs that the first ``steps`` steps make, and how many are left over: what ``divmod`` says where
        all epochs are alike.
        """
        if self.packing.alike:
            return divmod(steps, self.steps_in(0))
        while self._borders[-1] < steps:
            self.steps_before(len(self._borders))
        epochs = bisect_right(self._borders, steps) - 1
        return epochs, steps - self._borders[epochs]


def make_plan(config: TrainConfig, packing: Packing, *, processes: int = 1) -> Plan:
    """Resolve ``auto`` and count the steps. Fractions of an epoch round up to whole steps, as does its last, short step.

    Args:
        config: the ``train`` section.
        packing: the rows of every epoch.
        processes: how many train together.
    """
    resolve = _examples_per_step if packing.how == "none" else _rows_per_step
    batch_size, grad_accum = resolve(config, packing, processes)
    plan = Plan(packing=packing, batch_size=batch_size, grad_accum=grad_accum, processes=processes, total_steps=0)
    return replace(plan, total_steps=config.max_steps or _steps(config.epochs, plan))


def _examples_per_step(config: TrainConfig, packing: Packing, processes: int) -> tuple[int, int]:
    """``batch_size`` and ``grad_accum`` where each example is a row.

    ``batch_size: auto`` is the largest number of examples whose tokens fit into :data:`TOKENS_PER_MICRO_BATCH` if each
    were as long as the longest, and ``grad_accum: auto`` the number of such micro-batches that makes
    :data:`EFFECTIVE_BATCH` examples a step over all processes (fewer if there are fewer examples, or if that number
    cannot be divided).
    """
    share = max(1, min(EFFECTIVE_BATCH, packing.visits) // processes)
    fits = max(1, TOKENS_PER_MICRO_BATCH // packing.longest)
    match config.batch_size, config.grad_accum:
        case "auto", "auto":
            batch_size = max(size for size in range(1, share + 1) if share % size == 0 and size <= fits)
            return batch_size, share // batch_size
        case "auto", int(grad_accum):
            return max(1, min(fits, share // grad_accum)), grad_accum
        case int(batch_size), "auto":
            return batch_size, max(1, share // batch_size)
        case batch_size, grad_accum:
            return batch_size, grad_accum


def _rows_per_step(config: TrainConfig, packing: Packing, processes: int) -> tuple[int, int]:
    """``batch_size`` and ``grad_accum`` where rows hold several examples.

    ``batch_size: auto`` is as many rows as fit into :data:`TOKENS_PER_MICRO_BATCH`, but no more than about
    :data:`EFFECTIVE_BATCH` examples a step ask for, and ``grad_accum: auto`` as many micro-batches as they ask for then.
    """
    wanted = min(EFFECTIVE_BATCH, packing.visits) * packing.row_count(0) / packing.visits / processes
    fits = max(1, TOKENS_PER_MICRO_BATCH // packing.capacity)
    batch_size, grad_accum = config.batch_size, config.grad_accum
    if batch_size == "auto":
        micro_batches = 1 if grad_accum == "auto" else grad_accum
        batch_size = max(1, min(fits, round(wanted / micro_batches)))
    if grad_accum == "auto":
        grad_accum = max(1, round(wanted / batch_size))
    return batch_size, grad_accum


def _steps(epochs: float, plan: Plan) -> int:
    _check_number(epochs, plan.packing)
    whole, part = divmod(Fraction(str(epochs)), 1)  # as it was written: 0.07 · 100 is 7, and a little more in binary
    return plan.steps_before(whole) + (math.ceil(part * plan.steps_in(whole)) if part else 0)


def _check_number(epochs: float, packing: Packing) -> None:
    """Refuse what would never be counted."""
    most, reason = MOST_EPOCHS, ""
    if not packing.alike:
        most = max(ALWAYS_PACKED, MOST_PACKED // (packing.visits + 100))
        reason = ": these differ in their number of rows, so that counting the steps means packing them all"
    if epochs > most:
        raise ConfigError(
            f"{epochs:g} epochs are too many, {most:,} is the most here{reason}",
            where="train.epochs",
            fix="set train.max_steps instead, which goes before train.epochs",
        )
