"""A tiny random model of whatever causal architecture the installed Transformers has, known here or not.

Sizes are given under every name that configurations use for them, and an architecture takes those that it knows.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

VOCABULARY = 97


def _named(value: Any, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    **_named(VOCABULARY, "vocab_size_per_layer_input unpadded_vocab_size decoder_vocab_size"),
    "pad_token_id": 0,
    **_named(1, "bos_token_id cls_token_id"),
    **_named(2, "eos_token_id decoder_start_token_id"),
    **_named(0.2, "initializer_range init_std embedding_initializer_range embed_init_std"),
    **_named(0.25, "logit_scale"),
    **_named(0.3, "attention_multiplier"),
    **_named(0.5, "lm_head_multiplier partial_rotary_factor"),
    **_named(0.7, "residual_multiplier attention_value_scale"),
    **_named(3.0, "logits_scaling logits_mup_width_multiplier"),
    **_named(5.0, "attn_logit_softcapping swiglu_limit"),
    **_named(7.0, "final_logit_softcapping"),
    **_named(0, "num_nextn_predict_layers"),
    **_named(
        1,
        "topk_group n_shared_experts num_shared_experts first_k_dense_replace max_window_layers mamba_n_groups num_dense_layers "
        "moe_num_shared_experts attn_layer_offset expert_layer_offset H_cycles num_hashes moe_layer_start_index encoder_layers "
        "num_encoder_layers",
    ),
    **_named(
        2,
        "num_key_value_heads num_kv_heads n_group num_expert_group num_experts_per_tok num_experts_per_token moe_topk moe_k "
        "linear_num_key_heads type_vocab_size index_n_heads decoder_layers n_layer n_layers num_layers num_blocks prompt_length "
        "num_decoder_layers num_kv_shared_layers mamba_expand expand attn_layer_period expert_layer_period task_type_vocab_size "
        "hc_mult hc_count o_groups L_cycles num_layers_per_stack swa_num_key_value_heads zero_expert_num layer_group_size "
        "index_topk_blocks n_mamba_heads heads_per_ngram split_ngram_parts intermediate_multiple_size altup_num_inputs "
        "n_layers_per_attn_res_block num_codebooks scale_emb",
    ),
    **_named(3, "conv_L_cache moe_layer_end_index"),
    **_named(
        4,
        "num_hidden_layers num_attention_heads n_head n_heads num_heads attention_heads decoder_attention_heads laurel_rank "
        "encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads linear_num_value_heads linear_num_heads "
        "num_experts n_routed_experts num_local_experts moe_num_experts qk_rope_head_dim rotary_dim sliding_window window_size "
        "sliding_window_size local_attention attention_window_size mamba_d_conv mamba_n_heads mamba_num_heads mamba_dt_rank "
        "conv_kernel short_conv_kernel_size state_size time_step_rank global_attn_every_n_layers no_rope_layer_interval d_rel "
        "swa_num_attention_heads adapter_rank gated_norm_rank hc_lowrank index_block_size make_ngram_vocab_size_divisible_by",
    ),
    **_named(6, "v_head_dim"),
    **_named(
        8,
        "head_dim dim_head d_head swa_head_dim attention_head_size kv_channels qk_nope_head_dim index_head_dim index_topk "
        "linear_key_head_dim linear_value_head_dim linear_head_dim mamba_d_state mamba_chunk_size chunk_size ssm_state_size "
        "block_size attention_chunk_size floor_scale keep_window_size hidden_size_per_layer_input query_pre_attn_scalar "
        "pronunciation_embed_dim shape_embed_dim ple_embed_dim o_lora_rank num_buckets num_mel_bins",
    ),
    **_named(11, "pronunciation_vocab_size shape_vocab_size"),
    **_named(
        16,
        "moe_intermediate_size shared_expert_intermediate_size shared_experts_intermediate_size shared_intermediate_size "
        "moe_shared_expert_intermediate_size expert_ffn_hidden_size kv_lora_rank q_lora_rank mamba_d_head mamba_head_dim "
        "mamba_headdim attention_head_dim router_hidden_size rel_extent log_scaling_n_floor dim_model_base "
        "position_bias_num_buckets relative_max_distance max_source_positions",
    ),
    **_named(
        32,
        "hidden_size d_model n_embd emb_dim embedding_dim embedding_size input_embedding_size output_embedding_size lru_width "
        "word_embed_proj_dim attention_hidden_size position_bias_max_distance prompt_types segment_types",
    ),
    **_named(
        48,
        "intermediate_size decoder_ffn_dim encoder_ffn_dim ffn_dim n_inner d_inner dff dim_ff ffn_hidden_size feed_forward_size "
        "intermediate_size_mlp dense_intermediate_size",
    ),
    **_named(50, "ngram_vocab_size_base"),
    **_named(
        64,
        "max_position_embeddings n_positions max_seq_len model_max_length context_length max_target_positions mamba_d_ssm "
        "original_max_position_embeddings",
    ),
    **_named(True, "is_decoder mlp_bias attention_bias qkv_bias use_sliding_window"),
    **_named(
        0.0,
        "attention_dropout hidden_dropout_prob attention_probs_dropout_prob dropout activation_dropout resid_pdrop embd_pdrop "
        "attn_pdrop emb_pdrop hidden_dropout decoder_layerdrop encoder_layerdrop layerdrop classifier_dropout embedding_dropout "
        "residual_dropout resid_dropout embed_dropout dropout_p mlp_dropout local_attention_probs_dropout_prob "
        "lsh_attention_probs_dropout_prob router_jitter_noise input_jitter_noise",
    ),
}

_WINDOWS = ["sliding_attention", "full_attention"] * 2
_LINEAR = ["linear_attention", "full_attention"] * 2
_CONVOLUTIONS = ["conv", "full_attention"] * 2
_HYBRID = ["hybrid_sliding", "hybrid"] * 2
_EACH = {"num_key_value_heads": 4}
"""Latent attention has a key for each head."""


def _alike(names: str, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: dict(settings) for name in names.split()}


SPECIAL: dict[str, dict[str, Any]] = {
    **_alike(
        "axk1 axk2 bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa minicpm3 youtu", _EACH
    ),
    **_alike(
        "gemma3_text gemma4_text gemma4_unified_text kolibri1 mellum mimo_v2_flash ministral", {"layer_types": _WINDOWS}
    ),
    **_alike("lfm2 lfm2_moe lfm3", {"layer_types": _CONVOLUTIONS}),
    **_alike("inkling_text inkling2_text", {"layer_types": _HYBRID}),
    "bamba": {"attn_layer_indices": [1, 3]},
    "big_bird": {"attention_type": "original_full"},
    "cohere_compass_text": {
        "layer_types": _WINDOWS,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": 1e4} for kind in _WINDOWS[:2]},
    },
    "deepseek_v4": {
        "layer_types": ["sliding_attention", *["compressed_sparse_attention", "heavily_compressed_attention"] * 2][:4],
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": _LINEAR, "position_embedding_type": "rope"},
    "kimi_linear": {"layer_types": _LINEAR, **_EACH},
    "laguna": {"layer_types": _WINDOWS, "num_attention_heads_per_layer": [4] * 4},
    "longcat_flash": {"head_dim": 4, **_EACH},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "minimax_m3_vl_text": {"layer_types": ["minimax_m3_sparse", "full_attention"] * 2},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
        "n_groups": 1,
        "n_group": 1,
    },
    "qwen3_moe": {"mlp_only_layers": [0]},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "ple_layer_ids": [1],
        "layer_types": ["linear_attention", "indexed_attention"] * 2,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "rwkv": {"rescale_every": 0},
    "smollm3": {"no_rope_layers": [1, 0, 1, 0]},
    "xlm": {"causal": True},
    "zamba": {"layers_block_type": ["mamba", "hybrid"] * 2, "attention_hidden_size": 64},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2, "attention_hidden_size": 64, "num_mem_blocks": 1, **_EACH},
    "zaya": {"layer_types": _HYBRID, "num_experts_per_tok": 1},
}


def small_config(kind: str) -> PreTrainedConfig:
    """A tiny configuration of the model type ``kind``; of a type that holds others, that of its text model within it."""
    config_class = CONFIG_MAPPING[kind]
    text = config_class.sub_configs.get("text_config")
    if text is not None and hasattr(text, "model_type"):
        return config_class(text_config=_filled(text))
    return _filled(config_class)


def build(kind: str) -> PreTrainedModel:
    """A model of it in float32, in eval mode, the same at every call, with weights large enough for all parts to show."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(small_config(kind))
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
            elif parameter.numel() > 1 and parameter.std() < 0.05:
                parameter.data.normal_(std=0.2)
    return model.eval()


def _filled(config_class: type[PreTrainedConfig]) -> PreTrainedConfig:
    known = {name for kind in config_class.__mro__ for name in getattr(kind, "__annotations__", {})}
    alias = config_class.attribute_map
    given = {
        name: value for name, value in SMALL.items() if name in known or (name in alias and alias[name] not in SMALL)
    }
    return config_class(**{**given, **SPECIAL.get(config_class.model_type, {})})
