"""Finding control tokens in text: the strings that a tokenizer turns into single ids with a meaning of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence

Span = tuple[int, int]
"""A half-open range of characters."""


class ControlTokens:
    """The control strings of a tokenizer.

    Args:
        control: the strings of the special added tokens; the stops always count among them.
        stops: those that end generation.

    Attributes:
        may_be_trimmed: whether some begin or end in white space, which is none of them any more where a template trims it.
    """

    def __init__(self, control: Iterable[str], stops: Iterable[str]) -> None:
        self.stops = frozenset(filter(None, stops))
        self.control = self.stops.union(filter(None, control))
        self.may_be_trimmed = any(token != token.strip() for token in self.control)
        self._pattern = _any_of(self.control)
        self._pattern_in_json = _any_of({json.dumps(token, ensure_ascii=False)[1:-1] for token in self.control})

    def find(self, text: str, start: int = 0, end: int | None = None) -> list[Span]:
        """The control strings that lie wholly within ``text[start:end]``, in order; of overlapping ones the longest."""
        return [match.span() for match in self._pattern.finditer(text, start, len(text) if end is None else end)]

    def occur_in(self, text: str) -> bool:
        """Whether the text holds a control string."""
        return self._pattern.search(text) is not None

    def occur_in_json(self, text: str) -> bool:
        """Whether there is a control string in JSON, or in a string that it holds."""
        return self.occur_in(text) or self._pattern_in_json.search(text) is not None

    def closing(self, text: str, start: int, *, within: str = "", by_stop: bool = False) -> int | None:
        """The end of the token that closes the turn whose content ends at ``start``; None where no token closes it.

        That is the first stop. Where the tokenizer names no stop that the template writes, it is the *last* control token: the
        first one may belong to the answer (a call of a tool, a change of channel).

        Args:
            text: the text that holds the turn.
            start: where the turn's content ends.
            within: what stands between the parts of an answer: a control token in there that is no stop closes nothing, for a
                model that stopped at it would not get to the next part.
            by_stop: nothing but a stop closes the turn, for a text that goes on behind it.
        """
        spans = self.find(text, start)
        for begin, end in spans:
            if text[begin:end] in self.stops:
                return end
        if not spans or by_stop or text[slice(*spans[-1])] in within:
            return None
        return spans[-1][1]

    def neutralised(self, text: str, keep: Collection[str] = ()) -> str:
        """The text with letters in place of every control string not in ``keep``, of the same length."""
        return self._pattern.sub(lambda match: match[0] if match[0] in keep else "x" * len(match[0]), text)

    def outside(self, text: str, contents: Sequence[Span]) -> list[Span]:
        """The control strings of ``text`` that share no character with any of the ``contents``, in order."""
        found, position = [], 0
        for start, end in sorted(contents):
            if start > position:
                found += self.find(text, position, start)
            position = max(position, end)
        return found + self.find(text, position)


def _any_of(strings: Collection[str]) -> re.Pattern[str]:
    longest_first = sorted(strings, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # (?!) never matches
