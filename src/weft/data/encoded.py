"""An example's ids, and what each of them counts in the loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(kw_only=True, slots=True)
class Encoded:
    """What became of an example's text."""

    ids: np.ndarray
    """int32 [T]."""
    weights: np.ndarray
    """What each id counts: float32 [T]."""
    runs: list[tuple[int, int]]
    """Where an example could end: what the model says, and what else its record lets count; half-open, in order."""
    borders: list[int] = field(default_factory=list)
    """The ids with which the runs of text begin that were encoded apart."""


def counted(
    ids: np.ndarray,
    borders: Sequence[int],
    runs: Iterable[tuple[int, int]],
    given: Iterable[tuple[int, int, float]],
    *,
    beside: float,
) -> Encoded:
    """The ids up to the last one that counts, with their weights.

    Args:
        ids: of the whole text.
        borders: where its runs begin.
        runs: what the model says.
        given: what ranges of ids count as their record says; of ranges that share an id, the last one decides.
        beside: what counts whatever the model does not say: 0, or 1 where the whole text is trained, but for the first id, which
            nothing before it could predict.
    """
    runs, given = list(runs), list(given)
    if not given and not beside:
        return _counted_plainly(ids, borders, runs)
    weights = np.full(len(ids), beside, np.float32)
    for start, end in runs:
        weights[start:end] = 1
    for start, end, weight in given:
        weights[start:end] = weight
    if beside:
        weights[:1] = 0
    if len(weights) and weights[-1] == 0 and weights.any():
        last = int(weights.nonzero()[0][-1]) + 1
        ids, weights = ids[:last], weights[:last]
    if given:
        kept = [(start, min(end, len(ids))) for start, end in runs if weights[start:end].any()]
        runs = kept if beside and kept else _stretches(weights)
    return Encoded(
        ids=ids,
        weights=weights,
        runs=runs,
        borders=[border for border in borders if border < len(ids)],
    )


def _counted_plainly(ids: np.ndarray, borders: Sequence[int], runs: list[tuple[int, int]]) -> Encoded:
    """Where what the model says counts 1, and nothing else counts."""
    end = runs[-1][1] if runs else len(ids)
    weights = np.zeros(end, np.float32)
    for start, stop in runs:
        weights[start:stop] = 1
    return Encoded(ids=ids[:end], weights=weights, runs=runs, borders=[border for border in borders if border < end])


def _stretches(weights: np.ndarray) -> list[tuple[int, int]]:
    """Where neighbouring ids count."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], weights > 0, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
