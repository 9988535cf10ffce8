"""Words whose ids several processes find out together.

Blocks of one source have most of their words in common, and the first of them hold most of these. Each process that encodes some
of the blocks would find out their ids for itself. So words lie on a circle, at places that their letters decide on, and each
process has an arc of it. It takes its words in there first, some at a time, tells the others, and leaves out what they have told.
Then it goes back through the arc before its own, towards the process that comes from there, should that be slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from uuid import uuid4
from zlib import crc32

import numpy as np
import pyarrow as pa

from weft.data.arrow_arrays import number_array, text_array, values_of
from weft.data.flat_ids import EncodeWords, FlatIds

_AT_ONCE = 4_096
"""Words that are found out before the others are told of them and listened to."""
_WORTH_TELLING = 2_000
"""Words; to tell fewer takes longer than to find out their ids."""
_ENOUGH = 2**15
"""Words that a process tells in all: the common ones are among them, and the memory stays bounded."""
_CIRCLE = 2**32
_TOLD = pa.schema([("words", pa.large_string()), ("ids", pa.list_(pa.int32()))])


class SharedWords:
    """What one process knows from the others, and tells them, in files of ``folder``.

    Args:
        folder: a directory for nothing else.
        number: of this process, from 0.
        processes: how many there are.
    """

    def __init__(self, folder: Path, number: int, processes: int) -> None:
        self._folder, self._arc = folder, _CIRCLE // processes
        self._begin = number * self._arc
        self._files: set[str] = set()
        """Those that it wrote or has read."""
        self._to_tell: list[tuple[Sequence[str], FlatIds]] = []
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
        found: list[FlatIds] = []
        asked: list[int] = []
        told: dict[int, int] = {}
        self._hear()

        def unknown() -> Iterator[int]:
            for number in self._in_turn(words):
                place = self._places.get(words[number])
                if place is None:
                    yield number
                else:
                    told[number] = place

        numbers = unknown()  # each looked up when it is its turn
        while now := list(islice(numbers, _AT_ONCE)):
            some = [words[number] for number in now]
            found.append(encode(some))
            asked += now
            self._tell(some, found[-1])
            self._hear()
        places = np.fromiter(told.values(), np.int64, len(told))
        return FlatIds.joined([*found, self._ids.take(places)]).take(np.argsort([*asked, *told]))

    def _in_turn(self, words: Sequence[str]) -> Sequence[int]:
        """The numbers of words in the order in which this process takes them; where they are few, as they stand."""
        if len(words) < _WORTH_TELLING:
            return range(len(words))
        places = np.fromiter((crc32(word.encode()) for word in words), np.int64, len(words))
        behind = (places - self._begin) % _CIRCLE
        order: list[int] = np.argsort(np.where(behind < self._arc, behind, 2 * _CIRCLE - behind)).tolist()
        return order

    def _tell(self, words: Sequence[str], ids: FlatIds) -> None:
        """Tell words and their ids, with those before them, as soon as they are enough."""
        if self._told >= _ENOUGH:
            return
        self._to_tell.append((words, ids))
        if sum(len(some) for some, _ in self._to_tell) < _WORTH_TELLING:
            return
        words = [word for some, _ in self._to_tell for word in some]
        ids = FlatIds.joined([each for _, each in self._to_tell])
        self._to_tell.clear()
        self._told += len(words)
        name = uuid4().hex
        self._files.add(name)
        lists = pa.ListArray.from_arrays(number_array(np.append(0, ids.ends).astype(np.int32)), number_array(ids.ids))
        unfinished = self._folder / f"{name}.unfinished"
        with pa.ipc.new_stream(str(unfinished), _TOLD) as writer:
            writer.write_batch(pa.record_batch([text_array(words), lists], schema=_TOLD))
        unfinished.rename(self._folder / name)

    def _hear(self) -> None:
        """Read what others told since the last time."""
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
