"""Which records of the training sets validation holds out: decided by reading them all once, and kept while they stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from pathlib import Path

from weft.data.content import check_unchanged, content
from weft.data.conversation_reader import ConversationReader
from weft.data.groups import grouped
from weft.data.kept import Kept
from weft.data.split import held_out
from weft.data.store import SourceFile, read_as
from weft.garbage import collecting_seldom
from weft.types import Material

_NAME = "held_out.json"

Places = tuple[str, ...]
"""See :class:`weft.data.split.Portion`."""


def held_out_places(sources: Sequence[SourceFile], ratio: float, seed: int, cache_dir: Path) -> tuple[Places, ...]:
    """What validation holds out of each source; the same question is held out of all of them, or of none.

    Args:
        sources: what is trained on. The earlier ones decide over questions that they share with later ones.
        ratio: the share that is held out of each.
        seed: another one holds out others.
        cache_dir: where what was found is kept.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    contents = tuple(tuple(content(Path(path)) for path in _reader(source).files) for source in sources)
    return _found(tuple(sources), contents, ratio, seed, cache_dir)


@lru_cache(maxsize=8)
def _found(
    sources: tuple[SourceFile, ...], contents: tuple[tuple[str, ...], ...], ratio: float, seed: int, cache_dir: Path
) -> tuple[Places, ...]:
    """As it is kept, or else found by reading; ``contents`` are digests of each source's files."""
    readers = [_reader(source) for source in sources]
    how = [read_as(source, reader.parts) for source, reader in zip(sources, readers, strict=True)]
    kept = Kept(cache_dir, _NAME, [contents, how, ratio, seed])
    if (known := kept.read()) is not None:
        return tuple(map(tuple, known))
    blocks: list[list[int]] = [[] for _ in readers]
    with collecting_seldom():
        groups = [grouped(_conversations(reader, sizes), seed) for reader, sizes in zip(readers, blocks, strict=True)]
        found = tuple(_by_block(one, sizes) for one, sizes in zip(held_out(groups, ratio), blocks, strict=True))
    files = (
        zip(map(Path, reader.files), digests, strict=True) for reader, digests in zip(readers, contents, strict=True)
    )
    check_unchanged(chain.from_iterable(files))
    kept.write(found)
    return found


def _reader(source: SourceFile) -> ConversationReader:
    return ConversationReader(
        source.path,
        format=source.format,
        source=source.name,
        seed=source.seed,
        fix="correct the path under datasets",
    )


def _conversations(reader: ConversationReader, sizes: list[int]) -> Iterator[Material]:
    """All of them; how many each block holds is added to ``sizes``."""
    for block in reader.blocks():
        sizes.append(len(block.kept))
        yield from block.conversations


def _by_block(held: Sequence[bool], sizes: Sequence[int]) -> Places:
    marks = "".join("01"[one] for one in held)
    return tuple(marks[start:end] for start, end in pairwise(accumulate(sizes, initial=0)))
