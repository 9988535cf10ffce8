"""The loss and its gradients against Transformers' own, and that no division into batches changes them (law 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
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

from weft.config.schema import LoraConfig as Settings
from weft.models.adapters import add_lora, trainable_parameters
from weft.models.quiet import quiet_transformers
from weft.models.vocab import add_rows
from weft.objectives import cross_entropy
from weft.objectives.causal import CausalObjective
from weft.training.collate import collate
from weft.types import Example, Location

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other

VOCABULARY = 96
DECODER = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "attention_dropout": 0.0,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**DECODER)),
    "llama-tied": lambda: LlamaForCausalLM(LlamaConfig(**DECODER, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**DECODER, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**DECODER, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**DECODER, head_dim=8, sliding_window=4, query_pre_attn_scalar=8, final_logit_softcapping=5.0)
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
        )
    ),
}


@pytest.fixture(params=MODELS)
def model(request) -> PreTrainedModel:
    torch.manual_seed(3)
    made = MODELS[request.param]()
    for weight in made.parameters():  # the default initialisation is so small that logits hardly differ
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return made


def examples(count: int = 8, weights: Sequence[float] = (0.0, 1.0, 1.0)) -> list[Example]:
    random = np.random.default_rng(7)
    made = []
    for line in range(1, count + 1):
        length = int(random.integers(3, 20))
        weight = random.choice(np.array(weights, np.float32), length)
        weight[-1] = 1
        made.append(
            Example(
                ids=random.integers(0, VOCABULARY, length).astype(np.int32),
                loss_weights=weight,
                location=Location(path="x.jsonl", line=line),
            )
        )
    return made


def gradients(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.grad.flatten() for weight in module.parameters() if weight.grad is not None]).clone()


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


def reference(model: PreTrainedModel, batch: Sequence[Example]) -> tuple[float, torch.Tensor]:
    """Transformers' own mean loss over the targets of all examples, and the gradients of the model."""
    model.zero_grad()
    total = sum(int((example.loss_weights[1:] > 0).sum()) for example in batch)
    loss = 0.0
    for example in batch:
        labels = np.where(example.loss_weights > 0, example.ids, -100)
        out = model(
            input_ids=torch.tensor(example.ids[None].astype(np.int64)),
            labels=torch.tensor(labels[None].astype(np.int64)),
            num_items_in_batch=total,
        )
        out.loss.backward()
        loss += out.loss.item()
    return loss, gradients(model)


def ours(objective: CausalObjective, micro_batches: Sequence[Sequence[Example]]) -> tuple[float, torch.Tensor]:
    objective.zero_grad()
    batches = [collate(chosen) for chosen in micro_batches]
    total = sum(batch.loss_weights.sum().item() for batch in batches)
    loss = 0.0
    for batch in batches:
        terms = objective(batch)
        (terms.loss_sum / total).backward()
        loss += terms.loss_sum.item() / total
    return loss, gradients(objective.model)


def rows_of_logits(objective: CausalObjective) -> list[int]:
    """The rows of every call of the head from now on; the fused kernel does not call it, and leaves it to a hook."""
    rows: list[int] = []
    objective.model.lm_head.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    return rows


def test_loss_and_gradients_are_those_of_transformers(model):
    batch = examples()
    expected_loss, expected = reference(model, batch)
    loss, actual = ours(CausalObjective(model), [batch])
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert relative(actual, expected) < 1e-5


def test_micro_batches_do_not_change_gradients(model):
    batch = examples()
    objective = CausalObjective(model)
    loss, whole = ours(objective, [batch])
    for size in (1, 2, 3, 4):
        divided_loss, divided = ours(objective, [batch[start : start + size] for start in range(0, 8, size)])
        assert divided_loss == pytest.approx(loss, abs=1e-6)
        assert relative(divided, whole) < 1e-5


