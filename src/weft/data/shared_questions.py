"""Questions that several training sets ask: validation holds each of them out of all sets, or of none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from weft.data.conversation_reader import ConversationReader
from weft.data.files import StagedFiles
from weft.data.groups import grouped
from weft.data.split import exceptions_between
from weft.data.store import SourceFile, code_digest, read_as
from weft.disk import file_digest
from weft.errors import DataError
from weft.types import Material

_NAME = "shared_questions.json"

Exceptions = tuple[tuple[str, str], ...]
"""See :class:`weft.data.split.Portion`."""


def exceptions_of(sources: Sequence[SourceFile], ratio: float, seed: int, cache_dir: Path) -> tuple[Exceptions, ...]:
    """The exceptions for the portions of each source; found by reading all of them, once for the same content.

    Args:
        sources: what is trained on.
        ratio: the share that is held out.
        seed: see :class:`weft.data.split.Portion`.
        cache_dir: where what was found is kept.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    paths = [path for source in sources for path in _reader(source).files]
    stamps = tuple((path, status.st_size, status.st_mtime_ns) for path in paths if (status := Path(path).stat()))
    return _found(tuple(sources), ratio, seed, cache_dir, stamps)


@lru_cache(maxsize=8)
def _found(
    sources: tuple[SourceFile, ...], ratio: float, seed: int, cache_dir: Path, stamps: tuple[object, ...]
) -> tuple[Exceptions, ...]:
    """What is kept of it; ``stamps`` tell whether the files changed since this process read them."""
    readers = [_reader(source) for source in sources]
    contents = [[file_digest(Path(path)) for path in reader.files] for reader in readers]
    how = [read_as(source, reader.parts) for source, reader in zip(sources, readers, strict=True)]
    key = hashlib.sha256(json.dumps([_NAME, code_digest(), contents, how, ratio, seed]).encode()).hexdigest()
    kept = cache_dir / key / _NAME
    try:
        return tuple(tuple((group, name) for group, name in one) for one in json.loads(kept.read_bytes()))
    except (OSError, ValueError, TypeError):
        pass
    found = tuple(exceptions_between([grouped(_conversations(reader), seed) for reader in readers], ratio))
    with suppress(DataError), StagedFiles() as staged:  # where nothing can be kept, it is found anew each time
        staged.write(kept, [json.dumps(found).encode()])
        staged.commit()
    return found


def _reader(source: SourceFile) -> ConversationReader:
    return ConversationReader(source.path, format=source.format, source=source.name, seed=source.seed)


def _conversations(reader: ConversationReader) -> Iterator[Material]:
    for block in reader.blocks():
        yield from block.conversations
