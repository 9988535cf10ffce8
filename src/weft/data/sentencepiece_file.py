"""A SentencePiece model (``tokenizer.model``), read without its library: the wire format of protocol buffers is a page.

What the fields mean is laid down in ``sentencepiece_model.proto`` of the SentencePiece project. Files are untrusted: whatever
is not such a model is named for what it is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import isfinite
from pathlib import Path
from typing import Literal, NoReturn

from weft.data.charsmap import damage
from weft.errors import ModelError

_MOST_BYTES = 2**28
"""Far beyond the largest vocabulary there is; a file of this size is something else."""

_KINDS: Mapping[int, Literal["unigram", "bpe"]] = {1: "unigram", 2: "bpe"}
_OTHER_KINDS = {3: "words", 4: "characters"}
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"\x80[\x02-\x05]", "a pickle, which can run code and is never opened"),
    (rb"PK\x03\x04", "a zip archive, as PyTorch writes weights"),
    (rb"GGUF", "a GGUF model"),
    (rb"\s*[{\[]", "JSON; the directory of a tokenizer.json is named, not the file"),
    (
        rb"[A-Za-z0-9+/]+=* \d+\r?\n",
        "a tiktoken vocabulary, which says nothing of how text is cut and of its special tokens",
    ),
    (rb"version https://git-lfs", "a Git LFS pointer in place of the file; fetch it with `git lfs pull`"),
)
_USE_ANOTHER = "name a SentencePiece model (unigram or bpe), or a directory with a tokenizer.json"
_TRAIN_AGAIN = "use the tokenizer.json that Transformers makes of it, or train a tokenizer with `weft train-tokenizer`"


class PieceKind(IntEnum):
    """What a piece is for."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """An entry of the vocabulary; its place is its id."""

    text: str
    score: float
    kind: PieceKind


@dataclass(frozen=True, kw_only=True, slots=True)
class SentencePieceModel:
    """What decides on the ids of a text."""

    kind: Literal["unigram", "bpe"]
    pieces: tuple[Piece, ...]
    named: Mapping[str, str]
    """The pieces that are ``unk_token``, ``bos_token``, ``eos_token`` and ``pad_token``; names without one are absent."""
    byte_fallback: bool
    charsmap: bytes
    """The compiled rules by which text is normalised; empty for none."""
    dummy_prefix: bool
    """A space goes before every text,"""
    remove_extra_whitespaces: bool
    """those at its edges go first, and of several only one stays."""


class _Malformed(Exception):
    """The bytes are no such message."""


def read_sentencepiece(path: Path) -> SentencePieceModel:
    """Read a model of the kinds unigram and BPE.

    Raises:
        ModelError: the file cannot be read, is damaged or something else, or is of a kind that cannot be converted exactly.
    """
    data = _read(path)
    try:
        return _parse(data, path)
    except _Malformed as problem:
        what = next((name for pattern, name in _OTHERS if re.match(pattern, data)), None)
        if what is not None:
            raise ModelError(f"it is no SentencePiece model but {what}", where=str(path), fix=_USE_ANOTHER) from None
        raise ModelError(
            f"it is no SentencePiece model, or a damaged one: {problem}",
            where=str(path),
            fix=f"copy or download the file again; {_USE_ANOTHER}",
        ) from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(
                f"it is no SentencePiece model: it has {path.stat().st_size:,} bytes", where=str(path), fix=_USE_ANOTHER
            )
        data = path.read_bytes()
    except OSError as problem:
        raise ModelError(
            f"it cannot be read: {problem.strerror}", where=str(path), fix="check the path and its permissions"
        ) from problem
    if not data:
        raise ModelError("it is empty", where=str(path), fix="copy or download the file again")
    return data


def _parse(data: bytes, path: Path) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] | None = None
    normaliser: dict[int, int | bytes] | None = None
    for field, value in _fields(data):
        match field, value:
            case 1, bytes():
                pieces.append(_piece(value, len(pieces)))
            case 2, bytes():
                trainer = dict(_fields(value))
            case 3, bytes():
                normaliser = dict(_fields(value))
            case 1 | 2 | 3, _:
                raise _Malformed(f"its field {field} is a number")
    if not pieces or trainer is None or normaliser is None:
        parts = {"pieces": pieces, "settings of its training": trainer, "normaliser": normaliser}
        raise _Malformed(f"it has no {' and no '.join(name for name, part in parts.items() if not part)}")
    charsmap = _text(normaliser, 2, b"")
    if charsmap and (problem := damage(charsmap)):
        raise _Malformed(f"of its normaliser's table, {problem}")
    _refuse_repeated(pieces)
    _refuse_inexact(pieces, trainer, normaliser, path)
    return SentencePieceModel(
        kind=_KINDS[_number(trainer, 3, 1)],
        pieces=tuple(pieces),
        named=_named(pieces, trainer),
        byte_fallback=bool(_number(trainer, 35, 0)),
        charsmap=charsmap,
        dummy_prefix=bool(_number(normaliser, 3, 1)),
        remove_extra_whitespaces=bool(_number(normaliser, 4, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: numbers as they are, everything else as its bytes."""
    position, size = 0, len(data)

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            if position >= size:
                raise _Malformed(f"it ends within a number, at byte {size:,}")
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise _Malformed("a number is longer than 64 bits")

    while position < size:
        key = varint()
        wire = key & 7
        if wire == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(wire) or (varint() if wire == 2 else _no_wire_type(wire))
        if position + length > size:
            raise _Malformed(f"it ends after {size:,} bytes, {position + length - size:,} before the end of a field")
        yield key >> 3, data[position : position + length]
        position += length


