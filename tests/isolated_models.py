"""Tiny models as they are trained, and a row of documents for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from architectures import VOCABULARY, Architecture
from weft.config.schema import LoraConfig
from weft.models.adapters import add_lora
from weft.models.quiet import quiet_transformers

LENGTHS = (5, 1, 20, 3, 11)  # longer than every window and chunk, and than the context of dynamic frequencies
BOUNDS = {"longest_document": 40, "longest_row": 60}


def plain(architecture: Architecture) -> nn.Module:
    return architecture.build().train()


def checkpointed(architecture: Architecture) -> nn.Module:
    return with_checkpoints(plain(architecture))


def adapted(architecture: Architecture) -> nn.Module:
    model = add_lora(architecture.build(), LoraConfig(r=4, dropout=0), seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2, generator=generator)
    return model.train()


def adapted_and_checkpointed(architecture: Architecture) -> nn.Module:
    model = with_checkpoints(adapted(architecture))
    model.enable_input_require_grads()
    return model


def with_checkpoints(model: nn.Module) -> nn.Module:
    with quiet_transformers():  # the name is about to change
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def batch(lengths: tuple[int, ...] = LENGTHS) -> dict[str, object]:
    ids = torch.randint(VOCABULARY, (1, sum(lengths)), generator=torch.Generator().manual_seed(3))
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return {"input_ids": ids, "position_ids": positions, "lengths": lengths}


def gradients(model: nn.Module, logits: Tensor) -> Tensor:
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad((logits * direction).sum(), trained, allow_unused=True)
    return torch.cat([gradient.flatten() for gradient in found if gradient is not None])
