"""Attention document by document: the row is split, each piece attends to itself, and one copy joins the results."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.models.segments import Scoring, Segments


def attend_by_segment(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scoring: Scoring) -> Tensor:
    """[1, Hq, T, D], [1, Hkv, T, D] and [1, Hkv, T, Dv] → [1, T, Hq, Dv], on any device and in any type."""
    attend = _fused if scoring.plain else _step_by_step
    if len(segments.lengths) == 1:
        return attend(query, key, value, segments, scoring).transpose(1, 2).contiguous()
    # Tokens first: then a piece is one block of memory, and what joins the pieces, here and in the backward pass of
    # the splits, copies whole blocks.
    rows = (tensor.transpose(1, 2).split(segments.lengths, dim=1) for tensor in (query, key, value))
    documents = ([piece.transpose(1, 2) for piece in pieces] for pieces in zip(*rows, strict=True))
    return torch.cat([attend(*document, segments, scoring).transpose(1, 2) for document in documents], dim=1)


def _fused(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scoring: Scoring) -> Tensor:
    """One document of L tokens through PyTorch's kernels: → [1, Hq, L, Dv]."""
    length = query.shape[2]
    limited = scoring.reach is not None and length - 1 > scoring.reach
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.device.type != "cpu":
        # Elsewhere than on the CPU the kernels that take float32 or a mask know no groups, and without them the whole
        # matrix of scores would be stored.
        key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for tensor in (key, value))
        grouped = False
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=segments.visible(scoring.reach, query.device)[:length, :length] if limited else None,
        is_causal=segments.causal and not limited,
        dropout_p=scoring.dropout,
        scale=scoring.scaling,
        enable_gqa=grouped,
    )


def _step_by_step(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scoring: Scoring) -> Tensor:
    """One document of L tokens with a soft cap or sinks, its softmax in float32: → [1, Hq, L, Dv].

    Queries that share a key are stacked on each other, so that keys and values need no copies.
    """
    _, heads, length, size = query.shape
    shared = (1, key.shape[1], heads // key.shape[1], length)
    scaling = size**-0.5 if scoring.scaling is None else scoring.scaling
    stacked = query.reshape(1, key.shape[1], -1, size)
    scores = (stacked @ key.transpose(2, 3) * scaling).view(*shared, length)
    if scoring.softcap is not None:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    if segments.causal or scoring.reach is not None:
        visible = segments.visible(scoring.reach, query.device)[:length, :length]
        scores = scores.masked_fill(~visible, -torch.inf)
    if scoring.sinks is not None:
        sinks = scoring.sinks.to(scores.dtype).view(*shared[:3], 1, 1).expand(*shared, 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)[..., :length]
    weights = F.dropout(weights, scoring.dropout)
    return (weights.reshape(1, key.shape[1], -1, length) @ value).view(1, heads, length, -1)
