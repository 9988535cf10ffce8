"""Where a rendered chat prints what its messages say.

Searching for a content would be wrong: the same words may stand elsewhere, and a template may trim or divide them. So a
private-use character goes into the *middle* of each content (and of a message's other strings: its reasoning, its calls of
tools), the chat is rendered again, and the mark tells the place. Marks in the middle survive ``trim``, ``startswith`` and
``split``, which marks at the edges would not. A render that differs in more than the marks proves nothing and is thrown away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from weft.data.control import Span
from weft.data.said import CONTENT, Path, every_string, id_of_call, name_of_call, said, with_said
from weft.errors import TemplateError
from weft.types import Message

_MARKS = range(0xF0000, 0xFFFFE)  # private use: no text has a meaning for them
ANY_MARK = re.compile(f"[{chr(_MARKS[0])}-{chr(_MARKS[-1])}]")
"""A private-use character."""
_TAG = re.compile(r"<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\]|(?:^|\s+)/\w{1,60}(?!\S)")  # the last as in /no_think
_NEAR = 64
REASONING_TAGS = _REASONING_BEGIN, _REASONING_END = "<think>", "</think>"
"""What reasoning is written between, inside a content, where it has no field of its own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of the rendered text that prints a string of a message, or a part of one.

    ``is_whole`` is False where only some of the characters around the mark are printed as they were given.
    """

    start: int
    end: int
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Printed:
    """How a rendered text prints what one message says."""

    pieces: tuple[Piece, ...]
    """In order of their place; none for an empty content, two for one that is printed twice."""
    is_complete: bool
    """False where a part is left out, as templates do with reasoning."""


def unused_marks(messages: Sequence[Message], count: int) -> tuple[str, ...]:
    """``count`` private-use characters that no message holds.

    Raises:
        TemplateError: the messages hold too many of them.
    """
    used = {mark for message in messages for text in every_string(message) for mark in ANY_MARK.findall(text)}
    unused = tuple(islice((chr(code) for code in _MARKS if chr(code) not in used), count))
    if len(unused) < count:
        raise TemplateError(
            f"the record holds {len(used):,} different private-use characters, and weft needs some of them to find the answers",
            fix="remove them (U+F0000 to U+FFFFD) from the record",
        )
    return unused


def without_marks(text: str) -> str:
    """The text without any private-use character."""
    return ANY_MARK.sub("", text)


def locate(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    indices: Sequence[int] | None = None,
    *,
    tags: Collection[str] = (),
) -> dict[int, Printed]:
    """Find what ``messages`` say in ``text``, which is what ``print_messages(messages)`` returned.

    Args:
        print_messages: prints messages like the given ones but for their strings.
        messages: the messages.
        text: what they print.
        indices: which of them to look for; None for all.
        tags: those of :data:`REASONING_TAGS` that are tokens, and so no part of a content where the template writes them anew.

    Returns:
        The messages that are printed, by their indices.
    """
    located: dict[int, Printed] = {}
    in_part: dict[int, Printed] = {}
    wanted = range(len(messages)) if indices is None else indices
    rewritten = {index for index in wanted if tags and _writes_tags(print_messages, messages, index)}
    for usual, other in ((_undivided, reasoning_apart), (reasoning_apart, _undivided)):
        missing = [index for index in wanted if index not in located]
        strings = []
        for index in missing:
            divide = other if index in rewritten else usual
            for path, words in said(messages[index]).items():
                spans = divide(messages[index]) if path == CONTENT else _core(words, 0, len(words))
                strings.append(_String(index, path, words, spans))
        found = _find(print_messages, messages, text, strings)
        for index in missing:
            own = {string.path: string for string in strings if string.index == index}
            printed = _printed(messages[index], text, own, found)
            if printed is not None:
                (located if _is_found(messages[index], printed, own[CONTENT], found) else in_part).setdefault(
                    index, printed
                )
    return in_part | located


def _printed(
    message: Message, text: str, strings: Mapping[Path, _String], found: Mapping[_String, _Places]
) -> Printed | None:
    """How a message is printed; None where what it must show is not in the text.

    That is the end of its content, where its calls of tools do not stand in for it, and what names the tool of each call.
    """
    content = strings[CONTENT]
    is_shown = not content.spans or _shows_end(message, content.spans[-1], found.get(content, {}))
    if not (is_shown or message.tool_calls):
        return None
    left_out: list[_String | None] = []
    for number in range(len(message.tool_calls)):
        name, ident = strings[name_of_call(number)], strings.get(id_of_call(number))
        name_is_seen = all(found[name].values()) if name in found else name.words in text
        id_is_seen = ident is not None and ident in found and all(found[ident].values())
        if not (name_is_seen or id_is_seen):
            return None
        left_out += [each for each, is_seen in ((name, name_is_seen), (ident, id_is_seen)) if not is_seen]
    needed = [string for string in strings.values() if string not in left_out]
    places = [places for string in needed for places in found.get(string, {}).values()]
    pieces = sorted((piece for each in places for piece in each), key=lambda piece: piece.start)
    return Printed(tuple(pieces), is_complete=is_shown and all(places))


def _is_found(message: Message, printed: Printed, content: _String, found: Mapping[_String, _Places]) -> bool:
    """Whether nothing is left to look for. Parts of a content whose middle is not printed, as calls stand in for it, may be."""
    is_seen = any(found.get(content, {}).values()) or reasoning_apart(message) in ((), content.spans)
    return is_seen and all(piece.is_whole for piece in printed.pieces)


def _shows_end(message: Message, span: Span, places: _Places) -> bool:
    """Whether what is printed of a content, of which this is the last range that was marked, shows its end.

    The middle of a content may lie in its reasoning. To print no more than that is to leave the answer out.
    """
    pieces = places.get(span, [])
    start, end = next(reversed(reasoning_apart(message)), span)
    is_within = start <= span[0] or start <= _mark_position(message.content, span) <= end
    return bool(pieces) and (is_within or any(piece.is_whole for piece in pieces))


# ---- dividing a content into what a template may print apart -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _String:
    """A string of a message, and its ranges, without white space at their edges, that are looked for apart."""

    index: int
    path: Path
    words: str
    spans: tuple[Span, ...]


_Places = dict[Span, list[Piece]]
"""For each range of a string: where it is printed."""


def _undivided(message: Message) -> tuple[Span, ...]:
    return _core(message.content, 0, len(message.content))


def reasoning_apart(message: Message) -> tuple[Span, ...]:
    """An answer's reasoning and what follows it: templates move, wrap or drop the former."""
    content = message.content
    close = content.rfind(_REASONING_END)
    if message.role != "assistant" or close < 0:
        return _undivided(message)
    begin = content.find(_REASONING_BEGIN, 0, close)
    reasoning = _core(content, 0 if begin < 0 else begin + len(_REASONING_BEGIN), close)
    answer = _core(content, close + len(_REASONING_END), len(content))
    return reasoning + answer


