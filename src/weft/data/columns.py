"""Examples one after the other, in few arrays: what many of them are made of at once, and what is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from weft.types import Example, Location


@dataclass(frozen=True, slots=True)
class Borders:
    """Where in examples the runs of text begin that were encoded apart: what is shown of them, and not written.

    Attributes:
        places: int64 [b], for each example in turn the ids with which its runs begin, counted from its first.
        ends: int64 [n], where the places of each example end.
    """

    places: np.ndarray
    ends: np.ndarray

    def of(self, number: int) -> tuple[int, ...]:
        """Those of one example."""
        return tuple(self.places[_span(self.ends, number)].tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Examples one after the other.

    Attributes:
        ids: int32 [T].
        weights: float32 [T].
        ends: int64 [n], where each example ends.
        locations: n of them, of their records.
    """

    ids: np.ndarray
    weights: np.ndarray
    ends: np.ndarray
    locations: Sequence[Location]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Columns:
        """Of examples."""
        return cls(
            ids=np.concatenate([np.empty(0, np.int32), *(example.ids for example in examples)]),
            weights=np.concatenate([np.empty(0, np.float32), *(example.loss_weights for example in examples)]),
            ends=np.cumsum([len(example.ids) for example in examples], dtype=np.int64),
            locations=[example.location for example in examples],
        )

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> np.ndarray:
        """int64 [n], where each example begins."""
        return np.append(0, self.ends[:-1])

    def example(self, number: int) -> Example:
        """One example; its arrays are views."""
        place = _span(self.ends, number)
        return Example(ids=self.ids[place], loss_weights=self.weights[place], location=self.locations[number])


NOTHING = Columns.of([])


@dataclass(slots=True)  # not frozen: one is made for every conversation, in a third of the time
class Part:
    """Some neighbours among the examples of columns."""

    columns: Columns
    first: int
    end: int
    borders: Borders | None
    """Of all examples of the columns; None where they were not put together from runs."""

    def __len__(self) -> int:
        return self.end - self.first

    def examples(self) -> list[Example]:
        """Each by itself."""
        return [self.columns.example(number) for number in range(self.first, self.end)]

    def each_borders(self) -> list[tuple[int, ...]]:
        """The borders of each."""
        return [self.borders.of(number) if self.borders else () for number in range(self.first, self.end)]


def whole(columns: Columns, borders: Borders | None = None) -> Part:
    """All of them."""
    return Part(columns, 0, len(columns), borders)


def joined(parts: Iterable[Part]) -> Columns:
    """The examples of all parts, in order."""
    neighbours: list[Part] = []
    columns, end = None, 0
    for part in parts:
        if part.columns is columns and part.first == end:
            end = part.end
        elif part.first < part.end:
            if neighbours:
                neighbours[-1].end = end
            columns, end = part.columns, part.end
            neighbours.append(Part(columns, part.first, end, None))
    if neighbours:
        neighbours[-1].end = end
    cut = [_cut(part) for part in neighbours]
    if len(cut) == 1:
        return cut[0]
    if not cut:
        return NOTHING
    return Columns(
        ids=np.concatenate([one.ids for one in cut]),
        weights=np.concatenate([one.weights for one in cut]),
        ends=_one_after_the_other([one.ends for one in cut]),
        locations=[location for one in cut for location in one.locations],
    )


def _cut(part: Part) -> Columns:
    """The examples of a part alone."""
    columns = part.columns
    if len(part) == len(columns):
        return columns
    numbers = slice(part.first, part.end)
    ids = slice(int(columns.ends[part.first - 1]) if part.first else 0, int(columns.ends[part.end - 1]))
    return Columns(
        ids=columns.ids[ids],
        weights=columns.weights[ids],
        ends=columns.ends[numbers] - ids.start,
        locations=columns.locations[numbers],
    )


def _one_after_the_other(ends: Sequence[np.ndarray]) -> np.ndarray:
    """Ends that are each counted from the beginning of their own part, counted from the first one's."""
    moved = np.cumsum([0, *(each[-1] for each in ends)])
    return np.concatenate([each + by for each, by in zip(ends, moved, strict=False)])


def _span(ends: np.ndarray, number: int) -> slice:
    return slice(int(ends[number - 1]) if number else 0, int(ends[number]))
