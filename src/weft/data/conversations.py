"""Files → conversations and documents: the one way in, for preparing, training, checking and scoring alike."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from weft.config.schema import RecordFormat
from weft.data import oasst
from weft.data.formats import SETTING, Parsed, RowError, parse_as
from weft.data.places import Part, Paths, find_parts, spelled, stem
from weft.data.reading import TREES, Reading
from weft.data.rows import BadRow
from weft.data.sources import read_part
from weft.data.tools import as_openai
from weft.errors import DataError, Problems, WeftError
from weft.types import Conversation, Document, Material, Message, Record, Setting

if TYPE_CHECKING:
    from weft.data.split import Portion

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ConversationFile:
    """What files hold. Every record read is in ``conversations`` or in ``bad_rows``."""

    conversations: tuple[Material, ...]
    """In the order of the files; documents among them where the mode trains documents."""
    bad_rows: tuple[BadRow, ...]
    formats: Mapping[str, int]
    """How many of them came in which format."""
    mappings: Mapping[str, Mapping[str, int]]
    """What was read as what, by format, in how many records: ``{"qa": {"question → user": 2, …}}``."""
    files: Mapping[str, int]
    """How many records each file holds; of a sample, how many were taken; of message trees, conversations and bad rows."""
    left_out: Mapping[str, int]
    """How many messages of trees no conversation holds, by reason."""
    skipped: tuple[Path, ...]
    """What lies in a directory, or matches a pattern, and is not read: folders, files of another kind, notes."""
    notices: tuple[str, ...] = ()
    """Samples that could not be as large as was asked for."""

    @property
    def talks(self) -> Iterator[Conversation]:
        """The conversations without the documents."""
        return (one for one in self.conversations if isinstance(one, Conversation))


def read_conversations(
    path: Paths,
    *,
    format: RecordFormat | Reading = "auto",
    on_bad_row: Literal["error", "drop"],
    system_prompt: str | None = None,
    edit: Callable[[Material], Material] | None = None,
    source: str | None = None,
    seed: int = 0,
    portion: Portion | None = None,
    fix: str | None = None,
) -> ConversationFile:
    """Read every record of ``path``: a file, a directory, a pattern, a list of these.

    Args:
        path: see :func:`weft.data.places.find_parts`.
        format: see :func:`weft.data.formats.parse_record`.
        on_bad_row: ``error`` raises when all rows are read; ``drop`` returns the bad ones in ``bad_rows``.
        system_prompt: the system message of conversations that have none.
        edit: changes each conversation before it gets a system message; where it raises a ``RowError``, the record is a bad row.
        source: the source of conversations whose record names none; by default the file's name without its ending.
        seed: which records a sample (``path#500``) takes.
        portion: take only these conversations, and bad rows with those of training; None for all.
        fix: what to do where ``path`` is missing.

    Raises:
        DataError: the path is missing, unreadable or holds no records, or none has a field that the configuration names.
        Problems: some rows cannot be used and ``on_bad_row`` is ``error``, or no row can be used at all.
    """
    reading = format if isinstance(format, Reading) else Reading(format=format)
    parts = find_parts(path, seed=seed, fix=fix)
    read = _Read(reading, system_prompt, edit)
    for part in parts:
        read.part(part, seed, source)
    read.require_named_fields(path)
    kept, bad_rows = read.kept, read.bad_rows
    if bad_rows and (on_bad_row == "error" or not kept):
        raise _problems(path, bad_rows, len(kept) + len(bad_rows))
    if not kept:
        raise DataError(
            "no conversation is left: "
            + "; ".join(f"{count} messages are {why}" for why, count in read.left_out.items()),
            where=spelled(path),
            fix="choose otherwise with data.oasst_lang, or name another file",
        )
    if portion is not None:
        kept = list(compress(kept, portion.holds([one.material for one in kept])))
        bad_rows = [] if portion.held_out else bad_rows
    mappings: dict[str, Counter[str]] = {}
    for one in kept:
        mappings.setdefault(one.format, Counter()).update(one.mapping)
    places = [*(one.material.location for one in kept), *(row.location for row in bad_rows)]
    records = Counter(place.path for place in places)
    return ConversationFile(
        conversations=tuple(one.material for one in kept),
        bad_rows=tuple(bad_rows),
        formats=Counter(one.format for one in kept),
        mappings=mappings,
        files={str(file): records[str(file)] for part in parts for file in part.files},
        left_out=read.left_out,
        skipped=tuple(path for part in parts for path in part.skipped),
        notices=tuple(read.notices),
    )


class _Read:
    """What was read so far."""

    def __init__(
        self, reading: Reading, system_prompt: str | None, edit: Callable[[Material], Material] | None
    ) -> None:
        self._reading, self._system_prompt, self._edit = reading, system_prompt, edit
        self._trees = reading.format in TREES and reading.mode != "cpt"
        self._by_line = reading.format == "lines"
        self.kept: list[Parsed] = []
        self.bad_rows: list[BadRow] = []
        self.left_out: Counter[str] = Counter()
        self.notices: list[str] = []
        self._unseen = reading.named_fields() if reading.format == "custom" else {}

    def part(self, part: Part, seed: int, source: str | None) -> None:
        """Take in the rows of a part. Messages of trees wait for its end: their order in it is free."""
        rows, notices = read_part(part, seed, by_line=self._by_line)
        of_trees: list[Record] = []
        for row in rows:
            if isinstance(row, BadRow):
                self.bad_rows.append(row)
            elif self._trees and oasst.is_message(row.data):
                of_trees.append(row)
            else:
                self._record(row, source or stem(row.location.path))
        if of_trees and part.sample is not None:
            raise DataError(
                "a sample takes single records, and would tear trees of messages apart",
                where=part.name,
                fix=f"leave out #{part.sample}, or take the sample of what `weft prepare` makes of the trees",
            )
        if of_trees:
            self._read_trees(of_trees, source or stem(of_trees[0].location.path))
        self.notices += notices

    def _record(self, row: Record, source: str) -> None:
        try:
            parsed = parse_as(row, self._reading, source=source)
            if self._unseen and parsed.format == "custom":
                self._unseen = {key: field for key, field in self._unseen.items() if field not in row.data}
            self._keep(parsed)
        except RowError as error:
            self.bad_rows.append(_bad_row(row, error))

    def require_named_fields(self, path: Paths) -> None:
        """Raise where a field that the configuration names, and that a record may lack, is in none of them."""
        for key, field in self._unseen.items():
            if any(one.format == "custom" for one in self.kept):
                raise DataError(
                    f'no record has the field "{field}", which data.{key} names',
                    where=spelled(path),
                    fix=f"correct data.{key}, or remove it",
                )

    def _read_trees(self, records: Sequence[Record], source: str) -> None:
        trees = oasst.read_trees(records, self._reading, source=source)
        self.bad_rows += [_bad_row(record, error) for record, error in trees.bad]
        self.left_out.update(trees.left_out)
        for conversation in trees.conversations:
            try:
                self._keep(Parsed(format="oasst", material=conversation, mapping=oasst.MAPPING))
            except RowError as error:
                record = Record(data=canonical(conversation), location=conversation.location)
                self.bad_rows.append(_bad_row(record, error))

    def _keep(self, parsed: Parsed) -> None:
        material = self._edit(parsed.material) if self._edit else parsed.material
        self.kept.append(replace(parsed, material=with_system_prompt(material, self._system_prompt)))


Either = TypeVar("Either", Conversation, Document, Material)


def with_system_prompt(conversation: Either, system_prompt: str | None) -> Either:
    """The conversation, with this system message if it has none of its own; a document as it is."""
    if isinstance(conversation, Document) or system_prompt is None or conversation.messages[0].role == "system":
        return conversation
    return replace(conversation, messages=under(conversation.messages, system_prompt))


def under(messages: Sequence[Message], system_prompt: str) -> tuple[Message, ...]:
    """The messages, below this system message if they have none of their own."""
    first, *others = messages
    if first.role == "system":
        return tuple(messages)
    opening = Message(role="system", content=system_prompt, setting=first.setting)
    return opening, replace(first, setting=None) if first.setting else first, *others


def turns_of(messages: Sequence[Message]) -> list[Message]:
    """The messages without the system message and without what they are held with: what is said."""
    turns = [message for message in messages if message.role != "system"]
    return [replace(turns[0], setting=None), *turns[1:]] if turns and turns[0].setting else turns


def canonical(conversation: Material) -> dict[str, Any]:
    """The record that ``weft prepare`` writes: reading it gives the same conversation or document, at another place."""
    if isinstance(conversation, Document):
        return {
            "id": conversation.id,
            "source": conversation.source,
            "text": conversation.text,
            "meta": conversation.meta,
        }
    setting = conversation.messages[0].setting or Setting()
    given = (setting.tools, setting.arguments)
    return {
        "id": conversation.id,
        "source": conversation.source,
        "messages": [_as_openai(message) for message in conversation.messages],
        **{field: value for field, value in zip(SETTING, given, strict=True) if value},
        "meta": conversation.meta,
    }


def _as_openai(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content, **_beside_content(message)}


def _beside_content(message: Message) -> dict[str, Any]:
    fields = {
        "reasoning_content": message.reasoning,
        "tool_calls": [as_openai(call, call.arguments) for call in message.tool_calls],
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }
    return {key: value for key, value in fields.items() if value}


def content_digest(messages: Sequence[Message]) -> str:
    """The SHA-256 of what the messages say: equal for equal messages and for no others."""
    return hashlib.sha256("".join(map(_said, messages)).encode()).hexdigest()


def digest_of(material: Material) -> str:
    """The SHA-256 of all that a conversation or a document says, the system message included."""
    if isinstance(material, Document):
        return hashlib.sha256(b"document " + material.text.encode(errors="surrogatepass")).hexdigest()
    return content_digest(material.messages)


def _said(message: Message) -> str:
    """A message as text that is no other message's, and that no other's text begins with."""
    plain = f"{message.role} {len(message.content)} {message.content}"
    beside = _beside_content(message)
    if message.setting:
        beside |= {"tools": message.setting.tools, "chat_template_kwargs": message.setting.arguments}
    return plain + json.dumps(beside, sort_keys=True) if beside else plain


def _bad_row(record: Record, error: RowError) -> BadRow:
    raw = json.dumps(record.data, ensure_ascii=False)
    return BadRow(location=record.location, reason=error.reason, detail=error.detail, raw=raw, fix=error.fix)


def _problems(path: Paths, bad_rows: Sequence[BadRow], records: int) -> Problems:
    """The first bad rows, each fix said once, and what to do about all of them."""
    shown: list[WeftError] = []
    said: set[str | None] = set()
    for row in bad_rows[:_SHOWN]:
        shown.append((replace(row, fix=None) if row.fix in said else row).error())
        said.add(row.fix)
    more = f" ({len(bad_rows) - _SHOWN} more than are shown)" if len(bad_rows) > _SHOWN else ""
    if len(bad_rows) == records:
        what, fix = f"none of the {records} records can be used{more}", "mend them, or name another file"
    else:
        what = f"{len(bad_rows)} of {records} records cannot be used{more}"
        fix = "mend them, or leave them out with on_bad_row=drop, which counts and keeps them in a rejects file"
    return Problems([*shown, DataError(what, where=spelled(path), fix=fix)])
