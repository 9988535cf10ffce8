"""What a person, or a program, sees of a run while it trains."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Display(Protocol):
    """Where a run's events go, beside its log files."""

    def show(self, event: str, values: Mapping[str, Any], text: str) -> None:
        """One event, for programs as values and for people as text."""
        ...

    def step(self, step: int, total: int, status: str) -> None:
        """One optimizer step was taken."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class ConsoleDisplay:
    """Lines of text; on a terminal with a progress bar below them."""

    def __init__(self, console: Console | None = None):
        self._console = console or Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._bar: Progress | None = None

    def show(self, event: str, values: Mapping[str, Any], text: str) -> None:
        """Print the text."""
        self._console.print(text, markup=False, highlight=False)

    def step(self, step: int, total: int, status: str) -> None:
        """Move the bar."""
        if not self._console.is_terminal:
            return
        if self._bar is None:
            columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._console, transient=True, refresh_per_second=4)
            self._bar.add_task(status, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=step, description=status)

    def close(self) -> None:
        """Take the bar away, so that the terminal is whole again."""
        if self._bar is not None:
            self._bar.stop()


class JsonDisplay:
    """One JSON object per event and line: ``{"event": …, …}``."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout

    def show(self, event: str, values: Mapping[str, Any], text: str) -> None:
        """Print the values."""
        print(json.dumps({"event": event, **values}, ensure_ascii=False), file=self._stream, flush=True)

    def step(self, step: int, total: int, status: str) -> None:
        """Programs read the metrics instead."""

    def close(self) -> None:
        """There is nothing to close."""
