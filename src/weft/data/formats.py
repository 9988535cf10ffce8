"""Record → conversation or document: one visible table of the record formats.

A record with a ``text`` is a document where the mode trains documents: always with ``mode: cpt``, and with ``cpt_mixed`` where
its other fields make no conversation.

A format is known by its fields. Of the rest of a record, ``id``, ``source`` and ``meta`` keep their meaning and every other
field is kept in ``meta``; nothing of it is trained. (Message trees, of which a record is one message, are
:mod:`weft.data.oasst`'s.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, NamedTuple, NoReturn

from weft.config.data_schema import RecordFormat
from weft.data import oasst
from weft.data.format_readers import (
    read_alpaca,
    read_custom,
    read_dolly,
    read_messages,
    read_pair,
    read_sharegpt,
    text_at,
)
from weft.data.messages import LEAVE_OUT, MESSAGE_FIELDS
from weft.data.reading import DOCUMENTS, Reading
from weft.data.row_error import EMPTY_DOCUMENT, Data, RowError, kind_of
from weft.data.sharegpt import TURN_FIELDS
from weft.data.tools import NOTHING, from_json, read_tools
from weft.data.turn_order import check_turns
from weft.types import Conversation, Document, Material, Message, Record, Setting

__all__ = [
    "CANONICAL",
    "CANONICAL_DOCUMENT",
    "FORMATS",
    "SETTING",
    "Format",
    "Parsed",
    "RowError",
    "detect",
    "parse_as",
    "parse_record",
]

CANONICAL = frozenset({"id", "source", "messages", "meta"})
"""These fields, and those of :data:`SETTING` that hold something, make a record as ``weft prepare`` writes it, which is read
whatever format is asked for."""
CANONICAL_DOCUMENT = frozenset({"id", "source", "text", "meta"})
"""These fields make a document as ``weft prepare`` writes it."""
SETTING = ("tools", "chat_template_kwargs")
"""The fields beside the messages that say what a conversation is held with."""
_OPTIONAL = frozenset(SETTING)


class Format(NamedTuple):
    """A record format: the sets of fields that each suffice to know it, further fields that it reads, and its reader."""

    fields: tuple[tuple[str, ...], ...]
    optional: tuple[str, ...]
    read: Callable[[Data, Sequence[str]], list[Message]]


FORMATS: dict[str, Format] = {
    "messages": Format((("messages",),), ("system",), read_messages),
    "sharegpt": Format((("conversations",),), ("system",), read_sharegpt),
    "chat": Format((("user", "assistant"),), ("system",), read_pair),
    "qa": Format((("input", "target"), ("question", "answer"), ("query", "response")), ("system",), read_pair),
    "prompt": Format((("prompt", "response"), ("prompt", "completion")), ("system",), read_pair),
    "alpaca": Format((("instruction", "output"),), ("input", "system", "history"), read_alpaca),
    "dolly": Format((("instruction", "response"),), ("context", "system"), read_dolly),
    "pairs": Format((("question", "answer"),), ("system",), read_pair),
}
"""The formats in the order in which they are tried; ``pairs`` only for a list of a question and an object with its answer."""

_MEANING = {
    "messages": "messages",
    "conversations": "messages",
    "system": "system",
    "input": "user",
    "context": "user",
    "history": "earlier turns",
    "tools": "tools",
    "functions": "tools",
    "chat_template_kwargs": "template arguments",
}
_PAIR_MEANING = ("user", "assistant")

_TEXT = "text"
_NOT_YET = {"images": "images", "videos": "videos", "audios": "audio"}
_ANYWHERE = (*SETTING, "functions")
_KNOWN = frozenset({"id", "meta", *_ANYWHERE})
_LISTS = {"messages": MESSAGE_FIELDS, "conversations": MESSAGE_FIELDS | TURN_FIELDS}
_SHAPES = tuple((name, fields, frozenset(fields)) for name, form in FORMATS.items() for fields in form.fields)
_NEEDED = frozenset(field for _, fields, _ in _SHAPES for field in fields)


@dataclass(kw_only=True, slots=True)
class Parsed:
    """What a record turned out to be."""

    format: str
    mapping: tuple[str, ...]
    """What was read as what: ``question → user``."""
    material: Material


def detect(data: Any) -> str:
    """The name of the format of a record.

    Formats are tried in the order of :data:`FORMATS`. Of several that fit, those whose fields are filled count; of several
    that are left the first one, if all of them mean the same messages.

    Raises:
        RowError: no format fits, or several that mean different messages.
    """
    return _choose(*_named_fields(data), None, Reading())[0]


def parse_record(record: Record, format: RecordFormat | Reading, *, source: str | None = None) -> Conversation:
    """The conversation that a record holds.

    Args:
        record: as read.
        format: ``auto`` and ``chat`` accept every conversation format; any other name accepts only that one (and the
            canonical form).
        source: the conversation's source where the record names none.

    Raises:
        RowError: the record is of another format, or no conversation that a model can learn from.
    """
    material = parse_as(record, format, source=source).material
    assert isinstance(material, Conversation), "who reads documents asks for their form"
    return material


def parse_as(record: Record, format: RecordFormat | Reading, *, source: str | None = None) -> Parsed:
    """A record's format, and the conversation or document that it is; see :func:`parse_record`."""
    reading = format if isinstance(format, Reading) else Reading(format=format)
    try:
        data, is_list = _named_fields(record.data)
        if _is_document(data, reading):
            return Parsed(format=_TEXT, mapping=("text → document",), material=_document(data, record, source))
        if reading.is_custom(data) and not is_canonical(data):
            name = "custom"
            fields: tuple[str, ...] = (reading.instruction_field, reading.response_field)
            meaning: Mapping[str, str] = reading.optional_fields()
            optional, messages = tuple(meaning), read_custom(data, reading)
        else:
            anything = reading.format in ("auto", "chat", "custom") or is_canonical(data)
            name, fields = _choose(data, is_list, None if anything else reading.format, reading)
            optional, meaning = FORMATS[name].optional, _MEANING
            messages = FORMATS[name].read(data, fields)
        check_turns(messages)
        if setting := _setting(data):
            messages[0] = replace(messages[0], setting=setting)
        conversation = Conversation(
            messages=tuple(messages),
            location=record.location,
            id=_id(data),
            source=_source(data) or source,
            meta=_meta(data, {*fields, *optional}),
        )
    except RowError as error:
        raise RowError(error.reason, detail=error.detail, where=record.location, fix=error.fix) from None
    return Parsed(format=name, mapping=_mapping(data, fields, optional, meaning), material=conversation)


