"""The stages of an optimizer step, named where they happen.

A stage is a range of that name in a trace of torch.profiler, and what a :class:`StageClock` measures. torch.profiler alone
would not do for measuring: it records every operation, which made a step of a small model 5 % to 100 % longer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch.profiler import record_function

Stage = Literal["data", "body_forward", "head_loss", "backward", "optimizer"]
"""``head_loss`` holds also the gradients that the head computes in the forward pass; ``optimizer`` clips, steps, clears."""

STAGES: tuple[Stage, ...] = get_args(Stage)


class StageClock:
    """Measures how long the stages take while :meth:`running`.

    It waits for the device at both ends of a stage, so that a stage's work is not counted to the next one.

    Args:
        device: what the stages compute on.
    """

    def __init__(self, device: torch.device):
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        """In each stage so far."""
        self.stage: Stage | None = None
        """Which one it is now."""
        self._device = device

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block, every stage of this process is measured by this clock."""
        global _running
        before, _running = _running, self
        try:
            yield
        finally:
            _running = before

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time of the block to ``stage``."""
        start, self.stage = self._now(), stage
        try:
            yield
        finally:
            self.stage = None
            self.seconds[stage] += self._now() - start

    def _now(self) -> float:
        wait_for(self._device)
        return time.perf_counter()


_running: StageClock | None = None


def wait_for(device: torch.device) -> None:
    """Return when ``device`` has done all that it was given; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Mark the block as (part of) a stage. Stages do not nest. Costs microseconds while nothing measures."""
    with record_function(f"weft.{name}"):
        if _running is None:
            yield
        else:
            with _running.measure(name):
                yield
