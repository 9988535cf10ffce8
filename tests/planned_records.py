"""Records that plans are tried with: one with all that there may be in it, and such that say what they count."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from mask_pairs import A, T, U
from weft.types import Message, Setting, ToolCall

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
FUNCTION = ToolCall(name="weather", arguments={"city": "Rome", "days": 3, "exact": True}, id="123456789")
WHOLE = [U("Rain?", setting=Setting(tools=(TOOL,))), A("I look.", FUNCTION, reasoning="hm"), T("21", 1), A("No.")]


def weighed(messages: list[Message], random: Random) -> list[Message]:
    """The messages, of which some say what they count."""
    share = random.choice((0.3, 1))
    return [
        replace(message, weight=random.choice((0.0, 0.5, 1.0, 3.0))) if random.random() < share else message
        for message in messages
    ]
