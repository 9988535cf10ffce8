"""What a checkpoint holds beside the model: the optimizer as tensors, and ``state.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from weft.errors import RunError
from weft.training.optimizer import optimizer_tensors, restore_optimizer
from weft.training.progress import Progress

OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True)
class State:
    """``state.json``."""

    progress: Progress
    identity: dict[str, Any]
    """Of the run that wrote it (weft.training.identity)."""
    environment: dict[str, Any]
    grad_scaler: dict[str, float] | None
    """The loss scale of float16 training; None without one."""


def write_state(directory: Path, state: State, optimizer: torch.optim.Optimizer) -> None:
    """Write both files into ``directory``."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in optimizer_tensors(optimizer).items()}
    save_file(tensors, directory / OPTIMIZER)
    (directory / STATE).write_text(json.dumps(asdict(state), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_state(checkpoint: Path) -> State:
    """Read the ``state.json`` of a sound checkpoint.

    Raises:
        RunError: another version of weft wrote it, with other fields.
    """
    values = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    try:
        assert isinstance(values["identity"], dict)
        assert set(values["progress"]) == {field.name for field in fields(Progress)}
        return State(**{**values, "progress": Progress(**values["progress"])})
    except (AssertionError, KeyError, TypeError) as problem:
        raise RunError(
            "the checkpoint was written by another version of weft, and cannot be resumed by this one",
            where=str(checkpoint),
            fix="resume with the version that wrote it, or start anew with --fresh",
        ) from problem


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Give ``optimizer`` the state that a sound checkpoint holds."""
    restore_optimizer(optimizer, load_file(checkpoint / OPTIMIZER))
