"""Kernels for CUDA that take a whole row and the boundaries of its documents, chosen by hardware and by what is asked.

``torch.nn.attention.varlen`` comes with PyTorch; FlashAttention, where it is installed, also drops weights and caps
softly; FlexAttention, compiled at its first call, also has what sinks need. What none of them computes is left to
``weft.models.attention_by_segment``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import AuxOutput, AuxRequest, BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn

from weft.models.segments import Scoring, Segments

Kernel = Callable[[Tensor, Tensor, Tensor, Segments, Scoring], Tensor]
"""query [1, Hq, T, D], key [1, Hkv, T, D], value [1, Hkv, T, Dv] → [1, T, Hq, Dv]."""

_VARLEN_TAKES_ALL = {"scale", "window_size", "enable_gqa"} <= signature(varlen_attn).parameters.keys()
"""It does from torch 2.12."""
_LARGEST_HEAD = 256  # of FlashAttention 2, which varlen_attn calls as well


def choose_kernel(query: Tensor, value: Tensor, scoring: Scoring) -> Kernel | None:
    """The kernel for this hardware, these types and this scoring, or None where document by document is the way."""
    if not query.is_cuda or torch.version.hip or torch.cuda.get_device_capability(query.device) < (8, 0):
        return None
    return suitable_kernel(query, value, scoring, flash_attention=_has_flash_attention())


def suitable_kernel(query: Tensor, value: Tensor, scoring: Scoring, *, flash_attention: bool) -> Kernel | None:
    """:func:`choose_kernel` on an NVIDIA GPU of compute capability 8.0 or more."""
    sizes = (query.shape[-1], value.shape[-1])
    if _computed_type(query) == torch.float32 or sizes[0] > _LARGEST_HEAD or any(size % 8 for size in sizes):
        return None
    if sizes[1] > sizes[0]:
        return None
    if scoring.plain and not scoring.dropout and _VARLEN_TAKES_ALL:
        return attend_varlen
    if scoring.sinks is None and flash_attention:
        return attend_flash
    return None if scoring.dropout else attend_flex


def attend_varlen(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scoring: Scoring) -> Tensor:
    """Scaled products, a window, grouped queries."""
    return _over_row(
        varlen_attn,
        query,
        key,
        value,
        segments,
        scale=scoring.scaling,
        window_size=_window(segments, scoring),
        enable_gqa=query.shape[1] != key.shape[1],
    )


def attend_flash(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scoring: Scoring) -> Tensor:
    """What :func:`attend_varlen` does, with dropout and a soft cap (flash-attn 2.6 or later)."""
    from flash_attn import flash_attn_varlen_func

    return _over_row(
        flash_attn_varlen_func,
        query,
        key,
        value,
        segments,
        dropout_p=scoring.dropout,
        softmax_scale=scoring.scaling,
        causal=segments.causal,
        window_size=_window(segments, scoring),
        softcap=scoring.softcap or 0.0,
    )


def attend_flex(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scoring: Scoring) -> Tensor:
    """Scaled products, a window, grouped queries, a soft cap and sinks, without dropout."""

    def capped(score: Tensor, *_place: Tensor) -> Tensor:
        return scoring.softcap * torch.tanh(score / scoring.softcap)

    query, key, value = (tensor.to(_computed_type(tensor)) for tensor in (query, key, value))
    found = _flex_attention(query.device.type)(
        query,
        key,
        value,
        score_mod=capped if scoring.softcap is not None else None,
        block_mask=block_mask(segments, scoring.reach, query.device),
        scale=scoring.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
        return_aux=None if scoring.sinks is None else AuxRequest(lse=True),
    )
    output = found if scoring.sinks is None else _with_sinks(*found, scoring.sinks)
    return output.transpose(1, 2)


def _with_sinks(output: Tensor, extra: AuxOutput, sinks: Tensor) -> Tensor:
    """A sink of score s takes the share exp(s) / (exp(s) + Σ exp(scores)) from all other weights."""
    kept = torch.sigmoid(extra.lse - sinks.view(1, -1, 1)).unsqueeze(-1)
    return (output * kept).to(output.dtype)


def block_mask(segments: Segments, reach: int | None, device: torch.device) -> BlockMask:
    """Which blocks of tokens see which, and within them which tokens, for FlexAttention."""

    def make() -> BlockMask:
        lengths, total, causal = torch.tensor(segments.lengths, device=device), sum(segments.lengths), segments.causal
        document = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths, output_size=total)

        def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            seen = document[query] == document[key]
            if causal:
                seen = seen & (key <= query)
            if reach is not None:
                seen = seen & ((query - key).abs() <= reach)
            return seen

        return _create_block_mask(device.type)(visible, None, None, total, total, device=device)

    return segments.derived(("block mask", reach, device), make)


@cache
def _has_flash_attention() -> bool:
    """Whether FlashAttention 2.6 or later works here; other things go by its name too."""
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return False
    return "softcap" in signature(flash_attn_varlen_func).parameters


@cache
def _create_block_mask(device_type: str) -> Callable[..., BlockMask]:
    """Compiled, it never holds the whole mask that it looks at."""
    return torch.compile(create_block_mask, dynamic=True) if device_type == "cuda" else create_block_mask


@cache
def _flex_attention(device_type: str) -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True) if device_type == "cuda" else flex_attention


def _over_row(
    kernel: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, segments: Segments, **options: Any
) -> Tensor:
    """A kernel for variable lengths, queries and keys having the same boundaries: → [1, T, Hq, Dv]."""
    boundaries, longest = segments.boundaries(query.device), segments.longest
    output = kernel(*_row(query, key, value), boundaries, boundaries, longest, longest, **options)
    return output[None, ..., : value.shape[-1]]


def _row(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[T, heads, D] in a type of 16 bits; values get zeros where they are narrower than keys, as these kernels need."""
    if value.shape[-1] < query.shape[-1]:
        value = F.pad(value, (0, query.shape[-1] - value.shape[-1]))
    query, key, value = (tensor[0].transpose(0, 1).to(_computed_type(tensor)) for tensor in (query, key, value))
    return query, key, value


def _window(segments: Segments, scoring: Scoring) -> tuple[int, int]:
    """How many tokens back and ahead a token sees; -1 is all of them."""
    back = -1 if scoring.reach is None else scoring.reach
    return (back, 0 if segments.causal else back)


def _computed_type(tensor: Tensor) -> torch.dtype:
    """Autocast does not know these kernels, and models' rotations leave float32 behind in it."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype
