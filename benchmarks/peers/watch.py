"""How a Hugging Face Trainer's run is observed: through its callbacks, which is what they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.examples import CONTEXT, fingerprint, split_row
from benchmarks.job import Job
from benchmarks.stopwatch import Stopwatch
from transformers import TrainerCallback


class Watch(TrainerCallback):
    """Times every step; where the job asks for it, also notes losses and what the data set holds."""

    def __init__(self, job: Job):
        self._job = job
        self._stopwatch = Stopwatch()
        self._losses: list[float] = []
        self._targets: list[int] = []
        self._examples: list[str] = []
        self._trained_parameters = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Everything is loaded."""
        if self._job.record:
            self._note(kwargs["train_dataloader"].dataset)
            self._trained_parameters = sum(
                weight.numel() for weight in kwargs["model"].parameters() if weight.requires_grad
            )
        self._stopwatch.begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An optimizer step is done, and nothing is logged yet."""
        self._stopwatch.step()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **kwargs: Any) -> None:
        """The mean loss per target since the last log, which is that of one step."""
        if "loss" in logs:
            self._losses.append(logs["loss"])

    def write(self, *packages: str) -> None:
        """Leave the report, with the versions of ``packages``."""
        self._stopwatch.write(
            Path(self._job.report),
            losses=self._losses,
            targets=self._targets,
            examples=self._examples,
            trained_parameters=self._trained_parameters,
            versions={name: version(name) for name in packages},
        )

    def _note(self, rows: Sequence[Mapping[str, Any]]) -> None:
        per_step = self._job.batch_size * self._job.grad_accum
        targets = [sum(label != CONTEXT for label in row["labels"]) for row in rows]
        self._targets = [sum(targets[start : start + per_step]) for start in range(0, len(rows), per_step)]
        self._examples = [
            fingerprint(ids, labels)
            for row in rows
            for ids, labels in split_row(row["input_ids"], row["labels"], list(_lengths(row)))
        ]


def _lengths(row: Mapping[str, Any]) -> Iterable[int]:
    """TRL's packed rows have a column for the lengths; LLaMA-Factory numbers the examples of a row in its attention mask."""
    if row.get("seq_lengths"):
        return row["seq_lengths"]
    mask = row.get("attention_mask") or [1] * len(row["input_ids"])
    return [mask.count(number) for number in range(1, max(mask) + 1)]