def test_lora_gradients_are_those_of_transformers():
    torch.manual_seed(3)
    model = get_peft_model(MODELS["qwen2"](), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for weight in model.parameters():
        if weight.requires_grad:  # B is zero at first, and gives A no gradient
            torch.nn.init.normal_(weight, std=0.1)
    batch = examples()
    expected_loss, expected = reference(model, batch)
    loss, actual = ours(CausalObjective(model), [batch])
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert relative(actual, expected) < 1e-5


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gemma2", "gpt2"])
def test_gradients_of_new_rows_are_those_of_transformers(name):
    """Tokens added to the vocabulary, of which every example has some, as context and as targets."""
    torch.manual_seed(3)
    base = MODELS[name]()
    new = (VOCABULARY, VOCABULARY + 1)
    add_rows(base, new)
    model = add_lora(base, Settings(r=4, dropout=0.0), seed=1, new_ids=new).eval()
    for weight in trainable_parameters(model).values():
        torch.nn.init.normal_(weight, std=0.1)
    batch = [
        replace(
            example,
            ids=np.concatenate([new, example.ids, new]).astype(np.int32),
            loss_weights=np.concatenate([[0, 0], example.loss_weights, [0, 1]]).astype(np.float32),
        )
        for example in examples()
    ]
    expected_loss, expected = reference(model, batch)
    objective = CausalObjective(model)
    loss, actual = ours(objective, [batch])
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert relative(actual, expected) < 1e-5
    rows = [weight.grad for name, weight in trainable_parameters(model).items() if "trainable_tokens" in name]
    assert len(rows) == (2 if name == "llama" else 1)
    assert all(row.any(dim=1).all() for row in rows)
    _, divided = ours(objective, [batch[start : start + 2] for start in range(0, 8, 2)])
    assert relative(divided, actual) < 1e-5


def test_fractional_weights_weigh():
    torch.manual_seed(3)
    objective = CausalObjective(MODELS["llama"]())
    batch = examples(weights=(0.0, 0.25, 1.0, 2.0))
    terms = objective(collate(batch))
    expected = 0.0
    for example in batch:
        logits = objective.model(input_ids=torch.tensor(example.ids[None].astype(np.int64))).logits[0]
        for position in range(1, len(example.ids)):
            log_probability = logits[position - 1].log_softmax(0)[int(example.ids[position])].item()
            expected -= float(example.loss_weights[position]) * log_probability
    assert terms.loss_sum.item() == pytest.approx(expected, rel=1e-6)
    assert terms.target_count.item() == pytest.approx(sum(float(e.loss_weights[1:].sum()) for e in batch), rel=1e-6)


def test_examples_do_not_see_each_other():
    torch.manual_seed(3)
    objective = CausalObjective(MODELS["qwen2"]())
    first, second = examples(2)
    alone = objective(collate([first])).loss_sum.item(), objective(collate([second])).loss_sum.item()
    assert objective(collate([first, second])).loss_sum.item() == pytest.approx(sum(alone), rel=1e-6)
    assert objective(collate([second, first])).loss_sum.item() == pytest.approx(sum(alone), rel=1e-6)


def test_no_target_is_a_zero_with_gradients():
    objective = CausalObjective(MODELS["llama"]())
    example = examples(1)[0]
    terms = objective(collate([replace(example, loss_weights=np.zeros_like(example.loss_weights))]))
    assert (terms.loss_sum.item(), terms.target_count.item()) == (0, 0)
    terms.loss_sum.backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in objective.parameters())


def test_a_head_that_is_more_than_a_linear_layer_is_called_in_chunks(monkeypatch):
    torch.manual_seed(3)
    objective = CausalObjective(MODELS["gemma2"]())
    batch = examples()
    loss, whole = ours(objective, [batch])
    rows = rows_of_logits(objective)  # a hook makes it more
    monkeypatch.setattr(cross_entropy, "TARGETS_AT_ONCE", 7)
    chunked_loss, chunked = ours(objective, [batch])
    assert max(rows) == 7
    assert len(rows) > 8
    assert chunked_loss == pytest.approx(loss, abs=1e-6)
    assert relative(chunked, whole) < 1e-5


def test_recomputing_activations_changes_nothing():
    torch.manual_seed(3)
    objective = CausalObjective(MODELS["qwen2"]()).train()
    batch = examples()
    loss, whole = ours(objective, [batch])
    calls: list[int] = []
    objective.model.model.layers[0].self_attn.register_forward_hook(lambda *ignored: calls.append(1))
    with quiet_transformers():
        objective.model.gradient_checkpointing_enable({"use_reentrant": False})
    recomputed_loss, recomputed = ours(objective, [batch])
    assert len(calls) == 2  # all examples share a row
    assert recomputed_loss == loss
    assert relative(recomputed, whole) < 1e-6


def test_logits_of_context_are_never_computed():
    torch.manual_seed(3)
    objective = CausalObjective(MODELS["llama"]())
    batch = examples()
    rows = rows_of_logits(objective)
    objective(collate(batch))
    assert rows == [sum(int((example.loss_weights[1:] > 0).sum()) for example in batch)]


def test_the_model_is_registered_once_and_a_wrapper_finds_what_it_asks_for():
    objective = CausalObjective(MODELS["llama-tied"]())
    assert all(name.startswith("model.") for name, _ in objective.named_parameters())
    assert objective._no_split_modules == objective.model._no_split_modules
    assert not hasattr(objective, "get_output_embeddings")
    objective.tie_weights()
    assert objective.model.lm_head.weight is objective.model.model.embed_tokens.weight
