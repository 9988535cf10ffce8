"""The optimizer, and its state as named tensors (never pickled: law 10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from weft.config.schema import TrainConfig
from weft.errors import RunError
from weft.models.adapters import trainable_parameters


def build_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) or plain SGD over the trainable weights of ``module``.

    Biases, norms and other vectors do not decay. AdamW is fused: 5× the loop over tensors on a CPU. The learning rate
    is set before every step (weft.training.schedule).
    """
    named = trainable_parameters(module).items()
    groups = [
        {"params": [pair for pair in named if pair[1].ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [pair for pair in named if pair[1].ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match config.optim:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=config.learning_rate)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state, ``<weight>/<kind>`` → tensor (kinds: ``step``, ``exp_avg``, ``exp_avg_sq``)."""
    state = optimizer.state_dict()["state"]
    return {
        f"{name}/{kind}": tensor for index, name in _names(optimizer) for kind, tensor in state.get(index, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give ``optimizer`` the state that :func:`optimizer_tensors` took of one over the same weights.

    Raises:
        RunError: the tensors belong to other weights.
    """
    indices = {name: index for index, name in _names(optimizer)}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition("/")
        if name not in indices:
            raise RunError(
                f"the checkpoint's optimizer has a state for '{name}', which this run does not train",
                fix="resume with the settings that wrote the checkpoint, or start anew with --fresh",
            )
        state.setdefault(indices[name], {})[kind] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _names(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, str]]:
    for group in optimizer.state_dict()["param_groups"]:
        yield from zip(group["params"], group["param_names"], strict=True)
