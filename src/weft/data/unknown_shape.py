"""What is said of records that no format fits, and of preferences: what they hold, may be, and the settings that read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from weft.data.format_table import FORMATS, TEXT
from weft.data.reading import Reading
from weft.data.row_error import Data, RowError
from weft.data.tools import NOTHING

_ELSEWHERE = {
    "pairs": '["a question", {"answer": …}]',
    "oasst": "message_id + parent_id + role + text or message_tree_id + prompt with its replies",
}
_PREFERENCES = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))
"""The fields in which sets of preferences keep the better and the worse answer."""
UNPAIRED = ("prompt", "completion")
"""The fields beside which a ``label`` says whether the answer is wanted, in sets of single preferences."""

_QUESTIONS = ("instruction", "question", "query", "prompt", "problem", "input", "inputs", "user", "human", "task")
_ANSWERS = (
    *("output", "response", "solution", "answer", "completion", "target", "targets", "assistant", "bot", "gpt"),
    *("reply", *(chosen for chosen, _ in _PREFERENCES)),
)
_SYSTEMS = ("system", "system_prompt", "system_message")
_SAYING = ("content", "value")
_SPLITS = ("train", "validation", "val", "dev", "test")
_LABELS = ("id", "source", "category", "language")
_CONTEXTS = ("context", "input", "passage")


def refuse_shape(data: Data, only: str | None, reading: Reading) -> NoReturn:
    """Raise the error for a record that is read by no format, or not by the ``only`` one that is asked for."""
    if preference := preference_in(data):
        refuse_preference(data, preference)
    known = {name: form.fields for name, form in FORMATS.items() if name != "pairs"}
    shapes = _spelled(known.get(only, ()) if only else [first for first, *_ in known.values()])
    if only:
        is_known = any(data.keys() >= set(fields) for forms in known.values() for fields in forms)
        auto = "set data.format: auto, which detects the format of each record"
        raise RowError(
            f"the record is not in the format {only}",
            detail=f"expected {shapes or _ELSEWHERE.get(only, only)}; {found(data)}",
            fix=auto if is_known else own_fields(data) or auto,
        )
    if TEXT in data and reading.mode == "sft":
        raise RowError(
            "the record is a document, which mode: sft does not train",
            detail=found(data),
            fix="set mode: cpt to train documents, or mode: cpt_mixed to train conversations beside them; to fine-tune on it, "
            f"name the fields {shapes}",
        )
    say = "say with data.format: custom, data.instruction_field and data.response_field which of them hold what"
    raise RowError(
        "the record has no known format",
        detail=found(data),
        fix=own_fields(data) or _of_lists(data) or f"{say}; or name the fields {shapes}",
    )


def _spelled(shapes: Iterable[Sequence[str]]) -> str:
    return " or ".join(" + ".join(fields) for fields in shapes)


def found(data: Data) -> str:
    """The names of the record's fields, for people."""
    return "found the fields " + (", ".join(f"{key!r:.40}" for key in list(data)[:12]) or "none")


def own_fields(data: Data) -> str | None:
    """The settings that read the record in the custom format, where names of fields tell which of them hold what."""
    names = {key.lower(): key for key, value in data.items() if isinstance(key, str) and isinstance(value, str)}

    def one_of(candidates: Iterable[str]) -> str | None:
        return next((names.pop(name) for name in candidates if name in names), None)

    fields = {"instruction_field": one_of(_QUESTIONS), "response_field": one_of(_ANSWERS)}
    if None in fields.values():
        return None
    beside = {"system_field": one_of(_SYSTEMS), "context_field": one_of(_CONTEXTS)}
    default = Reading()
    fields |= {key: name for key, name in beside.items() if name not in (None, getattr(default, key))}
    return "set data.format: custom, " + ", ".join(f"data.{key}: {name}" for key, name in fields.items())


def _of_lists(data: Data) -> str | None:
    """What to do with a field that holds messages, texts of a conversation, or records."""
    lists = {name: value for name, value in data.items() if isinstance(value, list) and value}
    for name, items in lists.items():
        if all(_speaker(item) is not None and not item.keys().isdisjoint(_SAYING) for item in items):
            return f'rename {name!r:.40} to "{"messages" if "role" in items[0] else "conversations"}"'
    texts = [name for name, items in lists.items() if len(items) > 1 and all(isinstance(item, str) for item in items)]
    if len(texts) == 1 and not any(isinstance(value, str) for name, value in data.items() if name not in _LABELS):
        return f"rename {texts[0]!r:.40} to \"conversations\", if its texts are the user's and the assistant's in turn"
    splits = [name for name in _SPLITS if isinstance(data.get(name), list)]
    if splits and all(isinstance(item, dict) for item in data[splits[0]]):
        return f"write each split into a file of its own, such as {splits[0]}.jsonl with a record on each line"
    return None


def preference_in(data: Data) -> tuple[str, str] | None:
    """The fields of the better and the worse answer, in a record of a preference."""
    return next((pair for pair in _PREFERENCES if data.keys() >= set(pair)), None)


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
    if isinstance(answer, str) and (settings := own_fields(data)):
        return settings
    for field in ("messages", "conversations"):
        if data.get(field) not in NOTHING:
            return f'add "{chosen}" at the end of "{field}"'
    if isinstance(answer, list) and answer and _speaker(answer[0]) in ("system", "user", "human"):
        return f'rename "{chosen}" to "messages"'
    if "prompt" in data:
        return f'rename "{chosen}" to "completion"'
    return 'write them with their questions as {"messages": [{"role": …, "content": …}, …]}'


def _speaker(message: Any) -> Any:
    return message.get("role", message.get("from")) if isinstance(message, dict) else None
