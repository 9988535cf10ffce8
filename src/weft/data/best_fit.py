"""Best fit decreasing: whole items into few bins of one capacity.

The longest item comes first, and each goes into the fullest bin that still has room for it; a new bin is opened where none
has. That takes at most 11/9 of the fewest possible bins, and 4 more (Johnson et al. 1974, SIAM J. Comput. 3, 299-325); with
many short items almost no room is left.

Items of one length are interchangeable, and so are bins of one room. An item that leaves room for another of its length
leaves the fullest bin that holds it, so the next one follows it there. All items of a length are therefore placed at once, one
group of bins after the other, and the work grows with the number of groups and not with the number of items.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np


def best_fit_decreasing(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """The bin of every item.

    Of several bins that are equally full, the one that was filled last is taken.

    Args:
        lengths: int [n], descending, each between 1 and ``capacity``.
        capacity: what a bin holds.

    Returns:
        int64 [n]; bins are numbered from 0 in the order in which they are opened.
    """
    bins, opened = _Bins(), 0
    placed = [np.empty(0, np.int64)]
    values, counts = np.unique(lengths, return_counts=True)
    for length, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        waiting = count
        while waiting:
            room = bins.least_room(length) or capacity
            each = room // length
            wanted = -(-waiting // each)
            if room < capacity:
                chosen: Sequence[int] = bins.take(room, wanted)
            else:  # a bin that was filled at all has less room than that
                chosen, opened = range(opened, opened + wanted), opened + wanted
            filled = np.repeat(np.array(chosen, np.int64), each)[:waiting]
            in_last = len(filled) - each * (len(chosen) - 1)
            bins.put(room - each * length, chosen[:-1])
            bins.put(room - in_last * length, chosen[-1:])
            placed.append(filled)
            waiting -= len(filled)
    return np.concatenate(placed)


class _Bins:
    """Bins that have room, by how much they have."""

    def __init__(self) -> None:
        self._numbers: dict[int, list[int]] = {}
        self._rooms: list[int] = []
        """The keys of ``_numbers``, ascending."""

    def least_room(self, length: int) -> int | None:
        """The least room that holds ``length``; None where no bin has as much."""
        place = bisect_left(self._rooms, length)
        return self._rooms[place] if place < len(self._rooms) else None

    def take(self, room: int, wanted: int) -> list[int]:
        """Up to ``wanted`` of the bins with just this room, the last that came first; they are put back when filled."""
        numbers = self._numbers[room]
        taken = numbers[: -wanted - 1 : -1]
        del numbers[-wanted:]
        if not numbers:
            del self._numbers[room]
            del self._rooms[bisect_left(self._rooms, room)]
        return taken

    def put(self, room: int, numbers: Sequence[int]) -> None:
        """Note that these bins have this room now; a full bin is of no further interest."""
        if not room or not numbers:
            return
        if room not in self._numbers:
            self._numbers[room] = []
            insort(self._rooms, room)
        self._numbers[room].extend(numbers)
