"""Dividing conversations into splits: by what they say and the seed, never by their order or their place."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from weft.data.comparing import comparable
from weft.data.conversations import content_digest, turns_of
from weft.data.seeds import derive_seed
from weft.errors import DataError
from weft.types import Conversation

QUESTION, NONE = "question", "none"
"""What may make conversations a group that no split divides, beside a field of ``meta``."""


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
    conversations: Iterable[Conversation],
    ratios: Mapping[str, float],
    seed: int,
    *,
    group_by: str = QUESTION,
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
        group_by: ``question``: the same user messages, but for case and spacing, make a group; ``none``: the same messages, but
            for the system message; else a field of ``meta``, whose value makes the group, or the question where a record
            lacks it.
        by_source: cut the ranking of each source by itself. A group of several sources stays together all the same.

    Raises:
        DataError: no record has the field ``group_by``.
    """
    key = f"{derive_seed(seed, 'split')}:"
    groups: list[bytes] = []
    sources: dict[str, Counter[bytes]] = {}
    is_known = group_by in (QUESTION, NONE)
    for conversation in conversations:
        is_known = is_known or group_by in conversation.meta
        groups.append(hashlib.sha256((key + _group(conversation, group_by)).encode()).digest())
        sources.setdefault(conversation.source or "" if by_source else "", Counter())[groups[-1]] += 1
    if not is_known:
        raise DataError(
            f'no record has the field "{group_by}" in its meta',
            where="data.split.group_by",
            fix=f"name a field that records have, or {QUESTION} or {NONE}",
        )
    decided: dict[bytes, str] = {}
    for source in sorted(sources):
        decided |= _cut(sources[source], ratios, decided)
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


def _group(conversation: Conversation, group_by: str) -> str:
    if group_by == NONE:
        return said(conversation)
    if group_by in conversation.meta:
        return f"{group_by}: {json.dumps(conversation.meta[group_by], sort_keys=True)}"
    return asked(conversation)


def asked(conversation: Conversation) -> str:
    """A digest of what the user says in a conversation, without differences of case and spacing."""
    questions = (message for message in turns_of(conversation.messages) if message.role == "user")
    return content_digest([replace(message, content=comparable(message.content)) for message in questions])


def said(conversation: Conversation) -> str:
    """A digest of what a conversation says, whatever its system message asks for."""
    return content_digest(turns_of(conversation.messages))


@dataclass(frozen=True, kw_only=True, slots=True)
class Portion:
    """What training or validation takes of a source that has no validation file beside it."""

    held_out: bool
    """Whether it is that of validation."""
    ratio: float
    """The share of validation."""
    seed: int

    def holds(self, conversations: Iterable[Conversation]) -> list[bool]:
        """Which of a source's conversations are in this portion; the same question is never in both."""
        split = assign_splits(conversations, {"train": 1 - self.ratio, "val": self.ratio}, self.seed)
        return [(name == "val") == self.held_out for name in split]
