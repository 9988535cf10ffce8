"""Whether a Parquet or Arrow file holds one table, and all of it: pyarrow reads others without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW = b"PAR1", b"ARROW1"
"""What a file of the format begins and ends with; behind the footer, before the end, stands its length, in four bytes."""
_LENGTH = 4
_LONGEST_FOOTER = 2**28
_AT_ONCE = 2**18
_CONTINUED = b"\xff\xff\xff\xff"
_END = _CONTINUED + bytes(4)


class AnotherBehindError(ValueError):
    """Tables were written one behind the other."""


def check_alone(source: pa.NativeFile, mark: bytes, open_file: Callable[[pa.BufferReader], object]) -> None:
    """Refuse two files that were written one behind the other: pyarrow reads the footer of the last, and its rows at the places
    of the first.

    Args:
        source: at its beginning, where it is afterwards.
        mark: what a file of its format begins and ends with.
        open_file: reads a footer, or fails.

    Raises:
        AnotherBehindError: says where the second begins.
    """
    seam = mark + mark
    place, text = 0, b""
    while chunk := source.read_at(_AT_ONCE, place + len(text)):
        kept = text[-(len(seam) - 1) :]
        place, text = place + len(text) - len(kept), kept + chunk
        found = text.find(seam)
        while found >= 0:
            end = place + found + len(mark)
            if _ends(source, end, mark, open_file):
                raise AnotherBehindError(f"another one begins at byte {end + 1}")
            found = text.find(seam, found + 1)
    source.seek(0)


def _ends(source: pa.NativeFile, end: int, mark: bytes, open_file: Callable[[pa.BufferReader], object]) -> bool:
    """Whether a footer stands before byte ``end``, and not a text with these letters; the others as for :func:`check_alone`."""
    import pyarrow as pa

    length_at = end - len(mark) - _LENGTH
    footer_at = length_at - int.from_bytes(source.read_at(_LENGTH, max(length_at, 0)), "little")
    if footer_at < len(mark) or end - footer_at > _LONGEST_FOOTER:
        return False
    footer = source.read_at(end - footer_at, footer_at)
    try:
        open_file(pa.BufferReader(mark.ljust(8, b"\0") + footer))
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def check_end(source: pa.NativeFile) -> None:
    """Refuse a stream that was cut between two batches, or has another one behind it: pyarrow reads both without a word.

    Raises:
        ValueError: it was cut.
        AnotherBehindError: there is another one.
    """
    end, size = source.tell(), source.size()
    source.seek(0)
    is_marked = source.read(4) == _CONTINUED  # before Arrow 0.15 a stream ended with four zeros, as padding may
    source.seek(max(end - len(_END), 0))
    if is_marked and source.read(len(_END)) != _END:
        raise ValueError("it ends early: the mark at the end of a stream is missing")
    if end < size:
        raise AnotherBehindError(f"{size - end} bytes follow the end of the stream, which holds one table")
