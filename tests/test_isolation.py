"""Packing is invisible on every architecture: the expected rung, and the logits and gradients of documents alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from architectures import ALL, EXACT, ONE_BY_ONE, PACKED_MASK, SEGMENTS, Architecture
from isolated_models import BOUNDS, LENGTHS, adapted, adapted_and_checkpointed, batch, checkpointed, gradients, plain
from weft.models.attention_by_segment import attend_by_segment
from weft.models.isolation import isolate
from weft.models.parts import Head, Parts, split_model

WAYS = [
    *((name, make) for name in ALL for make in (plain, checkpointed, adapted)),
    *((name, adapted_and_checkpointed) for name in ("llama", "gemma2", "gpt-oss", "stablelm", "gpt2", "gpt-j", "lfm2")),
]


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")  # PEFT on experts, which it does adapt
@pytest.mark.parametrize(("name", "make"), WAYS, ids=[f"{name}-{make.__name__}" for name, make in WAYS])
def test_packed_is_alone(name: str, make: Callable[[Architecture], nn.Module]) -> None:
    fresh, model = make(ALL[name]), make(ALL[name])
    parts = split_model(model)
    isolation = isolate(model, parts, **BOUNDS)
    assert isolation.rung == ALL[name].rung, isolation.reason

    row = batch()
    logits = parts.head(isolation.hidden_at(torch.arange(sum(LENGTHS)), **row))
    alone = torch.cat([fresh(input_ids=ids).logits[0] for ids in row["input_ids"].split(LENGTHS, dim=1)])
    assert (logits - alone).abs().max() <= 2e-5
    expected = gradients(fresh, alone)
    assert expected.norm() > 1
    assert (gradients(model, logits) - expected).norm() <= 1e-5 * expected.norm()


def test_checkpoints_compute_attention_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        "weft.models.attention.attend_by_segment", lambda *row: calls.append(row[3]) or attend_by_segment(*row)
    )
    model = checkpointed(EXACT["llama"])
    isolation = isolate(model, split_model(model), **BOUNDS)
    calls.clear()
    isolation.hidden_at(torch.arange(40), **batch()).sum().backward()
    assert len(calls) == 4  # two layers, forward and again
    assert all(segments is calls[0] for segments in calls)


@pytest.mark.parametrize("name", ["llama", "gpt-j", "lfm2"])
def test_hidden_states_at_some_positions(name: str) -> None:
    """On each rung: documents with many, with one and without positions, and a row without any."""
    model = ALL[name].build()
    isolation = isolate(model, split_model(model), **BOUNDS)
    everywhere = isolation.hidden_at(torch.arange(40), **batch())
    positions = torch.tensor([0, 5, 6, 7, 25, 29, 39])
    torch.testing.assert_close(isolation.hidden_at(positions, **batch()), everywhere[positions])
    none = isolation.hidden_at(positions[:0], **batch())
    assert none.shape == (0, 32)
    none.sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.base_model.named_parameters())


@pytest.mark.parametrize("name", ["llama", "llama4", "dynamic-rope"])
@pytest.mark.parametrize("rung", ["logits_to_keep", "full logits"])
def test_finished_logits_are_hidden_states_too(name: str, rung: str) -> None:
    model = ALL[name].build()
    parts = Parts(
        body=lambda **inputs: BaseModelOutput(last_hidden_state=model(**inputs).logits),
        head=Head(module=nn.Identity()),
        rung=rung,
    )
    isolation = isolate(model, parts, **BOUNDS)
    assert isolation.rung == ALL[name].rung
    positions = torch.tensor([0, 5, 39])
    actual = parts.head(isolation.hidden_at(positions, **batch()))
    fresh = ALL[name].build()
    alone = torch.cat([fresh(input_ids=ids).logits[0] for ids in batch()["input_ids"].split(LENGTHS, dim=1)])
    torch.testing.assert_close(actual, alone[positions], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "rung"),
    [("llama", SEGMENTS), ("gemma2", SEGMENTS), ("gpt2", SEGMENTS), ("llama4", PACKED_MASK), ("lfm2", ONE_BY_ONE)],
)
def test_bfloat16_is_told_from_a_leak(name: str, rung: str) -> None:
    model = ALL[name].build().bfloat16()
    assert isolate(model, split_model(model), **BOUNDS).rung == rung
