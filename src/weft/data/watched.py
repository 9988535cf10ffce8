"""Values under watch: strings and objects that know what is done with them (:mod:`weft.data.watch`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, SupportsIndex


class LookedInto(Exception):
    """The template did something with a value that depends on what it says."""


class Written(NamedTuple):
    """How a template writes an object as JSON."""

    options: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()
    """The arguments of the filter, by place and by name."""
    indent: str = ""
    """What stands before it in its line, and so before every further line of it."""

    @property
    def only_indents(self) -> bool:
        """Whether the options put nothing but line breaks and spaces before what stands within something else."""
        given = [*self.options, *(value for _, value in self.named)]
        return not any(isinstance(each, str) or "\n" in str(each) for each in given)


class Watch:
    """What a template learns of the values that it prints, each of which has a number.

    Attributes:
        absent: texts that it was told are not in a value. For other values without them it prints the same.
        trimmed: values of which it was told that there is no white space at their ends.
        lengths: values of which it was told the length.
        plain: values that it wrote as JSON and that look the same there; and whether that is JSON in ASCII.
        written: how it writes each object as JSON: in one way only.
        opened: objects that it looked into.
        looked_into: whether it learnt more than that of anything.
    """

    def __init__(self) -> None:
        self.absent: dict[int, set[str]] = {}
        self.trimmed: set[int] = set()
        self.lengths: dict[int, int] = {}
        self.plain: dict[int, bool] = {}
        self.written: dict[int, Written] = {}
        self.opened: set[int] = set()
        self.looked_into = False

    def look(self) -> NoReturn:
        """The template looks into a value."""
        self.looked_into = True
        raise LookedInto

    def lacks(self, value: Watched, text: object) -> None:
        """The template is told that ``text`` is not in ``value``."""
        if value.number is None or type(text) is not str or not text or unwatched(text) in unwatched(value):
            self.look()
        self.absent.setdefault(value.number, set()).add(text)

    def trims(self, value: Watched) -> None:
        """The template is told that there is no white space at the ends of ``value``."""
        if value.number is None:
            self.look()
        self.trimmed.add(value.number)

    def measures(self, value: Watched) -> int:
        """The template is told how long ``value`` is."""
        length = str.__len__(value)
        if value.number is None or not value.is_id or self.lengths.setdefault(value.number, length) != length:
            self.look()
        return length

    def writes(self, value: Any, how: Written, write: Callable[[Any], str]) -> str:
        """``value``, in which there is something under watch, as the template writes it as JSON with ``write``."""
        in_ascii = write("\u00e9") != '"\u00e9"'
        objects: list[WatchedObject] = []

        def plain(item: Any) -> Any:
            if isinstance(item, Watched):
                if item.number is None:
                    self.look()
                self.plain[item.number] = in_ascii or self.plain.get(item.number, False)
                return unwatched(item)
            if isinstance(item, WatchedObject):
                objects.append(item)
                return item.text
            if isinstance(item, dict):
                return {key: plain(each) for key, each in item.items()}
            return list(map(plain, item)) if isinstance(item, list | tuple) else item

        text = write(plain(value))
        for each in objects:
            inner = write(each.text)
            before, found, after = text.partition(inner)
            line = before.rpartition("\n")[2]
            indent = line[: len(line) - len(line.lstrip())] if len(line) < len(before) else ""
            written = how._replace(indent=indent)
            if not found or not how.only_indents or self.written.setdefault(each.number, written) != written:
                self.look()
            text = before + inner[1:-1] + after
        return Watched(text, self)


class Watched(str):
    """A text under watch: a value, or one that holds values."""

    watch: Watch
    number: int | None
    """None for a text that holds values, and is none itself."""
    is_id: bool

    def __new__(cls, text: str, watch: Watch, number: int | None = None, *, is_id: bool = False) -> Watched:
        """``text``, under ``watch``: a value of this ``number``, neither empty nor with white space at its ends.

        ``is_id`` says that its length is one that many records have.
        """
        made = super().__new__(cls, text)
        made.watch, made.number, made.is_id = watch, number, is_id
        return made

    def __str__(self) -> str:
        return self

    def __bool__(self) -> bool:
        return True

    def __add__(self, other: str) -> str:
        return Watched(unwatched(self) + unwatched(other), self.watch)

    def __radd__(self, other: str) -> str:
        return Watched(unwatched(other) + unwatched(self), self.watch)

    def __contains__(self, text: object) -> bool:
        self._lacks(text)
        return False

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str) and other != "":
            self._lacks(other)
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int(self.watch.look())

    def __getitem__(self, part: Any) -> str:
        """What is left of a text without some of the marks at its ends, which no value has where it stands for one."""
        text = unwatched(self)
        start, stop, step = (part.start or 0, part.stop, part.step) if isinstance(part, slice) else (0, 0, 0)
        if (
            self.number is None
            and step is None
            and type(start) is int
            and start >= 0
            and (stop is None or _is_negative(stop))
        ):
            end = len(text) + (stop or 0)
            if start < end and all(character in _NO_VALUE for character in text[:start] + text[end:]):
                return Watched(text[start:end], self.watch)
        return str(self.watch.look())

    def startswith(self, prefix: Any, *places: Any) -> bool:
        """Whether it begins so: it does not."""
        for text in self._alternatives(prefix, places):
            self._begins_or_ends(text, text[:1])
        return False

    def endswith(self, suffix: Any, *places: Any) -> bool:
        """Whether it ends so: it does not."""
        for text in self._alternatives(suffix, places):
            self._begins_or_ends(text, text[-1:])
        return False

    def strip(self, characters: str | None = None, /) -> str:
        """Itself: there is nothing to trim."""
        return self._trimmed(characters)

    def lstrip(self, characters: str | None = None, /) -> str:
        """Itself: there is nothing to trim."""
        return self._trimmed(characters)

    def rstrip(self, characters: str | None = None, /) -> str:
        """Itself: there is nothing to trim."""
        return self._trimmed(characters)

    def split(self, separator: str | None = None, limit: SupportsIndex = -1) -> list[str]:
        """One part, itself: the separator is not in it."""
        self._lacks(separator)
        return [self]

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        """Itself: there is nothing to replace."""
        self._lacks(old)
        return self

    def _lacks(self, text: object) -> None:
        if self.number is None:
            self.watch.look()
        self.watch.lacks(self, text)

    def _begins_or_ends(self, text: str, edge: str) -> None:
        if edge.isspace():
            self.watch.trims(self)
        else:
            self._lacks(text)

    def _alternatives(self, texts: Any, places: tuple[Any, ...]) -> tuple[str, ...]:
        if places or self.number is None:
            self.watch.look()
        return texts if isinstance(texts, tuple) else (texts,)

    def _trimmed(self, characters: str | None) -> str:
        if self.number is None or (characters is not None and not characters.isspace()):
            self.watch.look()
        self.watch.trims(self)
        return self


def _looking(self: Watched, *_: Any, **__: Any) -> Any:
    return self.watch.look()


for _name in dir(str):
    if _name not in Watched.__dict__ and _name not in dir(object):
        setattr(Watched, _name, _looking)
for _name in ("__format__", "__ge__", "__gt__", "__le__", "__lt__", "__repr__"):
    setattr(Watched, _name, _looking)


_NO_VALUE = frozenset("{}[]()<>\"',:; \n")


def _is_negative(number: object) -> bool:
    return type(number) is int and number < 0


def unwatched(text: str) -> str:
    """The plain string."""
    return str.__getitem__(text, slice(None))


class WatchedObject(Mapping[str, Any]):
    """An object under watch, or a list or a number: all that a template may do is to write it as JSON.

    Args:
        text: what stands for it in JSON.
        watch: is told of everything else.
        number: its number.
        example: another one of its kind, which tells no more than that.
    """

    def __init__(self, text: str, watch: Watch, number: int, example: Any) -> None:
        self.text, self.watch, self.number, self.example = text, watch, number, example

    def open(self, *_: Any, **__: Any) -> NoReturn:
        """The template looks into it."""
        self.watch.opened.add(self.number)
        self.watch.look()

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, _: str) -> Any:
        self.open()

    def __iter__(self) -> Iterator[str]:
        self.open()

    def __len__(self) -> int:
        self.open()


for _name in (
    "get",
    "items",
    "keys",
    "values",
    "__contains__",
    "__eq__",
    "__format__",
    "__hash__",
    "__repr__",
    "__str__",
):
    setattr(WatchedObject, _name, WatchedObject.open)
for _name in dir(int):  # it may be a number
    if _name not in WatchedObject.__dict__ and _name not in dir(Mapping):
        setattr(WatchedObject, _name, WatchedObject.open)
for _name in ("__ge__", "__gt__", "__le__", "__lt__"):
    setattr(WatchedObject, _name, WatchedObject.open)
