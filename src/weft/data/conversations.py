"""Files → conversations: the one way in, for preparing, training, checking and scoring alike."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from weft.config.schema import RecordFormat
from weft.data import oasst
from weft.data.formats import SETTING, RowError, parse_as
from weft.data.reading import TREES, Reading
from weft.data.sources import BadRow, find_files, read_file
from weft.data.tools import as_openai
from weft.errors import DataError, Problems, WeftError
from weft.types import Conversation, Message, Record, Setting

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ConversationFile:
    """What a file, or a directory of files, holds. Every record read is in ``conversations`` or in ``bad_rows``."""

    conversations: tuple[Conversation, ...]
    """In the order of the files."""
    bad_rows: tuple[BadRow, ...]
    formats: Mapping[str, int]
    """How many conversations came in which format."""
    mappings: Mapping[str, Mapping[str, int]]
    """What was read as what, by format, in how many records: ``{"qa": {"question → user": 2, …}}``."""
    files: Mapping[str, int]
    """How many records each file holds; of a file of message trees, how many conversations and bad rows."""
    left_out: Mapping[str, int]
    """How many messages of trees no conversation holds, by reason."""
    skipped: tuple[Path, ...]
    """What lies in the directory and is not read: folders, and files of another kind."""


def read_conversations(
    path: Path,
    *,
    format: RecordFormat | Reading = "auto",
    on_bad_row: Literal["error", "drop"],
    system_prompt: str | None = None,
    source: str | None = None,
    fix: str | None = None,
) -> ConversationFile:
    """Read every record of ``path``, a file or a directory.

    Args:
        path: see :func:`weft.data.sources.read_records`.
        format: see :func:`weft.data.formats.parse_record`.
        on_bad_row: ``error`` raises when all rows are read; ``drop`` returns the bad ones in ``bad_rows``.
        system_prompt: the system message of conversations that have none.
        source: the source of conversations whose record names none; by default the file's name without its ending.
        fix: what to do where ``path`` is missing.

    Raises:
        DataError: the path is missing, unreadable or holds no records, or none has a field that the configuration names.
        Problems: some rows cannot be used and ``on_bad_row`` is ``error``, or no row can be used at all.
    """
    reading = format if isinstance(format, Reading) else Reading(format=format)
    paths, skipped = find_files(path, fix=fix)
    read = _Read(reading, system_prompt)
    for file in paths:
        read.file(file, source or file.stem)
    read.require_named_fields(path)
    bad_rows, conversations = read.bad_rows, read.conversations
    if bad_rows and (on_bad_row == "error" or not conversations):
        raise _problems(path, bad_rows, sum(read.files.values()))
    if not conversations:
        raise DataError(
            "no conversation is left: "
            + "; ".join(f"{count} messages are {why}" for why, count in read.left_out.items()),
            where=str(path),
            fix="choose otherwise with data.oasst_lang, or name another file",
        )
    return ConversationFile(
        conversations=tuple(conversations),
        bad_rows=tuple(bad_rows),
        formats=read.formats,
        mappings=read.mappings,
        files=read.files,
        left_out=read.left_out,
        skipped=skipped,
    )


class _Read:
    """What was read so far."""

    def __init__(self, reading: Reading, system_prompt: str | None) -> None:
        self._reading, self._system_prompt = reading, system_prompt
        self._trees = reading.format in TREES
        self.conversations: list[Conversation] = []
        self.bad_rows: list[BadRow] = []
        self.formats: Counter[str] = Counter()
        self.mappings: dict[str, Counter[str]] = {}
        self.files: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()
        self._unseen = reading.named_fields() if reading.format == "custom" else {}

    def file(self, path: Path, source: str) -> None:
        """Take one file in. Messages of trees wait for its end: their order in it is free."""
        before = len(self.conversations) + len(self.bad_rows)
        of_trees: list[Record] = []
        for row in read_file(path):
            if isinstance(row, BadRow):
                self.bad_rows.append(row)
            elif self._trees and oasst.is_message(row.data):
                of_trees.append(row)
            else:
                self._record(row, source)
        if of_trees:
            self._read_trees(of_trees, source)
        self.files[str(path)] = len(self.conversations) + len(self.bad_rows) - before

    def _record(self, row: Record, source: str) -> None:
        try:
            parsed = parse_as(row, self._reading, source=source)
        except RowError as error:
            self.bad_rows.append(_bad_row(row, error))
        else:
            if self._unseen and parsed.format == "custom":
                self._unseen = {key: field for key, field in self._unseen.items() if field not in row.data}
            self._keep(parsed.conversation, parsed.format, parsed.mapping)

    def require_named_fields(self, path: Path) -> None:
        """Raise where a field that the configuration names, and that a record may lack, is in none of them."""
        for key, field in self._unseen.items():
            if self.formats["custom"]:
                raise DataError(
                    f'no record has the field "{field}", which data.{key} names',
                    where=str(path),
                    fix=f"correct data.{key}, or remove it",
                )

    def _read_trees(self, records: Sequence[Record], source: str) -> None:
        trees = oasst.read_trees(records, self._reading, source=source)
        self.bad_rows += [_bad_row(record, error) for record, error in trees.bad]
        self.left_out.update(trees.left_out)
        for conversation in trees.conversations:
            self._keep(conversation, "oasst", oasst.MAPPING)

    def _keep(self, conversation: Conversation, format: str, mapping: Sequence[str]) -> None:
        self.formats[format] += 1
        self.mappings.setdefault(format, Counter()).update(mapping)
        self.conversations.append(with_system_prompt(conversation, self._system_prompt))


def with_system_prompt(conversation: Conversation, system_prompt: str | None) -> Conversation:
    """The conversation, with this system message if it has none of its own."""
    if system_prompt is None or conversation.messages[0].role == "system":
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


def canonical(conversation: Conversation) -> dict[str, Any]:
    """The record that ``weft prepare`` writes: reading it gives the same conversation, at another place."""
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


def _problems(path: Path, bad_rows: Sequence[BadRow], records: int) -> Problems:
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
    return Problems([*shown, DataError(what, where=str(path), fix=fix)])
