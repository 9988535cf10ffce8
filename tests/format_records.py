"""Records in the shapes of known formats, and what they are read as."""

from __future__ import annotations

from typing import Any

from weft.data.formats import parse_record
from weft.types import Conversation, Location, Record

S, U, A = "Be kind.", "Hi?", "Hello."
TURN = [("user", U), ("assistant", A)]


def parse(data: Any, format: Any = "auto", source: str | None = None) -> Conversation:
    return parse_record(Record(data=data, location=Location(path="x.jsonl", line=7)), format, source=source)


def messages(data: Any, format: Any = "auto") -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in parse(data, format).messages]


def turns(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def called(*calls_and_more: Any) -> dict[str, Any]:
    """A question and the calls that answer it; pairs of role and content, and messages with a role, follow them."""
    more = [
        {"role": each[0], "content": each[1]} if isinstance(each, tuple) else each
        for each in calls_and_more
        if isinstance(each, tuple) or (isinstance(each, dict) and "role" in each)
    ]
    calls = [each for each in calls_and_more if not isinstance(each, tuple) and each not in more]
    calls = [{"name": each} if isinstance(each, str) else each for each in calls]
    return {"messages": [{"role": "user", "content": U}, {"role": "assistant", "tool_calls": calls}, *more]}


def said(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": speaker, "value": value} for speaker, value in pairs]}
