"""What fails in training mode or backwards only is found before the first step."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import Tensor, nn

from architectures import EXACT, ONE_BY_ONE, PACKED_MASK, SEGMENTS, SMALL_WORLD
from weft.errors import ModelError
from weft.models.attention import segment_attention
from weft.models.isolation import Isolation, isolate
from weft.models.parts import split_model
from weft.models.trial import pass_backwards


def isolated(model: nn.Module) -> Isolation:
    return isolate(model, split_model(model), longest_document=40, longest_row=60)


class _NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        raise RuntimeError("no kernel for that shape")


def test_attention_without_a_backward_pass_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def forwards_only(*args: object, **kwargs: object) -> tuple[Tensor, None]:
        return _NoWayBack.apply(segment_attention(*args, **kwargs)[0]), None

    from weft.models import isolation
    from weft.models.attention import ATTENTION

    monkeypatch.setattr(isolation, "segment_attention", forwards_only)  # what the comparison leaves registered
    isolation.AttentionInterface.register(ATTENTION, forwards_only)
    try:
        found = isolated(EXACT["llama"].build())
    finally:
        isolation.AttentionInterface.register(ATTENTION, segment_attention)
    assert found.rung == PACKED_MASK
    assert found.reason.startswith(
        "segments: in training mode, RuntimeError: no kernel for that shape; packed rows equal"
    )


def test_attention_that_fails_in_training_mode_gives_way_too() -> None:
    model = EXACT["llama"].build()
    attend = model.model.layers[0].self_attn.forward

    def fails(*args: object, **kwargs: object) -> object:
        if model.training and "segments" in kwargs:
            raise ValueError("not while training")
        return attend(*args, **kwargs)

    model.model.layers[0].self_attn.forward = fails
    found = isolated(model)
    assert found.rung == PACKED_MASK
    assert "segments: in training mode, ValueError: not while training;" in found.reason


def test_a_model_that_is_only_evaluated_needs_no_way_back() -> None:
    model = EXACT["llama"].build()
    attend = model.model.layers[0].self_attn.forward

    def forwards_only(*args: object, **kwargs: object) -> tuple[Tensor, object]:
        output, weights = attend(*args, **kwargs)
        return _NoWayBack.apply(output), weights

    model.model.layers[0].self_attn.forward = forwards_only
    with pytest.raises(ModelError, match="cannot be trained on single examples"):
        isolated(model)
    found = isolate(model, split_model(model), longest_document=40, longest_row=60, trained=False)
    assert found.rung == SEGMENTS


def test_a_model_that_cannot_be_trained_on_single_examples_is_refused() -> None:
    """Reformer's axial positions take rows of one length only in training mode."""
    config = transformers.ReformerConfig(
        **SMALL_WORLD,
        is_decoder=True,
        hidden_size=32,
        feed_forward_size=48,
        attention_head_size=8,
        num_attention_heads=4,
        attn_layers=["local", "local"],
        axial_pos_shape=[8, 8],
        axial_pos_embds_dim=[16, 16],
        local_attn_chunk_length=8,
        max_position_embeddings=64,
    )
    with pytest.raises(
        ModelError, match=r"cannot be trained on single examples: in training mode, ValueError: If training"
    ):
        isolated(transformers.ReformerModelWithLMHead(config))


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_nothing_is_left_behind(name: str) -> None:
    model = EXACT[name].build()
    model.base_model.train()
    modes = [module.training for module in model.modules()]
    before = torch.get_rng_state(), {key: value.clone() for key, value in model.state_dict().items()}
    assert isolated(model).rung in (SEGMENTS, ONE_BY_ONE)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(torch.equal(value, before[1][key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_backward_pass_goes_back_to_the_beginning() -> None:
    seen: list[int] = []
    layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))

    def forward() -> Tensor:
        value = torch.ones(1, 4)
        for index, layer in enumerate(layers):
            value = layer(value)
            if value.requires_grad:
                value.register_hook(lambda _, index=index: seen.append(index))
        return value

    pass_backwards(layers, forward)
    assert seen == [*range(11, 0, -1), 0]
    seen.clear()
    layers[:11].requires_grad_(False)
    pass_backwards(layers, forward)
    assert seen == [11]
    pass_backwards(layers.requires_grad_(False), forward)  # nothing is trained, and nothing fails
