"""Questions for ``weft infer``: lines of text, or records with or without an answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weft.data.answered import answered
from weft.data.formats import RowError, parse_record
from weft.data.sources import BadRow, read_records
from weft.data.system_prompt import under
from weft.errors import DataError, Problems, WeftError
from weft.types import Location, Message

Question = tuple[Message, ...]
"""Messages, of which the last is the user's, or a tool's result."""

_SHOWN = 20


def plain_question(text: str) -> Question:
    """``text`` as the user's only message."""
    return (Message(role="user", content=text),)


def with_system_prompt(question: Question, system_prompt: str | None) -> Question:
    """The question, with this system message if it has none of its own."""
    return under(question, system_prompt) if system_prompt else question


def read_questions(path: Path) -> list[Question]:
    """The questions of a file: one per line of a ``.txt`` file, else one per record, up to its last user turn.

    Raises:
        DataError: the file is missing, unreadable or empty.
        Problems: records cannot be used.
    """
    if path.suffix.lower() == ".txt" and path.is_file():
        return questions_of_lines(path.read_bytes(), str(path))
    questions: list[Question] = []
    problems: list[WeftError] = []
    for row in read_records(path):
        if isinstance(row, BadRow):
            problems.append(row.error())
            continue
        try:
            messages = parse_record(replace(row, data=answered(row.data)), "auto").messages
            questions.append(_without_answer(messages))
        except RowError as error:
            problems.append(error)
    if problems:
        more = DataError(
            f"{len(problems)} of {len(problems) + len(questions)} records hold no question",
            where=str(path),
            fix="mend them, or leave them out",
        )
        raise Problems([*problems[:_SHOWN], more])
    return questions


def questions_of_lines(content: bytes, name: str) -> list[Question]:
    """One question per line that is not blank.

    Args:
        content: UTF-8, with or without a byte order mark.
        name: the file's, for errors.

    Raises:
        DataError: a line is not UTF-8, or there is no question.
    """
    questions = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(
                "the line is not valid UTF-8", where=Location(path=name, line=number), fix="convert the file to UTF-8"
            ) from error
        if text:
            questions.append(plain_question(text))
    if not questions:
        raise DataError("there is no question in it", where=name, fix="write one question per line")
    return questions


def _without_answer(messages: Question) -> Question:
    """The messages before the last answer, which may have come in several."""
    *before, last = messages
    return _without_answer(tuple(before)) if last.role == "assistant" else messages
