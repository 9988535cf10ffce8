"""The loss at the head: the one place that ever holds logits, and the place for a faster kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

LOGITS_AT_ONCE = 2**25
"""The most logits that exist at a time: 128 MiB in float32, which is 4,096 targets of 8k words, or 220 of 152k."""


def head_loss(
    head: Callable[[torch.Tensor], torch.Tensor],
    hidden: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    vocabulary: int,
) -> torch.Tensor:
    """The weighted sum of negative log-likelihoods, with at most :data:`LOGITS_AT_ONCE` logits in memory (law 8).

    Targets that need more are taken in chunks, of which the backward pass computes the logits a second time.

    Args:
        head: hidden states [n, H] → logits [n, V].
        hidden: the states that predict the targets, [N, H].
        labels: the targets, int64 [N].
        weights: what each target counts, float32 [N].
        vocabulary: V, for the size of a chunk.

    Returns:
        Σ weights · −log softmax(head(hidden))[labels], in nats: float32, 0-d.
    """

    def chunk_loss(hidden: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(hidden).float(), labels, reduction="none").mul(weights).sum()

    size = max(1, LOGITS_AT_ONCE // vocabulary)
    if len(labels) <= size:
        return chunk_loss(hidden, labels, weights)
    chunks = zip(hidden.split(size), labels.split(size), weights.split(size), strict=True)
    return torch.stack([checkpoint(chunk_loss, *chunk, use_reentrant=False) for chunk in chunks]).sum()
