"""The settings of the custom format that read a record, where the names of its fields tell which of them hold what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weft.data.reading import Reading
from weft.data.row_error import Data

_QUESTIONS = ("instruction", "question", "query", "prompt", "problem", "input", "inputs", "user", "human", "task")
_ANSWERS = (
    "output", "response", "solution", "answer", "completion", "target", "targets", "assistant", "bot", "gpt", "reply",
    "chosen", "preferred_output",
)  # fmt: skip
_SYSTEMS = ("system", "system_prompt", "system_message")
_CONTEXTS = ("context", "input", "passage")


def own_fields(data: Data, answers: Sequence[str] = _ANSWERS) -> str | None:
    """The settings for a record, for people; None where the names do not tell.

    Args:
        data: the record.
        answers: what the field of the answer may be called, the likeliest first, in any case.
    """
    names = {key.lower(): key for key, value in data.items() if isinstance(key, str) and isinstance(value, str)}

    def one_of(candidates: Iterable[str]) -> str | None:
        return next((names.pop(name) for name in candidates if name in names), None)

    fields = {"instruction_field": one_of(_QUESTIONS), "response_field": one_of(answers)}
    if None in fields.values():
        return None
    beside = {"system_field": one_of(_SYSTEMS), "context_field": one_of(_CONTEXTS)}
    default = Reading()
    fields |= {key: name for key, name in beside.items() if name not in (None, getattr(default, key))}
    return "set data.format: custom, " + ", ".join(f"data.{key}: {name}" for key, name in fields.items())
