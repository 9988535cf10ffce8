"""SentencePiece models written by hand, field by field, so that their ids are known without the library."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
SPECIAL = [("<pad>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
"""As `pad_id=0, unk_id=1, bos_id=2, eos_id=3` makes them."""

Fields = Mapping[int, int | bytes]


def varint(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 127
        out.append(low | (128 if value else 0))
        if not value:
            return bytes(out)


def message(fields: Fields | Sequence[tuple[int, int | bytes]]) -> bytes:
    out = b""
    for field, value in fields.items() if isinstance(fields, Mapping) else fields:
        if isinstance(value, int):
            out += varint(field << 3) + varint(value)
        else:
            out += varint(field << 3 | 2) + varint(len(value)) + value
    return out


def piece(text: str, score: float, kind: int) -> bytes:
    return message({1: text.encode()}) + varint(2 << 3 | 5) + struct.pack("<f", score) + message({3: kind})


def model(
    pieces: Sequence[tuple[str, float, int]], *, trainer: Fields | None = None, normaliser: Fields | None = None
) -> bytes:
    """The bytes of a model; without rules of normalisation unless ``normaliser`` has some."""
    settings = {3: UNIGRAM, **(trainer or {})}
    rules = {1: b"identity", **(normaliser or {})}
    return message([*((1, piece(*one)) for one in pieces), (2, message(settings)), (3, message(rules))])


def byte_model(path: Path, extra: Sequence[tuple[str, float, int]] = (), **fields: Fields) -> Path:
    """A BPE model of bytes, letters and some words; 'What is' and a few more have pieces of their own. 400 ids or fewer."""
    letters = ["▁", *map(chr, range(33, 127)), "\n"]
    merged = ["▁W", "ha", "▁Wha", "▁What", "▁i", "▁is", "um", "be", "▁n", "▁num", "er", "▁numb", "▁number"]
    pieces = [*SPECIAL, *((f"<0x{value:02X}>", 0.0, BYTE) for value in range(256))]
    pieces += [(text, -float(place), NORMAL) for place, text in enumerate([*merged, *letters])]
    settings = {"trainer": {3: BPE, 35: 1}, "normaliser": {4: 0}, **fields}
    path.write_bytes(model([*pieces, *extra], **settings))
    return path
