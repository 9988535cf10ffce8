"""What sees later tokens is refused, and nothing else is."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from architectures import ALL, LARGE, SMALL_WORLD
from weft.errors import ModelError
from weft.models.causality import check_causal
from weft.models.isolation import Isolation, isolate
from weft.models.parts import split_model
from weft.objectives.causal import CausalObjective

BERT = {**LARGE, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
XLNET = {**SMALL_WORLD, "initializer_range": 0.2, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
XLM = {**SMALL_WORLD, "embed_init_std": 0.2, "init_std": 0.2, "emb_dim": 32, "n_layers": 2, "n_heads": 4}


def check(model: nn.Module) -> None:
    check_causal(model, isolate(model, split_model(model), longest_document=40, longest_row=60))


def encoder(name: str, settings: dict[str, object], **more: object) -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings, max_position_embeddings=64, **more)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("name", "settings"), [("Bert", BERT), ("Roberta", BERT), ("Electra", BERT), ("RoFormer", BERT)]
)
def test_encoders_are_refused_and_decoders_are_not(name: str, settings: dict[str, object], dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match="sees the tokens after the one") as caught:
        check(encoder(name, settings).to(dtype))
    assert '"is_decoder": true' in caught.value.fix
    check(encoder(name, settings, is_decoder=True).to(dtype))


@pytest.mark.parametrize(("name", "settings"), [("XLNet", XLNET), ("XLM", XLM)])
def test_models_that_permute_or_mask_are_refused(name: str, settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, f"{name}Config")(**settings))
    with pytest.raises(ModelError, match="sees the tokens after the one"):
        check(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_causal_models_pass(name: str, dtype: torch.dtype) -> None:
    check(ALL[name].build().to(dtype))


@pytest.mark.parametrize("ahead", [1, 2, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_short_look_ahead_is_refused(ahead: int, dtype: torch.dtype) -> None:
    """A layer that adds what comes so many tokens later: few positions see into any one change, but each sees ahead."""
    model = ALL["llama"].build().to(dtype)
    layer = model.model.layers[1]
    forward = layer.forward

    def looks_ahead(hidden: torch.Tensor, **given: object) -> torch.Tensor:
        later = nn.functional.pad(hidden[:, ahead:], (0, 0, 0, ahead))[:, : hidden.shape[1]]
        return forward(hidden + later, **given)

    layer.forward = looks_ahead
    with pytest.raises(ModelError, match="sees the tokens after the one"):
        check(model)


@pytest.mark.parametrize(("bounds", "rows"), [((40, 1000), 1), ((40, 70), 3), ((4, 8), 7)])
def test_no_row_is_longer_than_what_is_proven(
    bounds: tuple[int, int], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ALL["llama"].build()
    isolation = isolate(model, split_model(model), longest_document=bounds[0], longest_row=bounds[1])
    seen = []

    def watched(self: Isolation, positions: torch.Tensor, **row: object) -> torch.Tensor:
        seen.append(row["lengths"])
        return hidden_at(self, positions, **row)

    hidden_at = Isolation.hidden_at
    monkeypatch.setattr(Isolation, "hidden_at", watched)
    check_causal(model, isolation)
    assert len(seen) == rows
    assert sum(map(len, seen)) == 7
    assert all(len(lengths) == 1 or sum(lengths) <= isolation.proven for lengths in seen)


def test_the_objective_refuses_too() -> None:
    with pytest.raises(ModelError, match="next-token prediction would teach it nothing"):
        CausalObjective(encoder("Bert", BERT))
