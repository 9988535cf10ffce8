"""JSON files → rows: one record per line, a list of records, ``{"data": [...]}``, or a single record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from weft.data.json_stream import JsonStream
from weft.data.rows import (
    MARK_INSIDE,
    MEND,
    PASSED,
    REST_UNREAD,
    BadRow,
    Passing,
    excerpt,
    is_too_long,
    lines,
    never,
    not_utf8,
    too_long,
)
from weft.data.strict_json import InvalidJson, parse
from weft.data.unpack import open_bytes
from weft.types import Location, Record


def read_jsonl(path: Path, passing: Passing = never) -> Iterator[Record | BadRow]:
    """One record per line; blank lines are skipped but counted. While rows are ``passing``, none is parsed."""
    name = str(path)
    for number, line in lines(path):
        if line.isspace() or not line:
            continue
        if passing():
            yield PASSED
            continue
        long = is_too_long(line)
        line = line.rstrip(b"\r\n")
        location = Location(path=name, line=number)
        try:
            if long:
                yield too_long(location, line[:4_000].decode(errors="replace"))
            else:
                yield Record(data=parse(line.decode()), location=location)
        except UnicodeDecodeError as error:
            yield not_utf8(location, line, error)
        except InvalidJson as problem:
            yield _bad_line(location, line.decode(), problem)


def _bad_line(location: Location, line: str, problem: InvalidJson) -> BadRow:
    if line.startswith("\ufeff"):
        return BadRow(location=location, reason=problem.reason, detail=MARK_INSIDE, raw=line, fix="remove it")
    column = f"column {problem.position + 1}: " if problem.position is not None else ""
    fix = "every line holds one whole record; a list of records belongs into a .json file" if column else MEND
    return BadRow(location=location, reason=problem.reason, detail=column + problem.detail, raw=line, fix=fix)


def read_json(path: Path) -> Iterator[Record | BadRow]:
    """A list of records, an object whose ``"data"`` is one, a single record, or one record per line.

    Lists are read record by record. What the file holds is found out beforehand, in a pass of its own.
    """
    with open_bytes(path) as file:
        shape = _shape(JsonStream(file))
    if shape == "lines" or (shape == "broken" and _looks_like_lines(path)):
        yield from read_jsonl(path)
        return
    with open_bytes(path) as file:
        stream = JsonStream(file)
        if shape == "list":
            yield from _list(path, stream)
        elif shape == "data":
            beside: list[_Beside] = []
            _enter_data(stream, beside)
            yield from _list(path, stream, beside)
            yield from (_other_list(path, *each) for each in beside)
        elif stream.peek():
            location = Location(path=str(path), line=stream.line)
            try:
                yield Record(data=stream.value(), location=location)
            except InvalidJson as problem:
                yield _bad_item(location, stream, problem)
                if problem.position is None and stream.peek():  # behind a record that was too long to be looked at
                    behind = stream.broken("there is text after the end of the record")
                    yield _bad_item(replace(location, line=stream.line), stream, behind)


_Shape = Literal["list", "data", "lines", "single", "broken"]


def _shape(stream: JsonStream) -> _Shape:
    first = stream.peek()
    if first == "[":
        return "list"
    try:
        if first == "{":
            if _enter_data(stream, []):
                return "data"
        elif first:
            stream.value()
        return "lines" if stream.peek() else "single"
    except InvalidJson:
        return "broken"


def _looks_like_lines(path: Path) -> bool:
    """Whether the first two lines begin as records do; inside one record that is laid out over many lines none begins so."""
    filled = (line for _, line in lines(path) if line.strip())
    return [line[:1] for line in islice(filled, 2)] == [b"{", b"{"]


_Beside = tuple[int, str, str]
"""A list of objects under another key than "data": its line, the key, and how it begins."""


def _enter_data(stream: JsonStream, beside: list[_Beside]) -> bool:
    """Move to the list under the key "data" of the object at the cursor; without one, behind the object, and False.

    Args:
        stream: at an object.
        beside: gets the lists of objects before that.

    Raises:
        InvalidJson: the object is broken before that, or a value in it is refused.
    """
    stream.accept("{")
    if stream.accept("}"):
        return False
    while True:
        key = _key(stream)
        if key == "data" and stream.peek() == "[":
            return True
        _pass(stream, key, beside)
        if stream.accept("}"):
            return False
        _expect(stream, ",")


def _pass(stream: JsonStream, key: str, beside: list[_Beside]) -> None:
    """Move behind the value of a ``key`` beside "data"."""
    stream.peek()
    line, value = stream.line, stream.value()
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        beside.append((line, key, excerpt(json.dumps(value, ensure_ascii=False))))


def _other_list(path: Path, line: int, key: str, raw: str) -> BadRow:
    """For records of which nothing says what they are for, such as those of another split."""
    return BadRow(
        location=Location(path=str(path), line=line),
        reason='a list of objects stands beside the records under "data", and is not read',
        detail=f'it is under "{excerpt(key)}"',
        raw=raw,
        fix="if these are records, write them into a file of their own; if not, remove them",
    )


def _key(stream: JsonStream) -> Any:
    if stream.peek() != '"':
        raise stream.broken("expecting a key in double quotes")
    key = stream.value()
    _expect(stream, ":")
    return key


def _expect(stream: JsonStream, character: str) -> None:
    if not stream.accept(character):
        raise stream.broken(f"expecting {character!r}")


def _list(path: Path, stream: JsonStream, beside: list[_Beside] | None = None) -> Iterator[Record | BadRow]:
    """The records of the list at the cursor, which may lie in an object: ``beside`` gets the lists of objects behind it there.

    One that is whole but refused is a bad row, and the next one follows. Where the list itself or what follows it is broken, a
    bad row is the last one, and has a number of its own.
    """
    number = 1
    location = Location(path=str(path), line=stream.line)
    try:
        _expect(stream, "[")
        ended = stream.accept("]")
        while not ended:
            stream.peek()
            location = Location(path=str(path), line=stream.line, record=number)
            try:
                yield Record(data=stream.value(), location=location)
            except InvalidJson as problem:
                if problem.position is not None:
                    raise
                yield _bad_item(location, stream, problem)
            number += 1
            ended = stream.accept("]")
            if not ended:
                _expect(stream, ",")
        if beside is not None:
            _leave_object(stream, beside)
        if stream.peek():
            raise stream.broken("there is text after the end of the list")
    except InvalidJson as problem:
        yield _bad_item(replace(location, record=number) if location.record else location, stream, problem)


def _leave_object(stream: JsonStream, beside: list[_Beside]) -> None:
    """Move behind the object of which the list under the key "data" has just been read.

    Raises:
        InvalidJson: the rest of it is broken or refused.
    """
    while not stream.accept("}"):
        _expect(stream, ",")
        key = _key(stream)
        if key == "data":
            raise stream.broken('the key "data" is given twice')
        _pass(stream, key, beside)


def _bad_item(location: Location, stream: JsonStream, problem: InvalidJson) -> BadRow:
    if problem.position is None:
        raw = stream.last
        return BadRow(location=location, reason=problem.reason, detail=problem.detail, raw=raw, fix=MEND)
    line, column = stream.place(problem.position)
    return BadRow(
        location=replace(location, line=line),
        reason=problem.reason + REST_UNREAD,
        detail=f"column {column}: {problem.detail}" if problem.detail else f"column {column}",
        raw=stream.rest_of_line(problem.position) or stream.last,
        fix="mend the file there",
    )
