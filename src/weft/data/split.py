"""Dividing conversations into splits: by what they say and the seed, never by their order or their place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from typing import TypeVar

from weft.data.groups import Grouped, grouped, linked
from weft.types import Material

_T = TypeVar("_T")


def split_sizes(count: int, ratios: Mapping[str, float]) -> dict[str, int]:
    """How many of ``count`` records each split gets: the largest-remainder method, in the order of ``ratios``.

    Every split with a non-zero ratio gets at least one record; with fewer records than such splits the first ones get one
    each.

    Args:
        count: the number of records, at least 0.
        ratios: the share of each split, ≥ 0, with a sum of 1.
    """
    wanted = [name for name, ratio in ratios.items() if ratio > 0]
    if count < len(wanted):
        return {name: int(name in wanted[:count]) for name in ratios}
    exact = {name: ratio * count / sum(ratios.values()) for name, ratio in ratios.items()}
    sizes = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(wanted, key=lambda name: sizes[name] - exact[name])
    for name in by_remainder[: count - sum(sizes.values())]:
        sizes[name] += 1
    for name in wanted:
        if sizes[name] == 0:
            sizes[max(sizes, key=lambda other: sizes[other])] -= 1
            sizes[name] = 1
    return sizes


def assign_splits(
    conversations: Iterable[Material],
    ratios: Mapping[str, float],
    seed: int,
    *,
    group_by: str = "question",
    by_source: bool = False,
) -> list[str]:
    """The split of every conversation.

    Groups of conversations are ranked by a keyed hash of what makes them one, and the ranking is cut by :func:`split_sizes`; a
    group that the cut goes through stays before it, unless none would be left for a split behind it. So the order of the input
    does not matter, a further record moves at most a few others, and a change of the system message or of an answer moves none.

    Args:
        conversations: what is divided.
        ratios: see :func:`split_sizes`.
        seed: another one ranks otherwise.
        group_by: ``question``: the same user messages, but for case and spacing, make a group, together with conversations that
            ask only one of them; ``none``: the same messages, but for the system message; else a field of ``meta``, of which
            the same value makes a group as well.
        by_source: cut the ranking of each source by itself. A group of several sources stays together all the same.

    Raises:
        DataError: no record has the field ``group_by``.
    """
    sources: list[str] = []

    def noted() -> Iterator[Material]:
        for conversation in conversations:
            sources.append(conversation.source or "" if by_source else "")
            yield conversation

    return divided(linked(grouped(noted(), seed, group_by)), sources, ratios)


def divided(groups: Sequence[bytes], sources: Sequence[str], ratios: Mapping[str, float]) -> list[str]:
    """The split of every conversation, by its group and its source, each of which is cut by itself."""
    counts: dict[str, Counter[bytes]] = {}
    for group, source in zip(groups, sources, strict=True):
        counts.setdefault(source, Counter())[group] += 1
    decided: dict[bytes, str] = {}
    for source in sorted(counts):
        decided |= _cut(counts[source], ratios, decided)
    return [decided[group] for group in groups]


def _cut(counts: Counter[bytes], ratios: Mapping[str, float], decided: Mapping[bytes, str]) -> dict[bytes, str]:
    """The splits of those groups of a source that are not ``decided`` yet, by the number of records in each group."""
    sizes = [(name, size) for name, size in split_sizes(counts.total(), ratios).items() if size]
    left = len(counts.keys() - decided.keys())
    found: dict[bytes, str] = {}
    current, position, end, has_some = 0, 0, sizes[0][1], False
    for group in sorted(counts):
        if group not in decided:
            others = len(sizes) - 1 - current
            if has_some and others and (position >= end or left <= others):
                current += 1
                end += sizes[current][1]
            found[group], has_some = sizes[current][0], True
            left -= 1
        position += counts[group]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Portion:
    """What training or validation takes of a source that has no validation file beside it."""

    held_out: bool
    """Whether it is that of validation."""
    places: tuple[str, ...]
    """Of each block of the source: for each of its conversations ``1`` where validation holds it, else ``0``."""

    def of_block(self, number: int, conversations: Sequence[_T]) -> list[_T]:
        """Those of a block's conversations that are in this portion.

        Raises:
            LookupError: the source has another number of them there than it had when it was divided.
        """
        places = self.places[number]
        if len(places) != len(conversations):
            raise LookupError(number)
        return list(compress(conversations, ((place == "1") == self.held_out for place in places)))


def held_out(sources: Sequence[Grouped], ratio: float) -> list[list[bool]]:
    """Which conversations of each source validation holds, such that it holds the same question out of all of them, or of none.

    Args:
        sources: each is divided by itself, but for questions that it shares with an earlier one, which has decided over them.
        ratio: the share of validation.
    """
    labels = [f"{number:09}" for number, source in enumerate(sources) for _ in source.groups]
    names = iter(divided(linked(*sources), labels, {"train": 1 - ratio, "val": ratio}))
    return [[name == "val" for name in islice(names, len(source.groups))] for source in sources]
