"""The fused kernel: logits, loss and all gradients of a linear head, chunk by chunk, in the forward pass.

With z = s·(W h + b), capped to c·tanh(z / c) where there is a soft cap c, and p = softmax(z), the loss of a target y of
weight w is −w·log p[y], and its gradient with respect to z is w·(p − onehot(y)), times 1 − (z / c)² under a cap. So once
the loss is known the gradients are two matrix products away, and computing them at once means that logits are neither
kept for the backward pass nor computed again in it. One buffer holds a chunk's logits, then its probabilities, then its
gradient. The weights w and the scale s are multiplied into the hidden states, which are far narrower than the logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TARGETS_AT_ONCE = 512
"""Targets per chunk: enough for matrix products at full speed, few enough for their logits to stay small."""


def linear_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    target_weights: Tensor,
    *,
    scale: float = 1.0,
    soft_cap: float | None = None,
) -> Tensor:
    """The weighted sum of negative log-likelihoods under a linear head.

    Matrix products run in autocast's type where it is on, else in that of ``weight``. Softmax, loss and the sum over
    chunks of the weight's gradient are at least float32. Only the gradients that something needs are computed, and none
    at all under ``no_grad``; they cannot be differentiated again.

    Args:
        hidden: [N, H].
        weight: [V, H].
        bias: [V], or None.
        labels: int64 [N].
        target_weights: float32 [N].
        scale: what the logits are multiplied by.
        soft_cap: what they are then softly capped to (Gemma 2, arXiv:2408.00118, section 2).

    Returns:
        In nats: float32 (of float64 inputs float64), 0-d.
    """
    loss: Tensor = _LinearLoss.apply(
        hidden, weight, bias, labels, target_weights, scale, soft_cap, torch.is_grad_enabled()
    )
    return loss


class _LinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        target_weights: Tensor,
        scale: float,
        soft_cap: float | None,
        grad_enabled: bool,
    ) -> Tensor:
        # Under no_grad, needs_input_grad still says what the inputs alone would need.
        wanted = [grad_enabled and needed for needed in ctx.needs_input_grad[:3]]
        product_type = _product_type(weight)
        exact_type = torch.promote_types(product_type, torch.float32)
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        grad_weight = torch.zeros_like(weight, dtype=exact_type) if wanted[1] else None
        grad_bias = torch.zeros_like(bias, dtype=exact_type) if bias is not None and wanted[2] else None
        loss = hidden.new_zeros((), dtype=exact_type)
        with torch.autocast(hidden.device.type, enabled=False):  # every type is chosen here
            inputs, matrix = hidden.to(product_type) * scale, weight.to(product_type)
            offset = None if bias is None else bias.to(product_type) * scale
            buffer = hidden.new_empty((min(TARGETS_AT_ONCE, len(labels)), len(weight)), dtype=product_type)
            for chunk in _chunks(len(labels)):
                weights = target_weights[chunk].to(exact_type)
                logits = torch.mm(inputs[chunk], matrix.t(), out=buffer[: len(weights)])
                if offset is not None:
                    logits.add_(offset)
                losses, gradient = _softmax_loss(logits, labels[chunk], soft_cap, wanted=any(wanted))
                loss.add_(torch.dot(losses, weights))
                if gradient is None:
                    continue
                weights = weights.to(product_type).unsqueeze(1)
                if grad_hidden is not None:
                    grad_hidden[chunk] = torch.mm(gradient, matrix).mul_(weights * scale)
                if grad_weight is not None:
                    _add_product(grad_weight, gradient.t(), inputs[chunk] * weights)
                if grad_bias is not None:
                    _add_product(grad_bias.unsqueeze(1), gradient.t(), weights * scale)
        ctx.save_for_backward(
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
        )
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        # In place: a second gradient of the head's size would be the largest tensor of the step.
        gradients = [None if gradient is None else gradient.mul_(grad_loss) for gradient in ctx.saved_tensors]
        return *gradients, None, None, None, None, None


def _product_type(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + TARGETS_AT_ONCE) for start in range(0, count, TARGETS_AT_ONCE))


def _softmax_loss(
    logits: Tensor, labels: Tensor, soft_cap: float | None, *, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """The loss [n] of each target, and the gradient [n, V] with respect to its ``logits``, which are overwritten."""
    column = labels.unsqueeze(1)
    values = logits.to(torch.promote_types(logits.dtype, torch.float32))  # single precision: the same memory
    if soft_cap is not None:
        values.div_(soft_cap).tanh_().mul_(soft_cap)
    slope = None if soft_cap is None or not wanted else 1 - (values / soft_cap).square_()
    at_labels = values.gather(1, column)
    largest = values.amax(1, keepdim=True)
    probabilities = torch.softmax(values, 1, out=values)
    # log Σ exp(z) = z − log p for every entry. The likeliest has a p of at least 1 / V, so its logarithm is exact where
    # the label's p may be 0; and so one pass of exponentials serves loss and gradient.
    losses = (largest - probabilities.amax(1, keepdim=True).log_() - at_labels).squeeze(1)
    if not wanted:
        return losses, None
    gradient = probabilities.scatter_add_(1, column, torch.full_like(at_labels, -1))
    if slope is not None:
        gradient.mul_(slope)
    return losses, gradient if gradient is logits else logits.copy_(gradient)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total`` += ``left`` @ ``right``, summed in the type of ``total``."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    elif total.is_cuda:  # the only device whose products have a wider type than their factors
        total.add_(torch.mm(left, right, out_dtype=total.dtype))
    else:
        total.add_(torch.mm(left, right))
