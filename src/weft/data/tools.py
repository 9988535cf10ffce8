"""Tools in records: their definitions, the assistant's calls of them, and both as chat templates and prepared files have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.data.row_error import AS_TEXT, RowError, kind_of
from weft.data.strict_json import NESTING_LIMIT, InvalidJson, parse
from weft.types import ToolCall

NOTHING: tuple[Any, ...] = (None, "", "[]", "{}", [], {})
"""Values of a field that mean that it is not there, as every row of a table has every column."""

_CALL = '{"name": …, "arguments": {…}}'
_ARGUMENTS_ELSEWHERE = ("parameters", "args", "kwargs", "params", "input", "inputs")
_ROOM = 10  # levels around what was JSON text in a field, where the prepared file holds it as JSON


def read_tools(value: Any, field: str) -> tuple[Mapping[str, Any], ...]:
    """The definitions in a field: a list of them, each an object or JSON text of one, or JSON text of the list.

    Chat templates expect ``{"type": "function", "function": {"name": …}}``; a bare ``{"name": …}`` becomes that.

    Raises:
        RowError: it is no such list.
    """
    if isinstance(value, str) and value.strip():
        value = from_json(value, f'the field "{field}" is not JSON', f"write {field} as a list, or as JSON text of one")
    if value in NOTHING:
        return ()
    if not isinstance(value, list):
        raise RowError(
            f'the field "{field}" must be a list of tool definitions',
            detail=f"found {kind_of(value)}",
            fix='write [{"type": "function", "function": {"name": …, "parameters": …}}, …]',
        )
    return tuple(_definition(item, number) for number, item in enumerate(value, 1))


def _definition(item: Any, number: int) -> Mapping[str, Any]:
    if isinstance(item, str):
        item = from_json(
            item, "a tool definition is not JSON", "write it as an object, or as JSON text", f"tool {number}, "
        )
    if isinstance(item, Mapping):
        if _is_named(item.get("function")):
            return item
        if _is_named(item) and "function" not in item:
            return {"type": "function", "function": item}
    raise RowError(
        "a tool definition has no name",
        detail=f"tool {number} is {kind_of(item)}",
        fix='write {"type": "function", "function": {"name": …, "parameters": …}}',
    )


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("name"), str) and item["name"] != ""


def read_calls(value: Any, number: int) -> tuple[ToolCall, ...]:
    """The calls in a message: one or a list of them, each and all perhaps as JSON text; bare or as the ``function`` of an object.

    Args:
        value: the field as read.
        number: the message's place in the conversation, from 1, for the error.

    Raises:
        RowError: it is no such thing.
    """
    if isinstance(value, str) and value.strip():
        value = from_json(value, "a tool call is not JSON", f"write it as {_CALL}", f"message {number}, ")
    if value in NOTHING:
        return ()
    return tuple(_call(item, number) for item in (value if isinstance(value, list) else [value]))


def agreed_calls(given: Mapping[str, tuple[ToolCall, ...]], number: int) -> tuple[ToolCall, ...]:
    """The calls that a message holds once or several times; of several, those of the first field, which alone may have ids.

    Args:
        given: the calls in each field that may hold them.
        number: the message's place in the conversation, from 1, for the error.

    Raises:
        RowError: two fields hold different calls.
    """
    filled = {field: calls for field, calls in given.items() if calls}
    said = [[(call.name, call.arguments) for call in calls] for calls in filled.values()]
    if any(calls != said[0] for calls in said):
        raise RowError(
            "a message holds two different calls",
            detail=f"message {number}, in " + " and ".join(f'"{field}"' for field in filled),
            fix="keep one of them",
        )
    return next(iter(filled.values()), ())


def _call(item: Any, number: int) -> ToolCall:
    if isinstance(item, str):
        item = from_json(item, "a tool call is not JSON", f"write it as {_CALL}", f"message {number}, ")
    function = item.get("function", item) if isinstance(item, Mapping) else item
    if not (isinstance(item, Mapping) and _is_named(function)):
        raise RowError(
            "a tool call has no name", detail=f"message {number} has {kind_of(item)}", fix=f"write it as {_CALL}"
        )
    arguments = function.get("arguments")
    if elsewhere := [name for name in _ARGUMENTS_ELSEWHERE if arguments is None and function.get(name) not in NOTHING]:
        raise RowError(
            "a tool call has its arguments under another name",
            detail=f'message {number} has "{elsewhere[0]}"',
            fix='call them "arguments"',
        )
    if isinstance(arguments, str) and arguments.strip():
        arguments = from_json(
            arguments, "a tool call's arguments are not JSON", "write them as an object", f"message {number}, "
        )
    if arguments is None or arguments == "":
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise RowError(
            "a tool call's arguments must be an object",
            detail=f"message {number} has {kind_of(arguments)}",
            fix="name each argument: {…}",
        )
    ident = item.get("id")
    if ident is not None and not isinstance(ident, str):
        raise RowError(
            "the id of a tool call must be text",
            detail=f"message {number} has {kind_of(ident)}",
            fix=AS_TEXT,
        )
    return ToolCall(name=function["name"], arguments=arguments, id=ident or None)


def as_openai(call: ToolCall, arguments: Any) -> dict[str, Any]:
    """The call as chat templates and OpenAI's format have it, with its ``arguments`` as given here."""
    ident = {} if call.id is None else {"id": call.id}
    return {**ident, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def from_json(text: str, reason: str, fix: str, place: str = "") -> Any:
    """The value that a text holds, shallow enough to be written into a prepared file.

    Raises:
        RowError: with ``reason``: it holds none.
    """
    try:
        value = parse(text)
        if text.count("[") + text.count("{") > NESTING_LIMIT - _ROOM:
            parse("[" * _ROOM + text + "]" * _ROOM)
    except InvalidJson as problem:
        column = "" if problem.position is None else f"column {problem.position + 1}: "
        said = problem.detail if problem.position is not None and problem.detail else str(problem)
        raise RowError(reason, detail=place + column + said, fix=fix) from None
    return value