def _no_wire_type(wire: int) -> NoReturn:
    raise _Malformed(f"a field has the type {wire}")


def _number(fields: Mapping[int, int | bytes], field: int, default: int) -> int:
    value = fields.get(field, default)
    if not isinstance(value, int):
        raise _Malformed(f"the setting {field} is no number")
    return value


def _text(fields: Mapping[int, int | bytes], field: int, default: bytes) -> bytes:
    value = fields.get(field, default)
    if not isinstance(value, bytes):
        raise _Malformed(f"the setting {field} is a number")
    return value


def _piece(data: bytes, index: int) -> Piece:
    fields = dict(_fields(data))
    raw, score = _text(fields, 1, b""), _text(fields, 2, b"\0\0\0\0")
    try:
        text, value = raw.decode(), struct.unpack("<f", score)[0]
        kind = PieceKind(_number(fields, 3, 1))
    except (UnicodeDecodeError, struct.error, ValueError):
        raise _Malformed(f"its piece {index} has no text, score or kind that could be one") from None
    if not text or not isfinite(value):
        raise _Malformed(f"its piece {index} has " + ("a score that is no number" if text else "no text"))
    return Piece(text=text, score=value, kind=kind)


def _refuse_repeated(pieces: list[Piece]) -> None:
    first: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        if first.setdefault(piece.text, index) != index:
            raise _Malformed(f"the pieces {first[piece.text]} and {index} are both {piece.text!r}")


def _refuse_inexact(
    pieces: list[Piece], trainer: dict[int, int | bytes], normaliser: dict[int, int | bytes], path: Path
) -> None:
    """Name what the ``tokenizers`` library has no equal of."""
    kind = _number(trainer, 3, 1)
    unused = sum(piece.kind is PieceKind.UNUSED for piece in pieces)
    unknown = sum(piece.kind is PieceKind.UNKNOWN for piece in pieces)
    problem = None
    if kind not in _KINDS:
        problem = (
            f"its pieces are {_OTHER_KINDS.get(kind, f'of the kind {kind}')}, and unigram and bpe can be converted"
        )
    elif _number(trainer, 24, 0):
        problem = "it puts the space behind a word, and only one before it can be converted"
    elif not _number(normaliser, 5, 1):
        problem = "it leaves spaces as they are, and only those written as ▁ can be converted"
    elif unused:
        problem = f"{unused:,} of its pieces are marked unused, which cannot be converted"
    elif unknown != 1:
        problem = f"it has {unknown:,} pieces for unknown characters, and one is needed"
    if problem is not None:
        raise ModelError(problem, where=str(path), fix=_TRAIN_AGAIN)


def _named(pieces: list[Piece], trainer: Mapping[int, int | bytes]) -> dict[str, str]:
    """By the pieces' strings, as the library finds them: the ids among the settings may be older than the pieces."""
    control = {piece.text for piece in pieces if piece.kind is PieceKind.CONTROL}
    named = {"unk_token": next(piece.text for piece in pieces if piece.kind is PieceKind.UNKNOWN)}
    for name, field, usual in (("bos_token", 46, b"<s>"), ("eos_token", 47, b"</s>"), ("pad_token", 48, b"<pad>")):
        text = _text(trainer, field, usual).decode(errors="replace")
        if text in control:
            named[name] = text
    return named
