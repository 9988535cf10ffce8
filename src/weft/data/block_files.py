"""Blocks of examples on their way from the processes that encode them to the one that puts them in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from weft.data.columns import Columns
from weft.data.example_file import EXAMPLES, batch_of, numbered


class BlockFiles:
    """A file for each block, in ``folder``, whose name is the block's number.

    Args:
        folder: where the files are.
        files: the paths that examples come from.
    """

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self._folder, self._numbers = folder, numbered(files)

    def put(self, number: int, columns: Columns) -> None:
        """Write the examples of a block; a file that bears a number is complete."""
        unfinished = self._folder / f"{number}.unfinished"
        with pa.ipc.new_stream(str(unfinished), EXAMPLES) as writer:
            if len(columns):
                writer.write_batch(batch_of(columns, self._numbers))
        unfinished.rename(self._folder / str(number))

    def take(self, number: int) -> list[pa.RecordBatch] | None:
        """The examples of a block, whose file is removed; None where it is not there yet."""
        path = self._folder / str(number)
        if not path.exists():
            return None
        # Read, not mapped: pages that are mapped would count as memory of this process.
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            batches = list(reader)
        path.unlink()
        return batches
