"""Attention that never crosses from one document of a row to the next, registered with Transformers (law 7).

A row is ``[1, T]`` without padding, and no T×T mask exists: attention runs on each document alone, on the CPU by
splitting the row and on CUDA with kernels for variable lengths. Where the row is split, a window takes a mask of the
longest document's size, and a soft cap or sinks store scores of each document's size for every head. Where the documents
lie comes as a ``segments`` keyword, or from ``position_ids`` in models that drop keywords which they do not know. What a
model asks for is done or refused, never ignored: ``weft.models.isolation`` then takes another way.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from weft.models.attention_by_segment import attend_by_segment
from weft.models.segments import Scoring, Segments, UnsupportedAttention

__all__ = ["ATTENTION", "Segments", "UnsupportedAttention", "segment_attention"]

ATTENTION = "weft_segments"
"""What :func:`segment_attention` is called in Transformers: ``model.set_attn_implementation(ATTENTION)``."""

_WITHOUT_EFFECT = {
    "cache_position",
    "num_items_in_batch",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "return_dict",
    "use_cache",
}
"""Keywords that models hand on to attention and that change nothing in it."""


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    segments: Segments | None = None,
    position_ids: Tensor | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within each document of a row; as Transformers calls it.

    Args:
        module: the layer; unused, for what it says of causality holds for no row of ours.
        query: [1, Hq, T, D].
        key: [1, Hkv, T, D], where Hkv divides Hq (grouped queries, Ainslie et al. 2023, arXiv:2305.13245).
        value: [1, Hkv, T, Dv].
        attention_mask: None, as the mask function registered here gives it.
        scaling: what products are multiplied by; None is 1 / √D.
        dropout: the share of attention weights that is dropped.
        sliding_window: how far a token sees (:meth:`weft.models.segments.Segments.reach`).
        softcap: the soft cap on scores.
        s_aux: the score of each head's sink, [Hq].
        segments: where the documents lie, and whether attention is causal.
        position_ids: int64 [1, T], from 0 in every document: in place of ``segments``, and then causal.
        is_causal: what the model wants of every document; ``segments`` may open what it closes, not the other way.
        kwargs: what has no effect on attention, or is None or False.

    Returns:
        [1, T, Hq, Dv], and None for the attention weights.

    Raises:
        UnsupportedAttention: a mask, an unknown keyword, no word on where the documents lie, or no row of whole ones.
    """
    if attention_mask is not None:
        raise UnsupportedAttention("it makes an attention mask of its own")
    for name, given in kwargs.items():
        if name not in _WITHOUT_EFFECT and given is not None and given is not False:
            raise UnsupportedAttention(f"its attention uses '{name}', which is not known here")
    if segments is None:
        if position_ids is None:
            raise UnsupportedAttention("it hands neither segments nor position_ids to its attention")
        segments = Segments.from_positions(position_ids)
    if is_causal is False and segments.causal:
        raise UnsupportedAttention("it wants attention in both directions")
    if sliding_window is not None and sliding_window < 1:
        raise UnsupportedAttention(f"its sliding window is {sliding_window}")
    tokens = sum(segments.lengths)
    if any(tensor.shape[0] != 1 or tensor.shape[2] != tokens for tensor in (query, key, value)):
        raise UnsupportedAttention(f"its attention sees other tokens than the {tokens} of the row")

    reach = segments.reach(sliding_window)
    scoring = Scoring(scaling=scaling, dropout=dropout, reach=reach, softcap=softcap, sinks=s_aux)
    kernel = None
    if query.is_cuda:
        from weft.models.attention_kernels import choose_kernel  # it registers operators, for nothing on a CPU

        kernel = choose_kernel(query, value, scoring)
    return (kernel or attend_by_segment)(query, key, value, segments, scoring), None


def _no_mask(*args: Any, attention_mask: Tensor | None = None, **kwargs: Any) -> None:
    """No mask: documents are kept apart without one. Padding would need one, so it is refused."""
    if attention_mask is not None and not attention_mask.all():
        raise UnsupportedAttention("its row is padded")


AttentionInterface.register(ATTENTION, segment_attention)
AttentionMaskInterface.register(ATTENTION, _no_mask)
