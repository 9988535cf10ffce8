"""The messages of one record, one function per kind of format. Texts are taken as they are, without trimming."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from weft.data.messages import LEAVE_OUT, read_message
from weft.data.question_parts import refuse_unread_parts
from weft.data.reading import Reading
from weft.data.row_error import AS_TEXT, Data, RowError, kind_of
from weft.data.sharegpt import read_turn
from weft.data.tools import NOTHING, read_calls
from weft.types import Message

_FIX_OF_NESTED = 'make one text of it; messages belong into a list: {"messages": [{"role": …, "content": …}, …]}'


def read_messages(data: Data, fields: Sequence[str]) -> list[Message]:
    """``{"messages": [{"role": …, "content": …}, …]}``, also with a system message as a field beside it."""
    return _read_list(data, fields[0], read_message, '[{"role": …, "content": …}, …]')


def read_sharegpt(data: Data, fields: Sequence[str]) -> list[Message]:
    """``{"conversations": [{"from": …, "value": …}, …]}``, also with a system message as a field beside it.

    A list of texts is what the user and the assistant say in turn.
    """
    items = data[fields[0]]
    if isinstance(items, list) and items and isinstance(items[0], str) and all(isinstance(item, str) for item in items):
        return under_system(
            data,
            [Message(role="assistant" if place % 2 else "user", content=text) for place, text in enumerate(items)],
        )
    return _read_list(data, fields[0], read_turn, '[{"from": …, "value": …}, …]')


def _read_list(data: Data, field: str, read: Callable[[Any, int], Message], form: str) -> list[Message]:
    items = data[field]
    if not isinstance(items, list):
        raise RowError(f'"{field}" must be a list', detail=f"found {kind_of(items)}", fix=f"write {form}")
    return under_system(data, [read(item, number) for number, item in enumerate(items, 1)])


def under_system(data: Data, messages: list[Message]) -> list[Message]:
    """The messages, behind the system message that a field beside them holds.

    Raises:
        RowError: they begin with another system message.
    """
    beside = _system(data)
    if not beside or messages[:1] == beside:
        return messages
    if messages and messages[0].role == "system":
        raise RowError('the field "system" and the system message disagree', fix="keep one of them")
    return beside + messages


def read_pair(data: Data, fields: Sequence[str], way: str | None = None) -> list[Message]:
    """One question and its answer, under the names in ``fields``; ``way`` as for :func:`refuse_unread_parts`."""
    refuse_earlier_turns(data)
    question, answer = (text_at(data, field) for field in fields)
    refuse_unread_parts(data, fields, question, way=way)
    return _asked_and_answered(data, question, answer)


def read_listed_pair(data: Data, fields: Sequence[str]) -> list[Message]:
    """As :func:`read_pair`, of a record that is a list, where no setting names a field."""
    return read_pair(data, fields, "add what it says to the question")


def read_qa(data: Data, fields: Sequence[str]) -> list[Message]:
    """As :func:`read_pair`; where definitions of tools are the third of the ``fields``, the answer is calls of them."""
    if len(fields) == 2:
        return read_pair(data, fields)
    query, answers, _ = fields
    refuse_earlier_turns(data)
    question, calls = text_at(data, query), read_calls(data[answers], 2)
    refuse_unread_parts(data, (query, answers), question, read=("tools",))
    return [
        *_system(data),
        Message(role="user", content=question),
        Message(role="assistant", content="", tool_calls=calls),
    ]


def refuse_earlier_turns(data: Data, fix: str = "name the fields as the alpaca format does") -> None:
    """Refuse what only one format has a place for.

    Raises:
        RowError: the record holds earlier turns in a field of their own.
    """
    if data.get("history") not in NOTHING:
        reason = "records with earlier turns in a field of their own are not of this format"
        raise RowError(reason, detail='the field "history"', fix=fix)


def read_alpaca(data: Data, fields: Sequence[str]) -> list[Message]:
    """Instruction, newline, input, as LLaMA-Factory joins them; ``history`` holds earlier questions with their answers."""
    question = _joined("\n", text_at(data, fields[0]), _optional_text(data, "input"))
    refuse_unread_parts(data, fields, question, read=("input",))
    return _asked_and_answered(data, question, text_at(data, fields[1]), _history(data))


def read_dolly(data: Data, fields: Sequence[str]) -> list[Message]:
    """Instruction, blank line, context; without a context the instruction alone."""
    refuse_earlier_turns(data, LEAVE_OUT)
    question = _joined("\n\n", text_at(data, fields[0]), _optional_text(data, "context"))
    refuse_unread_parts(data, fields, question, read=("context",))
    return _asked_and_answered(data, question, text_at(data, fields[1]))


def read_custom(data: Data, reading: Reading) -> list[Message]:
    """As :func:`read_dolly`, under the names that the configuration gives the fields.

    Raises:
        RowError: the record lacks the field of the instruction or of the response.
    """
    for key in ("instruction_field", "response_field"):
        field = getattr(reading, key)
        if field not in data:
            near = get_close_matches(field, map(str, data), n=1)
            raise RowError(
                f'the record has no field "{field}", which {reading.key(key)} names',
                detail="found the fields " + ", ".join(f"{name!r:.40}" for name in list(data)[:12]),
                fix=f"set {reading.key(key)}: {near[0]}" if near else f"set {reading.key(key)} to one of them",
            )
    texts = {role: _optional_text(data, field) for field, role in reading.optional_fields().items()}
    question = _joined("\n\n", text_at(data, reading.instruction_field), texts.get("user", ""))
    opening = _opening(texts.get("system", ""))
    return [*opening, *_exchange(question, text_at(data, reading.response_field))]


def _asked_and_answered(data: Data, question: str, answer: str, history: Sequence[Message] = ()) -> list[Message]:
    return [*_system(data), *history, *_exchange(question, answer)]


def _exchange(question: str, answer: str) -> tuple[Message, Message]:
    return Message(role="user", content=question), Message(role="assistant", content=answer)


def _history(data: Data) -> list[Message]:
    """``[["an earlier question", "its answer"], …]``; none where the field is absent or empty."""
    pairs = data.get("history")
    if pairs in NOTHING:
        return []
    if not (isinstance(pairs, list) and all(_is_exchange(pair) for pair in pairs)):
        raise RowError(
            'the field "history" must be a list of questions with their answers',
            detail=f"found {kind_of(pairs)}" if not isinstance(pairs, list) else "an item is no pair of texts",
            fix='write [["an earlier question", "its answer"], …]',
        )
    return [
        Message(role="assistant" if place else "user", content=text)
        for pair in pairs
        for place, text in enumerate(pair)
    ]


def _is_exchange(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def _joined(between: str, *texts: str) -> str:
    return between.join(filter(None, texts))


def _system(data: Data) -> list[Message]:
    """The system message of the field ``system``; none where it is absent, null or blank (as in every row of a CSV file)."""
    return _opening(_optional_text(data, "system"))


def _opening(system: str) -> list[Message]:
    return [Message(role="system", content=system)] if system.strip() else []


def _optional_text(data: Data, field: str) -> str:
    return "" if data.get(field) in (None, [], {}) else text_at(data, field)


def text_at(data: Data, field: str) -> str:
    """The text of a field; ``""`` for null.

    Raises:
        RowError: it holds something else.
    """
    value = data[field]
    if value is None:
        return ""
    if not isinstance(value, str):
        fix = _FIX_OF_NESTED if isinstance(value, list | dict) else AS_TEXT
        raise RowError(f'the field "{field}" must be text', detail=f"found {kind_of(value)}", fix=fix)
    return value
