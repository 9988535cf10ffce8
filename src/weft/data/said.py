"""The strings of a message, wherever it keeps them: in its content, its reasoning, its calls of tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from weft.types import Message, ToolCall

Path = tuple[str | int, ...]
"""Where a message keeps a string: ``("content",)``, ``("tool_calls", 0, "arguments", "city")``."""
CONTENT: Path = ("content",)
REASONING: Path = ("reasoning",)


def name_of_call(number: int) -> Path:
    """Where the name of a call is kept."""
    return ("tool_calls", number, "name")


def id_of_call(number: int) -> Path:
    """Where the id of a call is kept."""
    return ("tool_calls", number, "id")


def said(message: Message) -> dict[Path, str]:
    """What the author of the message says, string by string. Names of arguments are not among it, nor who speaks to whom.

    The id of a call is, where it holds the tool's name (``functions.weather:0``): some templates print it instead of that.
    """
    found = {CONTENT: message.content}
    if message.reasoning:
        found[REASONING] = message.reasoning
    for number, call in enumerate(message.tool_calls):
        found[name_of_call(number)] = call.name
        if call.id is not None and call.name in call.id:
            found[id_of_call(number)] = call.id
        found |= _leaves(call.arguments, ("tool_calls", number, "arguments"))
    return found


def with_said(message: Message, strings: Mapping[Path, str]) -> Message:
    """The message with these strings in their places."""

    def changed(path: Path, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: changed((*path, key), item) for key, item in value.items()}
        if isinstance(value, list):
            return [changed((*path, number), item) for number, item in enumerate(value)]
        return strings.get(path, value)

    calls = tuple(
        replace(
            call,
            name=strings.get(name_of_call(number), call.name),
            arguments=changed(("tool_calls", number, "arguments"), call.arguments),
            id=strings.get(id_of_call(number), call.id),
        )
        for number, call in enumerate(message.tool_calls)
    )
    return replace(
        message,
        content=strings.get(CONTENT, message.content),
        reasoning=strings.get(REASONING, message.reasoning),
        tool_calls=calls,
    )


def is_text_only(message: Message) -> bool:
    """Whether a message is a role and a content, and nothing else."""
    return not (message.reasoning or message.tool_calls or message.tool_call_id or message.name or message.setting)


def every_string(message: Message) -> Iterator[str]:
    """Every string of the message's record that a template may print."""
    yield message.content
    if is_text_only(message):
        return
    seen: list[str] = []
    _in_other_words(message, lambda text: seen.append(text) or text)  # type: ignore[func-returns-value]
    yield from seen


def in_other_words(message: Message, content: Callable[[str], str], others: Callable[[str], str]) -> Message:
    """The message with its content, and all its other strings, changed."""
    changed = replace(message, content=content(message.content))
    return changed if is_text_only(message) else _in_other_words(changed, others)


def _in_other_words(message: Message, change: Callable[[str], str]) -> Message:
    """All but the content changed, keys and definitions of tools included."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, Mapping):
            return {changed(key): changed(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(changed, value))
        return value

    def changed_call(call: ToolCall) -> ToolCall:
        return replace(call, name=change(call.name), arguments=changed(call.arguments), id=changed(call.id))

    setting = message.setting
    return replace(
        message,
        reasoning=change(message.reasoning),
        tool_calls=tuple(map(changed_call, message.tool_calls)),
        tool_call_id=changed(message.tool_call_id),
        name=changed(message.name),
        setting=setting and replace(setting, tools=changed(setting.tools), arguments=changed(setting.arguments)),
    )


def _leaves(value: Any, path: Path) -> dict[Path, str]:
    if isinstance(value, str):
        return {path: value}
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    return {found: text for key, item in items for found, text in _leaves(item, (*path, key)).items()}
