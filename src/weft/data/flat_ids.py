"""Ids of many runs of text, one after the other in one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class FlatIds:
    """Ids of runs.

    Attributes:
        ids: int32 [T].
        ends: int64 [n], where each run ends.
    """

    ids: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[Sequence[int]]) -> FlatIds:
        """Of each run's own ids."""
        ends = np.cumsum([0, *map(len, runs)])[1:]
        return cls(np.fromiter(chain.from_iterable(runs), np.int32, int(ends[-1]) if len(ends) else 0), ends)

    @classmethod
    def joined(cls, parts: Sequence[FlatIds]) -> FlatIds:
        """The runs of all parts, in order."""
        before = np.cumsum([0, *(len(part.ids) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, before, strict=False)]
        return cls(np.concatenate([part.ids for part in parts]), np.concatenate(ends))

    def each(self) -> list[np.ndarray]:
        """The ids of each run, as views."""
        return [self.ids[start:end] for start, end in pairwise([0, *self.ends.tolist()])]

    def run(self, number: int) -> np.ndarray:
        """The ids of one run, as a view."""
        return self.ids[self.ends[number - 1] if number else 0 : self.ends[number]]

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, places: np.ndarray) -> FlatIds:
        """Those of the runs at ``places``, int64, which may name a run many times."""
        ends = self.ends[places]
        lengths = ends - np.append(0, self.ends)[places]
        taken_ends = np.cumsum(lengths)
        total = int(taken_ends[-1]) if len(places) else 0
        return FlatIds(self.ids[np.repeat(ends - taken_ends, lengths) + np.arange(total)], taken_ends)


EncodeWords = Callable[[Sequence[str]], FlatIds]
"""Encodes short texts, each by itself."""
