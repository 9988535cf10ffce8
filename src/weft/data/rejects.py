"""What is left out, record by record: the place, the reason, and the record itself, read once more from its file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from weft.config.schema import Config
from weft.data.files import StagedFiles, first_line_has, json_lines
from weft.data.formats import RowError, parse_as
from weft.data.inputs import held_out_files, training_files
from weft.data.places import find_parts
from weft.data.rows import BadRow, as_json
from weft.data.sources import read_part
from weft.data.store import SourceFile
from weft.errors import DataError
from weft.types import Location, Record

REJECTS = "rejects.jsonl"
"""Where training lists them, in the run directory."""

LeftOut = Mapping[str, Collection[Location]]
"""Places by reason."""

_KEYS = frozenset({"set", "location", "reason", "detail", "raw"})


def write_rejects(path: Path, config: Config, left_out: Mapping[str, LeftOut]) -> int:
    """Write what is left out of each set (``train``, ``val``, ``test``) as JSON lines, and return how many lines there are.

    Where nothing is left out, no file is written, and one that an earlier call wrote is removed. One that lists just these
    and is newer than their files stays as it is: to write it anew, all of these files would be read once more.

    Raises:
        DataError: the file cannot be written, or one that weft did not write stands there.
    """
    if path.exists() and not first_line_has(path, _KEYS):
        raise DataError(
            "the file exists and was not written by weft", where=str(path), fix="move it away, or name another one"
        )
    if not any(places for reasons in left_out.values() for places in reasons.values()):
        path.unlink(missing_ok=True)
        return 0
    files = {name: training_files(config) if name == "train" else held_out_files(config, name) for name in left_out}
    if _stands_already(path, files, left_out):
        return sum(1 for _ in _triples(left_out))
    count = 0

    def lines() -> Iterator[dict[str, str]]:
        nonlocal count
        for name, reasons in left_out.items():
            for row in rejected_rows(files[name], reasons):
                count += 1
                yield {"set": name, **as_json(row)}

    with StagedFiles() as staged:
        staged.write(path, json_lines(lines()))
        staged.commit()
    return count


def _stands_already(path: Path, files: Mapping[str, Sequence[SourceFile]], left_out: Mapping[str, LeftOut]) -> bool:
    """Whether the file at ``path`` is what :func:`write_rejects` would write, as far as places, reasons and dates tell."""
    if not path.exists():
        return False
    written = path.stat().st_mtime_ns
    parts = (part for some in files.values() for file in some for part in find_parts(file.path, seed=file.seed))
    if any(file.stat().st_mtime_ns >= written for part in parts for file in part.files):
        return False
    with path.open(encoding="utf-8") as lines:
        try:
            listed = [(row["set"], row["location"], row["reason"]) for row in map(json.loads, lines)]
        except (ValueError, KeyError, TypeError):
            return False
    return sorted(listed) == sorted(_triples(left_out))


def _triples(left_out: Mapping[str, LeftOut]) -> Iterator[tuple[str, str, str]]:
    for name, reasons in left_out.items():
        for reason, places in reasons.items():
            yield from ((name, str(place), reason) for place in dict.fromkeys(places))


def rejected_rows(files: Sequence[SourceFile], left_out: LeftOut) -> Iterator[BadRow]:
    """What lies at the places in ``left_out``, in the order of the files, once for each reason.

    Only as much of a file is kept in memory as one record; nothing is read where nothing was left out.
    """
    reasons: dict[Location, list[str]] = {}
    for reason, places in left_out.items():
        for place in dict.fromkeys(places):
            reasons.setdefault(place, []).append(reason)
    for file in files if reasons else ():
        for part in find_parts(file.path, seed=file.seed):
            for row in read_part(part, file.seed)[0]:
                for reason in reasons.get(row.location, ()):
                    yield _rejected(row, reason, file)


def _rejected(row: Record | BadRow, reason: str, file: SourceFile) -> BadRow:
    if isinstance(row, BadRow):
        return row
    rejected = BadRow.of(row, reason)
    try:
        parse_as(row, file.format)
    except RowError as error:
        if error.reason == reason:
            return replace(rejected, detail=error.detail)
    return rejected
