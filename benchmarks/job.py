"""What a peer's process is told to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


class JsonFile:
    """A dataclass of plain values that travels as a file."""

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def read(cls, path: str) -> Self:
        """What :meth:`write` wrote."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class Job(JsonFile):
    """A training run; all paths are absolute."""

    model: str
    """A model directory: weights and tokenizer."""
    examples: str
    """Where the examples are: a file of benchmarks.examples for TRL, a saved data set for LLaMA-Factory."""
    steps: int
    batch_size: int
    grad_accum: int
    packed: bool
    lora: bool
    learning_rate: float
    record: bool
    """Whether losses and examples are reported, which costs time."""
    folder: str
    """Where the trainer may write."""
    report: str
    """The file for the stopwatch's report."""
