"""Texts with places for what a record says: what a plan (:mod:`weft.data.shape_plan`) is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from weft.data.chunk_cache import ControlToken
from weft.data.encoding import Run
from weft.data.pieces import ANY_MARK
from weft.data.runs import Frame, Runs, Stretch
from weft.data.weighing import Weighable
from weft.types import Segment

WORD = re.compile(r"""Qz(?:[0-9]{5}\\")?([0-9]{5})(?:"[0-9]{5})?zQ""")
"""What :func:`word` and :func:`quotable_word` make, also as JSON, and no other placeholder; the group is the number."""


def word(number: int) -> str:
    """The text that stands for a value: as long as the ids that Mistral's templates ask for."""
    return f"Qz{number:05}zQ"


def quotable_word(number: int, as_json: int) -> str:
    """The text that stands for a value which looks otherwise as JSON: as that, it stands for another value."""
    return f'Qz{number:05}"{as_json:05}zQ'


_MARKS = f"{ANY_MARK.pattern}*"


def _place(start: str, end: str) -> str:
    """The pattern of words that start and end so."""
    number = _MARKS.join(["[0-9]"] * 5)
    before, behind = _MARKS.join((number, r"\\", '"', "")), _MARKS.join(("", '"', number))
    return _MARKS.join((*start, f"(?:{before})?{number}(?:{behind})?", *end))


PLACE = re.compile(f"{_place('Qz', 'zQ')}|{_place('qZ', 'Zq')}")
"""A word, which may have marks in it (:mod:`weft.data.pieces`), or in which capitals are small and small letters capitals."""


SPACE = "\u3000"
"""Beside a word: any white space, or none."""


def number_at(place: str) -> int:
    """The number in such a word, of the value that it stands for as it is written."""
    return _numbers_in(place)["\\" in place]


def number_as_json(place: str) -> int | None:
    """The number of the value that such a word would stand for as JSON, if that is another."""
    return next(iter(_numbers_in(place)[1:]), None)


def _numbers_in(place: str) -> list[int]:
    digits = "".join(character for character in place if character in "0123456789")
    return [int(digits[start : start + 5]) for start in range(0, len(digits), 5)]


Position = tuple[int, int]
"""How many contents stand before a position in a text, and where it were, were these empty."""


class Positions:
    """Finds out what positions in a text are, whatever contents stand in it.

    Args:
        text: with words in their places.
    """

    def __init__(self, text: str) -> None:
        self._words = [match.span() for match in WORD.finditer(text)]

    def relative(self, position: int) -> Position:
        """What this position of the text is, which is not within a word."""
        before = [end - start for start, end in self._words if end <= position]
        return len(before), position - sum(before)


def placed(numbers: Sequence[int], contents: Sequence[str]) -> Callable[[Position], int]:
    """What says where a position is in a text with these contents in it; ``numbers`` are theirs, in their order there."""
    lengths = list(accumulate((len(contents[number]) for number in numbers), initial=0))
    return lambda position: position[1] + lengths[position[0]]


class Pattern:
    """A text with places for contents.

    Args:
        text: with words in these places.
    """

    def __init__(self, text: str) -> None:
        self._parts = WORD.split(text)
        self.numbers = [int(number) for number in self._parts[1::2]]
        """Which message's content stands in each place."""

    @property
    def size(self) -> int:
        """Characters that stand between its places."""
        return sum(map(len, self._parts[::2]))

    def fill(self, contents: Sequence[str]) -> str:
        """The text with these contents."""
        if not self.numbers:
            return self._parts[0]
        parts = self._parts.copy()
        parts[1::2] = [contents[number] for number in self.numbers]
        return "".join(parts)


class SegmentPattern:
    """A segment with places for contents."""

    def __init__(self, segment: Segment) -> None:
        self._trained, self._pattern = segment.trained, Pattern(segment.text)
        positions = Positions(segment.text)
        self._control = [(positions.relative(start), end - start) for start, end in segment.control]
        """For each control token: where it begins, and its length."""

    @property
    def size(self) -> int:
        """As of its text."""
        return self._pattern.size

    def fill(self, contents: Sequence[str]) -> Segment:
        """The segment with these contents."""
        at = placed(self._pattern.numbers, contents)
        return Segment(
            text=self._pattern.fill(contents),
            trained=self._trained,
            control=tuple((at(start), at(start) + length) for start, length in self._control),
        )


class WeighablePattern:
    """The spans of an example's text that count what its messages say, with places for contents.

    Args:
        text: the example's, with words in these places.
        weighable: the spans.
    """

    def __init__(self, text: str, weighable: Iterable[Weighable]) -> None:
        self._numbers, positions = Pattern(text).numbers, Positions(text)
        self._spans = [(each, positions.relative(each.start), positions.relative(each.end)) for each in weighable]

    def fill(self, contents: Sequence[str]) -> list[Weighable]:
        """The spans with these contents."""
        at = placed(self._numbers, contents)
        return [each._replace(start=at(start), end=at(end)) for each, start, end in self._spans]


class RunsPattern:
    """All runs of an example, with places for contents."""

    def __init__(self, stretches: Sequence[Stretch], *, append_eos: bool) -> None:
        self.frame = Frame.of(stretches, append_eos=append_eos)
        self._fixed = [list(stretch.run.parts) for stretch in stretches]
        self._simple: list[tuple[int, int, str, int, str]] = []
        """Run and part where one content stands, the text before it, its number, the text behind it."""
        self._others: list[tuple[int, int, Pattern]] = []
        for number, parts in enumerate(self._fixed):
            for place, part in enumerate(parts):
                pattern = None if type(part) is ControlToken else Pattern(part)
                if pattern and len(pattern.numbers) == 1:
                    before, _, after = WORD.split(part)
                    self._simple.append((number, place, before, pattern.numbers[0], after))
                elif pattern and pattern.numbers:
                    self._others.append((number, place, pattern))

    def fill(self, contents: Sequence[str]) -> Runs:
        """The runs with these contents."""
        runs = list(map(list.copy, self._fixed))
        for run, place, before, number, after in self._simple:
            runs[run][place] = f"{before}{contents[number]}{after}"
        for run, place, pattern in self._others:
            runs[run][place] = pattern.fill(contents)
        return Runs(self.frame, runs)


class StretchPattern:
    """A run to encode, with places for contents."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self._parts = [part if type(part) is ControlToken else Pattern(part) for part in stretch.run.parts]

    def fill(self, contents: Sequence[str]) -> Stretch:
        """The run with these contents."""
        parts = [part.fill(contents) if isinstance(part, Pattern) else part for part in self._parts]
        stretch = self._stretch
        run = Run(parts, stretch.run.continues)
        return Stretch(run=run, trained=stretch.trained, skip=stretch.skip, shift=stretch.shift)
