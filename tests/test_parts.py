"""Body and head: hidden states → logits equals the model's own logits, on every kind of head and under PEFT."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn
from transformers.modeling_outputs import CausalLMOutput

from weft.config.schema import LoraConfig
from weft.errors import ModelError
from weft.models.adapters import add_lora
from weft.models.parts import split_model

COMMON = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "initializer_range": 0.3,  # large enough for a soft cap and a scale to show
}
ARCHITECTURES = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 3.0},
    "Cohere": {"logit_scale": 0.25},
    "Granite": {"logits_scaling": 7.0},
    "Phi": {"partial_rotary_factor": 0.5},  # a head with a bias
}
UNUSUAL = {
    "HyperCLOVAX": {"head_dim": 8, "logits_scaling": 3.0},  # multiplies by what Granite divides by
    "FalconH1": {
        "lm_head_multiplier": 0.5,
        "mamba_d_ssm": 64,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
    },
    "RecurrentGemma": {"logits_soft_cap": 3.0, "lru_width": 32, "block_types": ["recurrent", "attention"]},
    "Qwen2": {"logit_scale": 0.25, "final_logit_softcapping": 3.0},  # left over from elsewhere, and without effect
}
GPT2 = {"vocab_size": 97, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}


def tiny(name: str, **settings: object) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        **{**(GPT2 if name == "GPT2" else {**COMMON, **ARCHITECTURES.get(name, {})}), **settings}
    )
    model = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")(config)
    for parameter in model.parameters():  # no bias or scale stays where it does not show
        nn.init.normal_(parameter, std=0.3) if parameter.ndim == 1 else None
    return model.eval()


@torch.no_grad()
def assert_same_logits(model: nn.Module, rung: str) -> None:
    parts = split_model(model)
    ids, positions = torch.randint(97, (1, 40)), torch.tensor([0, 5, 5, 39])
    expected = model(input_ids=ids).logits[0, positions]
    actual = parts.head(parts.hidden_at(positions, input_ids=ids, use_cache=False))
    assert parts.rung == rung
    assert (actual - expected).abs().max() <= 2e-5 * expected.abs().max()
    by_hand = parts.head(parts.body(input_ids=ids, use_cache=False).last_hidden_state[0])
    torch.testing.assert_close(by_hand[positions], expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", [*ARCHITECTURES, "GPT2"])
def test_body_and_head_give_the_models_own_logits(name: str) -> None:
    assert_same_logits(tiny(name), "body and head")


@pytest.mark.parametrize("name", UNUSUAL)
def test_other_scales_and_caps_are_found(name: str) -> None:
    model = tiny(name, **UNUSUAL[name])
    assert_same_logits(model, "body and head")
    assert split_model(model).head.linear is model.get_output_embeddings()


@pytest.mark.parametrize("name", ["Llama", "Gemma2", "GPT2"])
def test_adapters_are_seen_through(name: str) -> None:
    model = add_lora(tiny(name), LoraConfig(r=4), seed=1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    assert_same_logits(model.eval(), "body and head")


def test_an_adapter_on_the_head_takes_part() -> None:
    model = add_lora(
        tiny("Llama", tie_word_embeddings=False), LoraConfig(r=4, target_modules=["lm_head", "q_proj"]), seed=1
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    assert_same_logits(model.eval(), "body and head")


def test_half_precision_has_its_own_tolerance() -> None:
    assert split_model(tiny("Llama").to(torch.bfloat16)).rung == "body and head"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("scale", [0.02, 0.1, 0.3])
@pytest.mark.parametrize(("name", "cap"), [("Llama", None), ("Gemma2", 30.0)])
def test_a_soft_cap_that_is_named_counts_only_where_it_is_applied(
    name: str, cap: float | None, scale: float, dtype: torch.dtype
) -> None:
    """In half precision logits with and without a cap of 30 are closer than the tolerance, whatever the architecture does."""
    model = tiny(name, final_logit_softcapping=30.0, initializer_range=scale).to(dtype)
    parts = split_model(model)
    assert (parts.rung, parts.head.soft_cap) == ("body and head", cap)


class _Odd(transformers.LlamaForCausalLM):
    """Does something to its logits that nobody could guess."""

    def forward(self, *args: object, **inputs: object) -> CausalLMOutput:
        return CausalLMOutput(logits=super().forward(*args, **inputs).logits.sin())


class _OddAndOld(transformers.LlamaForCausalLM):
    """The same without ``logits_to_keep``."""

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> CausalLMOutput:
        return CausalLMOutput(logits=super().forward(input_ids=input_ids, use_cache=use_cache).logits.sin())


@pytest.mark.parametrize(("kind", "rung"), [(_Odd, "logits_to_keep"), (_OddAndOld, "full logits")])
def test_a_wrong_guess_is_noticed_and_the_rung_named(kind: type[nn.Module], rung: str) -> None:
    assert_same_logits(kind(transformers.LlamaConfig(**COMMON)).eval(), rung)


def test_weights_that_are_not_numbers_are_named() -> None:
    model = tiny("Qwen2")
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not a number"):
        split_model(model)


def test_weights_that_an_evaluation_changes_are_refused() -> None:
    """RWKV halves weights in place in evaluation mode, and would be saved so."""
    small = {"vocab_size": 97, "hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2}
    with pytest.raises(ModelError, match="changes its weights in order to evaluate") as caught:
        split_model(transformers.RwkvForCausalLM(transformers.RwkvConfig(**small)))
    assert '"rescale_every": 0' in caught.value.fix
    split_model(transformers.RwkvForCausalLM(transformers.RwkvConfig(**small, rescale_every=0)))


def test_the_probe_leaves_dropout_as_it_was() -> None:
    model = tiny("GPT2").train()
    model.transformer.h[0].eval()
    before = [module.training for module in model.modules()]
    assert split_model(model).rung == "body and head"
    assert [module.training for module in model.modules()] == before


def test_gradients_flow_through_body_and_head() -> None:
    model = tiny("Llama")
    parts, ids, positions = split_model(model), torch.randint(97, (1, 12)), torch.tensor([3, 7])
    parts.head(parts.hidden_at(positions, input_ids=ids, use_cache=False)).square().sum().backward()
    actual = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model(input_ids=ids).logits[0, positions].square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(actual[name], parameter.grad, rtol=1e-4, atol=1e-4, msg=name)
