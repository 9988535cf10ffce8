"""The operations that a profile counts from shapes are those that PyTorch's own counter sees run."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from weft.config.schema import LoraConfig
from weft.models.adapters import add_lora
from weft.objectives.batch import Batch
from weft.objectives.causal import CausalObjective
from weft.objectives.stages import StageClock, stage
from weft.training.collate import collate
from weft.training.flops import (
    attention_flops,
    counted_linear_layers,
    head_flops,
    linear_layers,
    uncounted,
)
from weft.types import Example, Location

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other

aten = torch.ops.aten
LENGTHS = (7, 20, 13)
TARGETS = 5 + 18 + 11


def tiny_llama(**keys: object) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        **keys,
    )
    return LlamaForCausalLM(config)


def make_batch() -> Batch:
    """Three examples; of each, all tokens but the first two are targets."""
    examples = []
    for length in LENGTHS:
        weights = np.ones(length, np.float32)
        weights[:2] = 0
        ids = np.arange(length, dtype=np.int32)
        examples.append(Example(ids=ids, loss_weights=weights, location=Location(path="train.jsonl", line=1)))
    return collate(examples)


def run(objective: CausalObjective) -> tuple[Counter[str], dict[object, int]]:
    """What a step's linear layers are counted as, by stage, and what PyTorch sees, by operation."""
    clock, batch = StageClock(torch.device("cpu")), make_batch()
    seen = FlopCounterMode(display=False, custom_mapping={aten.addmm_: addmm_in_place})
    objective.train()
    with clock.running(), counted_linear_layers(linear_layers(objective), lambda: clock.stage) as counted, seen:
        loss = objective(batch).loss_sum
        with stage("backward"):
            loss.backward()
    return counted, seen.get_flop_counts()["Global"]


def addmm_in_place(total: torch.Size, left: torch.Size, right: torch.Size, **_: object) -> int:
    """The one product of the fused head that PyTorch's counter does not know."""
    return 2 * left[0] * left[1] * right[1]


def products(seen: dict[object, int]) -> int:
    """Of a matrix with a matrix: those of attention are of batches of matrices."""
    return seen.get(aten.mm, 0) + seen.get(aten.addmm, 0) + seen.get(aten.addmm_, 0)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_a_llama(checkpointing, tied, lora):
    model: PreTrainedModel = tiny_llama(tie_word_embeddings=tied)
    if lora:
        model = add_lora(model, LoraConfig(r=4, dropout=0.0), seed=0)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    objective = CausalObjective(model)
    counted, seen = run(objective)
    assert counted.total() + head_flops(objective.fused_head, TARGETS) == products(seen)
    assert counted.keys() == {"body_forward", "backward"}


def test_a_full_step_is_six_operations_per_weight_and_token():
    objective = CausalObjective(tiny_llama())
    weights = sum(layer.weight.numel() for layer in linear_layers(objective))
    assert weights == 3 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48)
    counted, _ = run(objective)
    assert counted == {"body_forward": 2 * weights * sum(LENGTHS), "backward": 4 * weights * sum(LENGTHS)}
    assert head_flops(objective.fused_head, 10) == 3 * 2 * 96 * 32 * 10


def test_a_head_with_an_adapter_is_counted_where_it_runs():
    model = add_lora(tiny_llama(), LoraConfig(r=4, dropout=0.0, target_modules=["lm_head", "q_proj"]), seed=0)
    objective = CausalObjective(model)
    counted, seen = run(objective)
    assert objective.fused_head is None
    assert counted["head_loss"] == 2 * TARGETS * (96 * 32 + 4 * 32 + 4 * 96)
    assert counted.total() == products(seen)


def test_transposed_layers_and_attention_of_gpt2():
    """Its attention without kernels computes whole squares of pairs, twice what a causal mask leaves of them."""
    config = GPT2Config(vocab_size=96, n_embd=32, n_layer=3, n_head=4, n_positions=64, attn_implementation="eager")
    model = GPT2LMHeadModel(config)
    seen = FlopCounterMode(display=False)
    with seen:
        for length in LENGTHS:
            model(torch.arange(length).unsqueeze(0), use_cache=False).logits.sum().backward()
    assert 2 * 3 * attention_flops(config, LENGTHS) == seen.get_flop_counts()["Global"][aten.bmm]
    objective = CausalObjective(model)
    counted, seen = run(objective)
    assert counted.total() + head_flops(objective.fused_head, TARGETS) == products(seen)


def test_attention_sees_as_far_as_its_window():
    config = LlamaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, head_dim=16)
    full = attention_flops(config, [100])
    assert full == 2 * 2 * 2 * 4 * 16 * 100**2 / 2
    assert attention_flops(config, [50, 50]) == full / 2
    config.sliding_window = 10
    assert attention_flops(config, [100]) == pytest.approx(full * (10 * 100 - 10**2 / 2) / (100**2 / 2))
    config.layer_types = ["sliding_attention", "full_attention"]
    assert attention_flops(config, [5]) == pytest.approx(full * 5**2 / 100**2)
    assert full / 2 < attention_flops(config, [100]) < full


def test_scores_and_values_of_different_sizes():
    config = LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    config.qk_head_dim, config.v_head_dim = 24, 8
    assert attention_flops(config, [10]) == 2 * 2 * (24 + 8) * 10**2 / 2


class TestWhatIsNotCounted:
    def test_nothing_of_a_llama(self):
        assert uncounted(tiny_llama()) == []
        assert uncounted(add_lora(tiny_llama(), LoraConfig(), seed=0)) == []

    def test_fused_experts_are_named(self):
        config = Qwen3MoeConfig(
            vocab_size=96,
            hidden_size=32,
            moe_intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_experts=4,
            num_experts_per_tok=2,
            head_dim=16,
        )
        found = uncounted(Qwen3MoeForCausalLM(config))
        assert f"Qwen3MoeExperts ({4 * 3 * 32 * 16:,} parameters)" in found

    def test_layers_of_another_kind_are_named(self):
        model = tiny_llama()
        model.config.layer_types = ["full_attention", "linear_attention", "full_attention"]
        assert uncounted(model) == ["linear_attention"]
        assert attention_flops(model.config, [10]) == 2 * 2 * 4 * (8 + 8) * 10**2 / 2

    def test_models_without_attention(self):
        config = MambaConfig(vocab_size=96, hidden_size=32, num_hidden_layers=1, state_size=4)
        found = uncounted(MambaForCausalLM(config))
        assert {"Conv1d", "MambaMixer"} <= {name.partition(" ")[0] for name in found}
        assert found[-1] == "attention or what takes its place"
        assert attention_flops(config, [10]) == 0
