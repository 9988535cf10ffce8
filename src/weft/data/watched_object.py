"""Objects under watch (:mod:`weft.data.watch`), and how a template writes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from weft.data.jinja import to_json
from weft.data.watched import LookedInto, Part, Watch, Written
from weft.data.watched_text import Watched, unwatched


class WatchedObject(Mapping[str, Any]):
    """An object under watch, or a list or a number: all that a template may do is to write it as JSON.

    Args:
        text: what stands for it in JSON.
        watch: is told of everything else.
        number: its number.
        part: to which it belongs.
        example: another one of its kind, which tells no more than that.
    """

    def __init__(self, text: str, watch: Watch, number: int, part: Part, example: Any) -> None:
        self.text, self.watch, self.number, self.part, self.example = text, watch, number, part, example

    def open(self, *_: Any, **__: Any) -> NoReturn:
        """The template looks into it."""
        self.watch.look(self.part)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        """A number is printed as JSON writes it."""
        return (
            write_watched(self.watch, self, Written(), to_json) if type(self.example) in (int, float) else self.open()
        )

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
):
    setattr(WatchedObject, _name, WatchedObject.open)
for _name in dir(int):  # it may be a number
    if _name not in WatchedObject.__dict__ and _name not in dir(Mapping):
        setattr(WatchedObject, _name, WatchedObject.open)
for _name in ("__ge__", "__gt__", "__le__", "__lt__"):
    setattr(WatchedObject, _name, WatchedObject.open)


class WatchedArguments(Mapping[str, Any]):
    """The arguments of a call, whose names are under watch: a template may go through them, and ask for one by a name of theirs.

    Args:
        items: the names and what they stand for, at least one.
    """

    def __init__(self, items: Sequence[tuple[Watched, Any]]) -> None:
        self._items = items
        self.watch = items[0][0].watch

    def open(self, *_: Any, **__: Any) -> NoReturn:
        """The template does something else with them."""
        self.watch.look("arguments")

    def items(self) -> Any:
        """The names, each with what it stands for."""
        return Held(self._items)

    def keys(self) -> Any:
        """The names."""
        return Held([name for name, _ in self._items])

    def values(self) -> Any:
        """What the names stand for."""
        return Held([value for _, value in self._items])

    def get(self, name: Any, default: Any = None) -> Any:
        """What a name stands for."""
        return self[name]

    def __getitem__(self, name: Any) -> Any:
        return self._items[self._place(name)][1]

    def __contains__(self, name: object) -> bool:
        return self._place(name) >= 0

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def _place(self, name: object) -> int:
        for place, (known, _) in enumerate(self._items):
            if isinstance(name, Watched) and unwatched(known) == unwatched(name):
                return place
        return self.open()


for _name in ("__eq__", "__format__", "__hash__", "__repr__", "__str__"):
    setattr(WatchedArguments, _name, WatchedArguments.open)


class Held:
    """Values, of which a template may do nothing but go through them."""

    def __init__(self, items: Collection[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def look(self, *_: Any) -> NoReturn:
        """The template does something else with them."""
        raise LookedInto


for _name in ("__contains__", "__eq__", "__format__", "__hash__", "__repr__", "__str__"):
    setattr(Held, _name, Held.look)


def write_watched(watch: Watch, value: Any, how: Written, write: Callable[[Any], str]) -> Watched:
    """``value``, in which there is something under watch, as the template writes it as JSON with ``write``."""
    in_ascii = write("\u00e9") != '"\u00e9"'
    objects: list[WatchedObject] = []

    def plain(item: Any) -> Any:
        if isinstance(item, Watched):
            return item.quoted(in_ascii=in_ascii)
        if isinstance(item, WatchedArguments):
            item.open()
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
        if not found:
            watch.look()
        watch.writes(each.number, how._replace(indent=indent))
        text = before + inner[1:-1] + after
    return Watched(text, watch, is_joined=True)


def watch_of(value: Any) -> Watch | None:
    """The watch under which something in a value stands that may become JSON."""
    if isinstance(value, Watched | WatchedArguments | WatchedObject):
        return value.watch
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next(filter(None, map(watch_of, items)), None)
