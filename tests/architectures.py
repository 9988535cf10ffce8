"""Tiny models of many architectures, for every test that asks whether packing stays invisible (law 7).

``EXACT`` are those on which attention per segment gives what each document alone gives; ``NEGATIVE`` those that must end
on a lower rung, because something in them looks at the whole row. Thresholds are small (a window of 4, a chunk of 8), so
that short documents meet them; weights are large enough for every part to show in the logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 97

SEGMENTS = "segments"
PACKED_MASK = "the model's own packed mask"
ONE_BY_ONE = "one document per forward"


@dataclass(frozen=True)
class Architecture:
    """How to make a tiny model, and the rung on which it must end."""

    name: str
    """What the classes of Transformers start with."""
    settings: dict[str, Any] = field(default_factory=dict)
    rung: str = SEGMENTS
    text: bool = False
    """The configuration of the text model has "Text" in its name, the model has not."""

    def build(self, **settings: Any) -> PreTrainedModel:
        """The model in float32 on the CPU, in eval mode, the same at every call; ``settings`` go over its own."""
        config_class = getattr(transformers, f"{self.name}{'Text' if self.text else ''}Config")
        model_class = getattr(transformers, f"{self.name}LMHeadModel", None) or getattr(
            transformers, f"{self.name}ForCausalLM"
        )
        config = config_class(**self.settings, **settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = model_class(config)
            for parameter in model.parameters():
                if parameter.ndim == 1:  # no bias, scale or sink stays where it does not show
                    parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        return model.eval()


SMALL_WORLD = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LARGE = {**SMALL_WORLD, "initializer_range": 0.2}
COMMON = {
    **LARGE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
HEADS = {**COMMON, "head_dim": 8}
MOE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
WINDOWED = {"sliding_window": 4}
MIXED = {**WINDOWED, "layer_types": ["sliding_attention", "full_attention"]}
GPT = {**LARGE, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
DROPOUT_FREE = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def _rope(kind: str, **settings: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **settings}}


LLAMA3 = _rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = _rope("yarn", factor=4.0, original_max_position_embeddings=16)
DYNAMIC = {**_rope("dynamic", factor=4.0), "max_position_embeddings": 16}
LONG = {
    **_rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[2.0, 3.0, 4.0, 5.0], factor=4.0),
    "original_max_position_embeddings": 16,
}
LLAMA4 = {
    **HEADS,
    **MOE,
    "intermediate_size_mlp": 48,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 8,
    "no_rope_layers": [1, 0],
}

EXACT: dict[str, Architecture] = {
    "llama": Architecture("Llama", COMMON),
    "llama-llama3-rope": Architecture("Llama", {**COMMON, **LLAMA3}),
    "llama-yarn-rope": Architecture("Llama", {**COMMON, **YARN}),
    "qwen2": Architecture("Qwen2", COMMON),
    "qwen2-window": Architecture("Qwen2", {**COMMON, **WINDOWED, "use_sliding_window": True, "max_window_layers": 1}),
    "qwen3": Architecture("Qwen3", HEADS),
    "qwen3-moe": Architecture("Qwen3Moe", {**HEADS, **MOE, "num_experts": 4}),
    "mistral-window": Architecture("Mistral", {**COMMON, **WINDOWED}),
    "mixtral": Architecture("Mixtral", {**COMMON, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "phi": Architecture("Phi", {**COMMON, "partial_rotary_factor": 0.5, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
    "phi3-window": Architecture("Phi3", {**COMMON, **WINDOWED, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
    "gemma2": Architecture("Gemma2", {**HEADS, **MIXED, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0}),
    "gemma3": Architecture("Gemma3", {**HEADS, **MIXED, "query_pre_attn_scalar": 8}, text=True),
    "olmo2": Architecture("Olmo2", COMMON),
    "olmo3": Architecture("Olmo3", {**COMMON, **MIXED}),
    "granite": Architecture("Granite", {**COMMON, "attention_multiplier": 0.25, "logits_scaling": 4.0}),
    "cohere": Architecture("Cohere", {**COMMON, "use_qk_norm": True}),
    "cohere2": Architecture("Cohere2", {**COMMON, **MIXED}),
    "smollm3": Architecture("SmolLM3", {**COMMON, "no_rope_layers": [1, 0]}),
    "exaone4": Architecture("Exaone4", {**HEADS, **MIXED}),
    "starcoder2": Architecture("Starcoder2", {**COMMON, **WINDOWED, "residual_dropout": 0.0, "embedding_dropout": 0.0}),
    "gpt2": Architecture("GPT2", {**GPT, **DROPOUT_FREE}),
    "gpt-neox": Architecture("GPTNeoX", {**COMMON, "rotary_pct": 0.5}),
    "stablelm": Architecture("StableLm", COMMON),
    "nemotron": Architecture("Nemotron", COMMON),
    "glm4": Architecture("Glm4", HEADS),
    "gpt-oss": Architecture("GptOss", {**HEADS, **MIXED, **YARN, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek-v3": Architecture(
        "DeepseekV3",
        {
            **COMMON,
            **MOE,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
        },
    ),
    "opt": Architecture(
        "OPT",
        {
            **SMALL_WORLD,
            "init_std": 0.2,
            "hidden_size": 32,
            "word_embed_proj_dim": 32,
            "ffn_dim": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "dropout": 0.0,
        },
    ),
}

NEGATIVE: dict[str, Architecture] = {
    "llama4": Architecture("Llama4", LLAMA4, rung=PACKED_MASK, text=True),
    # Its temperature depends on the place in the row: 8,192 in the model, beyond the rows of these tests.
    "llama4-temperature": Architecture("Llama4", {**LLAMA4, "floor_scale": 8}, rung=ONE_BY_ONE, text=True),
    "dynamic-rope": Architecture("Llama", {**COMMON, **DYNAMIC}, rung=ONE_BY_ONE),
    "longrope": Architecture("Phi3", {**COMMON, **LONG, "resid_pdrop": 0.0, "embd_pdrop": 0.0}, rung=ONE_BY_ONE),
    "lfm2": Architecture("Lfm2", {**COMMON, "layer_types": ["conv", "full_attention"]}, rung=ONE_BY_ONE),
    "mamba": Architecture(
        "Mamba", {**LARGE, "hidden_size": 32, "state_size": 4, "num_hidden_layers": 2}, rung=ONE_BY_ONE
    ),
    "qwen3-next": Architecture(
        "Qwen3Next",
        {
            **HEADS,
            **MOE,
            "num_experts": 4,
            "shared_expert_intermediate_size": 16,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"],
        },
        rung=ONE_BY_ONE,
    ),
    "gpt-j": Architecture("GPTJ", {**GPT, **DROPOUT_FREE, "rotary_dim": 4}, rung=PACKED_MASK),
    "gpt-neo": Architecture(
        "GPTNeo",
        {
            **LARGE,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
            "max_position_embeddings": 64,
        },
        rung=PACKED_MASK,
    ),
    "codegen": Architecture("CodeGen", {**GPT, **DROPOUT_FREE, "rotary_dim": 4}, rung=PACKED_MASK),
    "bloom": Architecture("Bloom", {**LARGE, "hidden_size": 32, "n_layer": 2, "n_head": 4}, rung=ONE_BY_ONE),
    "falcon": Architecture(
        "Falcon", {**LARGE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}, rung=ONE_BY_ONE
    ),
    "mpt": Architecture(
        "Mpt", {**LARGE, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64}, rung=ONE_BY_ONE
    ),
}

ALL = {**EXACT, **NEGATIVE}
