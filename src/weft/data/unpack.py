"""Opening files as they are or unpacked, with the failures of a damaged or malicious archive said in words.

gzip comes from the standard library, Zstandard from pyarrow, which weft needs anyway.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, BinaryIO

from weft.errors import DataError

MAX_RATIO = 200
"""A packed file may unpack to so many times its own size; text rarely reaches a tenth of it."""
FREE_BYTES = 2**26
"""So many unpacked bytes are allowed whatever the ratio: small files of equal lines are no attack."""

_BUFFER = 2**17


class DamagedFile(DataError):
    """A file that is not what its name says, or that ends too early; raised in the middle of reading it."""


def _gzip(path: Path) -> Any:
    return gzip.GzipFile(path, "rb")


def _zstandard(path: Path) -> Any:
    import pyarrow as pa  # here, because plain files need none of it

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


PACKINGS: dict[str, tuple[str, Callable[[Path], Any]]] = {".gz": ("gzip", _gzip), ".zst": ("Zstandard", _zstandard)}
"""Name and opener of each packing, by the ending of a file's name."""


def is_packed(path: Path) -> bool:
    """Whether the name of a file ends as that of a packed one."""
    return path.suffix.lower() in PACKINGS


def unpacked_name(path: Path) -> Path:
    """``path`` without the ending of a packing: what the file would be called if it were unpacked."""
    return path.with_suffix("") if is_packed(path) else path


def open_bytes(path: Path) -> BinaryIO:
    """The content of a file, unpacked where its ending is that of a packing; read in a stream, never whole.

    Raises:
        OSError: the file cannot be opened.
        DamagedFile: while reading: what is packed is damaged, ends early, or unpacks to far more than it should.
    """
    if not is_packed(path):
        return path.open("rb", buffering=_BUFFER)
    path.open("rb").close()  # pyarrow's own error would not say what is wrong
    return io.BufferedReader(_Unpacked(path), _BUFFER)


def unpacked_copy(path: Path) -> IO[bytes]:
    """What a packed file holds, as a temporary file, which can be read at any place and is gone once closed.

    Raises:
        OSError: the file cannot be opened.
        DataError: there is no room for the copy.
        DamagedFile: see :func:`open_bytes`.
    """
    with open_bytes(path) as packed, ExitStack() as unless_whole:
        try:
            copy = unless_whole.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, copy, _BUFFER)
            copy.seek(0)
        except OSError as error:  # of the copy: what is wrong with the file is said in other words
            what = f"the file cannot be unpacked into a temporary one: {error.strerror or error}"
            raise DataError(what, where=str(path), fix="set TMPDIR to a directory with room for it") from None
        unless_whole.pop_all()
        return copy


class _Unpacked(io.RawIOBase):
    def __init__(self, path: Path):
        self._path = path
        self._packing, opener = PACKINGS[path.suffix.lower()]
        size = path.stat().st_size
        self._allowed = max(FREE_BYTES, MAX_RATIO * size)
        self._read = 0
        self._empty = size == 0
        self._inner = opener(path)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._empty:
            raise self._damaged("the file is empty, which no packed file is", "pack the records again")
        try:
            content = self._inner.read(len(buffer))
        except EOFError:
            raise self._damaged("it ends early: the end of the file is missing", "copy or download it again") from None
        except (OSError, ValueError, zlib.error) as error:
            if "truncated" in str(error).lower():
                what, fix = "it ends early: the end of the file is missing", "copy or download it again"
            else:
                what, fix = f"it cannot be unpacked: {error}", "pack or copy it again, or correct the name's ending"
            raise self._damaged(what, fix) from None
        self._read += len(content)
        if self._read > self._allowed:
            raise self._damaged(
                f"it unpacks to more than {MAX_RATIO} times its size, as an attack would",
                "unpack it yourself if you trust it, and name the unpacked file",
            )
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._inner.close()
        super().close()

    def _damaged(self, what: str, fix: str) -> DamagedFile:
        return DamagedFile(f"{self._packing}: {what}", where=str(self._path), fix=fix)
