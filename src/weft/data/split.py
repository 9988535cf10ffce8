"""Dividing conversations into splits: by what they say and the seed, never by their order or their place."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.data.conversations import content_digest
from weft.data.seeds import derive_seed
from weft.types import Conversation


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


def assign_splits(conversations: Sequence[Conversation], ratios: Mapping[str, float], seed: int) -> list[str]:
    """The split of every conversation.

    Conversations are ranked by a keyed hash of their user and assistant messages, and the ranking is cut by :func:`split_sizes`.
    So the order of the input does not matter, a further record moves at most a few others, and a change of the system message
    moves none. Conversations that differ in their system message only are neighbours in the ranking.
    """
    key = f"{derive_seed(seed, 'split')}:"

    def rank(conversation: Conversation) -> tuple[bytes, str]:
        return hashlib.sha256((key + said(conversation)).encode()).digest(), content_digest(conversation.messages)

    ranks = [rank(conversation) for conversation in conversations]
    ranking = sorted(range(len(ranks)), key=ranks.__getitem__)
    sizes = split_sizes(len(ranking), ratios)
    names = [name for name, size in sizes.items() for _ in range(size)]
    return [name for _, name in sorted(zip(ranking, names, strict=True))]


def said(conversation: Conversation) -> str:
    """A digest of what a conversation says, whatever its system message asks for."""
    return content_digest([message for message in conversation.messages if message.role != "system"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What training or validation takes of a source that has no validation file beside it."""

    held_out: bool
    """Whether it is the part of validation."""
    ratio: float
    """The share of validation."""
    seed: int

    def holds(self, conversations: Sequence[Conversation]) -> list[bool]:
        """Which of a source's conversations are in this part.

        What is said more than once is never in both: where the cut goes through it, training has it.
        """
        split = assign_splits(conversations, {"train": 1 - self.ratio, "val": self.ratio}, self.seed)
        words = [said(conversation) for conversation in conversations]
        trained = {digest for digest, name in zip(words, split, strict=True) if name == "train"}
        return [(digest not in trained) == self.held_out for digest in words]
