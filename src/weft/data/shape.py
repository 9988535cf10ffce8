"""What conversations have in common, and what tells them apart: their shape, and the values in it.

A shape is the roles, and which fields each message has. The values are the contents, by the numbers of their messages, and behind
them whatever else the messages say, in the order in which they stand: texts, and objects that a template may write as JSON.
Conversations of one shape are the same but for their values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from typing import Any, Literal

from weft.data.said import is_text_only
from weft.data.shape_details import Details
from weft.data.shape_pattern import PLACE, number_at, word
from weft.data.watched import Part
from weft.data.watching import StandIn
from weft.types import Message, Setting, ToolCall

Shape = tuple[Hashable, ...]
_LONG, _LONGEST = 2**8, 2**16
"""Characters of what a shape holds as it is: longer values it knows by their digest, and the longest not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How far a shape goes into what is no text."""

    arguments: Literal["whole", "items", "names"] = "whole"
    """What the values are: all the arguments of a call together, their names and what they are, or this alone."""
    definitions: Literal["whole", "fields", "exact"] = "whole"
    """What the values are: each definition of a tool, what its fields hold, or nothing of it."""

    def deeper(self, opened: Collection[Part]) -> Depth:
        """The next depth, where the template looks into these."""
        arguments, definitions = self.arguments, self.definitions
        if "arguments" in opened:
            arguments = "items" if arguments == "whole" else "names"
        if "definitions" in opened:
            definitions = "fields" if definitions == "whole" else "exact"
        return Depth(arguments=arguments, definitions=definitions)


class _HasNone(Exception):
    """A conversation has no shape."""


def shape_of(messages: Sequence[Message], depth: Depth) -> tuple[Shape, list[Any]] | None:
    """The shape of a conversation, and its values; None where it has none, as the values mean more than themselves."""
    values: list[Any] = [message.content for message in messages]
    shape: list[Hashable] = []
    try:
        for message in messages:
            if not is_text_only(message):
                shape.append(_fields(message, depth, values))
            else:
                shape.append(message.role if message.content else (message.role,))
    except _HasNone:
        return None
    return tuple(shape), values


def _fields(message: Message, depth: Depth, values: list[Any]) -> Hashable:
    fields: list[Hashable] = [message.role, message.content != "", message.reasoning != ""]
    if message.reasoning:
        values.append(message.reasoning)
    for call in message.tool_calls:
        if not call.name or call.id == "":
            raise _HasNone
        around = _around_name(call)
        values += [call.name] if call.id is None or around else [call.name, call.id]
        fields.append((around or call.id is not None, _arguments(call, depth, values)))
    for text in (message.tool_call_id, message.name):
        fields.append(text and True)
        if text:
            values.append(text)
    if message.setting:
        fields.append(_setting(message.setting, depth, values))
    return tuple(fields)


def _around_name(call: ToolCall) -> tuple[str, str] | None:
    """What stands around the name in the id of a call, which may then stand for the name; None where there is no name."""
    if call.id is None or call.name not in call.id:
        return None
    before, _, behind = call.id.partition(call.name)
    if call.name in behind or call.name != call.name.strip():
        raise _HasNone
    return before, behind


def _arguments(call: ToolCall, depth: Depth, values: list[Any]) -> Hashable:
    if not isinstance(call.arguments, dict):
        raise _HasNone
    if not call.arguments:
        return ()
    if depth.arguments == "whole":
        values.append(call.arguments)
        return "object"
    found: list[Hashable] = []
    for name, value in call.arguments.items():
        if depth.arguments == "items":
            if not name:
                raise _HasNone
            values.append(name)
        else:
            found.append(_exactly(name))
        found.append(_kind(value, values))
    return depth.arguments, tuple(found)


def _setting(setting: Setting, depth: Depth, values: list[Any]) -> Hashable:
    arguments = _exactly(setting.arguments) if setting.arguments else ""
    if depth.definitions == "exact":
        return arguments, _exactly(setting.tools)
    found: list[Hashable] = []
    for tool in setting.tools:
        if not isinstance(tool, dict) or not tool:
            raise _HasNone
        inner = _function(tool)
        if inner is None or depth.definitions == "whole":
            values.append(inner or tool)
            found.append(inner is None)
        else:
            found.append(tuple((_exactly(name), _kind(value, values)) for name, value in inner.items()))
    return depth.definitions, arguments, tuple(found)


def _kind(value: Any, values: list[Any]) -> Hashable:
    """What a shape knows of something that is put to the values; or all of it."""
    if not _is_value(value):
        return (_exactly(value),)
    values.append(value)
    return type(value).__name__


def _exactly(value: Any) -> str | bytes:
    """What only an equal value of the same types gives."""
    words = repr(value)
    if len(words) > _LONGEST or any(
        each in words for each in ("Qz", "qZ", "\\U")
    ):  # what may be taken for stand-ins and marks
        raise _HasNone
    return words if len(words) < _LONG else sha256(words.encode("utf-8", "surrogatepass")).digest()


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a definition defines, if it is of the usual form."""
    inner = tool.get("function")
    is_usual = list(tool) == ["type", "function"] and tool["type"] == "function" and isinstance(inner, dict) and inner
    return inner if is_usual else None


