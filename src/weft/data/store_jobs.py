"""Several processes encode one source together.

Each reads all of its rows, and encodes those blocks that it is the first to claim, by making a file of the block's name, which
only one can make. So nobody waits for anybody, and a process that starts late, or is slow, does less. One of them writes the
blocks as soon as all that stand before them are there: in their order, which is that of one process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from weft.data.block_files import InOrder
from weft.data.example_file import ExampleWriter
from weft.data.in_parallel import one_core_each
from weft.data.store_build import Done, Share, Work
from weft.data.store_helper import start_helper
from weft.errors import DataError


def do_together(writer: ExampleWriter, place: Path, work: Work, *, progress: Callable[[int], None], jobs: int) -> Done:
    """As :meth:`weft.data.store_build.Work.do`, by ``jobs`` processes, this one among them, which writes what all of them make.

    Args:
        writer: of all examples.
        place: a directory for what is gone afterwards.
        work: what to do.
        progress: told how many rows are done.
        jobs: at least 2.

    Raises:
        DataError: a helper died, or a block is lost.
    """
    with TemporaryDirectory(dir=place) as aside, ExitStack() as running, one_core_each():
        share = Share.of(work, Path(aside))
        in_order = InOrder(writer, share.blocks)
        helpers = [running.enter_context(start_helper(share)) for _ in range(jobs - 1)]
        mine = share.do(lambda rows: progress(rows * jobs), in_order.put)
        made = [helper.result() for helper in helpers]
        in_order.write_what_is_there()
    for other in made:
        mine.accounts.update(other.accounts)
        mine.tally.join(other.tally)
    if in_order.written < len(mine.accounts):
        what = f"block {in_order.written} of {len(mine.accounts)} is gone before it was written"
        raise DataError(what, where=str(place), fix="let nothing be removed there, and run it again")
    return mine
