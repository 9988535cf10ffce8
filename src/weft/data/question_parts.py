"""Parts of a question in fields that a format does not read: a record that is read without them would ask something else."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from weft.data.row_error import Data, RowError
from weft.data.tools import NOTHING

_PARTS = ("instruction", "input", "context")
"""Fields that some format reads as a part of the question."""


def refuse_unread_parts(
    data: Data, fields: Sequence[str], question: str, read: Collection[str] = (), way: str | None = None
) -> None:
    """Refuse what a format has no place for; a part that the question repeats is none that is lost.

    Args:
        data: a record.
        fields: those of its question and its answer.
        question: what is asked.
        read: other fields that the format reads.
        way: how the part can be read after all; None: by settings, where some do it.

    Raises:
        RowError: a further field holds a part of the question.
    """
    for part in _PARTS:
        if part not in data or part in fields or part in read:
            continue
        value = data[part]
        if value not in NOTHING and not (isinstance(value, str) and _stands_in(value.strip(), question)):
            raise RowError(
                "a part of the question stands in a field that this format does not read",
                detail=f'the field "{part}" beside "{fields[0]}"',
                fix=f"{way or _way_to_read(data, fields, part, read)}; or rename the field, if it is no part of the question",
            )


def _stands_in(part: str, question: str) -> bool:
    """Whether it does as words of its own."""
    return part in question and re.search(rf"(?<!\w){re.escape(part)}(?!\w)", question) is not None


def _way_to_read(data: Data, fields: Sequence[str], part: str, read: Collection[str]) -> str:
    question, answer = fields
    others = [field for field in read if field in _PARTS and data.get(field) not in NOTHING]
    # The custom format reads one more text beside the question, and no calls of tools.
    if others or "tools" in read or not all(isinstance(data[field], str) for field in (question, part)):
        return f'add what it says to "{question}"'
    instruction, context = (part, question) if part == "instruction" else (question, part)
    settings = f"set data.format: custom, data.instruction_field: {instruction}, data.response_field: {answer}"
    return settings if context == "context" else f"{settings}, data.context_field: {context}"