def _is_value(value: Any) -> bool:
    return type(value) in (str, int, float, list, dict) and bool(value)


# ---- the same with stand-ins -------------------------------------------------------------------------------------------


def stand_ins(
    messages: Sequence[Message],
    depth: Depth,
    word: Callable[[int], str],
    *,
    details: Details | None = None,
    have_strings: bool = True,
) -> list[Message]:
    """A conversation of the same shape.

    Args:
        messages: a conversation that has a shape.
        depth: of the shape.
        word: the text that stands for the value of each number.
        details: those that it has in common with this one, too.
        have_strings: whether arguments that are one value are to be taken for what holds a string, or for what holds none.
    """
    numbers = count(len(messages))

    def word_for(number: int) -> str:
        return word(details.same[number] if details else number)

    def text() -> str:
        return word_for(next(numbers))

    def thing() -> Any:
        return text() if have_strings else StandIn(text())

    def in_place_of(message: Message, number: int) -> Message:
        content = details.content(number, word_for) if details else message.content and word(number)
        if is_text_only(message):
            return Message(role=message.role, content=content)
        setting = message.setting
        return Message(
            role=message.role,
            content=content,
            reasoning=message.reasoning and text(),
            tool_calls=tuple(call_in_place_of(call) for call in message.tool_calls),
            tool_call_id=message.tool_call_id and text(),
            name=message.name and text(),
            setting=setting and replace(setting, tools=tuple(map(tool_in_place_of, setting.tools))),
        )

    def call_in_place_of(call: ToolCall) -> ToolCall:
        name = text()
        around = _around_name(call)
        ident = name.join(around) if around else call.id and text()
        arguments: Any = call.arguments
        if depth.arguments != "whole":
            arguments = {
                text() if depth.arguments == "items" else name: value_in_place_of(value)
                for name, value in arguments.items()
            }
        elif arguments:
            arguments = thing()
        return ToolCall(name=name, id=ident, arguments=arguments)

    def value_in_place_of(value: Any) -> Any:
        if not _is_value(value):
            return value
        return text() if type(value) is str else thing()

    def tool_in_place_of(tool: Any) -> Any:
        if depth.definitions == "exact":
            return tool
        inner = _function(tool)
        if inner is None:
            return StandIn(text())
        fields: Any = StandIn(text()) if depth.definitions == "whole" else None
        return {
            "type": "function",
            "function": fields or {name: value_in_place_of(value) for name, value in inner.items()},
        }

    return [in_place_of(message, number) for number, message in enumerate(messages)]


_EXAMPLES: dict[type, Any] = {dict: {"": None}, list: [None], int: 1, float: 1.5}


def examples(values: Sequence[Any]) -> dict[int, Any]:
    """For each number of a value that is no text, a value of its kind."""
    return {
        number: next((example for kind, example in _EXAMPLES.items() if isinstance(value, kind)), {"": None})
        for number, value in enumerate(values)
        if not isinstance(value, str)
    }


def quotable(messages: Sequence[Message], depth: Depth) -> frozenset[int]:
    """The numbers of texts of calls and tools that a derivation finds also where they are JSON, or looks for nowhere."""
    found: list[str] = []
    for message in stand_ins(messages, depth, word):
        found += [message.content] if message.role == "tool" else []
        found += [
            repr(message.setting and message.setting.tools),
            repr([call.arguments for call in message.tool_calls]),
        ]
    return frozenset(number_at(place) for text in found for place in PLACE.findall(text))


def without_place(messages: Sequence[Message], depth: Depth, details: Details | None = None) -> list[int]:
    """The numbers of texts that a derivation does not look for: ids of calls, names of arguments, definitions, and who speaks."""
    found: list[str | None] = []
    for message in stand_ins(messages, depth, word, details=details):
        found += [message.tool_call_id, message.name, repr(message.setting and message.setting.tools)]
        for call in message.tool_calls:
            found += [call.id, *(call.arguments if isinstance(call.arguments, dict) else ())]
    return [number_at(place) for text in found for place in PLACE.findall(text or "")]
