"""Files → conversations and documents: the one way in, for preparing, training, checking and scoring alike."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from weft.config.data_schema import RecordFormat
from weft.data.common_fields import CommonField, notices_of, refuse_slips
from weft.data.conversation_reader import ConversationReader
from weft.data.formats import SETTING
from weft.data.places import Paths, spelled
from weft.data.reading import Reading
from weft.data.row_error import RowError
from weft.data.rows import MEND, BadRow
from weft.data.strict_json import NESTING_LIMIT, TOO_DEEP, depth
from weft.data.tools import as_openai
from weft.types import Conversation, Document, Material, Message, Setting

if TYPE_CHECKING:
    from weft.data.split import Portion


@dataclass(frozen=True, kw_only=True)
class ConversationFile:
    """What files hold. Every record of the portion is in ``conversations`` or in ``bad_rows``."""

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
    common: tuple[CommonField, ...] = ()
    """The fields that the configuration names for all sets."""
    notices: tuple[str, ...] = ()
    """Samples that could not be as large as was asked for, system messages that were left out, and fields that are not there."""

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
    alone: bool = True,
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
        alone: whether no other set is read by the same configuration, which may have the fields that it names for all.

    Raises:
        DataError: the path is missing, unreadable or holds no records, or none has a field that the configuration names.
        Problems: some rows cannot be used and ``on_bad_row`` is ``error``, or no row can be used at all.
    """
    reader = ConversationReader(
        path, format=format, system_prompt=system_prompt, source=source, seed=seed, fix=fix, edit=edit
    )
    blocks = list(reader.blocks(portion=portion))
    bad_rows = [row for block in blocks for row in block.bad_rows]
    if alone:
        refuse_slips([(path, reader.common)])
    reader.refuse(bad_rows, on_bad_row)
    kept = [parsed for block in blocks for parsed in block.kept]
    notices = [*reader.tally.all_notices(), *notices_of(source or spelled(path), reader.common)]
    if portion and portion.held_out:  # what there is to say of the source is said of training
        bad_rows, notices = [], []
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
        files={file: records[file] for file in reader.files},
        left_out=reader.tally.left_out,
        skipped=tuple(path for part in reader.parts for path in part.skipped),
        common=tuple(reader.common),
        notices=tuple(notices),
    )


def turns_of(messages: Sequence[Message]) -> list[Message]:
    """The messages without the system message, what they are held with, and what they count: what is said."""
    turns = [message for message in messages if message.role != "system"]
    return [
        replace(message, setting=None, weight=None) if message.setting or message.weight is not None else message
        for message in turns
    ]


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


def check_nesting(conversation: Material) -> None:
    """Refuse what could not be read again: a field that goes to ``meta``, and arguments given as text, lie deeper there.

    Raises:
        RowError: the record that ``weft prepare`` would write has more levels than one may have.
    """
    if _may_be_deep(conversation) and (levels := depth(canonical(conversation))) > NESTING_LIMIT:
        raise RowError(
            TOO_DEEP, detail=f"prepared, it has {levels} levels; at most {NESTING_LIMIT} can be read again", fix=MEND
        )


def _may_be_deep(conversation: Material) -> bool:
    if any(isinstance(value, (dict, list)) for value in conversation.meta.values()):
        return True
    messages = conversation.messages if isinstance(conversation, Conversation) else ()
    return any(message.tool_calls or message.setting for message in messages)


def _as_openai(message: Message) -> dict[str, Any]:
    return {"role": message.role, "content": message.content, **_beside_content(message)}


def _beside_content(message: Message) -> dict[str, Any]:
    fields = {
        "reasoning_content": message.reasoning,
        "tool_calls": [as_openai(call, call.arguments) for call in message.tool_calls],
        "tool_call_id": message.tool_call_id,
        "name": message.name,
    }
    found = {key: value for key, value in fields.items() if value}
    if message.weight is None:
        return found
    return found | {"weight": int(message.weight) if message.weight.is_integer() else message.weight}


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
