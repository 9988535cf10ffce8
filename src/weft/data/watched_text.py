"""Texts under watch (:mod:`weft.data.watch`): they know where values stand in them, and what is done with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NoReturn, SupportsIndex

from weft.data.shape_pattern import PLACE, SPACE, number_as_json, number_at
from weft.data.watched import Part, Watch


class Watched(str):
    """A text under watch: what a message says, or what a template puts together.

    It is made of words that are the same in every record, and of stand-ins for values. What is asked of it is answered by the
    former where they decide, and else by what is noted of the values.
    """

    watch: Watch
    part: Part | None
    is_joined: bool
    is_id: bool

    def __new__(
        cls, text: str, watch: Watch, part: Part | None = None, *, is_joined: bool = False, is_id: bool = False
    ) -> Watched:
        """``text``, under ``watch``.

        Args:
            text: with stand-ins for values in it, of which none is empty. Beside words there is no white space at their ends.
            watch: is told what the template learns of them.
            part: to which it belongs, if a shape may know more of that.
            is_joined: whether a template put it together: then there may be white space at the ends of values beside words.
            is_id: whether it is a value whose length many records have.
        """
        made = super().__new__(cls, text)
        made.watch, made.part, made.is_joined, made.is_id = watch, part, is_joined, is_id
        return made

    def __str__(self) -> str:
        return self

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: str) -> str:
        return self.within(unwatched(self) + unwatched(other))

    def __radd__(self, other: str) -> str:
        return self.within(unwatched(other) + unwatched(self))

    def __contains__(self, text: object) -> bool:
        return self.holds(text)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Watched):
            return self._is_same(other)
        if isinstance(other, str) and other != "":
            self._is_not(other)
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int(self.look())

    def __getitem__(self, part: Any) -> str:
        """What is left of a text without some of the words at its ends."""
        text = unwatched(self)
        words, _ = self._words_and_values()
        start, stop, step = (part.start or 0, part.stop, part.step) if isinstance(part, slice) else (-1, 0, 0)
        if step is None and type(start) is int and (stop is None or _is_negative(stop)):
            end = len(text) + (stop or 0)
            if SPACE not in words and 0 <= start <= len(words[0]) and end >= len(text) - len(words[-1]):
                return self._part(text[start:end])
        return str(self.look())

    def startswith(self, prefix: Any, *places: Any) -> bool:
        """Whether it begins so."""
        return any(map(self._begins, self._alternatives(prefix, places)))

    def endswith(self, suffix: Any, *places: Any) -> bool:
        """Whether it ends so."""
        return any(self._begins(text, backwards=True) for text in self._alternatives(suffix, places))

    def strip(self, characters: str | None = None, /) -> str:
        """The text without white space at its ends."""
        return self._part(self._trimmed(characters, 0, -1).strip(characters))

    def lstrip(self, characters: str | None = None, /) -> str:
        """The text without white space at its beginning."""
        return self._part(self._trimmed(characters, 0).lstrip(characters))

    def rstrip(self, characters: str | None = None, /) -> str:
        """The text without white space at its end."""
        return self._part(self._trimmed(characters, -1).rstrip(characters))

    def split(self, separator: str | None = None, limit: SupportsIndex = -1) -> list[str]:
        """The parts between the separators among its words."""
        self.holds(separator)
        return list(map(self._part, unwatched(self).split(separator, limit)))

    def rsplit(self, separator: str | None = None, limit: SupportsIndex = -1) -> list[str]:
        """The same, from behind."""
        self.holds(separator)
        return list(map(self._part, unwatched(self).rsplit(separator, limit)))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        """The text with some of its words replaced."""
        if type(new) is not str:
            self.look()
        self.holds(old)
        return self._part(unwatched(self).replace(old, new, count))

    def look(self) -> NoReturn:
        """The template looks into it."""
        self.watch.look(self.part)

    def within(self, text: str) -> Watched:
        """A text that a template puts together of this one and others: this one, if they are empty."""
        return self if text == unwatched(self) else Watched(text, self.watch, self.part, is_joined=True)

    def measured(self) -> int | WatchedLength:
        """Its length."""
        if not self.is_id:
            return WatchedLength(self)
        length = str.__len__(self)
        self.watch.measures(number_at(unwatched(self)), length)
        return length

    def quoted(self, *, in_ascii: bool) -> str:
        """The plain text, which is written as JSON."""
        if self.is_joined:
            self.look()
        for place in PLACE.findall(unwatched(self)):
            self.watch.quotes(number_at(place), number_as_json(place), in_ascii=in_ascii)
        return unwatched(self)

    def _words_and_values(self, compared: str | None = None) -> tuple[list[str], list[int]]:
        """The words before, between and behind the values, and the numbers of these.

        Args:
            compared: a text with which it is compared. That is no matter of white space that may be beside a value.
        """
        words = PLACE.split(unwatched(self))
        if compared is not None and SPACE in unwatched(self):
            if self.is_joined or compared != compared.strip():
                self.look()
            words = [each.strip(SPACE) for each in words]
        return words, [number_at(place[0]) for place in PLACE.finditer(unwatched(self))]

    def _part(self, text: str) -> str:
        """A part of it: under watch where there is a value in it."""
        if text == unwatched(self):
            return self
        return Watched(text, self.watch, self.part, is_joined=self.is_joined) if PLACE.search(text) else text

    def holds(self, text: object) -> bool:
        """Whether ``text`` is among its words: elsewhere it is not, which is noted."""
        if type(text) is not str or not text:
            self.look()
        words, values = self._words_and_values(text)
        found = sum(each.count(text) for each in words)
        if found != unwatched(self).count(text) or self._may_cross(text, words):
            self.look()
        for number in values:
            self.watch.lacks(number, text)
        return found > 0

    def _is_same(self, other: Watched) -> bool:
        """Whether the two are one text; of two values it is noted that they are not."""
        one, two = unwatched(self), unwatched(other)
        if one == two:
            return True
        if not (PLACE.fullmatch(one) and PLACE.fullmatch(two)):
            self.look()
        self.watch.differ(number_at(one), number_at(two))
        return False

    def _is_not(self, other: str) -> None:
        """It is no such text."""
        if type(other) is not str:
            self.look()
        words, values = self._words_and_values(other)
        inner = other[len(words[0]) : len(other) - len(words[-1])]
        if not inner or words[0] + inner + words[-1] != other:
            return
        if len(values) > 1 or inner in unwatched(self):
            self.look()
        self.watch.lacks(values[0], inner)

    def _begins(self, text: str, *, backwards: bool = False) -> bool:
        """Whether it begins so, or (``backwards``) ends so."""
        plain, (words, values) = unwatched(self).strip(SPACE), self._words_and_values(text)
        if backwards:
            text, plain = text[::-1], plain[::-1]
            words, values = [each[::-1] for each in words[::-1]], values[::-1]
        rest = text[len(words[0]) :]
        if not rest:
            return words[0].startswith(text)
        if not text.startswith(words[0]):
            return False
        if rest[0].isspace():
            self.watch.trims(values[0])
        elif plain.startswith(text) or self._may_cross(rest, ["", *words[1:]]):
            self.look()
        else:
            self.watch.lacks(values[0], rest[::-1] if backwards else rest)
        return False

    def _may_cross(self, text: str, words: Sequence[str]) -> bool:
        """Whether ``text`` may stand in part in these words, and in part in a value between them."""
        return _may_cross(text, words, have_space=self.is_joined)

    def _alternatives(self, texts: Any, places: tuple[Any, ...]) -> tuple[str, ...]:
        found = texts if isinstance(texts, tuple) else (texts,)
        if places or any(type(text) is not str for text in found):
            self.look()
        return found

    def _trimmed(self, characters: str | None, *ends: int) -> str:
        """The plain text, which is trimmed at these ends: nothing of a value."""
        if characters is not None and not characters.isspace():
            self.look()
        words, values = self._words_and_values()
        if SPACE in unwatched(self) and (self.is_joined or characters is not None):
            self.look()
        for end in ends:
            if not words[end].strip(characters):
                self.watch.trims(values[end])
        return unwatched(self)


def _looking(self: Watched, *_: Any, **__: Any) -> Any:
    return self.look()


for _name in dir(str):
    if _name not in Watched.__dict__ and _name not in dir(object):
        setattr(Watched, _name, _looking)
for _name in ("__format__", "__ge__", "__gt__", "__le__", "__lt__", "__repr__"):
    setattr(Watched, _name, _looking)


class WatchedLength:
    """The length of a text under watch, of which a template may ask whether there is any."""

    def __init__(self, text: Watched) -> None:
        self._text = text

    def __getattr__(self, name: str) -> Any:
        return self._text.look()

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return int(self._text.look())

    def __str__(self) -> str:
        return str(self._text.look())

    def __format__(self, _: str) -> str:
        return str(self._text.look())

    def __eq__(self, other: object) -> bool:
        return not self._is_more_than(other)

    def __gt__(self, other: object) -> bool:
        return self._is_more_than(other)

    def __le__(self, other: object) -> bool:
        return not self._is_more_than(other)

    def __ge__(self, other: object) -> bool:
        return self._is_more_than(other, but=1)

    def __lt__(self, other: object) -> bool:
        return not self._is_more_than(other, but=1)

    def _is_more_than(self, other: object, *, but: int = 0) -> bool:
        """It is more than 0, and not less than 1. More is not known."""
        if type(other) is not int or other not in (0, but):
            self._text.look()
        return True


def _counting(self: WatchedLength, *_: Any) -> Any:
    return self._text.look()


for _name in dir(int):
    if _name.startswith("__") and _name not in WatchedLength.__dict__ and _name not in dir(object):
        setattr(WatchedLength, _name, _counting)


def _is_negative(number: object) -> bool:
    return type(number) is int and number < 0


def _may_cross(text: str, words: Sequence[str], *, have_space: bool) -> bool:
    """Whether ``text`` may stand in part in these words, and in part in a value between them.

    Args:
        text: what is searched.
        words: before, between and behind the values.
        have_space: whether there may be white space at the ends of the values.
    """
    last = len(words) - 2

    def borders() -> Iterator[bool]:
        for number, (before, behind) in enumerate(pairwise(words)):
            for cut in range(1, len(text)):
                start, rest = text[:cut], text[cut:]
                yield (have_space or not rest[0].isspace()) and (
                    before.endswith(start) or (number > 0 and start.endswith(before))
                )
                yield (have_space or not start[-1].isspace()) and (
                    behind.startswith(rest) or (number < last and rest.startswith(behind))
                )

    return any(borders())


def unwatched(text: str) -> str:
    """The plain string."""
    return str.__getitem__(text, slice(None))
