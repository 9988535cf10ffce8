"""The comparison before the first step: its reasons, what it leaves behind, and the documents that it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    SiglipVisionConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPast

from architectures import ALL, EXACT, NEGATIVE, ONE_BY_ONE, PACKED_MASK, SEGMENTS, VOCABULARY, Architecture
from isolated_models import BOUNDS, adapted, batch, plain
from weft.errors import ModelError
from weft.models.attention import ATTENTION, UnsupportedAttention, segment_attention
from weft.models.isolation import Isolation, isolate, original_attention
from weft.models.parts import split_model
from weft.models.probe import probe_lengths, thresholds


def isolated(model: PreTrainedModel, **bounds: int) -> Isolation:
    return isolate(model, split_model(model), **{**BOUNDS, **bounds})


def test_reasons_say_what_was_wrong_above() -> None:
    equal = "packed rows equal each document alone"
    assert isolated(EXACT["llama"].build()).reason == equal
    never = "segments: the attention function was never called"
    assert isolated(NEGATIVE["gpt-j"].build()).reason == f"{never}; {equal}"
    assert isolated(NEGATIVE["bloom"].build()).reason.startswith(
        f"{never}; the model's own packed mask: position 1 of document 3 differs by "
    )


def test_whatever_a_model_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise KeyError("no\nsuch kernel")

    monkeypatch.setattr("weft.models.isolation.segment_attention", broken)
    isolation = isolated(EXACT["llama"].build())
    assert isolation.rung == PACKED_MASK
    assert isolation.reason.startswith("segments: KeyError: 'no\\nsuch kernel'; packed rows")


def test_what_attention_cannot_honour_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def biased(*args: object, **kwargs: object) -> object:
        return segment_attention(*args, **kwargs, position_bias=torch.zeros(1))

    monkeypatch.setattr("weft.models.isolation.segment_attention", biased)
    isolation = isolated(EXACT["llama"].build())
    assert isolation.reason.startswith("segments: its attention uses 'position_bias', which is not known here;")


def test_an_output_that_is_no_number_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object, **kwargs: object) -> object:
        return segment_attention(*args, **kwargs)[0] * torch.nan, None

    monkeypatch.setattr("weft.models.isolation.segment_attention", nothing)
    isolation = isolated(EXACT["llama"].build())
    assert isolation.rung == PACKED_MASK
    assert isolation.reason.startswith("segments: position 0 of document 1 differs by nan")


def test_a_body_that_refuses_keywords_gets_positions_only() -> None:
    model = EXACT["llama"].build()
    forward = model.model.forward

    def narrow(
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: object = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
    ) -> BaseModelOutputWithPast:
        return forward(input_ids=input_ids, position_ids=position_ids, use_cache=use_cache)

    model.model.forward = narrow
    isolation = isolated(model)
    assert (isolation.rung, isolation.carried) == (SEGMENTS, False)
    expected = isolated(EXACT["llama"].build()).hidden_at(torch.arange(40), **batch())
    assert torch.equal(isolation.hidden_at(torch.arange(40), **batch()), expected)


# What the probe leaves behind.


def test_the_probe_leaves_modes_and_random_numbers_alone() -> None:
    model = EXACT["llama"].build().train()
    model.model.layers[0].eval()
    before = torch.get_rng_state()
    isolated(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not model.model.layers[0].training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt-j", "dynamic-rope", "mpt"])
def test_each_rung_has_its_attention(name: str) -> None:
    model = ALL[name].build()
    original = model.config._attn_implementation
    for _ in range(2):  # the second time, the original is not what the first time left
        isolation = isolated(model)
        assert isolation.rung == ALL[name].rung
        assert model.config._attn_implementation == (ATTENTION if isolation.rung == SEGMENTS else original)
        with original_attention(model):
            assert model.config._attn_implementation == original


def test_the_original_attention_comes_back_after_an_error() -> None:
    model = EXACT["llama"].build()
    isolated(model)
    with pytest.raises(RuntimeError, match="stop"), original_attention(model):
        raise RuntimeError("stop")
    assert model.config._attn_implementation == ATTENTION


@pytest.mark.parametrize("make", [plain, adapted])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "gpt-oss", "gpt2", "mistral-window"])
def test_generation_is_that_of_a_fresh_model(name: str, make: Callable[[Architecture], nn.Module]) -> None:
    prompts = {
        "input_ids": torch.tensor([[0, 0, 5, 6, 7, 8, 9], [11, 12, 13, 14, 15, 16, 17]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7]),
    }
    asked = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    fresh, model = make(EXACT[name]).eval(), make(EXACT[name]).eval()
    isolate(model, split_model(model), **BOUNDS)
    with original_attention(model):
        actual = model.generate(**prompts, **asked)
    assert torch.equal(actual, fresh.generate(**prompts, **asked))
    with pytest.raises(UnsupportedAttention):
        model.generate(**prompts, **asked)


def test_padding_is_refused() -> None:
    model = EXACT["llama"].build()
    isolated(model)
    row = {name: value for name, value in batch().items() if name != "lengths"}
    mask = torch.ones_like(row["input_ids"])
    assert torch.equal(model(**row, attention_mask=mask).logits, model(**row).logits)
    mask[0, -1] = 0
    with pytest.raises(UnsupportedAttention, match="padded"):
        model(**row, attention_mask=mask)


def test_a_model_within_a_model_gets_its_own_attention_back() -> None:
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**EXACT["gemma3"].settings),
        vision_config=SiglipVisionConfig(**vision, image_size=28, patch_size=14),
        mm_tokens_per_image=4,
        image_token_index=96,
    )
    model = Gemma3ForConditionalGeneration(config)
    model.set_attn_implementation({"": "sdpa", "text_config": "eager", "vision_config": "sdpa"})
    configs = (model.config, model.config.text_config, model.config.vision_config)
    assert isolated(model).rung == SEGMENTS
    assert [config._attn_implementation for config in configs] == [ATTENTION] * 3
    with original_attention(model):
        assert [config._attn_implementation for config in configs] == ["sdpa", "eager", "sdpa"]


def test_the_name_of_our_attention_is_not_saved(tmp_path: Path) -> None:
    fresh, model = EXACT["gemma2"].build(), EXACT["gemma2"].build()
    isolated(model)
    fresh.save_pretrained(tmp_path / "fresh")
    model.save_pretrained(tmp_path / "ours")
    for name in ("config.json", "generation_config.json"):
        ours = (tmp_path / "ours" / name).read_text()
        assert "weft" not in ours
        assert json.loads(ours) == json.loads((tmp_path / "fresh" / name).read_text())


# The documents of the probe.


@pytest.mark.parametrize(
    ("given", "longest_document", "longest_row", "expected"),
    [
        (set(), 8192, 8192, (5, 1, 324, 11, 3, 7)),  # 256 counts as named
        (set(), 256, 256, (5, 1, 11, 3, 7)),  # a run that never meets it
        (set(), 257, 8192, (5, 1, 257, 40, 11, 3, 7)),
        (set(), 4, 200, (4, 1, 4, 3, 4)),
        (set(), 100, 300, (5, 1, 100, 100, 73, 11, 3, 7)),  # the row meets it: 300
        ({4096}, 4096, 4096, (5, 1, 324, 11, 3, 7)),
        ({4096}, 8192, 8192, (5, 1, 5124, 11, 3, 7)),
        ({100}, 8192, 8192, (5, 1, 324, 11, 3, 7)),
        ({100}, 200, 200, (5, 1, 129, 11, 3, 7)),
        ({100}, 110, 200, (5, 1, 110, 11, 3, 7)),
        ({16, 100, 5000}, 200, 200, (5, 1, 129, 11, 3, 7)),  # one longer than each that can be met
        ({100}, 60, 200, (5, 1, 60, 42, 11, 3, 7)),  # no document meets it, but the row does: 129
        ({100}, 60, 110, (5, 1, 60, 23, 11, 3, 7)),  # of 110
        ({16, 100}, 50, 200, (5, 1, 24, 50, 28, 11, 3, 7)),
    ],
)
def test_probes_exceed_what_the_run_can_meet_and_no_more(
    given: set[int], longest_document: int, longest_row: int, expected: tuple[int, ...]
) -> None:
    assert probe_lengths(given, longest_document=longest_document, longest_row=longest_row) == expected


def test_thresholds_are_found_on_all_levels_of_a_configuration() -> None:
    config = {
        "max_position_embeddings": 2048,
        "hidden_size": 7,
        "use_sliding_window": True,
        "sliding_window": None,
        "text_config": {"attention_chunk_size": 128, "rope_parameters": {"original_max_position_embeddings": 512}},
        "layers": [{"sliding_window": 16}, {"sliding_window": [32, 64]}],
        "window_size": -1,
        "log_scaling_n_floor": 1000,
        "indexer_budget": 256,
        "position_bias_max_distance": 99,
    }
    assert thresholds(config) == {2048, 128, 512, 16, 32, 64, 1000, 256, 99}
    assert {4, 64} <= thresholds(EXACT["mistral-window"].build().config.to_dict())


def test_lengths_that_a_run_never_meets_are_no_obstacle() -> None:
    """Frequencies change beyond 16 positions: a run without such documents takes the fast rung."""
    model = NEGATIVE["dynamic-rope"].build()
    assert isolated(model, longest_document=16, longest_row=60).rung == SEGMENTS
    assert isolated(model, longest_document=17, longest_row=60).rung == ONE_BY_ONE


def test_a_row_counts_where_documents_do_not() -> None:
    """Llama 4's temperature goes by the place in the row, here from 48 tokens on."""
    model = NEGATIVE["llama4"].build(floor_scale=48)
    assert isolated(model, longest_document=12, longest_row=48).rung == PACKED_MASK
    assert isolated(model, longest_document=12, longest_row=90).rung == ONE_BY_ONE


