"""The same work on several processes, where there is enough of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Literal, TypeVar

from weft.errors import DataError

Result = TypeVar("Result")

_WORTH_A_PROCESS = 4_000_000
"""Characters that take longer to work on than a process takes to start."""
_PARTS_PER_PROCESS = 4  # so that none waits long for the last one
_THREADS = "TOKENIZERS_PARALLELISM"
"""Tells tokenizers whether to share its work among threads."""
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


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
    return sys.platform == "linux" and threading.active_count() == 1 and not multiprocessing.current_process().daemon


@contextmanager
def one_core_each() -> Iterator[None]:
    """Within the block, tokenizers takes one core, where processes are forked: they are there for the others.

    It is told by the environment, which cannot be written safely where another thread may read it.
    """
    if not may_fork():
        yield
        return
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


@contextmanager
def starting() -> Iterator[None]:
    """Within the block, processes are started, and nothing of this one is in their way.

    A forked one has none of the threads that tokenizers shares its work among, and would wait for them.

    An interrupt waits for the end of the block, in this process until it knows of those that it must end, and in a new one until
    :func:`on_interrupt` says what to do with it: it would unwind what this process is in the middle of.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        with one_core_each(), warnings.catch_warnings():  # before the fork, as tokenizers looks when it happens
            warnings.simplefilter("ignore", DeprecationWarning)  # of the threads that may_fork tells of
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def on_interrupt(action: signal.Handlers) -> None:
    """What a process that was :func:`starting` does from now on when it is interrupted; who terminates it ends it."""
    signal.signal(signal.SIGINT, action)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


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
    if count < 2 or multiprocessing.current_process().daemon:  # which may not start any
        yield work(texts)
        return
    size = -(-len(texts) // (count * _PARTS_PER_PROCESS))
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    context = multiprocessing.get_context("fork" if may_fork() else "spawn")
    try:
        with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
            with starting():
                results = pool.map(work, parts)
            yield from results
    except BrokenProcessPool:
        what = f"one of {count} processes was ended before its work was done, perhaps for want of memory"
        raise DataError(what, where="data.jobs", fix="set data.jobs=1, or fewer than now") from None


def _end_with_parent() -> None:
    """A process of a pool ends without a word when the one that started it is interrupted with it, or gone."""
    on_interrupt(signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
