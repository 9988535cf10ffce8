"""What is left out, record by record: the place, the reason, and the record itself, read once more from its file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from weft.config.schema import Config
from weft.data.content import code_digest, content
from weft.data.files import StagedFiles, first_line_has, json_lines
from weft.data.formats import RowError, parse_as
from weft.data.inputs import held_out_files, training_files
from weft.data.places import find_parts
from weft.data.reread import rows_at
from weft.data.rows import BadRow, as_json
from weft.data.store import SourceFile, read_as
from weft.disk import value_digest
from weft.errors import DataError
from weft.types import Location, Record

REJECTS = "rejects.jsonl"
"""Where training lists them, in the run directory."""

_NOTE = "listed"

LeftOut = Mapping[str, Collection[Location]]
"""Places by reason."""

_KEYS = frozenset({"set", "location", "reason", "detail", "raw"})


def write_rejects(path: Path, config: Config, left_out: Mapping[str, LeftOut]) -> int:
    """Write what is left out of each set (``train``, ``val``, ``test``) as JSON lines, and return how many lines there are.

    Where nothing is left out, no file is written, and one that an earlier call wrote is removed. One that lists just these,
    of files with the same content, stays as it is: to write it anew, all of these files would be read once more. That it does
    is noted in ``data.cache_dir``.

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
    what = [code_digest(), _content(files), sorted(_triples(left_out))]
    if path.exists() and _note(config, path, what).exists():
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
    with suppress(DataError), StagedFiles() as staged:  # where nothing can be noted, it is written anew each time
        staged.write(_note(config, path, what), ())
        staged.commit()
    return count


def _content(files: Mapping[str, Sequence[SourceFile]]) -> list[Any]:
    """All that decides which records lie at which places."""
    found = []
    for name, file in ((name, file) for name, some in files.items() for file in some):
        parts = find_parts(file.path, seed=file.seed)
        digests = [content(each) for part in parts for each in part.files]
        found.append([name, file.name, read_as(file, parts), digests])
    return found


def _note(config: Config, path: Path, what: Sequence[Any]) -> Path:
    """An empty file that says by its name that ``path``, as it stands there, lists ``what`` is left out."""
    return Path(config.data.cache_dir) / value_digest([content(path), *what]) / _NOTE


def _triples(left_out: Mapping[str, LeftOut]) -> Iterator[tuple[str, str, str]]:
    for name, reasons in left_out.items():
        for reason, places in reasons.items():
            yield from ((name, str(place), reason) for place in dict.fromkeys(places))


def rejected_rows(files: Sequence[SourceFile], left_out: LeftOut) -> Iterator[BadRow]:
    """What lies at the places in ``left_out``, in the order of the files, once for each reason.

    Nothing is read where nothing was left out.
    """
    reasons: dict[Location, list[str]] = {}
    for reason, places in left_out.items():
        for place in dict.fromkeys(places):
            reasons.setdefault(place, []).append(reason)
    for file in files if reasons else ():
        for row in rows_at(reasons, file.path, file.format, file.seed):
            for reason in reasons[row.location]:
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
