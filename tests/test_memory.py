"""The memory estimate against what autograd really keeps, and against directories that lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.architectures import EXACT, VOCABULARY
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from weft.config.load import load_config
from weft.config.schema import Config
from weft.errors import ModelError
from weft.models import hardware, memory
from weft.models.adapters import add_lora, trainable_parameters
from weft.models.memory import estimate, types
from weft.models.quiet import quiet_transformers
from weft.models.shape import ModelShape, read_shape
from weft.objectives import linear_loss
from weft.objectives.causal import CausalObjective
from weft.training.collate import collate
from weft.types import Example, Location

SIZES = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "llama-untied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=300,
            n_positions=512,
            n_embd=64,
            n_layer=3,
            n_head=4,
            bos_token_id=1,
            eos_token_id=2,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
        )
    ),
}
NOT_KNOWN = {"qwen3-moe", "mixtral", "gemma2", "gpt-oss", "deepseek-v3"}
"""Mixtures of experts, and a soft cap on the scores."""
TOKENS = (200, 180, 20)
TARGETS = 250


def settings(*overrides: str) -> Config:
    return load_config(None, overrides, environ={}).config


def saved(name: str, directory: Path) -> tuple[PreTrainedModel, ModelShape]:
    torch.manual_seed(0)
    with quiet_transformers():
        model = MODELS[name]()
        model.save_pretrained(directory)
    return model, read_shape(directory)


def kept_by_autograd(
    model: torch.nn.Module, lengths: tuple[int, ...] = TOKENS, targets: int = TARGETS, vocabulary: int = 300
) -> int:
    """Bytes that are kept between the forward and the backward pass, but for the weights: each storage once."""
    objective = CausalObjective(model, longest_document=max(lengths), longest_row=sum(lengths)).train()
    weights = {weight.untyped_storage().data_ptr() for weight in objective.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held, so that no other tensor gets its address
        return tensor

    trained = np.concatenate([np.ones(targets), np.zeros(sum(lengths) - targets)])
    borders = np.cumsum((0, *lengths))
    examples = [
        Example(
            ids=np.arange(start, stop, dtype=np.int32) % vocabulary,
            loss_weights=trained[start:stop].astype(np.float32),
            location=Location(path="x"),
        )
        for start, stop in pairwise(borders)
    ]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        objective(collate(examples))
    return sum(storage.nbytes() for storage in kept.values())


TUNING = {
    "full": ("tuning.mode=full",),
    "lora": ("tuning.mode=lora", "tuning.lora.r=4", "tuning.lora.dropout=0.1"),
    "lora without dropout": ("tuning.mode=lora", "tuning.lora.r=4", "tuning.lora.dropout=0"),
    "lora on two": ("tuning.mode=lora", "tuning.lora.target_modules=[q_proj, mlp.down_proj]"),
    "lora on embedding": ("tuning.mode=lora", "tuning.lora.target_modules=[v_proj, model.embed_tokens]"),
}


@pytest.mark.parametrize(
    ("name", "tuning"),
    [(name, tuning) for name in MODELS for tuning in TUNING if name != "gpt2" or " on " not in tuning],
)
def test_the_count_is_what_autograd_keeps(name: str, tuning: str, tmp_path: Path) -> None:
    config = settings(*TUNING[tuning])
    model, shape = saved(name, tmp_path)
    if config.tuning.mode == "lora":
        model = add_lora(model, config.tuning.lora, seed=0)
    found = estimate(shape, config, "cpu", tokens=sum(TOKENS), targets=TARGETS)
    trained = sum(weight.numel() for weight in trainable_parameters(model).values())
    assert found.gradients == 4 * trained
    assert found.optimizer == 8 * trained
    assert found.weights == 4 * sum(weight.numel() for weight in model.parameters())
    assert found.activations is not None
    # the gradients that the fused head makes in the forward pass count as its own
    of_head = 4 * SIZES["hidden_size"] * (TARGETS + (SIZES["vocab_size"] if config.tuning.mode == "full" else 0))
    assert found.activations + of_head == pytest.approx(kept_by_autograd(model), rel=0.05)


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("name", EXACT)
def test_every_architecture_is_counted_nearly_or_named(name: str, mode: str, tmp_path: Path) -> None:
    """They are tiny, so that what depends on no size weighs a few percent."""
    with quiet_transformers():
        model = EXACT[name].build()
        model.save_pretrained(tmp_path)
    config, shape = settings(f"tuning.mode={mode}", "tuning.lora.r=4"), read_shape(tmp_path)
    if shape.sizes is None:
        assert name in NOT_KNOWN, shape.unknown
        return
    assert name not in NOT_KNOWN
    if mode == "lora":
        model = add_lora(model, config.tuning.lora, seed=0)
    found = estimate(shape, config, "cpu", tokens=60, targets=40)
    assert found.gradients == 4 * sum(weight.numel() for weight in trainable_parameters(model).values())
    assert found.activations is not None
    of_head = 4 * shape.sizes.hidden * (40 + (VOCABULARY if mode == "full" else 0))
    kept = kept_by_autograd(model, lengths=(30, 20, 10), targets=40, vocabulary=VOCABULARY)
    assert found.activations + of_head == pytest.approx(kept, rel=0.3)


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_checkpointing_keeps_the_inputs_of_layers(mode: str, tmp_path: Path) -> None:
    config = settings(f"tuning.mode={mode}", "train.gradient_checkpointing=true")
    model, shape = saved("llama", tmp_path)
    if mode == "lora":
        model = add_lora(model, config.tuning.lora, seed=0)
    with quiet_transformers():
        model.gradient_checkpointing_enable({"use_reentrant": False})
    found = estimate(shape, config, "cpu", tokens=sum(TOKENS), targets=TARGETS)
    whole = estimate(shape, settings(f"tuning.mode={mode}"), "cpu", tokens=sum(TOKENS), targets=TARGETS)
    assert found.activations is not None
    assert whole.activations is not None
    inputs = 4 * SIZES["num_hidden_layers"] * SIZES["hidden_size"] * sum(TOKENS)
    tokens = sum(TOKENS)
    assert found.activations == inputs + whole.activations // tokens // SIZES["num_hidden_layers"] * tokens
    of_head = 4 * SIZES["hidden_size"] * (TARGETS + (SIZES["vocab_size"] if mode == "full" else 0))
    last_norm = 4 * SIZES["hidden_size"] * sum(TOKENS) * (2 if mode == "full" else 1)
    assert kept_by_autograd(model) == pytest.approx(inputs + of_head + last_norm, rel=0.05)


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("bf16", ["auto", "true", "false"])
@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_types_are_those_that_training_takes(
    device: memory.Device, mode: str, bf16: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_has_bfloat16", lambda device: device.type == "cuda")
    config = settings(f"tuning.mode={mode}", f"train.bf16={bf16}", f"model.dtype={dtype}")
    there = torch.device(device)
    stored = hardware.choose_dtype(config, there, trained=mode == "full")
    computed = hardware.choose_autocast(config, there) or stored
    assert types(config, device) == (stored.itemsize, computed.itemsize)


def test_the_head_computes_as_many_targets_at_once_as_is_said() -> None:
    assert memory.TARGETS_AT_ONCE == linear_loss.TARGETS_AT_ONCE


def test_a_known_size_by_hand(tmp_path: Path) -> None:
    """A Llama of 0.5 million parameters on a GPU, in full, number by number."""
    _, shape = saved("llama", tmp_path)
    found = estimate(shape, settings("tuning.mode=full"), "cuda", tokens=1000, targets=600)
    layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 160
    parameters = 300 * 64 + 3 * (layer + 2 * 64) + 64
    assert shape.parameters == parameters
    assert found.weights == 4 * parameters + 2 * 3 * layer  # with bfloat16 copies of what is multiplied
    assert (found.gradients, found.optimizer) == (4 * parameters, 8 * parameters)
    norms = 4 * 2 * (3 * 2 * 64 + 64)
    assert found.activations == 1000 * (norms + 2 * 3 * (2 * 64 + 64 + 160 + 2 * 64 + 2 * 32 + 3 * 160))
    assert found.head == 512 * 300 * (2 + 4) + 3 * 600 * 64 * 2 + 300 * 64 * 2 + 2 * 300 * 64 * 4
    assert found.total == found.weights + 12 * parameters + found.activations + found.head + found.beside
    plain = estimate(shape, settings("tuning.mode=full", "train.optim=sgd"), "cuda", tokens=1000, targets=600)
    assert plain.optimizer == 0


@pytest.mark.parametrize(
    ("changed", "unknown"),
    [
        ({"num_experts": 8}, "a mixture of experts"),
        (
            {"layer_types": ["full_attention", "conv", "linear_attention"]},
            "another kind than attention: conv, linear_att",
        ),
        ({"attn_logit_softcapping": 50.0}, "a soft cap"),
        ({"hidden_size": "64"}, "no sound hidden_size"),
        ({"hidden_size": -1}, "no sound hidden_size"),
        ({"num_hidden_layers": None, "vocab_size": 2**70}, "no sound num_hidden_layers and vocab_size"),
        ({"num_attention_heads": True}, "no sound num_attention_heads"),
        ({"intermediate_size": [1, 2]}, "no sound intermediate_size"),
    ],
)
def test_what_cannot_be_known_is_named_not_guessed(changed: dict[str, Any], unknown: str, tmp_path: Path) -> None:
    _, shape = saved("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changed}))
    other = read_shape(tmp_path)
    assert other.sizes is None
    assert unknown in str(other.unknown)
    assert other.parameters == shape.parameters
    found = estimate(other, settings("tuning.mode=full"), "cpu", tokens=10, targets=5)
    assert (found.activations, found.head) == (None, None)
    assert found.total == 16 * shape.parameters + found.beside


def header(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: (2**63).to_bytes(8, "little") + data[8:],
        lambda data: (10**8).to_bytes(8, "little") + data[8:],
        lambda data: header(b"{" * 1000),
        lambda data: header(b"[]"),
        lambda data: header(b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}') + b"\0" * 4,
        lambda data: header(b'{"w":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,4]}}') + b"\0" * 4,
        lambda data: header(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,400000000000]}}'),
    ],
)
def test_a_header_that_lies_is_an_error(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    saved("llama", tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ModelError, match=r"model.safetensors: is no sound safetensors file: .+\n  fix: download"):
        read_shape(tmp_path)


def test_shards_are_counted_together_and_a_missing_one_is_named(tmp_path: Path) -> None:
    model, whole = saved("llama", tmp_path / "whole")
    with quiet_transformers():
        model.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    names = sorted(path.name for path in (tmp_path / "parts").glob("*.safetensors"))
    assert len(names) > 1
    parts = read_shape(tmp_path / "parts")
    assert (parts.parameters, set(parts.matrices)) == (whole.parameters, set(whole.matrices))
    (tmp_path / "parts" / names[1]).unlink()
    with pytest.raises(ModelError, match=f"lacks its shard {names[1]}"):
        read_shape(tmp_path / "parts")


def test_weights_that_are_stored_twice_are_counted_once(tmp_path: Path) -> None:
    _, shape = saved("llama", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}, tmp_path / "model.safetensors")
    assert read_shape(tmp_path) == shape
