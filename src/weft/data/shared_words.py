"""Words whose ids several processes find out together.

Blocks of one source have most of their words in common, and the first of them hold most of these. Each process that encodes some
of the blocks would find out their ids for itself. So each begins at another place among the words that it has to find out, takes
some at a time, tells the others, and leaves out what they have told it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa

from weft.data.arrow_arrays import number_array, text_array, values_of
from weft.data.flat_ids import EncodeWords, FlatIds

_AT_ONCE = 2_048
"""Words that are found out before the others are told of them and listened to."""
_WORTH_TELLING = 1_000
"""Words; to tell fewer takes longer than to find out their ids."""
_ENOUGH = 2**15
"""Words that a process tells in all: the common ones are among them, and the memory stays bounded."""
_GOLDEN_SECTION = 0.618034
"""Its multiples, and so processes that were started one after the other, are spread evenly over a circle."""
_TOLD = pa.schema([("words", pa.large_string()), ("ids", pa.list_(pa.int32()))])


class SharedWords:
    """What one process knows from the others, and tells them, in files of ``folder``.

    Args:
        folder: a directory for nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: set[str] = set()
        """Those that it wrote or has read."""
        self._told = 0
        self._places: dict[str, int] = {}
        self._ids = FlatIds.of([])
        """Of the words that others told, by their place."""

    def ids(self, words: Sequence[str], encode: EncodeWords) -> FlatIds:
        """The ids of words, each by itself.

        Args:
            words: all different.
            encode: finds out those that nobody has told.
        """
        order = _begun_elsewhere(len(words))
        found: list[FlatIds] = []
        unknown: list[int] = []
        told: list[int] = []
        for start in range(0, len(words), _AT_ONCE):
            self._hear()
            numbers = order[start : start + _AT_ONCE]
            told += [number for number in numbers if words[number] in self._places]
            new = [number for number in numbers if words[number] not in self._places]
            if new:
                some = [words[number] for number in new]
                found.append(encode(some))
                unknown += new
                self._tell(some, found[-1])
        places = np.fromiter((self._places[words[number]] for number in told), np.int64, len(told))
        return FlatIds.joined([*found, self._ids.take(places)]).take(np.argsort([*unknown, *told]))

    def _tell(self, words: Sequence[str], ids: FlatIds) -> None:
        if len(words) < _WORTH_TELLING or self._told >= _ENOUGH:
            return
        self._told += len(words)
        name = uuid4().hex
        self._files.add(name)
        lists = pa.ListArray.from_arrays(number_array(np.append(0, ids.ends).astype(np.int32)), number_array(ids.ids))
        unfinished = self._folder / f"{name}.unfinished"
        with pa.ipc.new_stream(str(unfinished), _TOLD) as writer:
            writer.write_batch(pa.record_batch([text_array(words), lists], schema=_TOLD))
        unfinished.rename(self._folder / name)

    def _hear(self) -> None:
        for path in self._folder.iterdir():
            if path.name in self._files or path.suffix:
                continue
            self._files.add(path.name)
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                (batch,) = reader
            lists = batch["ids"]
            self._places.update(zip(batch["words"].to_pylist(), count(len(self._ids)), strict=False))
            told = FlatIds(values_of(lists.values), values_of(lists.offsets)[1:].astype(np.int64))
            self._ids = FlatIds.joined([self._ids, told])


def _begun_elsewhere(end: int) -> Sequence[int]:
    """The numbers below ``end``, from one on with which no other process begins: all go round in the same direction."""
    first = int(end * (os.getpid() * _GOLDEN_SECTION % 1))
    return [*range(first, end), *range(first)]
