"""How far the answers are: a live line on a terminal, a plain line now and then elsewhere (logs, CI)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from weft.inference.generate import OnStep

_PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""


@contextmanager
def answering(label: str, total: int) -> Iterator[OnStep]:
    """A function for :meth:`Answerer.answer` to call, which shows answers, tokens per second and the time left on stderr."""
    yield from (_live if sys.stderr.isatty() else _plain)(label, total)


def _live(label: str, total: int) -> Iterator[OnStep]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} tokens/s"),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=total, rate=0.0)
        yield lambda done, tokens: bars.update(task, completed=done, rate=tokens / (time.perf_counter() - start))


def _plain(label: str, total: int) -> Iterator[OnStep]:
    start = last = time.perf_counter()

    def report(done: int, tokens: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if done == total or now - last >= _PLAIN_EVERY:
            last = now
            left = f", about {(total - done) * (now - start) / done:.0f} s left" if 0 < done < total else ""
            rate = tokens / (now - start)
            print(f"{label}: {done:,} of {total:,} answers, {rate:,.0f} tokens/s{left}", file=sys.stderr, flush=True)

    yield report
