"""Several processes encode one source together.

Each reads all of its rows, and encodes those blocks that it is the first to claim, by making a file of the block's name, which
only one can make. So nobody waits for anybody, and a process that starts late, or is slow, does less. Each writes a file of its
own; in the end the blocks are put together in their order, which is that of one process.

A helper is a fresh interpreter (``python -m weft.data.store_helper``) that is told its work by its standard input: it imports
neither torch nor the program's main module, and inherits no threads.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import pyarrow as pa

from weft.data.example_file import ExampleWriter
from weft.data.store_build import Done, Work
from weft.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What a process is told."""

    work: Work
    path: Path
    """The file to write."""
    claims: Path
    """The directory where blocks are claimed."""
    disproved: str | None
    """Why no shortcuts may be taken, if they may not: what a renderer has learnt does not travel with it."""

    def do(self, progress: Callable[[int], None] | None = None) -> Done:
        """Encode as many blocks as can be claimed."""
        if self.disproved:
            self.work.renderer.take_no_shortcuts(self.disproved)

        def mine(number: int) -> bool:
            try:
                (self.claims / str(number)).touch(exist_ok=False)
            except FileExistsError:
                return False
            return True

        return self.work.do(self.path, mine, progress)


def do_together(path: Path, work: Work, *, progress: Callable[[int], None], jobs: int) -> Done:
    """As :meth:`weft.data.store_build.Work.do`, by ``jobs`` processes, this one among them.

    Raises:
        DataError: a helper died.
    """
    with TemporaryDirectory(dir=path.parent) as aside, ExitStack() as running:
        claims = Path(aside, "claims")
        claims.mkdir()
        shares = [
            Share(work=work, path=Path(aside, str(number)), claims=claims, disproved=work.renderer.disproved)
            for number in range(jobs)
        ]
        helpers = [_Helper(share, running) for share in shares[1:]]
        parts = [shares[0].do(lambda rows: progress(rows * jobs)), *(helper.result() for helper in helpers)]
        return _put_together(path, work, parts)


class _Helper:
    """Another process that does a share."""

    def __init__(self, share: Share, running: ExitStack) -> None:
        # It finds what this process finds, and nothing else: not the modules of the directory that weft was started in.
        command = [sys.executable, "-P", "-m", "weft.data.store_helper"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with (
            TemporaryFile() as told
        ):  # not a pipe, which holds less than a tokenizer: nobody waits until the helper reads
            pickle.dump(share, told)
            told.seek(0)
            self._process = subprocess.Popen(
                command, env=environment, stdin=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        running.callback(self._stop)

    def result(self) -> Done:
        """What it made, or the error that it met."""
        output, errors = self._process.communicate()
        if self._process.returncode:
            last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise DataError(
                f"a helper process ended with status {self._process.returncode}: {last}",
                fix="run it again, or set data.jobs=1 to do without helpers",
            )
        found = pickle.loads(output)  # from our own child
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, Done)
        return found

    def _stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def _put_together(path: Path, work: Work, parts: list[Done]) -> Done:
    # Read, not mapped: pages that are mapped would count as memory of this process until the end.
    files = [pa.ipc.open_file(pa.OSFile(str(part.path))) for part in parts]
    places = {}
    for part, file in zip(parts, files, strict=True):
        batches = iter(range(file.num_record_batches))
        for number, (account, has_examples) in part.blocks.items():
            places[number] = account, (file, next(batches)) if has_examples else None
    blocks = {}
    with ExampleWriter(path, work.source.reader.files) as writer:
        for number in sorted(places):
            account, place = places[number]
            blocks[number] = account, place is not None
            if place:
                file, batch = place
                writer.append(file.get_batch(batch))
    tally, *others = (part.tally for part in parts)
    for other in others:
        tally.join(other)
    return Done(path=path, blocks=blocks, tally=tally, fingerprint=writer.digest())
