"""YAML text → a tree of nodes that know their place.

ruamel.yaml scans and parses; composing is done here from its events, because its resolver and constructor follow other
rules than the core schema (:mod:`weft.config.scalars`), and because duplicates, tags, depth and aliases are judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from weft.config.scalars import Scalar, is_null, resolve
from weft.errors import ConfigError, WeftError

MAX_DEPTH = 20
"""The schema is five levels deep; deeper nesting is a mistake or an attack."""
MAX_NODES = 10_000
"""Values in one file with every alias written out (aliases of aliases grow exponentially: "billion laughs")."""

Place = Callable[[int], str]
"""From a line, counted from 1, to the place that messages name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalarNode:
    """A value with its source ``text``; ``plain`` means written without quotes, so that the core schema gave the value."""

    value: Scalar
    text: str
    plain: bool
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ListNode:
    """A sequence."""

    items: tuple[Node, ...]
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One key of a mapping; ``place`` is the key's."""

    key: str
    node: Node
    place: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MapNode:
    """A mapping, its entries in order."""

    entries: tuple[Entry, ...]
    place: str


Node = ScalarNode | ListNode | MapNode


def same(first: Node, second: Node) -> bool:
    """Whether two nodes hold the same value, wherever they stand."""
    if isinstance(first, ScalarNode) and isinstance(second, ScalarNode):
        return type(first.value) is type(second.value) and first.value == second.value
    if isinstance(first, ListNode) and isinstance(second, ListNode):
        return len(first.items) == len(second.items) and all(map(same, first.items, second.items))
    if isinstance(first, MapNode) and isinstance(second, MapNode):
        left, right = ({entry.key: entry.node for entry in node.entries} for node in (first, second))
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return False


def compose(text: str, place: Place, problems: list[WeftError]) -> Node | None:
    """The one document in ``text``; None where it holds nothing but comments.

    A key that is set twice in one mapping is added to ``problems``, the first value stays.

    Raises:
        ConfigError: the text is not YAML 1.2, holds several documents, a tag beyond the core schema, an unknown or
            recursive alias, or goes beyond :data:`MAX_DEPTH` or :data:`MAX_NODES`.
    """
    return _Composer(text, place, problems).document()


