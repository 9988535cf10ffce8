"""The loss at the head: the one place that ever holds logits, and never more than a chunk of them (law 8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from weft.models.parts import Head
from weft.objectives.linear_loss import TARGETS_AT_ONCE, linear_loss


def head_loss(head: Head, hidden: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the targets' negative log-likelihoods.

    A head that is a plain linear layer goes through the fused kernel (weft.objectives.linear_loss). Any other, such as one
    with an adapter, is called as it is, :data:`~weft.objectives.linear_loss.TARGETS_AT_ONCE` targets at a time, and the
    backward pass calls it a second time rather than keep its logits.

    Args:
        head: makes logits of hidden states.
        hidden: the states that predict the targets, [N, H].
        labels: the targets, int64 [N].
        weights: what each target counts, float32 [N].

    Returns:
        Σ weights · −log softmax(head(hidden))[labels], in nats: float32, 0-d. Without targets a zero that has a gradient.
    """
    linear = head.linear
    if linear is not None:
        return linear_loss(
            hidden, linear.weight, linear.bias, labels, weights, scale=head.scale, soft_cap=head.soft_cap
        )

    def chunk_loss(hidden: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(hidden).float(), labels, reduction="none").mul(weights).sum()

    if len(labels) <= TARGETS_AT_ONCE:
        return chunk_loss(hidden, labels, weights)
    chunks = zip(*(tensor.split(TARGETS_AT_ONCE) for tensor in (hidden, labels, weights)), strict=True)
    return torch.stack([checkpoint(chunk_loss, *chunk, use_reentrant=False) for chunk in chunks]).sum()
