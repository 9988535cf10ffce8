"""Record → conversation: one function per record format, and one visible table of them.

A format is known by its fields. Of the rest of a record, ``id``, ``source`` and ``meta`` keep their meaning and every other
field is kept in ``meta``; nothing of it is trained. Texts are taken as they are, without trimming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from weft.config.schema import RecordFormat
from weft.data.messages import LEAVE_OUT, MESSAGE_FIELDS, read_message
from weft.data.row_error import Data, RowError, kind_of
from weft.data.tools import NOTHING, from_json, read_tools
from weft.data.turn_order import check_turns
from weft.types import Conversation, Message, Record, Setting

__all__ = ["CANONICAL", "FORMATS", "Format", "RowError", "detect", "parse_as", "parse_record"]

CANONICAL = frozenset({"id", "source", "messages", "meta"})
"""These fields, and those of :data:`SETTING` that hold something, make a record as ``weft prepare`` writes it, which is read
whatever format is asked for."""
SETTING = ("tools", "chat_template_kwargs")
"""The fields beside the messages that say what a conversation is held with."""


class Format(NamedTuple):
    """A record format: the sets of fields that each suffice to know it, further fields that it reads, and its reader."""

    fields: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...]
    read: Callable[[Data, Sequence[str]], list[Message]]


def _read_messages(data: Data, fields: Sequence[str]) -> list[Message]:
    """``{"messages": [{"role": …, "content": …}, …]}``, also with a system message as a field beside it."""
    items = data[fields[0]]
    if not isinstance(items, list):
        raise RowError(
            '"messages" must be a list', detail=f"found {kind_of(items)}", fix='write [{"role": …, "content": …}, …]'
        )
    messages = [read_message(item, number) for number, item in enumerate(items, 1)]
    beside = _system(data)
    if not beside or messages[:1] == beside:
        return messages
    if messages and messages[0].role == "system":
        raise RowError('the field "system" and the system message disagree', fix="keep one of them")
    return beside + messages


def _read_pair(data: Data, fields: Sequence[str]) -> list[Message]:
    """One question and its answer, under the names in ``fields``."""
    _refuse_unread(data, _PAIR_NOT_YET)
    user, assistant = fields
    return [
        *_system(data),
        Message(role="user", content=_text(data, user)),
        Message(role="assistant", content=_text(data, assistant)),
    ]


def _read_alpaca(data: Data, fields: Sequence[str]) -> list[Message]:
    """Instruction, newline, input, as LLaMA-Factory joins them; without an input the instruction alone."""
    _refuse_unread(data, _PAIR_NOT_YET)
    parts = [_text(data, "instruction")] + ([_text(data, "input")] if data.get("input") else [])
    return [
        *_system(data),
        Message(role="user", content="\n".join(filter(None, parts))),
        Message(role="assistant", content=_text(data, "output")),
    ]


FORMATS: dict[str, Format] = {
    "messages": Format((("messages",),), ("system",), _read_messages),
    "chat": Format((("user", "assistant"),), ("system",), _read_pair),
    "qa": Format((("input", "target"), ("question", "answer"), ("query", "response")), ("system",), _read_pair),
    "prompt": Format((("prompt", "response"), ("prompt", "completion")), ("system",), _read_pair),
    "alpaca": Format((("instruction", "output"),), ("input", "system"), _read_alpaca),
}
"""The formats in the order in which they are tried."""

_BESIDE_NOT_YET = {
    "images": "images",
    "videos": "videos",
    "audios": "audio",
}
_ANYWHERE = (*SETTING, "functions")
_PAIR_NOT_YET = {"history": "earlier turns in a field of their own", "context": "a context in a field of its own"}
_SHAPES = tuple((name, fields, frozenset(fields)) for name, form in FORMATS.items() for fields in form.fields)


def detect(data: Any) -> str:
    """The name of the format of a record.

    Formats are tried in the order of :data:`FORMATS`. Of several that fit, those whose fields are filled count; of several
    that are left the first one, if all of them mean the same messages.

    Raises:
        RowError: no format fits, or several that mean different messages.
    """
    return _choose(_object(data))[0]


def parse_record(record: Record, format: RecordFormat, *, source: str | None = None) -> Conversation:
    """The conversation that a record holds.

    Args:
        record: as read.
        format: ``auto`` and ``chat`` accept every conversation format; any other name accepts only that one (and the
            canonical form).
        source: the conversation's source where the record names none.

    Raises:
        RowError: the record is of another format, or no conversation that a model can learn from.
    """
    return parse_as(record, format, source=source)[1]


def parse_as(record: Record, format: RecordFormat, *, source: str | None = None) -> tuple[str, Conversation]:
    """The name of a record's format and its conversation; see :func:`parse_record`."""
    try:
        data = _object(record.data)
        anything = format in ("auto", "chat") or is_canonical(data)
        name, fields = _choose(data, None if anything else format)
        messages = FORMATS[name].read(data, fields)
        check_turns(messages)
        if setting := _setting(data):
            messages[0] = replace(messages[0], setting=setting)
        conversation = Conversation(
            messages=tuple(messages),
            location=record.location,
            id=_id(data),
            source=_source(data) or source,
            meta=_meta(data, {*fields, *FORMATS[name].optional}),
        )
    except RowError as error:
        raise RowError(error.reason, detail=error.detail, where=record.location, fix=error.fix) from None
    return name, conversation


def is_canonical(data: Data) -> bool:
    """Whether a record has the fields of those that ``weft prepare`` writes."""
    return data.keys() >= CANONICAL and data.keys() - CANONICAL <= set(SETTING)