def _writes_tags(print_messages: Callable[[Sequence[Message]], str], messages: Sequence[Message], index: int) -> bool:
    """Whether the template takes the content of this answer apart and writes the tags of its reasoning by itself.

    It does if white space around the tags makes no difference.
    """
    message = messages[index]
    parts = reasoning_apart(message)
    if message.role != "assistant" or _REASONING_END not in message.content or len(parts) < 2:
        return False
    reasoning, answer = (message.content[start:end] for start, end in parts)
    try:
        tight, loose = (
            print_messages([*messages[:index], replace(message, content=content), *messages[index + 1 :]])
            for content in (
                f"{_REASONING_BEGIN}{reasoning}{_REASONING_END}{answer}",
                f"{_REASONING_BEGIN}\n{reasoning}\n{_REASONING_END}\n\n{answer}",
            )
        )
    except TemplateError:
        return False
    return tight == loose


def _core(content: str, start: int, end: int) -> tuple[Span, ...]:
    """The range without white space at its edges; nothing where it is all white space."""
    part = content[start:end]
    stripped = part.strip()
    if not stripped:
        return ()
    start += len(part) - len(part.lstrip())
    return ((start, start + len(stripped)),)


# ---- marking -----------------------------------------------------------------------------------------------------------


def _find(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    strings: Sequence[_String],
) -> dict[_String, _Places]:
    """Where each string is printed: all marked at once or, where their marks disturb, by message, and then one by one.

    A string whose own mark disturbs is left out: a template may look at the name of a tool, or of a speaker.
    """
    if not strings:
        return {}
    found = _find_marked(print_messages, messages, text, strings)
    if found is not None:
        return found
    if len(strings) == 1:
        return {}
    owners = list(dict.fromkeys(string.index for string in strings))
    groups = [[string for string in strings if string.index == owner] for owner in owners]
    if len(groups) == 1:
        groups = [[string] for string in strings]
    return {
        string: places for group in groups for string, places in _find(print_messages, messages, text, group).items()
    }


