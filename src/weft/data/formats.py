"""Record → conversation or document: one visible table of the record formats.

A record with a ``text`` is a document where the mode trains documents: always with ``mode: cpt``, and with ``cpt_mixed`` where
its other fields make no conversation.

A format is known by its fields. Of the rest of a record, ``id``, ``source`` and ``meta`` keep their meaning and every other
field is kept in ``meta``; nothing of it is trained. (Message trees, of which a record is one message, are
:mod:`weft.data.oasst`'s.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from weft.data import oasst
from weft.data.beside import joined_with_meta, source_of
from weft.data.format_readers import text_at
from weft.data.format_table import (
    BESIDE,
    CANONICAL,
    CANONICAL_DOCUMENT,
    FORMATS,
    LISTS,
    NOT_YET,
    SETTING,
    TEXT,
    Format,
)
from weft.data.messages import LEAVE_OUT
from weft.data.oasst_nested import is_tree
from weft.data.preferences import UNPAIRED, preference_in, refuse_preference, refuse_unwanted
from weft.data.reading import Reading
from weft.data.record_fields import Fields, Form, Rest, fields_of, is_conversation
from weft.data.row_error import EMPTY_DOCUMENT, Data, RowError, kind_of
from weft.data.tools import NOTHING, from_json, read_tools
from weft.data.turn_order import check_turns
from weft.data.unknown_shape import found, refuse_shape
from weft.types import Conversation, Document, Material, Message, Record, Setting

if TYPE_CHECKING:
    from weft.config.data_schema import RecordFormat

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
    reading = Reading()
    named, is_list = _named_fields(data)
    fields = fields_of(tuple(named), is_list, reading)
    return _chosen(_with_lists(named, fields), fields, reading)[0].name


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
        fields = fields_of(tuple(data), is_list, reading)
        if fields.kind == "document":
            mapping = (f"{fields.document} → document",)
            return Parsed(format=TEXT, mapping=mapping, material=_document(data, fields, record, source))
        if fields.kind == "refused":
            _refuse_conversation(data, reading)
        data = _with_lists(data, fields)
        form, messages = _chosen(data, fields, reading)
        if messages and messages[-1].role == "user" and (preference := preference_in(data)):
            refuse_preference(data, preference)
        if form.fields == UNPAIRED and data.get("label") is False:
            refuse_unwanted()
        check_turns(messages)
        if fields.has_setting and (setting := _setting(data)):
            messages[0] = replace(messages[0], setting=setting)
        conversation = Conversation(
            messages=tuple(messages),
            location=record.location,
            id=_id(data),
            source=source_of(data) or source,
            meta=_meta(data, form.rest, is_canonical=fields.is_canonical),
        )
    except RowError as error:
        raise RowError(error.reason, detail=error.detail, where=record.location, fix=error.fix) from None
    return Parsed(format=form.name, mapping=form.mapping(data), material=conversation)


def _document(data: Data, fields: Fields, record: Record, source: str | None) -> Document:
    text = text_at(data, fields.document)
    if not text or text.isspace():
        raise RowError(EMPTY_DOCUMENT, fix="leave it out")
    return Document(
        text=text,
        location=record.location,
        id=_id(data),
        source=source_of(data) or source,
        meta={**{field: data[field] for field in BESIDE if field in data}, **_meta(data, fields.document_rest)},
    )


def _refuse_conversation(data: Data, reading: Reading) -> NoReturn:
    if reading.mode == "cpt" and (oasst.is_message(data) or is_tree(data) or is_conversation(frozenset(data))):
        raise RowError(
            "the record is of a conversation, and mode: cpt trains documents",
            detail=found(data),
            fix="set mode: sft to train conversations, or mode: cpt_mixed to train documents beside them",
        )
    raise RowError(
        "the record is no document", detail=f'it has no field "{TEXT}"; {found(data)}', fix=f'name its text "{TEXT}"'
    )


def _chosen(data: Data, fields: Fields, reading: Reading) -> tuple[Form, list[Message]]:
    """The first form that fits, and the messages that it reads."""
    forms: Sequence[Form] = fields.forms
    if not forms:
        anything = fields.is_canonical or reading.format in ("auto", "chat", "custom")
        refuse_shape(data, None if anything else reading.format, reading)
    if len(forms) > 1:
        forms = [form for form in forms if all(data[field] for field in form.fields)] or forms[:1]
    first, *others = forms
    messages = first.read(data, first.fields)
    for other in others:
        if other.read(data, other.fields) != messages:
            meant = "data.format to the one that is meant"
            if other.name == first.name:
                question, answer, *_ = first.fields
                meant = f"data.format: custom, data.instruction_field: {question}, data.response_field: {answer}"
            raise RowError(
                "the fields of two record formats disagree",
                detail=f"{first.name} ({', '.join(first.fields)}) and {other.name} ({', '.join(other.fields)})",
                fix=f"set {meant}, or remove the other fields",
            )
    return first, messages


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


def _id(data: Data) -> str | None:
    value = data.get("id")
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(
            'the field "id" must be text or a number', detail=f"found {kind_of(value)}", fix="change or remove the id"
        )
    return str(value)


def _meta(data: Data, rest: Rest, *, is_canonical: bool = False) -> dict[str, Any]:
    """What the record says beside its conversation: its ``meta``, and every field that nothing else reads."""
    given = data.get("meta")
    if is_canonical and isinstance(given, dict):
        return dict(given)
    beside = {key: data[key] for key in rest.unread}
    if isinstance(beside.get("source"), str):
        del beside["source"]
    for field in rest.not_yet:
        if beside[field] not in NOTHING:
            raise RowError(
                f"records with {NOT_YET[field]} are not supported yet", detail=f'the field "{field}"', fix=LEAVE_OUT
            )
    for listed in rest.lists:
        items = data[listed]
        if _is_of_objects(items) and not all(map(LISTS[listed].read.issuperset, items)):
            if any(unread := _message_fields(data, rest.lists)):
                beside = _with_message_fields(beside, unread)
            break
    return joined_with_meta(beside, given)


def _message_fields(data: Data, lists: Sequence[str]) -> list[Data]:
    """What nothing reads of each message."""
    return [LISTS[listed].unread(item) for listed in lists if _is_of_objects(data[listed]) for item in data[listed]]


def _with_message_fields(beside: Data, unread: list[Data]) -> dict[str, Any]:
    if beside.get("message_fields") not in (*NOTHING, unread):
        raise RowError(
            'the field "message_fields" and what the messages hold beside their content disagree',
            detail="weft keeps the further fields of messages under this name",
            fix="rename the field, or remove it",
        )
    return {**beside, "message_fields": unread}


def _is_of_objects(value: Any) -> bool:
    """Whether it is a list, and not one of texts; with custom, it may be a text."""
    return isinstance(value, list) and not (value and isinstance(value[0], str))


def _with_lists(data: Data, fields: Fields) -> Data:
    """The record, with lists in place of JSON texts of them."""
    for key in fields.as_json:
        if isinstance(data[key], str) and data[key].lstrip().startswith("["):
            fix = (
                "write it as a list, or as JSON text of one (what Python prints of a list is none; json.dumps makes it)"
            )
            data = {**data, key: from_json(data[key], f'the field "{key}" is not JSON', fix)}
    return data


def _named_fields(data: Any) -> tuple[Data, bool]:
    """The record by its fields, and whether it is a list: ``["a question", {"answer": …}]``, with further fields perhaps."""
    if isinstance(data, (dict, Mapping)):  # to ask for a dict is quicker
        return data, False
    if isinstance(data, list) and len(data) == 2 and isinstance(data[0], str) and isinstance(data[1], Mapping):
        question, given = data
        if "question" in given and given["question"] != question:
            raise RowError("a pair holds two questions", fix="keep the one before the object")
        return {"question": question, **given}, True
    is_list_of_objects = isinstance(data, list) and data and all(isinstance(item, Mapping) for item in data)
    raise RowError(
        "a record must be an object with named fields",
        detail=f"found {kind_of(data)}",
        fix='put the messages into one: {"messages": […]}; a list of records belongs into a .json file'
        if is_list_of_objects
        else 'write one like {"input": …, "target": …}',
    )
