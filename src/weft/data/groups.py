"""What keeps conversations together, so that no split divides them: the same question, and the same value of a field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain

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
    of_field: list[tuple[int, bytes]] = field(default_factory=list)
    """Conversations with the field that keeps them together: their places, and the group that its value makes."""
    several: list[tuple[int, tuple[bytes, ...]]] = field(default_factory=list)
    """Conversations that ask several questions: their places, and the group that each of the questions would have alone."""


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
    for place, conversation in enumerate(conversations):
        questions = [] if group_by == NONE else _questions(conversation)
        alike = content_digest(questions) if questions else said(conversation)
        found.groups.append(_keyed(key, alike))
        if by_field and (value := conversation.meta.get(group_by)) not in (None, ""):
            written = json.dumps(value, sort_keys=True)
            found.of_field.append((place, _keyed(key, f"{group_by}: {written}")))
        if len(questions) > 1:
            alone = (_keyed(key, content_digest([question])) for question in questions)
            found.several.append((place, tuple(dict.fromkeys(alone))))
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
    starts = list(accumulate((len(part.groups) for part in parts), initial=0))
    of_field = [
        (start + place, value) for start, part in zip(starts, parts, strict=False) for place, value in part.of_field
    ]
    several = [
        (start + place, alone) for start, part in zip(starts, parts, strict=False) for place, alone in part.several
    ]
    together = {place for place, _ in several}
    single = {group for place, group in enumerate(groups) if place not in together} if several else set()
    links = chain(
        ((groups[place], value) for place, value in of_field),
        ((groups[place], question) for place, questions in several for question in single.intersection(questions)),
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