def _find_marked(
    print_messages: Callable[[Sequence[Message]], str],
    messages: Sequence[Message],
    text: str,
    strings: Sequence[_String],
) -> dict[_String, _Places] | None:
    """As :func:`_find`, by one render; None where the marks change it."""
    supply = iter(unused_marks(messages, sum(len(string.spans) for string in strings)))
    meant: dict[str, tuple[_String, Span, int]] = {}
    changed: dict[int, dict[Path, str]] = {}
    for string in strings:
        words = string.words
        for span in reversed(string.spans):
            position, mark = _mark_position(words, span), next(supply)
            words = words[:position] + mark + words[position:]
            meant[mark] = (string, span, position)
        changed.setdefault(string.index, {})[string.path] = words
    marked = [
        with_said(message, changed[index]) if index in changed else message for index, message in enumerate(messages)
    ]
    try:
        unmarked, seen = take_out(print_messages(marked), list(meant))
    except TemplateError:
        return None
    if unmarked != text:
        return None
    found: dict[_String, _Places] = {string: {span: [] for span in string.spans} for string in strings}
    for mark, place in seen:
        string, span, position = meant[mark]
        words, before = string.words[slice(*span)], position - span[0]
        may_be_json = string.path[0] == "tool_calls" or messages[string.index].role == "tool"
        piece = _grow(text, place, words[:before], words[before:], as_json=may_be_json)
        found[string][span].append(piece)
    return found


def _mark_position(content: str, span: Span) -> int:
    """A place near the middle of the span that no template looks at: between two letters, if there is one, and not inside a tag.

    Templates look for tags, and some for line breaks, which they join or leave out.
    """
    start, end = span
    middle = (start + end + 1) // 2
    reach = 2 * _NEAR  # as far as a tag that holds a near place can lie
    tags = [tag.span() for tag in _TAG.finditer(content, max(start, middle - reach), min(end, middle + reach))]

    def outside() -> Iterator[int]:
        for distance in range(_NEAR):
            for place in (middle - distance, middle + distance):
                if start < place < end and not any(begin < place < stop for begin, stop in tags):
                    yield place

    between = (place for place in outside() if not (content[place - 1].isspace() or content[place].isspace()))
    return next(between, next(outside(), middle))


def take_out(marked: str, marks: Sequence[str]) -> tuple[str, list[tuple[str, int]]]:
    """The text without its marks, and each mark with its place in that text, in order."""
    if not marks:
        return marked, []
    fragments: Iterator[str] = iter(re.split(f"([{''.join(marks)}])", marked))
    unmarked, seen = [next(fragments)], []
    length = len(unmarked[0])
    for mark, fragment in zip(fragments, fragments, strict=True):
        seen.append((mark, length))
        unmarked.append(fragment)
        length += len(fragment)
    return "".join(unmarked), seen


def shared_length(one: str, other: str) -> int:
    """How many characters the two texts begin with in common."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # by halves: comparing slices is quicker than comparing characters
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _grow(text: str, place: int, before: str, after: str, *, as_json: bool) -> Piece:
    """The piece around a mark at ``place``, which stood between ``before`` and ``after``.

    Arguments of tools, and what tools found, are printed as they are, or as JSON or Python write them: the longest of these that
    is there, as a backslash at the end is the first of two in JSON.
    """
    ways = (str, _in_json, _in_ascii_json, _in_python) if as_json else (str,)
    written = [(write(before), write(after)) for write in ways]
    whole = [
        (len(left), len(right))
        for left, right in written
        if text.startswith(right, place) and text.endswith(left, 0, place)
    ]
    if whole:
        left, right = max(whole, key=sum)
        return Piece(place - left, place + right, True)
    shared_left = next(
        (n for n in range(len(before)) if text[place - n - 1 : place - n] != before[-n - 1]), len(before)
    )
    shared_right = next((n for n in range(len(after)) if text[place + n : place + n + 1] != after[n]), len(after))
    return Piece(place - shared_left, place + shared_right, False)


def _in_json(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)[1:-1]


def _in_ascii_json(words: str) -> str:
    return json.dumps(words)[1:-1]


def _in_python(words: str) -> str:
    return repr(words)[1:-1]