def test_documents_are_no_longer_than_a_table_of_positions() -> None:
    for name in ("gpt2", "opt", "gpt-j", "codegen", "mpt"):
        model = ALL[name].build()
        assert isolate(model, split_model(model), longest_document=500, longest_row=64).rung == ALL[name].rung


def test_a_window_that_attention_ignored_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_window(*args: object, sliding_window: int | None = None, **kwargs: object) -> object:
        return segment_attention(*args, **kwargs)

    monkeypatch.setattr("weft.models.isolation.segment_attention", without_window)
    assert isolated(EXACT["mistral-window"].build()).rung == PACKED_MASK
    assert isolated(LlamaForCausalLM(EXACT["llama"].build().config)).rung == SEGMENTS


def test_under_autocast_both_types_are_compared(monkeypatch):
    """What only the kernels of half precision get wrong is found, though in single precision all is well."""
    model = EXACT["llama"].build()
    assert isolate(model, split_model(model), autocast=torch.bfloat16, **BOUNDS).rung == SEGMENTS

    def leaking(module, query, *args, **kwargs):
        output, _ = segment_attention(module, query, *args, **kwargs)
        return (output.roll(1, dims=1) if torch.is_autocast_enabled("cpu") else output), None

    monkeypatch.setattr("weft.models.isolation.segment_attention", leaking)
    assert isolate(model, split_model(model), **BOUNDS).rung == SEGMENTS
    found = isolate(model, split_model(model), autocast=torch.bfloat16, **BOUNDS)
    assert found.rung == PACKED_MASK
    assert found.reason.startswith("segments: position ")


