"""A run that takes a tenth of a second: records, configuration, and a display that can interrupt it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weft.config.load import Loaded
from weft.config.schema import Config
from weft.training.checkpoint import checkpoints

EXAMPLES = 7


def write_records(path: Path, count: int, *, subject: str = "number") -> None:
    """Questions and answers of different lengths."""
    rows = [
        {"prompt": f"What is {subject} {index}?", "response": f"It is {index}, of course. " * (1 + index % 3)}
        for index in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_project(directory: Path, model: Path, *, dropout: float = 0.0) -> None:
    """Records, and a model whose attention has dropout."""
    write_records(directory / "train.jsonl", EXAMPLES)
    write_records(directory / "val.jsonl", 3, subject="figure")
    shutil.copytree(model, directory / "model")
    shape = directory / "model" / "config.json"
    shape.write_text(json.dumps({**json.loads(shape.read_text()), "attention_dropout": dropout}))


def configure(
    directory: Path,
    output: str = "run",
    *,
    tuning: dict[str, Any] | None = None,
    max_seq_len: int = 1024,
    datasets: Sequence[dict[str, Any]] = (),
    mix: dict[str, Any] | None = None,
    **train: Any,
) -> Loaded:
    """Two epochs of two steps over the project's records; ``train`` holds further keys of that section."""
    config = Config(
        model={"name": str(directory / "model"), "max_seq_len": max_seq_len},
        datasets=list(datasets),
        tuning=tuning or {"mode": "lora", "lora": {"r": 4, "dropout": 0.3}},
        train={
            "output_dir": str(directory / output),
            "epochs": 2.0,
            "batch_size": 2,
            "grad_accum": 2,
            "learning_rate": 1e-2,
            "logging_steps": 2,
            "weight_decay": 0.01,
            **train,
        },
        data={
            "train_path": str(directory / "train.jsonl"),
            "val_path": str(directory / "val.jsonl"),
            "cache_dir": str(directory / "cache"),
            "mix": mix or {},
        },
    )
    return Loaded(config=config, provenance={}, files=())


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Quiet:
    """A display that remembers what it was shown, and stops the run at a step if asked to."""

    def __init__(self, *, interrupt_at: int | None = None, kill_at: int | None = None):
        self.events: list[tuple[str, dict[str, Any], str]] = []
        self.interrupt_at, self.kill_at = interrupt_at, kill_at

    def show(self, event: str, values: Any, text: str) -> None:
        self.events.append((event, dict(values), text))

    def step(self, step: int, total: int, status: str) -> None:
        if step == self.kill_at:
            raise Killed
        if step == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None:
        """Nothing is open."""

    def notices(self) -> str:
        return "\n".join(text for event, _, text in self.events if event == "notice")


def result_of(run: Path) -> dict[str, bytes]:
    """What must not depend on interruptions: weights, optimizer and metrics, to the bit."""
    last = checkpoints(run)[0][1]
    weights = next(iter([*run.glob("adapter_model.safetensors"), *run.glob("model.safetensors")]))
    files = {"metrics": run / "metrics.jsonl", "weights": weights}
    files["optimizer"], files["last weights"] = last / "optimizer.safetensors", last / weights.name
    return {name: path.read_bytes() for name, path in files.items()}