def _choose(data: Data, only: str | None = None) -> tuple[str, tuple[str, ...]]:
    """The first format that fits (of all, or ``only`` this one), with the fields by which it does."""
    keys = data.keys()
    fitting = [(name, fields) for name, fields, needed in _SHAPES if keys >= needed and only in (None, name)]
    if not fitting:
        _refuse_shape(data, only)
    if len(fitting) > 1:
        filled = [(name, fields) for name, fields in fitting if all(data[field] for field in fields)]
        fitting = filled or fitting[:1]
    first, *others = fitting
    for other in others:
        if FORMATS[other[0]].read(data, other[1]) != FORMATS[first[0]].read(data, first[1]):
            raise RowError(
                "the fields of two record formats disagree",
                detail=f"{first[0]} ({', '.join(first[1])}) and {other[0]} ({', '.join(other[1])})",
                fix="set data.format to the one that is meant, or remove the other fields",
            )
    return first


def _refuse_shape(data: Data, only: str | None) -> NoReturn:
    shapes = " or ".join(" + ".join(fields) for name, fields, _ in _SHAPES if only in (None, name))
    found = "found the fields " + (", ".join(f"{key!r:.40}" for key in list(data)[:12]) or "none")
    if only:
        raise RowError(
            f"the record is not in the format {only}",
            detail=f"expected {shapes}; {found}",
            fix="set data.format: auto, which detects the format of each record",
        )
    if "conversations" in data:
        raise RowError(
            "ShareGPT records are not supported yet", fix='write {"messages": [{"role": …, "content": …}, …]}'
        )
    if "text" in data and data.keys() <= {"text", "id", "source", "meta", "timestamp", "url"}:
        raise RowError("documents are not supported yet", detail="the record holds only text", fix=f"use {shapes}")
    raise RowError("the record has no known format", detail=found, fix=f"name the fields {shapes}")


def _system(data: Data) -> list[Message]:
    """The system message of the field ``system``; none where it is absent, null or empty (as in every row of a CSV file)."""
    return [Message(role="system", content=_text(data, "system"))] if data.get("system") else []


_RESERVED = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token"}
)
"""Variables of a chat template that are weft's to give."""


def _setting(data: Data) -> Setting | None:
    """What the conversation is held with; None where that is nothing."""
    tools, functions = (read_tools(data.get(field), field) for field in ("tools", "functions"))
    if tools and functions and tools != functions:
        raise RowError('the fields "tools" and "functions" disagree', fix="keep one of them")
    arguments = _template_arguments(data.get("chat_template_kwargs"))
    return Setting(tools=tools or functions, arguments=arguments) if tools or functions or arguments else None


def _template_arguments(value: Any) -> Data:
    what, fix = 'the field "chat_template_kwargs" is not JSON', 'write it as {"enable_thinking": false}'
    if isinstance(value, str) and value.strip():
        value = from_json(value, what, fix)
    if value in NOTHING:
        return {}
    if not isinstance(value, Mapping):
        raise RowError('the field "chat_template_kwargs" must be an object', detail=f"found {kind_of(value)}", fix=fix)
    if taken := sorted(_RESERVED & value.keys()):
        raise RowError(
            'the field "chat_template_kwargs" gives what weft gives itself',
            detail=", ".join(map(repr, taken)),
            fix="take it out",
        )
    return value


def _text(data: Data, field: str) -> str:
    value = data[field]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(
            f'the field "{field}" must be text', detail=f"found {kind_of(value)}", fix="put quotes around it"
        )
    return value


def _id(data: Data) -> str | None:
    value = data.get("id")
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(
            'the field "id" must be text or a number', detail=f"found {kind_of(value)}", fix="change or remove the id"
        )
    return str(value)


def _source(data: Data) -> str | None:
    return data["source"] if isinstance(data.get("source"), str) else None


def _meta(data: Data, read: set[str]) -> dict[str, Any]:
    """What the record says beside its conversation: its ``meta``, and every field that nothing else reads."""
    if is_canonical(data) and isinstance(data["meta"], dict):
        return dict(data["meta"])
    known = read | {"id", "meta", *_ANYWHERE} | ({"source"} if _source(data) is not None else set())
    beside = {key: value for key, value in data.items() if key not in known}
    _refuse_unread(beside, _BESIDE_NOT_YET)
    for listed in read & {"messages"}:
        of_messages = [
            {key: value for key, value in item.items() if key not in MESSAGE_FIELDS} for item in data[listed]
        ]
        if any(of_messages):
            beside["message_fields"] = of_messages
    given = data.get("meta")
    if given is None:
        return beside
    if not isinstance(given, dict):
        return {**beside, "meta": given}
    for key in beside.keys() & given.keys():
        if beside[key] != given[key]:
            raise RowError(f'the field "{key}" and the same field of "meta" disagree', fix="keep one of them")
    return {**beside, **given}


def _refuse_unread(data: Data, not_yet: Mapping[str, str]) -> None:
    """Raise :class:`RowError` where a field of ``not_yet`` (what it holds, by its name) is filled."""
    for field, what in not_yet.items():
        if field in data and data[field] not in NOTHING:
            raise RowError(f"records with {what} are not supported yet", detail=f'the field "{field}"', fix=LEAVE_OUT)


def _object(data: Any) -> Data:
    if not isinstance(data, Mapping):
        raise RowError(
            "a record must be an object with named fields",
            detail=f"found {kind_of(data)}",
            fix='write one like {"input": …, "target": …}',
        )
    return data