def test_a_long_document_leaves_nothing_behind_for_the_next():
    """Dynamic frequencies stay those of the longest document so far, unless they are asked for anew."""
    model = NEGATIVE["dynamic-rope"].build()
    isolation = isolate(model, split_model(model), **BOUNDS)
    assert isolation.rung == ONE_BY_ONE
    found = {}
    for lengths in ((30, 24), (24, 30)):
        documents = {length: torch.arange(length)[None] % VOCABULARY for length in lengths}
        hidden = isolation.hidden_at(
            torch.arange(54),
            input_ids=torch.cat([documents[length] for length in lengths], dim=1),
            position_ids=torch.cat([torch.arange(length) for length in lengths])[None],
            lengths=lengths,
        )
        found[lengths] = dict(zip(lengths, hidden.split(lengths), strict=True))
    fresh = NEGATIVE["dynamic-rope"].build()
    for length in (24, 30):
        torch.testing.assert_close(found[30, 24][length], found[24, 30][length], rtol=0, atol=0)
    alone = fresh.base_model(input_ids=torch.arange(24)[None], use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(found[30, 24][24], alone, rtol=1e-5, atol=1e-5)


def test_a_shared_configuration_is_refused():
    model = EXACT["llama"].build()
    isolate(model, split_model(model), **BOUNDS)
    second = LlamaForCausalLM(model.config)
    for _ in range(2):
        with pytest.raises(ModelError, match="shares its configuration"):
            isolate(second, split_model(second), **BOUNDS)
