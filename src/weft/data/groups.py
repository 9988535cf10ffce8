"""What keeps conversations together, so that no split divides them: the same question, and the same value of a field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain

from weft.data.comparing import comparable
from weft.data.conversations import content_digest, digest_of, turns_of
from weft.data.seeds import derive_seed
from weft.errors import DataError
from weft.types import Document, Material, Message

QUESTION, NONE = "question", "none"
"""What may make conversations a group, beside a field of ``meta``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouped:
    """Conversations by what makes them groups, before groups are joined that share a question or a field's value."""

    groups: list[bytes] = field(default_factory=list)
    """Of each conversation, in order."""
    of_field: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Of conversations with the field that keeps them together: their group, and the one that its value makes."""
    several: list[tuple[bytes, tuple[bytes, ...]]] = field(default_factory=list)
    """Of conversations that ask several questions: their group, and the one that each of the questions would have alone."""


def grouped(conversations: Iterable[Material], seed: int, group_by: str = QUESTION) -> Grouped:
    """The group of each conversation: a keyed hash, by which groups can be ranked.

    Args:
        conversations: what is divided.
        seed: another one hashes otherwise.
        group_by: see :func:`weft.data.split.assign_splits`.

    Raises:
        DataError: no record has the field ``group_by``.
    """
    key = f"{derive_seed(seed, 'split')}:"
    found = Grouped()
    by_field = group_by not in (QUESTION, NONE)
    for conversation in conversations:
        questions = [] if group_by == NONE else _questions(conversation)
        alike = content_digest(questions) if questions else (said if group_by == NONE else asked)(conversation)
        group = _keyed(key, alike)
        found.groups.append(group)
        if by_field and (value := conversation.meta.get(group_by)) not in (None, ""):
            written = json.dumps(value, sort_keys=True)
            found.of_field.append((group, _keyed(key, f"{group_by}: {written}")))
        if len(questions) > 1:
            alone = (_keyed(key, content_digest([question])) for question in questions)
            found.several.append((group, tuple(dict.fromkeys(alone))))
    if by_field and not found.of_field:
        raise DataError(
            f'no record has the field "{group_by}" in its meta',
            where="data.split.group_by",
            fix=f"name a field that records have, or {QUESTION} or {NONE}",
        )
    return found


def linked(*parts: Grouped) -> list[bytes]:
    """The group of each conversation of all ``parts``, where those are one that share a value of the field, or a question: one
    that asks a single question is in a group with all that ask it among others, so that none of these tells what is asked of
    the model elsewhere.
    """
    groups = [group for part in parts for group in part.groups]
    several = [each for part in parts for each in part.several]
    asked_alone = set(groups) if several else set()  # of the groups, no other can be that of a single question
    links = chain(
        chain.from_iterable(part.of_field for part in parts),
        ((group, question) for group, questions in several for question in asked_alone.intersection(questions)),
    )
    above: dict[bytes, bytes] = {}

    def first(group: bytes) -> bytes:
        while group in above:
            above[group] = group = above.get(above[group], above[group])
        return group

    for each, another in links:
        one, other = sorted((first(each), first(another)))
        if one != other:
            above[other] = one
    return [first(group) for group in groups]


def asked(conversation: Material) -> str:
    """A digest of what the user says in a conversation, without differences of case and spacing; of a document, of all of it."""
    return digest_of(conversation) if isinstance(conversation, Document) else content_digest(_questions(conversation))


def said(conversation: Material) -> str:
    """A digest of what a conversation says, whatever its system message asks for; of a document, of its text."""
    if isinstance(conversation, Document):
        return digest_of(conversation)
    return content_digest(turns_of(conversation.messages))


def _questions(conversation: Material) -> list[Message]:
    """What the user says, as it is compared, whoever that is; nothing in a document."""
    if isinstance(conversation, Document):
        return []
    turns = turns_of(conversation.messages)
    return [replace(turn, content=comparable(turn.content), name=None) for turn in turns if turn.role == "user"]


def _keyed(key: str, text: str) -> bytes:
    return hashlib.sha256((key + text).encode()).digest()
