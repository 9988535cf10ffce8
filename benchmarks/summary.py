"""From the runs of all rounds to medians, spreads, ratios and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.cases import FIRST_STEP, Bar, Case, Setting

AS_FAST = 0.03
"""Settings that differ by less are equally fast; a single run does not tell them apart."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process from its start to its last step, in seconds and bytes."""

    step: float
    """Mean over all steps but the first."""
    training: float
    """From the beginning of the first step to the end of the last one."""
    first_step: float
    """From the start of the process to the end of the first step."""
    total: float
    """From the start of the process to the end of the last step."""
    peak_bytes: int
    threads_busy: float
    """Processor time of the training by its wall time and the number of threads."""
    others: float | None
    """benchmarks.child.Outcome.others."""


def make_run(report: Mapping[str, Any], *, started: float, others: float | None, threads: int) -> Run:
    """From what a process reported (benchmarks.stopwatch) and what its parent saw; two steps at least."""
    ends = report["step_ends"]
    training = ends[-1] - report["began"]
    return Run(
        step=(ends[-1] - ends[0]) / (len(ends) - 1),
        training=training,
        first_step=ends[0] - started,
        total=ends[-1] - started,
        peak_bytes=report["peak_bytes"],
        threads_busy=report["cpu_seconds"] / (training * threads),
        others=others,
    )


def best_setting(tried: Mapping[Setting, Run]) -> Setting:
    """The fastest; of several that are as fast, the one that needs the least memory."""
    fastest = min(run.step for run in tried.values())
    as_fast = [setting for setting, run in tried.items() if run.step <= fastest * (1 + AS_FAST)]
    return min(as_fast, key=lambda setting: tried[setting].peak_bytes)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A program's medians over all rounds."""

    step: float
    spread: float
    """Of ``step``: largest minus smallest, by the median."""
    training: float
    first_step: float
    total: float
    peak_bytes: float
    threads_busy: float


def figures(runs: Sequence[Run]) -> Figures:
    """Medians, each by itself."""
    steps = [run.step for run in runs]
    return Figures(
        step=median(steps),
        spread=spread(steps),
        training=median(run.training for run in runs),
        first_step=median(run.first_step for run in runs),
        total=median(run.total for run in runs),
        peak_bytes=median(run.peak_bytes for run in runs),
        threads_busy=median(run.threads_busy for run in runs),
    )


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, by the median."""
    return (max(values) - min(values)) / median(values)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A measured ratio beside what it should be."""

    what: str
    ratio: float
    floor: float
    target: float | None
    reached: str
    """``target``, ``floor`` or ``below``."""


def judge(what: str, ratio: float, bar: Bar) -> Verdict:
    """More is better."""
    reached = "target" if ratio >= bar.target else "floor" if ratio >= bar.floor else "below"
    return Verdict(what=what, ratio=ratio, floor=bar.floor, target=bar.target, reached=reached)


def judge_limit(what: str, ratio: float, limit: float) -> Verdict:
    """Less is better."""
    return Verdict(what=what, ratio=ratio, floor=limit, target=None, reached="target" if ratio <= limit else "below")


def verdicts(case: Case, found: Mapping[str, Figures]) -> list[Verdict]:
    """Everything that is demanded of a case, as far as its programs ran."""
    weft = found["weft"]
    judged = [
        judge(f"speed against {program}", found[program].step / weft.step, bar)
        for program, bar in case.bars.items()
        if program in found
    ]
    if case.memory is not None and "trl-packed" in found:
        judged.append(
            judge_limit("peak memory by trl-packed's", weft.peak_bytes / found["trl-packed"].peak_bytes, case.memory)
        )
    starts = [found[program].first_step for program in found if program.startswith("trl-")]
    if starts:
        judged.append(judge_limit("first step by TRL's earliest one", weft.first_step / min(starts), FIRST_STEP))
    return judged
