"""From predictions to a score: every metric per answer, then its mean, median and share of high values over the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from weft.evaluation.metrics import METRICS
from weft.types import Completion, Location, Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One evaluated record: what the model saw, what it should have said, and what it said."""

    id: str | None
    location: Location
    prompt: tuple[Message, ...]
    reference: str
    completion: Completion


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One metric over a set."""

    mean: float
    median: float
    share_high: float | None
    """The share of answers that reach the metric's ``high`` mark; None for a metric without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """All metrics over a set, and how its answers ended."""

    n: int
    metrics: Mapping[str, Summary]
    rows: tuple[Mapping[str, float], ...]
    """The metrics of every prediction, in its order."""
    at_limit: int
    """Answers that the token limit cut off, not a stop token."""
    tokens: int
    """Tokens that the model produced, over all answers."""


def score(predictions: Sequence[Prediction], metrics: Sequence[str]) -> Score:
    """Score ``predictions`` (at least one) by the named ``metrics`` (keys of :data:`METRICS`)."""
    assert predictions, "a set without records is refused before anything is answered"
    rows = tuple(
        {name: METRICS[name].function(prediction.completion.text, prediction.reference) for name in metrics}
        for prediction in predictions
    )
    return Score(
        n=len(rows),
        metrics={name: _summary([row[name] for row in rows], METRICS[name].high) for name in metrics},
        rows=rows,
        at_limit=sum(prediction.completion.finish == "length" for prediction in predictions),
        tokens=sum(prediction.completion.tokens for prediction in predictions),
    )


def _summary(values: Sequence[float], high: float | None) -> Summary:
    share = None if high is None else fmean(value >= high for value in values)
    return Summary(mean=fmean(values), median=median(values), share_high=share)
