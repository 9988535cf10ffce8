"""What the filter ``safe`` makes of texts under watch (:mod:`weft.data.watch`), and of a template's own words.

They are printed, searched and compared as any text. But what is added to them is escaped, as for HTML, and what methods make of
them is safe, too.
"""

from __future__ import annotations

from typing import Any, NoReturn

from weft.data.watched import LookedInto
from weft.data.watched_text import Watched, unwatched

_ESCAPED = "&<>'\""
"""What is written otherwise in HTML."""
OF_SAFE = frozenset({"count", "length", "safe", "string", "tojson"})
"""Filters that make the same of safe words as of any others."""


class SafeText(Watched):
    """A text under watch. What is added to it must hold nothing that is escaped."""

    def __add__(self, other: str) -> SafeText:
        return self._joined(unwatched(self) + self._unescaped(other))

    def __radd__(self, other: str) -> SafeText:
        return self._joined(self._unescaped(other) + unwatched(self))

    def _joined(self, text: str) -> SafeText:
        return SafeText(text, self.watch, self.part, is_joined=True)

    def _unescaped(self, other: str) -> str:
        if not isinstance(other, SafeText):
            found = other if isinstance(other, Watched) else Watched(other, self.watch)
            if type(other) not in (str, Watched) or any(map(found.holds, _ESCAPED)):
                self.look()
        return unwatched(other)

    def within(self, text: str) -> Watched:
        """A text that a template puts together of this one and others: a plain one."""
        is_joined = self.is_joined or text != unwatched(self)
        return Watched(text, self.watch, self.part, is_joined=is_joined)


def _look(self: SafeText, *_: Any, **__: Any) -> NoReturn:
    self.look()


for _name in ("__getitem__", "lstrip", "replace", "rsplit", "rstrip", "split", "strip"):
    setattr(SafeText, _name, _look)


class SafeWords(str):
    """Words that hold no value, and so are not under watch."""

    __slots__ = ()


def _give_up(*_: Any, **__: Any) -> NoReturn:
    raise LookedInto


_COMPARING = {"__eq__", "__ge__", "__gt__", "__hash__", "__le__", "__lt__", "__ne__"}
for _name in {*dir(str)} - {*dir(object), "__len__"} | _COMPARING:
    setattr(SafeWords, _name, _give_up)


def made_safe(text: Watched) -> SafeText:
    """What the filter makes of a text under watch."""
    return SafeText(unwatched(text), text.watch, text.part, is_joined=text.is_joined, is_id=text.is_id)


def added(left: Any, right: Any) -> str:
    """The sum of safe words and something else.

    Raises:
        LookedInto: what is added holds something that is escaped, or may.
    """
    watched = next((each for each in (left, right) if isinstance(each, Watched)), None)
    if watched is not None:
        one, two = (SafeText(each, watched.watch) if isinstance(each, SafeWords) else each for each in (left, right))
        return one + two
    for each in (left, right):
        if type(each) is not SafeWords and (type(each) is not str or set(each) & set(_ESCAPED)):
            raise LookedInto
    return SafeWords(unwatched(left) + unwatched(right))
