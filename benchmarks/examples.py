"""Examples as every program gets them, a JSON object per line: token ids, and labels with -100 on context."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

CONTEXT = -100


def write_examples(path: Path, examples: Iterable[tuple[list[int], list[int]]]) -> None:
    """One line per pair of ids and labels."""
    lines = (json.dumps({"input_ids": ids, "labels": labels}) + "\n" for ids, labels in examples)
    path.write_text("".join(lines), encoding="utf-8")


def read_examples(path: Path) -> dict[str, list[list[int]]]:
    """The columns ``input_ids`` and ``labels``."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: [row[name] for row in rows] for name in ("input_ids", "labels")}


def fingerprint(ids: Sequence[int], labels: Sequence[int]) -> str:
    """What two programs agree on if they train the same positions of the same tokens.

    The first label says nothing: no token comes before it that could predict it.
    """
    text = json.dumps([list(map(int, ids)), [CONTEXT, *map(int, labels[1:])]])
    return hashlib.sha256(text.encode()).hexdigest()


def split_row(
    ids: Sequence[int], labels: Sequence[int], lengths: Sequence[int]
) -> Iterable[tuple[list[int], list[int]]]:
    """The examples that a packed row holds, ``lengths`` tokens each; what is left of it is padding."""
    start = 0
    for length in lengths:
        yield list(ids[start : start + length]), list(labels[start : start + length])
        start += length