class _Composer:
    def __init__(self, text: str, place: Place, problems: list[WeftError]):
        self._events = _parse(text, place)
        self._place_of_line = place
        self._problems = problems
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._count = 0

    def document(self) -> Node | None:
        next(self._events)  # the start of the stream
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            return None
        self._check_version(start)
        root = self._node(next(self._events), depth=0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            raise ConfigError(
                "a configuration is one YAML document, but a second one starts here",
                where=self._place(after),
                fix="remove the line ---, or put the second document into its own file",
            )
        return root

    def _check_version(self, start: Any) -> None:
        if start.version not in (None, (1, 2)):
            raise ConfigError(
                "weft reads YAML 1.2, but the file declares another version",
                where=self._place(start),
                fix="remove the line that begins with %YAML",
            )

    def _place(self, event: Any) -> str:
        return self._place_of_line(event.start_mark.line + 1)

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            what = f"values are nested more than {MAX_DEPTH} levels deep"
            raise ConfigError(what, where=self._place(event), fix="no key of weft needs more than five levels")
        count_before = self._count
        self._add(1, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # known, but not complete: an alias in here would be recursive
        node: Node
        if isinstance(event, ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            self._check_tag(event, "seq")
            node = ListNode(items=tuple(self._items(depth)), place=self._place(event))
        else:
            assert isinstance(event, MappingStartEvent)
            self._check_tag(event, "map")
            node = MapNode(entries=tuple(self._entries(depth)), place=self._place(event))
        if event.anchor is not None:
            self._anchors[event.anchor] = node, self._count - count_before
        return node

    def _add(self, nodes: int, event: Any) -> None:
        self._count += nodes
        if self._count > MAX_NODES:
            fix = "shorten it: the whole configuration language has fewer keys, and aliases count each time"
            raise ConfigError(f"the file holds more than {MAX_NODES:,} values", where=self._place(event), fix=fix)

    def _alias(self, event: Any) -> Node:
        target = self._anchors.get(event.anchor)
        if target is None:
            state = "stands inside what it names" if event.anchor in self._anchors else "names no anchor above it"
            fix = "write the value out, or quote it if it is a text that begins with *"
            raise ConfigError(f"the alias *{event.anchor} {state}", where=self._place(event), fix=fix)
        node, size = target
        self._add(size, event)
        return node

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), CollectionEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> Iterator[Entry]:
        first_places: dict[str, str] = {}
        while not isinstance(event := next(self._events), CollectionEndEvent):
            place = self._place(event)
            key = self._node(event, depth + 1)
            node = self._node(next(self._events), depth + 1)
            if not isinstance(key, ScalarNode):
                fix = "quote a value that holds brackets or braces"
                raise ConfigError("a key must be a name, not a list or mapping", where=place, fix=fix)
            if key.text in first_places:
                what = f"the key {key.text!r} is set twice in one mapping, first at {first_places[key.text]}"
                self._problems.append(ConfigError(what, where=place, fix="keep one of the two"))
                continue
            first_places[key.text] = place
            yield Entry(key=key.text, node=node, place=place)

    def _scalar(self, event: Any) -> ScalarNode:
        plain = event.implicit[0] and event.tag is None
        text = _sound(event.value, self._place(event))
        value = self._tagged(event, text) if event.tag is not None else resolve(text) if plain else text
        return ScalarNode(value=value, text=text, plain=plain, place=self._place(event))

    def _tagged(self, event: Any, text: str) -> Scalar:
        """The value under an explicit tag of the core schema, such as ``!!str 5``."""
        name = event.tag.removeprefix("tag:yaml.org,2002:")
        if name in ("str", "!"):
            return text
        value = resolve(text)
        if name == "float" and type(value) is int:
            with suppress(ValueError):  # 0x1F and 0o7 are no floats
                return float(text)
        types: dict[str, type] = {"null": type(None), "bool": bool, "int": int, "float": float}
        if name not in types:
            raise self._tag_error(event)
        if type(value) is not types[name]:
            what = f"{text!r} is not of the type that its tag !!{name} says"
            raise ConfigError(what, where=self._place(event), fix="remove the tag")
        return value

    def _check_tag(self, event: Any, name: str) -> None:
        if event.tag not in (None, "!", f"tag:yaml.org,2002:{name}"):
            raise self._tag_error(event)

    def _tag_error(self, event: Any) -> ConfigError:
        fix = "remove the tag: a configuration holds plain values, never objects"
        return ConfigError(f"the tag {event.tag} is not allowed", where=self._place(event), fix=fix)


def _parse(text: str, place: Place) -> Iterator[Any]:
    """The events of the text; whatever the parser raises becomes an error with a line."""
    if (position := text.find("\x85")) >= 0:  # the parser takes it for a line break, as YAML 1.1 did
        raise _character_error(text, position, place)
    events = iter(YAML(typ="safe", pure=True).parse(text))
    while True:
        try:
            event = next(events)
        except StopIteration:
            return
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise _syntax_error(str(error.problem or error.context), place(mark.line + 1 if mark else 1)) from None
        except ReaderError as error:
            raise _character_error(text, error.position, place) from None
        # On some malformed escapes and directives the parser fails by assertion or overflow instead.
        except Exception:
            raise _syntax_error("an escape or directive is malformed", place(1)) from None
        yield event


def _character_error(text: str, position: int, place: Place) -> ConfigError:
    code = ord(text[position])
    what = f"this is not valid YAML: the character U+{code:04X} may not stand in it"
    fix = f"remove it, or write it as \\x{code:02X} in double quotes" if code < 256 else "remove it"
    return ConfigError(what, where=place(text.count("\n", 0, position) + 1), fix=fix)


def _syntax_error(problem: str, where: str) -> ConfigError:
    if "'\\t'" in problem:
        fix = "indent with spaces: YAML forbids tabs there"
    elif "mapping values are not allowed" in problem:
        fix = "put quotes around a value that holds ': ', or start a new line for a new key"
    else:
        fix = "check indentation, brackets and quotes at and above this line"
    return ConfigError(f"this is not valid YAML: {problem}", where=where, fix=fix)


def literal(text: str, place: str) -> ScalarNode:
    """A scalar that stands for its own characters, or for null where it is one of null's spellings."""
    text = _sound(text, place)
    return ScalarNode(value=None if is_null(text) else text, text=text, plain=True, place=place)


def _sound(text: str, place: str) -> str:
    """The text with escaped surrogate pairs joined, as JSON writes them; what no file or path can hold is refused."""
    try:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        what = "the text holds half of a character or a byte that is not UTF-8"
        raise ConfigError(what, where=place, fix="write the text in UTF-8") from None
    if "\0" in text:
        raise ConfigError("the text holds the character NUL", where=place, fix="remove it")
    return text
