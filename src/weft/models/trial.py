"""A forward and a backward pass in training mode, on a few tokens, before anything relies on them.

``weft.models.isolation`` compares in evaluation mode, where dropout does not blur what it sees. What fails in training
mode only, or in the backward pass of a kernel, would else fail in the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_AMONG = 8


def pass_backwards(model: nn.Module, forward: Callable[[], Tensor]) -> None:
    """Compute ``forward`` in training mode, and the gradient of one weight near the model's beginning.

    That takes the backward pass of everything behind it, without memory for the gradients of all weights. Modes and random
    numbers are left as they were, and no gradient stays.

    Raises:
        Exception: whatever ``forward`` or its backward pass raises.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})
    with _training(model), torch.random.fork_rng(devices=devices), torch.enable_grad():
        output = forward()
        if trained and output.requires_grad:
            near_the_beginning = min(trained[:_AMONG], key=torch.Tensor.numel)
            torch.autograd.grad(output.float().square().mean(), near_the_beginning, allow_unused=True)


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Every module in training mode, and each put back as it was."""
    evaluating = [module for module in model.modules() if not module.training]
    model.train()
    try:
        yield
    finally:
        for module in evaluating:
            module.training = False