def _is_document(data: Data, reading: Reading) -> bool:
    """Whether a record is read as a document.

    Raises:
        RowError: nothing else is read, and it is none.
    """
    only = reading.mode == "cpt" or reading.format in DOCUMENTS
    if only and (_TEXT not in data or oasst.is_message(data)):
        _refuse_conversation(data, reading)
    if _TEXT not in data or reading.mode == "sft":
        return False
    return only or (reading.format == "auto" and not any(data.keys() >= needed for _, _, needed in _SHAPES))


def _document(data: Data, record: Record, source: str | None) -> Document:
    text = text_at(data, _TEXT)
    if not text or text.isspace():
        raise RowError(EMPTY_DOCUMENT, fix="leave it out")
    return Document(
        text=text,
        location=record.location,
        id=_id(data),
        source=_source(data) or source,
        meta={**{field: data[field] for field in _ANYWHERE if field in data}, **_meta(data, {_TEXT})},
    )


def _refuse_conversation(data: Data, reading: Reading) -> NoReturn:
    found = "found the fields " + (", ".join(f"{key!r:.40}" for key in list(data)[:12]) or "none")
    if reading.mode == "cpt" and (oasst.is_message(data) or any(data.keys() >= needed for _, _, needed in _SHAPES)):
        raise RowError(
            "the record is of a conversation, and mode: cpt trains documents",
            detail=found,
            fix="set mode: sft to train conversations, or mode: cpt_mixed to train documents beside them",
        )
    raise RowError(
        "the record is no document", detail=f'it has no field "{_TEXT}"; {found}', fix=f'name its text "{_TEXT}"'
    )


def is_canonical(data: Data) -> bool:
    """Whether a record has the fields of those that ``weft prepare`` writes."""
    return data.keys() >= CANONICAL and data.keys() - CANONICAL <= _OPTIONAL


