"""Control tokens that begin in a template's own words and end in what a record says, or the other way round."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from weft.data.control import ControlTokens, Span
from weft.data.shape_pattern import WORD, SegmentPattern
from weft.types import Segment


class Edges:
    """Finds where such tokens are possible.

    Args:
        control: the tokenizer's control tokens, which are also an attribute.
    """

    def __init__(self, control: ControlTokens) -> None:
        self.control = control
        tokens = control.control
        self._reach = max(map(len, tokens), default=1) - 1
        """Characters of a token that may stand on one side of an edge."""
        self._begun = {token[:end] for token in tokens for end in range(1, len(token))}
        self._ended = {token[start:] for token in tokens for start in range(1, len(token))}
        self._has_brackets = any(re.search(r".[\[{]|[\]}].", token, re.DOTALL) for token in tokens)

    def around(
        self, texts: Iterable[str], values: Sequence[Any], without_place: Iterable[int]
    ) -> tuple[SegmentPattern, ...]:
        """What stands around values, where such tokens are possible. Not around those that the derivation finds as a whole: it
        knows which characters are theirs.

        Args:
            texts: what was printed for stand-ins.
            values: of a conversation of the same shape.
            without_place: the numbers of texts that the derivation does not look for, or not as a whole.
        """
        kinds = (int, float, list, dict) if self._has_brackets else (int, float)
        numbers = {*without_place, *(n for n, value in enumerate(values) if isinstance(value, kinds))}
        found = dict.fromkeys(each for text in (texts if numbers else ()) for each in self._in_text(text, numbers))
        return tuple(SegmentPattern(Segment(text=text, trained=False, control=self._spans(text))) for text in found)

    def are_crossed(self, around: Iterable[SegmentPattern], texts: Sequence[str]) -> bool:
        """Whether there are such tokens with these ``texts`` as values."""
        filled = (pattern.fill(texts) for pattern in around)
        return any(self._spans(segment.text) != segment.control for segment in filled)

    def _spans(self, text: str) -> tuple[Span, ...]:
        return tuple(self.control.find(text))

    def _in_text(self, text: str, numbers: set[int]) -> Iterator[str]:
        places = list(WORD.finditer(text))
        spans = [place.span() for place in places]
        for at, place in enumerate(places):
            if int(place[1]) in numbers and self._may_be_crossed(text, spans, at):
                yield self._surroundings(text, spans, at)

    def _may_be_crossed(self, text: str, spans: Sequence[Span], at: int) -> bool:
        """Whether a token may begin before this stand-in and end in it, or begin in it and end behind it, or in the next one."""
        start, end = spans[at]
        next_start = spans[at + 1][0] if at + 1 < len(spans) else len(text) + self._reach  # out of reach
        return (
            any(text[max(0, start - length) : start] in self._begun for length in range(1, self._reach + 1))
            or any(text[end : end + length] in self._ended for length in range(1, self._reach + 1))
            or (
                next_start - end < self._reach
                and any(text[end:next_start] in token[1:-1] for token in self.control.control)
            )
        )

    def _surroundings(self, text: str, spans: Sequence[Span], at: int) -> str:
        """The stand-in with the words that a token may begin in, up to the last one before it, and those that it may end in.

        There may be other stand-ins among the latter. A token that begins in another one is found around that.
        """
        place, end = spans[at]
        start = max(place - self._reach, spans[at - 1][1] if at else 0)
        # Half a token is none of the text's, and its letters would be taken for another one's.
        start = next((min(behind, place) for begin, behind in self.control.find(text) if begin < start < behind), start)
        reach = self._reach
        for before, behind in spans[at + 1 :]:
            if before - end >= reach:
                break
            reach, end = reach - (before - end), behind
        return text[start : end + reach]
