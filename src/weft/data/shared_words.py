"""Words whose ids several processes find out, and tell each other.

Texts of one source have most of their words in common, and the first of them hold most of these. Processes that encode its
blocks would find out the ids of the same words, each by itself, while one process alone does it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa

from weft.data.arrow_arrays import number_array, text_array, values_of
from weft.data.flat_ids import FlatIds

_WORTH_TELLING = 250
"""Words; to tell fewer takes longer than to find out their ids."""
_TOLD = pa.schema([("words", pa.large_string()), ("ids", pa.list_(pa.int32()))])


class SharedWords:
    """What one process tells the others, and hears from them, in files of ``folder``.

    Args:
        folder: a directory for nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._heard: set[str] = set()

    def tell(self, words: Sequence[str], ids: FlatIds) -> None:
        """Tell the others the ids of each of some words, if they are many."""
        if len(words) < _WORTH_TELLING:
            return
        name = uuid4().hex
        self._heard.add(name)
        offsets = np.append(0, ids.ends).astype(np.int32)
        lists = pa.ListArray.from_arrays(number_array(offsets), number_array(ids.ids))
        unfinished = self._folder / f"{name}.unfinished"
        with pa.ipc.new_stream(str(unfinished), _TOLD) as writer:
            writer.write_batch(pa.record_batch([text_array(words), lists], schema=_TOLD))
        unfinished.rename(self._folder / name)

    def hear(self) -> Iterator[tuple[pa.LargeStringArray, FlatIds]]:
        """What the others have told since the last time."""
        for path in self._folder.iterdir():
            if path.name in self._heard or path.suffix:
                continue
            self._heard.add(path.name)
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                (batch,) = reader
            lists = batch["ids"]
            yield batch["words"], FlatIds(values_of(lists.values), values_of(lists.offsets)[1:].astype(np.int64))
