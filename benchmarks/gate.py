"""Losses first: a ratio between programs that do not train the same thing says nothing, so none is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MEAN_TOLERANCE = 1e-4
"""Relative, of the mean loss over all targets of all steps at a learning rate of almost zero, whatever the batches."""
STEP_TOLERANCE = 1e-3
"""Relative, of each step's loss at a real learning rate, where the batches are the same."""


class LossesDiffer(Exception):
    """The programs do not train the same thing; the text says where they part."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a program trained on, and what it lost."""

    losses: tuple[float, ...]
    """The mean per target of each step."""
    targets: tuple[float, ...]
    """Of each step."""
    examples: tuple[str, ...]
    """A fingerprint of each example's ids and labels (benchmarks.examples), in any order."""
    trained_parameters: int
    """How many numbers the optimizer changes: adapters that begin at zero do not show in the first losses."""

    @property
    def mean(self) -> float:
        """The mean loss over all targets."""
        return sum(loss * count for loss, count in zip(self.losses, self.targets, strict=True)) / sum(self.targets)


def check_same_training(reference: str, traces: Mapping[str, Trace]) -> None:
    """All programs have the examples of ``reference``, as many targets and trained parameters, and the same mean loss.

    Raises:
        LossesDiffer: with everything that differs.
    """
    expected = traces[reference]
    problems = []
    for name, trace in traces.items():
        strange = Counter(trace.examples) - Counter(expected.examples)
        missing = Counter(expected.examples) - Counter(trace.examples)
        if strange or missing:
            problems.append(
                f"{name}: {strange.total()} examples that {reference} does not have, {missing.total()} missing "
                f"(of {len(expected.examples)}; token ids or trained positions differ)"
            )
        if trace.trained_parameters != expected.trained_parameters:
            problems.append(
                f"{name}: {trace.trained_parameters:,} parameters trained, {reference}: {expected.trained_parameters:,}"
            )
        if len(trace.losses) != len(trace.targets):
            problems.append(f"{name}: {len(trace.losses)} losses for {len(trace.targets)} steps")
        elif sum(trace.targets) != sum(expected.targets):
            problems.append(f"{name}: {sum(trace.targets):,.0f} targets, {reference}: {sum(expected.targets):,.0f}")
        elif _differ(trace.mean, expected.mean, MEAN_TOLERANCE):
            problems.append(f"{name}: mean loss {trace.mean:.6f}, {reference}: {expected.mean:.6f}")
    _raise(problems)


def check_same_steps(reference: str, losses: Mapping[str, Sequence[float]]) -> None:
    """All programs, given the same batches in the same order, lose the same in every step.

    Raises:
        LossesDiffer: with the first step at which each program differs.
    """
    problems = []
    for name, found in losses.items():
        if len(found) != len(losses[reference]):
            problems.append(f"{name}: {len(found)} steps, {reference}: {len(losses[reference])}")
            continue
        for step, (loss, expected) in enumerate(zip(found, losses[reference], strict=True), 1):
            if _differ(loss, expected, STEP_TOLERANCE):
                problems.append(f"{name}: loss {loss:.6f} in step {step}, {reference}: {expected:.6f}")
                break
    _raise(problems)


def _differ(value: float, expected: float, tolerance: float) -> bool:
    return not abs(value - expected) <= tolerance * abs(expected)  # so that a value that is not a number differs too


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise LossesDiffer("\n".join(problems))
