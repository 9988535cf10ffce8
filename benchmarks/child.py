"""Running a trainer in a process of its own, and noticing what else the machine did meanwhile."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

LARGEST_SHARE_OF_OTHERS = 0.05
"""Of the cores' time, while a trainer runs. A kernel at rest takes about one per cent."""


class ChildFailed(Exception):
    """A program did not run; the text says which, how, and where its output lies."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the machine says about a process that has ended."""

    started: float
    """Of the monotonic clock."""
    seconds: float
    cpu_seconds: float
    others: float | None
    """The share of all cores' time that went to others; None where the system does not tell."""


def run_child(command: Sequence[str], log: Path, environ: Mapping[str, str]) -> Outcome:
    """Run ``command`` in the repository's root; what it prints goes into ``log``.

    Raises:
        ChildFailed: it ended with another status than 0.
    """
    with log.open("wb") as output:
        busy = _busy_seconds()
        started = time.monotonic()
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environ}
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        after = _busy_seconds()
    if child.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise ChildFailed(f"{' '.join(command)}\nended with status {child.returncode}; the end of {log}:\n{tail}")
    cpu = usage.ru_utime + usage.ru_stime
    others = None if busy is None or after is None else share_of_others(after - busy, cpu, seconds, os.cpu_count() or 1)
    return Outcome(started=started, seconds=seconds, cpu_seconds=cpu, others=others)


def share_of_others(busy: float, own: float, seconds: float, cores: int) -> float:
    """The share of ``cores`` · ``seconds`` that was spent by others than the one that spent ``own`` of ``busy``."""
    return max(0.0, busy - own) / (seconds * cores)


def is_disturbed(others: float | None) -> bool:
    """Whether a measurement is worth repeating. Where the system does not tell, nothing is known against it."""
    return others is not None and others > LARGEST_SHARE_OF_OTHERS


def _busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the machine started, for us, others, or other machines (steal)."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def threads() -> int:
    """Threads that every program may use: ``OMP_NUM_THREADS`` where it is set, else one per core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("OMP_NUM_THREADS", cores))


def quiet_environment(folder: Path) -> dict[str, str]:
    """For every program: this machine's cores and nothing else, no network, caches below ``folder``."""
    return {
        "OMP_NUM_THREADS": str(threads()),
        "PYTHONDONTWRITEBYTECODE": "",  # pip compiles what it installs: sources of a checkout are compiled once as well
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "WANDB_DISABLED": "true",
    }


def machine() -> dict[str, Any]:
    """What a reader needs to know of this machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads used": threads(),
        "memory bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
