"""The run's log: ``metrics.jsonl`` for programs, ``training.log`` for people, TensorBoard for eyes, a display for now.

``metrics.jsonl`` holds only what a resumed run repeats to the bit; whatever a clock measured goes to the others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from weft.errors import RunError
from weft.escape import visible
from weft.training.checkpoint import replace_file
from weft.training.display import Display
from weft.training.progress import Progress
from weft.training.run_dir import METRICS, TENSORBOARD, TEXT_LOG
from weft.types import Location

_LONGEST = 1e9
"""Seconds, thirty years: no remaining time is shown as more."""


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a ``metrics.jsonl``, in order; without one, none."""
    return [_read_line(path, *line) for line in enumerate(path.read_bytes().splitlines(), 1)] if path.is_file() else []


def cut_metrics(path: Path, step: int) -> None:
    """Take every line after ``step`` from a ``metrics.jsonl``, as if the run had stopped there."""
    if path.is_file():
        lines = enumerate(path.read_bytes().splitlines(keepends=True), 1)
        kept = (line for number, line in lines if _is_whole(line) and _read_line(path, number, line)["step"] <= step)
        replace_file(path, b"".join(kept))


class RunLog:
    """Writes to all of them; the recorder of weft.training.loop.

    Args:
        run: the run directory; its files are continued.
        display: what shows the events.
        start: the progress that the run begins with.
        total_steps: its last step.
        tensorboard: also write event files.
    """

    def __init__(self, run: Path, display: Display, *, start: Progress, total_steps: int, tensorboard: bool):
        cut_metrics(run / METRICS, start.step)
        self._metrics = (run / METRICS).open("a", encoding="utf-8")
        self._text = (run / TEXT_LOG).open("a", encoding="utf-8")
        self._display = display
        self._total = total_steps
        self._writer = _tensorboard(run / TENSORBOARD, start.step) if tensorboard else None
        self._first = self._window = self._now = (time.perf_counter(), start.step, start.tokens)
        self._speed = 0.0

    def event(self, event: str, values: Mapping[str, Any], text: str) -> None:
        """One event, with nothing in its text that a terminal would obey (law 13)."""
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        text = visible(text)
        self._text.writelines(f"{stamp}  {line}\n" for line in text.splitlines())
        self._text.flush()
        self._display.show(event, values, text)

    def notice(self, text: str) -> None:
        """Something that a person should know."""
        self.event("notice", {"text": text}, text)

    def step(self, progress: Progress, *, loss: float, learning_rate: float) -> None:
        """Called by the loop after every step."""
        now = time.perf_counter()
        since, _, tokens = self._window
        self._speed = (progress.tokens - tokens) / (now - since)
        status = (
            f"loss {loss:.4f}  lr {learning_rate:.2e}  {self._speed:,.0f} tokens/s  {self._left(progress.step)} left"
        )
        self._display.step(progress.step, self._total, status)
        self._now = (now, progress.step, progress.tokens)

    def metrics(self, values: dict[str, float]) -> None:
        """Called by the loop with each line for ``metrics.jsonl``."""
        self._metrics.write(json.dumps(values) + "\n")
        self._metrics.flush()
        if "loss" in values:
            self._window = self._now
            values = {**values, "tokens_per_second": self._speed}
            self.event("train", values, self._train_text(values))
        else:
            self.event("eval", values, _eval_text(values))
        for key, value in values.items() if self._writer else ():
            if key not in {"step", "epoch"}:
                self._writer.add_scalar(_tag(key), value, int(values["step"]))

    def flush(self) -> None:
        """Bring ``metrics.jsonl`` to the disk: what a checkpoint's step has logged must not be lost when it is kept."""
        os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Close the files and the display."""
        self._display.close()
        self._metrics.close()
        self._text.close()
        if self._writer:
            self._writer.close()

    def _train_text(self, values: Mapping[str, float]) -> str:
        step = int(values["step"])
        return (
            f"step {step}/{self._total}  epoch {values['epoch']:.2f}  loss {values['loss']:.4f}  "
            f"lr {values['learning_rate']:.2e}  grad norm {values['grad_norm']:.3f}  "
            f"{values['tokens_per_second']:,.0f} tokens/s  {self._left(step)} left"
        )

    def _left(self, step: int) -> timedelta:
        since, first, _ = self._first
        seconds = (time.perf_counter() - since) / max(1, step - first) * (self._total - step)
        return timedelta(seconds=round(min(seconds, _LONGEST)))


def _eval_text(values: Mapping[str, float]) -> str:
    return (
        f"step {values['step']}  validation loss {values['eval_loss']:.4f}  perplexity {values['eval_perplexity']:.2f}"
    )


def _tag(key: str) -> str:
    return f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}"


def _read_line(path: Path, number: int, line: bytes) -> dict[str, float]:
    """A line of metrics; a dying process leaves no others behind, but an editor may."""
    try:
        values: dict[str, float] = json.loads(line)
        values["step"] + 0
    except (ValueError, KeyError, TypeError) as problem:
        raise RunError(
            "the line is not one that a run writes",
            where=Location(path=str(path), line=number),
            fix="move the file away: the run resumes without it, and writes it from there on",
        ) from problem
    return values


def _is_whole(line: bytes) -> bool:
    """False for what is left of a line that a dying process was writing."""
    return line.endswith(b"\n")


def _tensorboard(directory: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(directory), purge_step=step + 1)
