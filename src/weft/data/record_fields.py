"""What the names of a record's fields tell: found once, for all records with the same names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from weft.data import oasst
from weft.data.format_readers import read_custom
from weft.data.format_table import AS_JSON, BESIDE, CANONICAL, FORMATS, LISTS, MEANING, NOT_YET, SETTING, TEXT, TEXTS
from weft.data.reading import DOCUMENTS, Reading
from weft.data.row_error import Data
from weft.data.tools import NOTHING
from weft.types import Message

_KNOWN = frozenset({"id", "meta", *BESIDE})
_MEANINGS = {1: ("messages",), 2: ("user", "assistant"), 3: ("user", "assistant", "tools")}
"""What the fields mean by which a format is known, by their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rest:
    """What records hold beside what makes a conversation or document of them."""

    unread: tuple[str, ...]
    """The fields that nothing reads."""
    not_yet: tuple[str, ...]
    """Those of them that weft should read, and cannot."""
    lists: tuple[str, ...]
    """The fields of messages, which may hold more than is read."""

    @classmethod
    def of(cls, keys: Sequence[str], read: Collection[str]) -> Rest:
        """The rest of the fields ``keys``, of which those of ``read`` are read."""
        unread = tuple(key for key in keys if key not in read and key not in _KNOWN)
        return cls(
            unread=unread,
            not_yet=tuple(key for key in unread if key in NOT_YET),
            lists=tuple(key for key in keys if key in read and key in LISTS),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to read conversations from records that have the same names of fields."""

    name: str
    """Of the format."""
    fields: tuple[str, ...]
    """By which it is known."""
    read: Callable[[Data, Sequence[str]], list[Message]]
    rest: Rest
    optional: tuple[tuple[str, str], ...]
    """The other fields that it reads, of those that there are, with what they mean."""
    beside: tuple[tuple[str, str], ...]
    """Fields of what the conversation is held with, likewise."""
    mappings: dict[tuple[tuple[str, ...], ...], tuple[str, ...]] = field(default_factory=dict)
    """Those made so far."""

    @classmethod
    def of(
        cls,
        name: str,
        keys: Sequence[str],
        fields: tuple[str, ...],
        optional: Mapping[str, str],
        read: Callable[[Data, Sequence[str]], list[Message]],
    ) -> Form:
        """``keys`` are the names of all fields."""
        return cls(
            name=name,
            fields=fields,
            read=read,
            rest=Rest.of(keys, {*fields, *optional}),
            optional=tuple((key, meaning) for key, meaning in optional.items() if key in keys),
            beside=tuple((key, MEANING[key]) for key in BESIDE if key in keys),
        )

    def reads(self, key: str) -> bool:
        """Whether it reads the field ``key`` for messages."""
        return key in self.fields or any(key == name for name, _ in self.optional)

    def mapping(self, data: Data) -> tuple[str, ...]:
        """What is read as what: ``question → user``."""
        filled: tuple[str, ...] = ()
        if self.optional or self.beside:  # of most records neither
            filled = (
                *(key for key, _ in self.optional if data[key]),
                *(key for key, _ in self.beside if data[key] not in NOTHING),
            )
        lists: tuple[str, ...] = ()
        for key in self.fields:  # no expression: this is for every record
            if isinstance(data[key], list):
                lists += (key,)
        if (filled, lists) not in self.mappings:
            meanings = _MEANINGS[len(self.fields)]
            read = {
                key: "messages" if key in lists else meaning for key, meaning in zip(self.fields, meanings, strict=True)
            }
            read |= {key: meaning for key, meaning in (*self.optional, *self.beside) if key in filled}
            self.mappings[filled, lists] = tuple(f"{key} → {meaning}" for key, meaning in read.items())
        return self.mappings[filled, lists]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """What records are that have the same names of fields."""

    kind: Literal["conversation", "document", "refused"]
    """``refused``: only documents are read, and it is none."""
    document: str
    """The field of a document's text."""
    document_rest: Rest
    """What there is beside it."""
    is_canonical: bool
    """Whether ``weft prepare`` writes such conversations."""
    forms: tuple[Form, ...]
    """How a conversation may be read, in the order in which it is tried."""
    as_json: tuple[str, ...]
    """The fields of these forms whose list may be given as JSON text."""
    has_setting: bool
    """Whether there may be something that it is held with."""


@lru_cache(maxsize=2**10)
def fields_of(keys: tuple[str, ...], is_list: bool, reading: Reading) -> Fields:
    """What their fields say of records.

    Args:
        keys: the names of their fields.
        is_list: whether they are lists of a question and an object.
        reading: how they are to be read.
    """
    names = frozenset(keys)
    document = _document(names)
    is_canonical = names >= CANONICAL and names - CANONICAL <= frozenset(SETTING)
    if reading.is_custom(names) and not is_canonical:
        forms = [_custom(keys, reading)]
    else:
        anything = is_canonical or reading.format in ("auto", "chat", "custom")
        forms = list(_fitting(keys, is_list, None if anything else reading.format, reading))
    return Fields(
        kind=_kind(names, reading, is_text=document is not None),
        document=document or TEXT,
        document_rest=Rest.of(keys, {document or TEXT}),
        is_canonical=is_canonical,
        forms=tuple(forms),
        as_json=tuple(key for key in AS_JSON if any(form.name != "custom" and form.reads(key) for form in forms)),
        has_setting=not names.isdisjoint(BESIDE),
    )


def is_conversation(names: frozenset[str]) -> bool:
    """Whether a record with fields of these names can be read as a conversation."""
    return any(names.issuperset(fields) for form in FORMATS.values() for fields in form.fields)


def _document(names: frozenset[str]) -> str | None:
    """The field of a document's text; a single message is none."""
    return next((name for name in TEXTS if name in names and not (name == "content" and "role" in names)), None)


def _kind(names: frozenset[str], reading: Reading, *, is_text: bool) -> Literal["conversation", "document", "refused"]:
    only = reading.mode == "cpt" or reading.format in DOCUMENTS
    if only and (not is_text or oasst.are_fields(names)):
        return "refused"
    if not is_text or reading.mode == "sft":
        return "conversation"
    return "document" if only or (reading.format == "auto" and not is_conversation(names)) else "conversation"


def _custom(keys: tuple[str, ...], reading: Reading) -> Form:
    def read(data: Data, _: Sequence[str]) -> list[Message]:
        return read_custom(data, reading)

    return Form.of("custom", keys, (reading.instruction_field, reading.response_field), reading.optional_fields(), read)


def _fitting(keys: tuple[str, ...], is_list: bool, only: str | None, reading: Reading) -> Iterator[Form]:
    for name, form in FORMATS.items():
        if only in (None, name) and (name == "pairs") == is_list:
            read = (form.read_whole if reading.trains_all else None) or form.read
            optional = {key: MEANING[key] for key in form.optional}
            for fields in form.fields:
                if set(fields) <= set(keys):
                    yield Form.of(name, keys, fields, optional, read)
