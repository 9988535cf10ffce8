"""Records that ask without answering, such as those of benchmarks: read as records are, their answers aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.data.formats import FORMATS

_ASKING = ("user", "human", "tool", "observation")
_ANY_ANSWER = "?"
_ANY_CALL = [{"name": "?"}]


def answered(data: Any, *, anew: bool = False) -> Any:
    """The record with some answer where it has none, so that the one parser of records reads it.

    Args:
        data: the record as read.
        anew: put the same in place of an answer that a field holds, whatever it is: the number of a choice, a list of answers.
    """
    if not isinstance(data, Mapping):
        return data
    for field in ("messages", "conversations", "conversation"):
        messages = data.get(field)
        if isinstance(messages, list) and messages:
            last = messages[-1]
            asks = isinstance(last, Mapping) and last.get("role", last.get("from")) in _ASKING
            return {**data, field: [*messages, {"role": "assistant", "content": _ANY_ANSWER}]} if asks else data
    return {**data, **{field: answer for field, answer in _answer(data).items() if anew or not data.get(field)}}


def _answer(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Some answer under the name of the field that answers the record's question, by the format that knows most of its fields."""
    known = [
        (sum(name in data for name in (*fields, *format.optional)), fields)
        for format in FORMATS.values()
        for fields in format.fields
        if len(fields) > 1 and all(name in data for name in (fields[0], *fields[2:]))
    ]
    if not known:
        return {}
    _, (_, answer, *tools) = max(known, key=lambda pair: pair[0])
    return {answer: _ANY_CALL if tools else _ANY_ANSWER}
