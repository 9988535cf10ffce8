"""What it takes to find the same text again: one way of writing it, and hashes of its overlapping pieces."""

from __future__ import annotations

from functools import cache

import numpy as np

from weft.data.conversations import turns_of
from weft.data.said import said
from weft.data.seeds import derive_seed
from weft.types import Conversation


def comparable(text: str) -> str:
    """The text without differences that mean nothing: in lower case, each run of whitespace one space, none at the ends."""
    return " ".join(text.casefold().split())


def all_said(conversation: Conversation) -> str:
    """What a conversation says below its system message, as one text: contents, reasoning, calls of tools, their results."""
    return "\n".join(text for message in turns_of(conversation.messages) for text in said(message).values())


def piece_hashes(codes: np.ndarray, width: int) -> np.ndarray:
    """A hash of each run of ``width`` consecutive codes: uint64 [max(1, n - width + 1)] for codes [n] of any integer type.

    Fewer codes than ``width`` are one piece. Equal pieces have equal hashes in every process and on every machine; different
    ones may, with a probability of about 2⁻⁶⁴. Multilinear hashing (Lemire and Kaser 2014, arXiv:1202.4961), its bits then mixed
    by the finaliser of MurmurHash3, so that the low ones are as good as the high ones.
    """
    codes = codes.astype(np.uint64)
    if len(codes) < width:
        codes = np.pad(codes, (0, width - len(codes)))
    factors = odd_numbers(f"pieces of {width}", width)
    pieces = len(codes) - width + 1
    sums = np.zeros(pieces, dtype=np.uint64)
    for place, factor in enumerate(factors):
        sums += (codes[place : place + pieces] + np.uint64(1)) * factor
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        sums ^= sums >> np.uint64(33)
        sums *= np.uint64(factor)
    return sums ^ (sums >> np.uint64(33))


@cache
def odd_numbers(purpose: str, count: int) -> np.ndarray:
    """``count`` odd numbers that look random and are the same everywhere: uint64 [count]."""
    return np.array([derive_seed(0, purpose, place) | 1 for place in range(count)], dtype=np.uint64)
