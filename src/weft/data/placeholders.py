"""Messages of words that occur nowhere else, by which it is found out what a chat template prints, and how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from weft.types import Message, Role, Setting, ToolCall

PLACEHOLDER = re.compile(r"Qz(\d+)zQ")
"""What :func:`placeholder` puts into a message; the group is its number."""


def placeholder(role: Role, number: int = 0) -> Message:
    """A message whose content is a plain word that occurs nowhere else."""
    return Message(role=role, content=f"Qz{number}zQ")


def placeholder_call(number: int) -> ToolCall:
    """A call whose name, whose argument and whose value are the placeholders of that number and of the next two.

    Its id has nine digits, as Mistral's templates ask for.
    """
    name, key, value = (placeholder("assistant", number + more).content for more in range(3))
    return ToolCall(name=name, arguments={key: value}, id=str(123456789 + number))


def question_before(messages: Sequence[Message]) -> Message:
    """A question that could open the conversation in place of ``messages``: with their tools and template arguments."""
    return replace(placeholder("user"), setting=messages[0].setting if messages else None)


def placeholder_tool(name: str) -> Setting:
    """A setting with the definition of one tool."""
    function = {"name": name, "description": name, "parameters": {"type": "object", "properties": {}}}
    return Setting(tools=({"type": "function", "function": function},))
