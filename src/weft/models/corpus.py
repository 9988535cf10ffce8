"""Plain text out of the files that `weft init-model --text` learns a tokenizer from.

It is not :mod:`weft.data.texts`, of `weft train-tokenizer`: that one reads line ends otherwise.

Records serve as text too: of JSON, JSON lines and CSV every string inside is read. What is not JSON although the file's
ending says so is read as the text it is: judging records is not this module's business.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weft.errors import DataError
from weft.types import Location

ENDINGS = (".txt", ".md", ".json", ".jsonl", ".ndjson", ".csv")
"""The files of a directory that are read; a file that is named itself may end as it likes."""


def read_corpus(paths: Sequence[Path]) -> list[str]:
    """Every string of the files in ``paths``, in order; of plain text the lines, with their ends.

    Raises:
        DataError: a file is missing, empty or not UTF-8, or a directory has no text in it.
    """
    return [string for path in paths for file in _files(path) for string in _strings(file)]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    if not files:
        raise DataError(
            "holds no text or records", where=str(path), fix=f"give --text files that end in {', '.join(ENDINGS)}"
        )
    return files


def _strings(path: Path) -> Iterator[str]:
    text = _read(path)
    match path.suffix.lower():
        case ".json":
            yield from _strings_of_json(text)
        case ".jsonl" | ".ndjson":
            for line in text.splitlines():
                yield from _strings_of_json(line)
        case ".csv":
            for row in csv.reader(text.splitlines(keepends=True)):
                yield from row
        case _:
            yield from text.splitlines(keepends=True)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise DataError(
            f"cannot be read: {problem.strerror}",
            where=str(path),
            fix="give --text a file of text or records; a relative path starts at the working directory",
        ) from problem
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        raise DataError(
            "is not valid UTF-8",
            where=Location(path=str(path), line=line),
            fix="save the file as UTF-8, or leave it out: every other file still counts",
        ) from problem
    if not text.strip():
        raise DataError("is empty", where=str(path), fix="give --text a file with text in it")
    return text


def _strings_of_json(text: str) -> Iterator[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield from text.splitlines(keepends=True)
        return
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        else:
            pending.extend(reversed(_children(value)))


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
