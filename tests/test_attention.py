"""Attention within documents equals dense attention under a block mask, for everything that a model may ask of it."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.attention.varlen import varlen_attn
from transformers.masking_utils import create_sliding_window_causal_mask

from architectures import EXACT
from weft.models import attention_kernels as kernels
from weft.models.attention import Segments, UnsupportedAttention, segment_attention
from weft.models.segments import Scoring

LENGTHS = (5, 1, 11, 3, 7)
TOKENS = sum(LENGTHS)


def places(lengths: tuple[int, ...]) -> Tensor:
    return torch.cat([torch.arange(length) for length in lengths])


def dense(
    q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], *, causal: bool = True, window: int | None = None,
    scaling: float | None = None, softcap: float | None = None, s_aux: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """By definition: [1, T, Hq, Dv], with every score of the row."""
    document = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    back = places(lengths)[:, None] - places(lengths)
    seen = (document[:, None] == document) & (back >= 0 if causal else True)
    if window is not None:
        seen &= back < window if causal else back.abs() <= window
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v))
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~seen, -torch.inf)
    sinks = torch.full((q.shape[1],), -torch.inf) if s_aux is None else s_aux
    scores = torch.cat([scores, sinks[None, :, None, None].expand(1, -1, q.shape[2], 1)], dim=-1)
    return (scores.softmax(dim=-1)[..., :-1] @ v).transpose(1, 2)


def tensors(tokens: int = TOKENS, heads: int = 4, shared: int = 2, size: int = 8, value: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, tokens, heads, size), (1, tokens, shared, size), (1, tokens, shared, value))
    return [torch.randn(shape, generator=generator).transpose(1, 2).requires_grad_() for shape in shapes]


def assert_as_dense(row: list[Tensor], lengths: tuple[int, ...], **options: object) -> None:
    """Outputs and the gradients of everything that has one."""
    given = {name: value for name, value in options.items() if name not in ("causal", "window")}
    segments = Segments(lengths, causal=bool(options.get("causal", True)))
    actual, weights = segment_attention(
        None, *row, None, segments=segments, sliding_window=options.get("window"), **given
    )
    expected = dense(*row, lengths, **options)
    assert weights is None
    assert actual.is_contiguous()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6)
    leaves = [*row, *(value for value in given.values() if isinstance(value, Tensor))]
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    for ours, reference in zip(
        torch.autograd.grad(actual, leaves, direction), torch.autograd.grad(expected, leaves, direction), strict=True
    ):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)


SINKS = torch.tensor([0.5, -1.0, 2.0, 0.0], requires_grad=True)
OPTIONS: dict[str, dict[str, object]] = {
    "nothing": {},
    "scaling": {"scaling": 0.7},
    "window": {"window": 4},
    "window of one": {"window": 1},
    "window as long as the longest": {"window": 11},
    "window one less": {"window": 10},
    "softcap": {"softcap": 0.8, "scaling": 0.7},
    "sinks": {"s_aux": SINKS},
    "all of them": {"scaling": 0.3, "window": 4, "softcap": 0.8, "s_aux": SINKS},
}


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_option_is_honoured(options: dict[str, object], causal: bool) -> None:
    assert_as_dense(tensors(), LENGTHS, causal=causal, **options)
    assert_as_dense(tensors(), (TOKENS,), causal=causal, **options)
    heads_first = [tensor.detach().contiguous().requires_grad_() for tensor in tensors()]
    assert_as_dense(heads_first, (TOKENS,), causal=causal, **options)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize(("heads", "shared", "value"), [(4, 4, 8), (6, 2, 8), (4, 1, 8), (4, 2, 6), (4, 4, 12)])
def test_grouped_queries_and_values_of_another_size(heads: int, shared: int, value: int, softcap: float | None) -> None:
    assert_as_dense(tensors(heads=heads, shared=shared, value=value), LENGTHS, softcap=softcap)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8).map(tuple),
    window=st.none() | st.integers(1, 14),
    softcap=st.none() | st.just(0.8),
    sinks=st.booleans(),
    causal=st.booleans(),
)
def test_any_lengths(
    lengths: tuple[int, ...], window: int | None, softcap: float | None, sinks: bool, causal: bool
) -> None:
    extra = {"s_aux": SINKS} if sinks else {}
    assert_as_dense(tensors(sum(lengths)), lengths, window=window, softcap=softcap, causal=causal, **extra)


def test_bfloat16_keeps_its_type_and_its_precision() -> None:
    row = [tensor.detach().bfloat16() for tensor in tensors()]
    for options in ({}, {"softcap": 5.0}, {"s_aux": SINKS.detach()}):
        actual, _ = segment_attention(None, *row, None, segments=Segments(LENGTHS), **options)
        assert actual.dtype == torch.bfloat16
        exact = dense(*(tensor.float() for tensor in row), LENGTHS, **options)
        torch.testing.assert_close(actual.float(), exact, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("options", [{}, {"softcap": 5.0}, {"s_aux": SINKS}], ids=["fused", "softcap", "sinks"])
def test_dropout_keeps_a_weight_and_scales_it_or_drops_it(options: dict[str, object]) -> None:
    q, k, _ = tensors(64)
    v = torch.eye(64).expand(1, 2, 64, 64)  # so that the output is the weights
    torch.manual_seed(0)
    dropped, _ = segment_attention(None, q, k, v, None, segments=Segments((64,)), dropout=0.25, **options)
    kept = dropped != 0
    weights = dense(q, k, v, (64,), **options)
    torch.testing.assert_close(dropped[kept], weights[kept] / 0.75, rtol=1e-4, atol=1e-6)
    assert 0.2 < 1 - kept.sum() / (weights > 0).sum() < 0.3


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
def test_a_window_sees_what_transformers_lets_it_see(causal: bool) -> None:
    config = EXACT["mistral-window"].build().config
    config.is_causal = causal
    expected = create_sliding_window_causal_mask(
        config, torch.zeros(1, 9, 8), attention_mask=None, past_key_values=None, position_ids=None
    )
    segments = Segments((9, 2), causal=causal)
    assert torch.equal(segments.visible(segments.reach(4), torch.device("cpu")), expected[0, 0])


def test_positions_stand_in_for_segments() -> None:
    row = tensors()
    expected, _ = segment_attention(None, *row, None, segments=Segments(LENGTHS), sliding_window=4)
    actual, _ = segment_attention(None, *row, None, position_ids=places(LENGTHS)[None], sliding_window=4)
    assert torch.equal(actual, expected)
    assert Segments.from_positions(places(LENGTHS)[None]) == Segments(LENGTHS)


def test_segments_go_before_positions() -> None:
    row = tensors()
    both, _ = segment_attention(None, *row, None, segments=Segments(LENGTHS), position_ids=torch.arange(TOKENS)[None])
    torch.testing.assert_close(both, dense(*row, LENGTHS), rtol=1e-5, atol=2e-6)


def test_masks_are_made_once_for_all_layers() -> None:
    segments = Segments(LENGTHS)
    assert segments.visible(3, torch.device("cpu")) is segments.visible(3, torch.device("cpu"))
    assert segments.visible(3, torch.device("cpu")).shape == (11, 11)
    assert segments == Segments(LENGTHS)
    assert hash(segments) == hash(Segments(LENGTHS))


UNSUPPORTED = {
    "a mask": ({"attention_mask": torch.ones(1, 1, TOKENS, TOKENS)}, "attention mask of its own"),
    "position_bias": ({"position_bias": torch.zeros(1)}, "'position_bias'"),
    "an unknown keyword": ({"indices": torch.zeros(1)}, "'indices'"),
    "other segments": ({"cu_seq_lens_q": torch.zeros(1)}, "'cu_seq_lens_q'"),
    "both directions": ({"is_causal": False}, "both directions"),
    "no documents": ({"segments": None}, "neither segments nor position_ids"),
    "no window": ({"sliding_window": 0}, "sliding window is 0"),
    "a longer row": ({"segments": Segments((*LENGTHS, 1))}, "28"),
    "positions from the middle": ({"segments": None, "position_ids": torch.arange(1, TOKENS + 1)[None]}, "whole"),
    "positions of two rows": ({"segments": None, "position_ids": torch.arange(TOKENS).expand(2, -1)}, "one row"),
}


@pytest.mark.parametrize(("given", "text"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_cannot_be_honoured_is_refused(given: dict[str, object], text: str) -> None:
    keywords = {"attention_mask": None, "segments": Segments(LENGTHS), **given}
    with pytest.raises(UnsupportedAttention, match=text):
        segment_attention(None, *tensors(), **keywords)


def test_a_batch_and_a_cache_are_refused() -> None:
    q, k, v = tensors()
    for row in ([tensor.expand(2, -1, -1, -1) for tensor in (q, k, v)], [q[:, :, -1:], k, v]):
        with pytest.raises(UnsupportedAttention, match="other tokens than the 27"):
            segment_attention(None, *row, None, segments=Segments(LENGTHS))


def test_keywords_without_effect_are_let_through() -> None:
    row = tensors()
    plain, _ = segment_attention(None, *row, None, segments=Segments(LENGTHS))
    other, _ = segment_attention(
        None, *row, None, segments=Segments(LENGTHS), use_cache=True, output_attentions=True, is_causal=True,
        position_bias=None, position_ids=None,
    )  # fmt: skip
    assert torch.equal(plain, other)


# Kernels for CUDA, without CUDA: what is chosen, what they are called with, and the one that runs anywhere.


def scoring(segments: Segments, *, window: int | None = None, **options: object) -> Scoring:
    return Scoring(
        **{"scaling": None, "dropout": 0.0, "softcap": None, "sinks": None, "reach": segments.reach(window), **options}
    )


def varlen_by_hand(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor, starts_k: Tensor, longest: int, longest_k: int, *,
    scale: float | None = None, window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False, softcap: float = 0,
) -> Tensor:  # fmt: skip
    """What PyTorch documents of ``varlen_attn``: a window of (back, ahead) tokens, -1 without limit."""
    assert starts.dtype == torch.int32
    assert torch.equal(starts, starts_k)
    lengths = starts.diff().tolist()
    assert longest == longest_k == max(lengths)
    assert q.shape[-1] == v.shape[-1]
    assert enable_gqa == (q.shape[1] != k.shape[1])
    back, ahead = (TOKENS if limit < 0 else limit for limit in window_size)
    outputs = []
    for document in zip(*(tensor.split(lengths) for tensor in (q, k, v)), strict=True):
        one_q, one_k, one_v = (tensor.transpose(0, 1) for tensor in document)
        one_k, one_v = (t.repeat_interleave(len(one_q) // len(one_k), dim=0) for t in (one_k, one_v))
        scores = one_q @ one_k.transpose(1, 2) * (q.shape[-1] ** -0.5 if scale is None else scale)
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        place = torch.arange(scores.shape[-1])
        distance = place[:, None] - place
        scores = scores.masked_fill((distance > back) | (distance < -ahead), -torch.inf)
        outputs.append((scores.softmax(-1) @ one_v).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 4, 10, 11])
@pytest.mark.parametrize("value", [8, 6])
def test_varlen_is_called_for_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, causal: bool, window: int | None, value: int
) -> None:
    monkeypatch.setattr(kernels, "varlen_attn", varlen_by_hand)
    row, segments = tensors(value=value), Segments(LENGTHS, causal=causal)
    actual = kernels.attend_varlen(*row, segments, scoring(segments, window=window, scaling=0.4))
    expected = dense(*row, LENGTHS, causal=causal, window=window, scaling=0.4)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 4])
def test_flash_attention_is_called_for_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, causal: bool, window: int | None
) -> None:
    def flash(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
        causal=False, window_size=(-1, -1), softcap=0.0,
    ):  # fmt: skip
        assert dropout_p == 0.5
        window_size = (window_size[0], 0) if causal else window_size
        return varlen_by_hand(
            q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k,
            scale=softmax_scale, window_size=window_size, enable_gqa=True, softcap=softcap,
        )  # fmt: skip

    module = ModuleType("flash_attn")
    module.flash_attn_varlen_func = flash
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    row, segments = tensors(), Segments(LENGTHS, causal=causal)
    asked = scoring(segments, window=window, scaling=0.4, softcap=0.8, dropout=0.5)
    actual = kernels.attend_flash(*row, segments, asked)
    expected = dense(*row, LENGTHS, causal=causal, window=window, scaling=0.4, softcap=0.8)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_flex_attention_computes_what_is_asked(options: dict[str, object], causal: bool) -> None:
    row, segments = [tensor.detach() for tensor in tensors()], Segments(LENGTHS, causal=causal)
    given = {"sinks" if name == "s_aux" else name: value for name, value in options.items()}
    actual = kernels.attend_flex(*row, segments, scoring(segments, **given))
    torch.testing.assert_close(actual, dense(*row, LENGTHS, causal=causal, **options), rtol=1e-5, atol=2e-6)


def test_the_installed_kernels_take_these_arguments() -> None:
    positional = list(inspect.signature(varlen_attn).parameters)[:7]
    assert positional == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen_attn).parameters.keys()
    asked = {"score_mod", "block_mask", "scale", "enable_gqa", "return_aux"}
    assert asked <= inspect.signature(flex_attention).parameters.keys()
    with FakeTensorMode():  # the operator's own checks of types and shapes, without computing
        row = [torch.empty(1, heads, TOKENS, 8, dtype=torch.bfloat16) for heads in (4, 2, 2)]
        segments = Segments(LENGTHS)
        for window in (None, 4):
            output = kernels.attend_varlen(*row, segments, scoring(segments, window=window))
            assert output.shape == (1, TOKENS, 4, 8)


def test_kernels_are_chosen_by_what_is_asked() -> None:
    segments = Segments(LENGTHS)
    half = torch.empty(1, 4, TOKENS, 64, dtype=torch.bfloat16)

    def chosen(query: Tensor = half, value: Tensor = half, flash: bool = False, **asked: object) -> object:
        return kernels.suitable_kernel(query, value, scoring(segments, **asked), flash_attention=flash)

    assert chosen() is chosen(window=4) is chosen(flash=True) is kernels.attend_varlen
    assert chosen(value=half[..., :32]) is kernels.attend_varlen
    assert chosen(softcap=1.0, flash=True) is chosen(dropout=0.1, flash=True) is kernels.attend_flash
    assert chosen(softcap=1.0) is chosen(sinks=SINKS) is chosen(sinks=SINKS, flash=True) is kernels.attend_flex
    assert chosen(dropout=0.1) is chosen(sinks=SINKS, dropout=0.1) is None
    assert chosen(query=half.float(), value=half.float()) is None
    assert chosen(query=torch.empty(1, 4, TOKENS, 288, dtype=torch.bfloat16)) is None
    assert chosen(query=half[..., :60]) is None
    assert kernels.choose_kernel(half, half, scoring(segments)) is None  # not on CUDA


def test_one_document_is_neither_split_nor_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cat", None)
    monkeypatch.setattr(torch.Tensor, "split", None)
    monkeypatch.setattr(torch.Tensor, "contiguous", lambda tensor: tensor if tensor.is_contiguous() else None)
    output, _ = segment_attention(None, *tensors(), None, segments=Segments((TOKENS,)))
    assert output.shape == (1, TOKENS, 4, 8)
