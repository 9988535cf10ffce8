"""Records of preferences, which supervised fine-tuning does not learn from: what they are, and what to do about them."""

from __future__ import annotations

from typing import NoReturn

from weft.data.own_fields import own_fields
from weft.data.row_error import Data, RowError
from weft.data.sharegpt import speaker_of
from weft.data.tools import NOTHING

_PAIRS = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
"""The fields in which they keep the better and the worse answer."""
UNPAIRED = ("prompt", "completion")
"""The fields beside which a ``label`` says whether the answer is wanted, in sets of single ones."""


def preference_in(data: Data) -> tuple[str, str] | None:
    """The fields of the better and the worse answer, in a record of a preference."""
    return next((pair for pair in _PAIRS if data.keys() >= set(pair)), None)


def refuse_preference(data: Data, fields: tuple[str, str]) -> NoReturn:
    """Raise the error for a record of a preference."""
    chosen, rejected = fields
    raise RowError(
        "the record is a preference between two answers, and supervised fine-tuning learns from one",
        detail=f'the fields "{chosen}" and "{rejected}"',
        fix=f"to train on the chosen answers alone, {_use_of(data, chosen)}; or leave such records out",
    )


def refuse_unwanted() -> NoReturn:
    """Raise the error for a record of an answer that is not wanted."""
    raise RowError(
        "the record is an answer that its label calls unwanted, and supervised fine-tuning would learn it",
        detail='the field "label" is false',
        fix="leave such records out (on_bad_row: drop does), or name the field otherwise if it means something else",
    )


def _use_of(data: Data, chosen: str) -> str:
    answer = data[chosen]
    if isinstance(answer, str) and (settings := own_fields(data, (chosen,))):
        return settings
    for field in ("messages", "conversations"):
        if data.get(field) not in NOTHING:
            return f'add "{chosen}" at the end of "{field}"'
    if isinstance(answer, list) and answer and speaker_of(answer[0]) in ("system", "user", "human"):
        return f'rename "{chosen}" to "messages"'
    if "prompt" in data:
        return f'rename "{chosen}" to "completion"'
    return 'write them with their questions as {"messages": [{"role": …, "content": …}, …]}'
