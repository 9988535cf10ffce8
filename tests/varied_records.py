"""Records of one shape: the same roles, fields and calls, and other words in them."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from weft.types import Message, ToolCall

WORDS = (
    "hello", "a", "y", "A", "21", "é", "中文", "\U0001f600", "None", "True", "user", "assistant", "x" * 300,
    "<", ">", "b<c>", "a < b & c", "</think>", "<think>hm</think>yes", "ok</think>",
    "{{ x }}", "100 %", "{}", "{0}", "[]", "'", '"', 'it\'s "so"', "\\", "\\n", "\x00",
    "line\nline", "a\n\n  b", "a\tb", "Qz0zQ", "Qz00001zQ",
)  # fmt: skip
"""What may be said, without white space at its ends."""
AT_ENDS = (" a", "a ", "\na\n", "\n\nb", " ", "\n")
NAMES = ("weather", "python", "get_time", "a", "the", "ünits", 'x"y')
IDS = ("call_1", "123456789", "abcdefghi", "call_abcdefghijklmnopqrstuvwx")
ARGUMENTS: tuple[Any, ...] = (*WORDS, *AT_ENDS, 5, -1.5, 0, True, None, "", [1, "x"], {"b": ["x", None]}, [], {})


def varied(messages: Sequence[Message], random: Random, more: Sequence[str] = ()) -> list[Message]:
    """The messages with other words; what is empty stays so, and results still belong to their calls.

    Args:
        messages: a conversation.
        random: chooses.
        more: further words to choose from.
    """
    words = (*WORDS, *AT_ENDS, *more)
    usual = random.random() < 0.5  # else nearly every record has something that a plan does not hold for
    ids: dict[str, str] = {}

    def text(given: str) -> str:
        return given and (f"some words {random.choice(string.ascii_letters)}" if usual else random.choice(words))

    def ident(given: str | None) -> str | None:
        if given and given not in ids:
            ids[given] = (
                random.choice(IDS) if random.random() < 0.3 else f"id{len(ids)}{random.randrange(100_000, 999_999)}"
            )
        return given and ids[given]

    def value(given: Any) -> Any:
        if isinstance(given, dict):
            return {name: value(item) for name, item in given.items()}
        return text("x") if usual and isinstance(given, str) else random.choice(ARGUMENTS)

    def call(given: ToolCall) -> ToolCall:
        name = random.choice(NAMES)
        return ToolCall(name=name, id=ident(given.id), arguments=value(given.arguments))

    def tool(given: Any) -> Any:
        function = {**given["function"], "name": random.choice(NAMES), "description": text("x")}
        return {**given, "function": function}

    def message(given: Message) -> Message:
        setting = given.setting
        return replace(
            given,
            content=text(given.content),
            reasoning=text(given.reasoning),
            tool_calls=tuple(map(call, given.tool_calls)),
            tool_call_id=ident(given.tool_call_id),
            name=given.name and random.choice(NAMES),
            setting=setting and replace(setting, tools=tuple(map(tool, setting.tools))),
        )

    return list(map(message, messages))


def in_its_place(messages: Sequence[Message], random: Random) -> list[Message]:
    """The messages with other words in their contents, but for white space at ends, tags, and what is said twice."""
    said: dict[str, str] = {}

    def other(given: re.Match[str]) -> str:
        choice = f"{random.choice(string.ascii_letters)} {len(said)} words"
        return said.setdefault(given[0], choice if random.random() < 0.9 else random.choice(WORDS))

    return [
        replace(each, content=_CORE.sub(other, each.content), reasoning=_CORE.sub(other, each.reasoning))
        for each in messages
    ]


_CORE = re.compile(r"(?!</?think>)\S(?:(?!</?think>).)*(?<!\s)", re.DOTALL)
"""What stands between white space and tags."""
