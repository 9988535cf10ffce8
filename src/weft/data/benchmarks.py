"""The questions of benchmarks, which need no answer that a model could learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from weft.config.schema import Config
from weft.data.answered import answered
from weft.data.formats import RowError, parse_record
from weft.data.leaks import Question, question_of
from weft.data.places import Part, find_parts, named
from weft.data.reading import reading_of
from weft.data.rows import BadRow
from weft.data.sources import read_part
from weft.errors import DataError, Problems
from weft.types import Record

_SHOWN = 20


def benchmark_parts(config: Config) -> dict[str, tuple[Part, ...]]:
    """Where each path in ``data.benchmarks`` leads.

    Raises:
        DataError: one is missing or unreadable.
    """
    paths = named(config.data.benchmarks) if config.data.benchmarks else ()
    return {path: find_parts(path, seed=config.seed, fix="correct data.benchmarks") for path in paths}


def read_benchmarks(config: Config) -> tuple[dict[str, list[Question]], list[str]]:
    """The questions of each path in ``data.benchmarks``, and what is to be said of rows that hold none.

    A row is a record of any format, its answer missing or of any kind, or a ``text``; of a ``.txt`` file each line is a question.

    Raises:
        DataError: a path is missing, unreadable or empty.
        Problems: rows hold no question, and ``on_bad_row`` is ``error``, or none of a path holds one.
    """
    found: dict[str, list[Question]] = {}
    notices: list[str] = []
    for path, parts in benchmark_parts(config).items():
        questions: list[Question] = []
        bad: list[BadRow] = []
        for part in parts:
            rows, more = read_part(part, config.seed)
            for row in rows:
                try:
                    questions += _questions(row, config) if isinstance(row, Record) else []
                    bad += [row] if isinstance(row, BadRow) else []
                except RowError as error:
                    bad.append(
                        BadRow(location=row.location, reason=error.reason, detail=error.detail, raw="", fix=error.fix)
                    )
            notices += more
        if bad and (config.on_bad_row == "error" or not questions):
            raise _problems(path, bad, len(bad) + len(questions))
        if bad:
            notices.append(
                f"{len(bad):,} rows of the benchmark {path} hold no question: {bad[0].reason} ({bad[0].location})"
            )
        found[path] = questions
    return found, notices


def _questions(record: Record, config: Config) -> Iterator[Question]:
    data = record.data
    if (
        isinstance(data, Mapping)
        and isinstance(data.get("text"), str)
        and not data.keys() & {"messages", "conversations", "conversation"}
    ):
        if record.location.path.endswith(".txt"):
            for number, line in enumerate(data["text"].split("\n"), 1):
                if line.strip():
                    yield Question(line, replace(record.location, line=number))
        else:
            yield Question(data["text"], record.location)
        return
    asking = replace(record, data=answered(data, anew=True))
    messages = parse_record(asking, reading_of(config.data, "auto")).messages
    yield question_of(messages, record.location)


def _problems(path: str, bad: list[BadRow], rows: int) -> Problems:
    fix = (
        "name files of questions: records in any format of docs/data.md, with or without answers"
        if len(bad) == rows
        else "mend them, or leave them out with on_bad_row=drop"
    )
    what = f"{len(bad):,} of {rows:,} rows of the benchmark hold no question"
    return Problems([*(row.error() for row in bad[:_SHOWN]), DataError(what, where=path, fix=fix)])
