"""Files → conversations: the one way in, for preparing, training, checking and scoring alike."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weft.config.schema import RecordFormat
from weft.data.formats import RowError, parse_as
from weft.data.sources import BadRow, find_files, read_file
from weft.errors import DataError, Problems, WeftError
from weft.types import Conversation, Message, Record

if TYPE_CHECKING:
    from weft.data.split import Part

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ConversationFile:
    """What a file, or a directory of files, holds. Every record read is in ``conversations`` or in ``bad_rows``."""

    conversations: tuple[Conversation, ...]
    """In the order of the files."""
    bad_rows: tuple[BadRow, ...]
    formats: Mapping[str, int]
    """How many conversations came in which format."""
    files: Mapping[str, int]
    """How many records each file holds."""
    skipped: tuple[Path, ...]
    """What lies in the directory and is not read: folders, and files of another kind."""


def read_conversations(
    path: Path,
    *,
    format: RecordFormat = "auto",
    on_bad_row: Literal["error", "drop"],
    system_prompt: str | None = None,
    source: str | None = None,
    part: Part | None = None,
    fix: str | None = None,
) -> ConversationFile:
    """Read every record of ``path``, a file or a directory.

    Args:
        path: see :func:`weft.data.sources.read_records`.
        format: see :func:`weft.data.formats.parse_record`.
        on_bad_row: ``error`` raises when all rows are read; ``drop`` returns the bad ones in ``bad_rows``.
        system_prompt: the system message of conversations that have none.
        source: the source of conversations whose record names none; by default the file's name without its ending.
        part: take only these conversations, and bad rows with those of training; None for all.
        fix: what to do where ``path`` is missing.

    Raises:
        DataError: the path is missing, unreadable or holds no records.
        Problems: some rows cannot be used and ``on_bad_row`` is ``error``, or no row can be used at all.
    """
    paths, skipped = find_files(path, fix=fix)
    conversations: list[Conversation] = []
    bad_rows: list[BadRow] = []
    names: list[str] = []
    for file in paths:
        for row in read_file(file):
            if isinstance(row, BadRow):
                bad_rows.append(row)
                continue
            try:
                name, conversation = parse_as(row, format, source=source or file.stem)
            except RowError as error:
                bad_rows.append(_bad_row(row, error))
                continue
            names.append(name)
            conversations.append(with_system_prompt(conversation, system_prompt))
    if bad_rows and (on_bad_row == "error" or not conversations):
        raise _problems(path, bad_rows, len(conversations) + len(bad_rows))
    if part is not None:
        taken = part.holds(conversations)
        names, conversations = list(compress(names, taken)), list(compress(conversations, taken))
        bad_rows = bad_rows if not part.held_out else []
    places = [*(talk.location for talk in conversations), *(row.location for row in bad_rows)]
    records = Counter(place.path for place in places)
    return ConversationFile(
        conversations=tuple(conversations),
        bad_rows=tuple(bad_rows),
        formats=Counter(names),
        files={str(file): records[str(file)] for file in paths},
        skipped=skipped,
    )


def with_system_prompt(conversation: Conversation, system_prompt: str | None) -> Conversation:
    """The conversation, with this system message if it has none of its own."""
    if system_prompt is None or conversation.messages[0].role == "system":
        return conversation
    return replace(conversation, messages=(Message(role="system", content=system_prompt), *conversation.messages))


def canonical(conversation: Conversation) -> dict[str, Any]:
    """The record that ``weft prepare`` writes: reading it gives the same conversation, at another place."""
    return {
        "id": conversation.id,
        "source": conversation.source,
        "messages": [{"role": message.role, "content": message.content} for message in conversation.messages],
        "meta": conversation.meta,
    }


def content_digest(messages: Sequence[Message]) -> str:
    """The SHA-256 of what the messages say: equal for equal messages and for no others."""
    text = "".join(f"{message.role} {len(message.content)} {message.content}" for message in messages)
    return hashlib.sha256(text.encode()).hexdigest()


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
