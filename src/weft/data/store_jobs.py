"""Several processes encode one source together.

Each reads all of its rows, and encodes those blocks that it is the first to claim, by making a file of the block's name, which
only one can make. So nobody waits for anybody, and a process that starts late, or is slow, does less. Each writes a file of its
own; in the end the blocks are put together in their order, which is that of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from weft.data.example_file import ExampleWriter
from weft.data.in_parallel import may_fork
from weft.data.store_build import Done, Share, Work
from weft.data.store_helper import Helper, start_helper


def do_together(path: Path, work: Work, *, progress: Callable[[int], None], jobs: int) -> Done:
    """As :meth:`weft.data.store_build.Work.do`, by ``jobs`` processes, this one among them.

    Raises:
        DataError: a helper died.
    """
    with TemporaryDirectory(dir=path.parent) as aside, ExitStack() as running:
        claims = Path(aside, "claims")
        claims.mkdir()
        mine, *others = (
            Share(work=work, path=Path(aside, str(number)), claims=claims, disproved=work.renderer.disproved)
            for number in range(jobs)
        )
        helpers: list[Helper] = []

        def ask_for_help() -> None:
            helpers.extend(running.enter_context(start_helper(share)) for share in others)

        def go_on(rows: int) -> None:
            if not helpers:
                ask_for_help()
            progress(rows * jobs)

        if not may_fork():  # and so brings nothing of what the first block teaches
            ask_for_help()
        parts = [mine.do(go_on), *(helper.result() for helper in helpers)]
        return _put_together(path, work, parts)


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
