"""What a trainer's process notes about itself: when training began, when each step ended, and its peak of memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Stopwatch:
    """Times are of the monotonic clock, which all processes of a machine share."""

    def __init__(self) -> None:
        self.began = 0.0
        self.step_ends: list[float] = []
        self._cpu_at_start = self._cpu_at_end = 0.0
        self._peak_bytes = 0

    def begin(self) -> None:
        """The first step begins."""
        self.began, self._cpu_at_start = time.monotonic(), time.process_time()

    def step(self) -> None:
        """An optimizer step has ended. The peak is noted here, because what a trainer saves at its end is not compared."""
        self.step_ends.append(time.monotonic())
        self._cpu_at_end, self._peak_bytes = time.process_time(), peak_bytes()

    def write(self, path: Path, **more: Any) -> None:
        """Leave everything for the parent, ``more`` included."""
        report = {
            "began": self.began,
            "step_ends": self.step_ends,
            "cpu_seconds": self._cpu_at_end - self._cpu_at_start,
            "peak_bytes": self._peak_bytes,
            **more,
        }
        path.write_text(json.dumps(report), encoding="utf-8")


def peak_bytes() -> int:
    """The most memory that this process has held (resident set size).

    Linux has it by address space (``VmHWM``); ``getrusage`` there also counts what the parent held when it forked.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
