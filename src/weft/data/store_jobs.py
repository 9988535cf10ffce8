"""Several processes encode one source together.

Each reads all of its rows, and encodes those blocks that it is the first to claim, by making a file of the block's name, which
only one can make. So nobody waits for anybody, and a process that starts late, or is slow, does less. Each writes a file of its
own; in the end the blocks are put together in their order, which is that of one process.

A helper is a fresh interpreter (``python -m weft.data.store_helper``) that is told its work through a pipe: it imports neither
torch nor the program's main module, and inherits no threads.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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

    def do(self, progress: Callable[[int], None] | None = None) -> Done:
        """Encode as many blocks as can be claimed."""

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
    claims = path.with_name(f"{path.name}.claims")
    claims.mkdir()
    shares = [Share(work=work, path=path.with_name(f"{path.name}.{number}"), claims=claims) for number in range(jobs)]
    helpers = [_Helper(share) for share in shares[1:]]
    try:
        parts = [shares[0].do(lambda rows: progress(rows * jobs)), *(helper.result() for helper in helpers)]
    finally:
        for helper in helpers:
            helper.stop()
    shutil.rmtree(claims)
    done = _put_together(path, work, parts)
    for share in shares:
        share.path.unlink()
    return done


class _Helper:
    """Another process that does a share."""

    def __init__(self, share: Share) -> None:
        command = [sys.executable, "-m", "weft.data.store_helper"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdin
        try:
            pickle.dump(share, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:  # its end says why
            pass

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

    def stop(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def _put_together(path: Path, work: Work, parts: list[Done]) -> Done:
    files = [pa.ipc.open_file(pa.memory_map(str(part.path))) for part in parts]
    places = {}
    for part, file in zip(parts, files, strict=True):
        batches = iter(range(file.num_record_batches))
        for number, (account, has_examples) in part.blocks.items():
            places[number] = account, file.get_batch(next(batches)) if has_examples else None
    blocks = {}
    with ExampleWriter(path, work.source.reader.files) as writer:
        for number in sorted(places):
            account, batch = places[number]
            blocks[number] = account, batch is not None
            if batch is not None:
                writer.append(batch)
    tally, *others = (part.tally for part in parts)
    for other in others:
        tally.join(other)
    return Done(path=path, blocks=blocks, tally=tally, fingerprint=writer.digest())
