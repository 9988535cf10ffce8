"""Several processes encode one source together.

Each reads all of its rows, and encodes those blocks that it is the first to claim, by making a file of the block's name, which
only one can make. So nobody waits for anybody, and a process that starts late, or is slow, does less. Each writes a file of its
own; in the end the blocks are put together in their order, which is that of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from weft.data.example_file import ExampleDigest, ExampleWriter
from weft.data.store_build import Done, Share, Work
from weft.data.store_helper import start_helper


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
        work.renderer.get_ready()  # so that processes that are forked are, too
        helpers = [running.enter_context(start_helper(share)) for share in others]
        parts = [mine.do(lambda rows: progress(rows * jobs)), *(helper.result() for helper in helpers)]
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
    digest = ExampleDigest()
    with ExampleWriter(path, work.source.reader.files) as writer, ThreadPoolExecutor(1) as beside:
        for number in sorted(places):
            account, place = places[number]
            blocks[number] = account, place is not None
            if place:
                file, batch_number = place
                batch = file.get_batch(batch_number)
                digested = beside.submit(digest.update, batch)
                writer.append(batch)
                digested.result()
    tally, *others = (part.tally for part in parts)
    for other in others:
        tally.join(other)
    return Done(path=path, blocks=blocks, tally=tally, fingerprint=digest.hexdigest())
