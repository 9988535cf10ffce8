"""The same work on several processes, where there is enough of it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import current_process, get_context
from typing import Literal, TypeVar

from weft.errors import DataError

Result = TypeVar("Result")

_WORTH_A_PROCESS = 4_000_000
"""Characters that take longer to work on than a process takes to start."""
_PARTS_PER_PROCESS = 4  # so that none waits long for the last one


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(jobs: int | Literal["auto"]) -> int:
    """How many processes ``data.jobs`` asks for where there is enough for them to do: ``auto`` is one per core."""
    return cores() if jobs == "auto" else jobs


def may_fork() -> bool:
    """Whether a forked process finds no lock held by a thread that it does not have.

    That is so where Python runs this thread alone. Threads of libraries may be there: Arrow and OpenBLAS look after theirs in a
    fork, and no other library that has some is used by those who work here. On other systems than Linux, libraries of the
    system do not bear a fork.
    """
    return sys.platform == "linux" and threading.active_count() == 1 and not current_process().daemon


def in_parallel(work: Callable[[Sequence[str]], Result], texts: Sequence[str], jobs: int) -> Iterator[Result]:
    """The results of ``work`` on consecutive parts of ``texts``, in order.

    Args:
        work: a function of a module, whose result for a text does not depend on the part that the text is in.
        texts: what is worked on.
        jobs: how many processes may work, at least 1. Fewer do where there is less to do, and this one alone where there is
            little.

    Raises:
        DataError: a process died.
    """
    count = min(jobs, sum(map(len, texts)) // _WORTH_A_PROCESS)
    if count < 2:
        yield work(texts)
        return
    size = -(-len(texts) // (count * _PARTS_PER_PROCESS))
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    try:
        with ProcessPoolExecutor(count, mp_context=get_context("fork" if may_fork() else "spawn")) as pool:
            yield from pool.map(work, parts)
    except BrokenProcessPool:
        what = f"one of {count} processes was ended before its work was done, perhaps for want of memory"
        raise DataError(what, where="data.jobs", fix="set data.jobs=1, or fewer than now") from None
