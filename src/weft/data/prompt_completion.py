"""A prompt and its completion, each a text or, as TRL has them, a list of messages: together one conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weft.data.format_readers import read_pair, refuse_earlier_turns, text_at, under_system
from weft.data.messages import read_message
from weft.data.question_parts import refuse_unread_parts
from weft.data.row_error import Data, RowError, kind_of
from weft.types import Message, Role

_CONTEXT = 0.0


def read_prompt(data: Data, fields: Sequence[str]) -> list[Message]:
    """The completion alone is trained: an answer in the prompt is context, unless it says itself what it counts."""
    if _are_texts(data, fields):
        return read_pair(data, fields)
    prompt, completion = _parts(data, fields)
    context = [
        replace(message, weight=_CONTEXT) if message.role == "assistant" and message.weight is None else message
        for message in prompt
    ]
    return under_system(data, context + completion)


def read_whole_prompt(data: Data, fields: Sequence[str]) -> list[Message]:
    """Answers in the prompt count as any other."""
    if _are_texts(data, fields):
        return read_pair(data, fields)
    prompt, completion = _parts(data, fields)
    return under_system(data, prompt + completion)


def _are_texts(data: Data, fields: Sequence[str]) -> bool:
    prompt, completion = fields
    return not (isinstance(data[prompt], (list, dict)) or isinstance(data[completion], (list, dict)))


def _parts(data: Data, fields: Sequence[str]) -> tuple[list[Message], list[Message]]:
    refuse_earlier_turns(data)
    prompt, completion = _messages(data, fields[0], "user"), _messages(data, fields[1], "assistant")
    refuse_unread_parts(data, fields, "\n".join(message.content for message in prompt))
    if all(message.role != "assistant" for message in completion):
        raise RowError(
            "a completion holds no message of the assistant",
            detail=f'the field "{fields[1]}"',
            fix='write [{"role": "assistant", "content": …}]',
        )
    return prompt, completion


def _messages(data: Data, field: str, role: Role) -> list[Message]:
    """What a field says: a list of messages, or the text of one."""
    items = data[field]
    if isinstance(items, dict):
        raise RowError(
            f'the field "{field}" must be text or a list of messages',
            detail=f"found {kind_of(items)}",
            fix=f'write [{{"role": "{role}", "content": …}}]',
        )
    if not isinstance(items, list):
        return [Message(role=role, content=text_at(data, field))]
    try:
        return [read_message(item, number) for number, item in enumerate(items, 1)]
    except RowError as error:
        raise RowError(error.reason, detail=f'{error.detail} in "{field}"', fix=error.fix) from None