def _mapping(data: Data, fields: Sequence[str], optional: Sequence[str], meaning: Mapping[str, str]) -> tuple[str, ...]:
    meanings = _PAIR_MEANING if len(fields) == 2 else ("messages",)
    pairs = list(zip(fields, meanings, strict=True))
    pairs += [(field, meaning[field]) for field in optional if data.get(field)]
    if not data.keys().isdisjoint(_ANYWHERE):
        pairs += [(field, _MEANING[field]) for field in _ANYWHERE if data.get(field) not in NOTHING]
    return tuple(map(_as_words, pairs))


@cache
def _as_words(pair: tuple[str, str]) -> str:
    return f"{pair[0]} → {pair[1]}"


def _choose(data: Data, is_list: bool, only: str | None, reading: Reading) -> tuple[str, tuple[str, ...]]:
    """The first format that fits (of all, or ``only`` this one), with the fields by which it does."""
    fitting = _fitting(_NEEDED.intersection(data), is_list, only)
    if not fitting:
        _refuse_shape(data, only, reading)
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


@lru_cache(maxsize=2**10)
def _fitting(keys: frozenset[str], is_list: bool, only: str | None) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Every format that records with these of all needed fields may have, with the fields by which they do."""
    return [
        (name, fields)
        for name, fields, needed in _SHAPES
        if keys >= needed and only in (None, name) and (name == "pairs") == is_list
    ]


def _refuse_shape(data: Data, only: str | None, reading: Reading) -> NoReturn:
    named = [(name, fields) for name, fields, _ in _SHAPES if name != "pairs"]
    shapes = " or ".join(" + ".join(fields) for name, fields in named if only in (None, name))
    found = "found the fields " + (", ".join(f"{key!r:.40}" for key in list(data)[:12]) or "none")
    if only:
        raise RowError(
            f"the record is not in the format {only}",
            detail=f"expected {shapes or _ELSEWHERE.get(only, only)}; {found}",
            fix="set data.format: auto, which detects the format of each record",
        )
    if _TEXT in data and reading.mode == "sft":
        raise RowError(
            "the record is a document, which mode: sft does not train",
            detail=found,
            fix="set mode: cpt to train documents, or mode: cpt_mixed to train conversations beside them; to fine-tune on it, "
            f"name the fields {shapes}",
        )
    raise RowError("the record has no known format", detail=found, fix=f"name the fields {shapes}")


_ELSEWHERE = {
    "pairs": '["a question", {"answer": …}]',
    "oasst": "message_id + parent_id + role + text",
}
_RESERVED = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "bos_token", "eos_token"}
)
"""Variables of a chat template that are weft's to give."""


def _setting(data: Data) -> Setting | None:
    """What the conversation is held with; None where that is nothing."""
    if data.keys().isdisjoint(_ANYWHERE):
        return None
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
    beside = {key: value for key, value in data.items() if key not in read and key not in _KNOWN}
    if _source(data) is not None:
        beside.pop("source", None)
    for field, what in _NOT_YET.items():
        if field in beside and beside[field] not in NOTHING:
            raise RowError(f"records with {what} are not supported yet", detail=f'the field "{field}"', fix=LEAVE_OUT)
    for listed in read & _LISTS.keys():
        items, known = data.get(listed), _LISTS[listed]
        if isinstance(items, list) and not all(
            map(known.issuperset, items)
        ):  # with custom, it may be a text, or absent
            beside["message_fields"] = [{key: item[key] for key in item if key not in known} for item in items]
    given = data.get("meta")
    if given is None:
        return beside
    if not isinstance(given, dict):
        return {**beside, "meta": given}
    for key in beside.keys() & given.keys():
        if beside[key] != given[key]:
            raise RowError(f'the field "{key}" and the same field of "meta" disagree', fix="keep one of them")
    return {**beside, **given}


def _named_fields(data: Any) -> tuple[Data, bool]:
    """The record by its fields, and whether it is a list: ``["a question", {"answer": …}]``, with further fields perhaps."""
    if isinstance(data, Mapping):
        return data, False
    if isinstance(data, list) and len(data) == 2 and isinstance(data[0], str) and isinstance(data[1], Mapping):
        question, given = data
        if "question" in given and given["question"] != question:
            raise RowError("a pair holds two questions", fix="keep the one before the object")
        return {"question": question, **given}, True
    raise RowError(
        "a record must be an object with named fields",
        detail=f"found {kind_of(data)}",
        fix='write one like {"input": …, "target": …}',
    )
