"""Reading JSON of any length value by value: only the value that is being read is in memory."""

from __future__ import annotations

import codecs
import re
from typing import Any, BinaryIO

from weft.data.rows import MAX_RECORD_BYTES, TOO_LONG, excerpt
from weft.data.strict_json import InvalidJson, end_of, parse_at, skip_whitespace

_CHUNK = 2**16
_TAIL = 16
"""Characters that may be missing to the end of a token, such as ``-Infinity`` or ``\\ud83d\\ude00``."""
_STRUCTURE, _IN_STRING = re.compile(r'["{}\[\]]'), re.compile(r'["\\]')
_UNDECODED = re.compile("[\udc80-\udcff]")


class JsonStream:
    """A cursor in the text of a file.

    Args:
        file: UTF-8, with or without a byte order mark. Bytes that are none are found in the value that holds them.

    Attributes:
        line: of the cursor, counted from 1.
        column: of the cursor, in characters, counted from 1.
        last: the text of the value that was refused last.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._cursor, self._whole, self._undecoded = "", 0, False, False
        self.line = self.column = 1
        self.last = ""
        while not self._text and self._fill():  # the first bytes may be half of a character
            pass
        self._cursor = int(self._text.startswith("\ufeff"))

    def peek(self) -> str:
        """Skip whitespace; the character at the cursor, or nothing at the end of the file."""
        while True:
            self._move(skip_whitespace(self._text, self._cursor))
            if self._cursor < len(self._text):
                return self._text[self._cursor]
            if not self._fill():
                return ""

    def accept(self, character: str) -> bool:
        """Move behind ``character`` where it is the next one, whitespace aside."""
        if self.peek() != character:
            return False
        self._move(self._cursor + 1)
        return True

    def value(self) -> Any:
        """The value at the cursor, which moves behind it.

        Raises:
            InvalidJson: there is none, or one that is refused. With a ``position`` the cursor stays, since nobody knows where
                the value ends; without one the cursor is behind the value, which is whole, or was too long to be looked at.
        """
        self.peek()
        try:
            return self._value()
        except _TooLong:
            self.last = excerpt(_readable(self._text[self._cursor : self._cursor + 4_000]))
            self._skip()
            raise InvalidJson(TOO_LONG) from None

    def _value(self) -> Any:
        problem: InvalidJson | None = None
        value = None
        while True:
            try:
                value, end = parse_at(self._text, self._cursor)
                break
            except InvalidJson as error:
                if error.position is None:
                    problem = error
                    end = self._end_of_refused(error)
                    break
                if not (self._may_go_on(error) and self._fill()):
                    raise
        if self._text[end - 1].isdigit() and end > len(self._text) - 4 and self._fill():
            return self._value()  # of a number that ends here there may be more, such as the rest of 1e+5
        if self._undecoded and (match := _UNDECODED.search(self._text, self._cursor, end)):
            byte = ord(match[0]) - 0xDC00
            line, column = self.place(match.start())
            problem = InvalidJson(
                "the text is not valid UTF-8", f"line {line}, column {column} holds the byte 0x{byte:02x}"
            )
        if problem:
            self.last = _readable(self._text[self._cursor : end])
        if end - self._cursor > MAX_RECORD_BYTES:
            raise _TooLong
        self._move(end)
        if problem:
            raise problem
        return value

    def place(self, position: int) -> tuple[int, int]:
        """Line and column of a position that an :class:`InvalidJson` names."""
        breaks = self._text.count("\n", self._cursor, position)
        if not breaks:
            return self.line, self.column + position - self._cursor
        return self.line + breaks, position - self._text.rfind("\n", self._cursor, position)

    def broken(self, detail: str) -> InvalidJson:
        """The problem that the cursor is not at what must stand there."""
        return InvalidJson("broken JSON", detail, self._cursor)

    def rest_of_line(self, position: int) -> str:
        """The text from the cursor to the end of the line that holds ``position``, as far as it is in memory."""
        end = self._text.find("\n", position)
        text = self._text[self._cursor : end if end >= 0 else len(self._text)]
        return excerpt(_readable(text))

    def _end_of_refused(self, problem: InvalidJson) -> int:
        """Where a value ends that is refused for what it says, not for how it is written.

        Raises:
            InvalidJson: it is broken as well.
        """
        while True:
            try:
                return end_of(self._text, self._cursor)
            except InvalidJson as error:
                if error.position is None or not (self._may_go_on(error) and self._fill()):
                    problem.position = self._cursor if error.position is None else error.position
                    raise problem from None

    def _may_go_on(self, problem: InvalidJson) -> bool:
        """Whether the value may be broken only because the rest of it is not in memory yet."""
        assert problem.position is not None
        return problem.position >= len(self._text) - _TAIL or problem.detail.startswith("unterminated string")

    def _fill(self) -> bool:
        """Read on, twice as much each time, so that a long value is not parsed again too often.

        Raises:
            _TooLong: the value at the cursor is longer than any may be.
        """
        if self._whole:
            return False
        kept = self._text[self._cursor :]
        if len(kept) > MAX_RECORD_BYTES:
            raise _TooLong
        content = self._file.read(max(_CHUNK, len(kept)))
        self._whole = not content
        text = self._decoder.decode(content, final=self._whole)
        self._undecoded = self._undecoded or not _encodes(text)
        self._text, self._cursor = kept + text, 0
        return True

    def _skip(self) -> None:
        """Move behind the text, list or object at the cursor, which need not fit into the memory, by its quotes and brackets.

        Raises:
            InvalidJson: the file ends within it, or it is none of these.
        """
        if self._text[self._cursor] not in '"{[':
            raise InvalidJson(TOO_LONG, "", self._cursor)
        depth, in_string, start = 0, False, self._cursor
        while True:
            mark = (_IN_STRING if in_string else _STRUCTURE).search(self._text, start)
            if mark is None or (mark[0] == "\\" and mark.end() == len(self._text)):
                self._move(mark.start() if mark else len(self._text))
                if not self._fill():
                    raise InvalidJson(TOO_LONG, "and the file ends within it", self._cursor)
                start = 0
                continue
            start = mark.end()
            if mark[0] == "\\":
                start += 1
            elif mark[0] == '"':
                in_string = not in_string
            else:
                depth += 1 if mark[0] in "{[" else -1
            if depth == 0 and not in_string:
                self._move(start)
                return

    def _move(self, position: int) -> None:
        self.line, self.column = self.place(position)
        self._cursor = position


class _TooLong(Exception):
    """The value at the cursor is longer than any may be."""


def _readable(text: str) -> str:
    return _UNDECODED.sub("\ufffd", text)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
