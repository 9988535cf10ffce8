"""Whole texts → ids, in memory that does not grow with the longest of them: while it encodes, a tokenizer needs over a hundred
bytes for each character.

A long text is encoded in pieces where that gives the very ids of the whole. It is cut before a space between two words or behind
a single line end, at a place where the tokenizer begins a new token in any case:

- Where it splits text into words before it makes tokens, and begins one there: what becomes of a word depends on its
  neighbourhood alone. The ids of both sides, up to a distance, must be those of the uncut stretch.
- Where BPE sees the text as one word, and no token of the vocabulary goes on with a space behind another character: no merge
  reaches across such a place.

Where there is no such place (with a Unigram model that does not split, or in text without spaces) the text is encoded whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from weft.data.closed_tokenizer import Spec
from weft.data.encoding import Run

if TYPE_CHECKING:
    from weft.data.tokenizer import Tokenizer

PIECE = 2**18
"""The most characters that are encoded in one piece."""
_AT_ONCE = 2**20  # characters of all pieces that are encoded together, on all cores
_AROUND = 256  # characters on each side of a cut that it is tried on
_SEARCHED = 2**13
_TRIES = 32

_BORDER = re.compile(r"(?<=\S)(?= \S)|(?<=\S\n)(?=\S)")
_SPACE_INSIDE = re.compile("[^▁Ġ ][▁Ġ ]")


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    """The ids of each text, int32, as if it were encoded whole and alone."""
    runs = [(number, run) for number, text in enumerate(texts) for run in runs_of(text, tokenizer)]
    found: list[list[np.ndarray]] = [[] for _ in texts]
    for group in _groups(runs):
        for (number, _), ids in zip(group, tokenizer.encode_batch([run for _, run in group]), strict=True):
            found[number].append(ids)
    return [np.concatenate(parts) for parts in found]


def runs_of(text: str, tokenizer: Tokenizer, *, size: int = PIECE) -> list[Run]:
    """Runs whose ids, joined, are those of ``text``; of at most ``size`` characters where it can be cut."""
    runs: list[Run] = []
    start = 0
    while len(text) - start > size and (end := _cut(text, start, start + size, tokenizer)):
        runs.append(Run.of(text[start:end], continues=start > 0))
        start = end
    return [*runs, Run.of(text[start:], continues=start > 0)]


def never_joins(spec: Spec) -> bool:
    """Whether BPE can put no token across a space behind another character."""
    return spec["model"]["type"] == "BPE" and not any(map(_SPACE_INSIDE.search, spec["model"]["vocab"]))


def _cut(text: str, start: int, end: int, tokenizer: Tokenizer) -> int | None:
    """The last place from ``start`` to ``end`` where the text can be cut; None where there is none near the end."""
    places = [match.start() for match in _BORDER.finditer(text, max(start + 1, end - _SEARCHED), end)]
    return next((place for place in places[: -_TRIES - 1 : -1] if _is_exact(text, place, tokenizer)), None)


def _is_exact(text: str, place: int, tokenizer: Tokenizer) -> bool:
    left, right = text[max(place - _AROUND, 0) : place], text[place : place + _AROUND]
    if not (tokenizer.begins_word(left + right, len(left)) or (text[place] == " " and tokenizer.never_joins)):
        return False
    runs = [Run.of(left + right), Run.of(left), Run.of(right, continues=True)]
    whole, before, after = tokenizer.encode_batch(runs)
    return np.array_equal(whole, np.concatenate([before, after]))


def _groups(runs: Sequence[tuple[int, Run]]) -> Iterator[Sequence[tuple[int, Run]]]:
    start = characters = 0
    for place, (_, run) in enumerate(runs):
        if characters and characters + len(run.text) > _AT_ONCE:
            yield runs[start:place]
            start, characters = place, 0
        characters += len(run.text)
    if start < len(runs):
        yield runs[start:]
