"""What is said of records that no format fits: what they hold, what they may be, and what to do to have them read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from weft.data.format_table import FORMATS, TEXT
from weft.data.own_fields import own_fields
from weft.data.preferences import preference_in, refuse_preference
from weft.data.reading import Reading
from weft.data.row_error import Data, RowError
from weft.data.sharegpt import speaker_of

_ELSEWHERE = {
    "pairs": '["a question", {"answer": …}]',
    "oasst": "message_id + parent_id + role + text or message_tree_id + prompt with its replies",
}
_SAYING = ("content", "value")
"""The fields of a message for what it says."""
_SPLITS = ("train", "validation", "val", "dev", "test")
_LABELS = ("id", "source", "category", "language")
"""Fields whose texts say nothing of a conversation beside them."""


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
    missing = 'add the answer as "completion"' if "prompt" in data else None
    raise RowError(
        "the record has no known format",
        detail=found(data),
        fix=own_fields(data) or missing or _of_lists(data) or f"{say}; or name the fields {shapes}",
    )


def _spelled(shapes: Iterable[Sequence[str]]) -> str:
    return " or ".join(" + ".join(fields) for fields in shapes)


def found(data: Data) -> str:
    """The names of the record's fields, for people."""
    return "found the fields " + (", ".join(f"{key!r:.40}" for key in list(data)[:12]) or "none")


def _of_lists(data: Data) -> str | None:
    """What to do with a field that holds messages, texts of a conversation, or records."""
    lists = {name: value for name, value in data.items() if isinstance(value, list) and value}
    for name, items in lists.items():
        if all(speaker_of(item) is not None and not item.keys().isdisjoint(_SAYING) for item in items):
            return f'rename {name!r:.40} to "{"messages" if "role" in items[0] else "conversations"}"'
    texts = [name for name, items in lists.items() if len(items) > 1 and all(isinstance(item, str) for item in items)]
    if len(texts) == 1 and not any(isinstance(value, str) for name, value in data.items() if name not in _LABELS):
        return f"rename {texts[0]!r:.40} to \"conversations\", if its texts are the user's and the assistant's in turn"
    splits = [name for name in _SPLITS if isinstance(data.get(name), list)]
    if splits and all(isinstance(item, dict) for item in data[splits[0]]):
        return f"write each split into a file of its own, such as {splits[0]}.jsonl with a record on each line"
    return None
