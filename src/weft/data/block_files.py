"""Blocks of examples on their way from the processes that encode them to the one that puts them in order."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from weft.data.columns import Columns
from weft.data.example_file import EXAMPLES, ExampleWriter, batch_of, numbered

_FREE = ".free"
"""How the names of files end whose blocks were taken."""


class BlockFiles:
    """A file for each block, in ``folder``, whose name is the block's number.

    A file that was taken is written anew: the system has memory for it already, and to get some would take longer than to write.

    Args:
        folder: where the files are.
        files: the paths that examples come from.
    """

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self._folder, self._numbers = folder, numbered(files)

    def put(self, number: int, columns: Columns) -> None:
        """Write the examples of a block; a file that bears a number is complete."""
        unfinished = self._folder / f"{number}.unfinished"
        self._make(unfinished)
        with unfinished.open("r+b") as file, pa.ipc.new_stream(file, EXAMPLES) as writer:
            if len(columns):
                writer.write_batch(batch_of(columns, self._numbers))
        unfinished.rename(self._folder / str(number))

    def take(self, number: int) -> list[pa.RecordBatch] | None:
        """The examples of a block, whose file is free for another one then; None where it is not there yet."""
        path = self._folder / str(number)
        if not path.exists():
            return None
        # Read, not mapped: pages that are mapped would count as memory of this process.
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            batches = list(reader)
        path.rename(path.with_suffix(_FREE))
        return batches

    def _make(self, path: Path) -> None:
        """Make a file, of a free one where there is one: behind the end of what is written, it may hold more."""
        for free in self._folder.glob(f"*{_FREE}"):
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                free.rename(path)
                return
        path.touch()


class InOrder:
    """Writes each block when those before it are ``written``, of which it keeps count."""

    def __init__(self, writer: ExampleWriter, blocks: BlockFiles) -> None:
        self._writer, self._blocks = writer, blocks
        self.written = 0

    def put(self, number: int, columns: Columns) -> None:
        """Write a block, or put it where it waits for its turn."""
        self.write_what_is_there()
        if number == self.written:
            self._writer.write(columns)
            self.written += 1
            self.write_what_is_there()
        else:
            self._blocks.put(number, columns)

    def write_what_is_there(self) -> None:
        """Write the blocks whose turn it is."""
        while (batches := self._blocks.take(self.written)) is not None:
            for batch in batches:
                self._writer.append(batch)
            self.written += 1
