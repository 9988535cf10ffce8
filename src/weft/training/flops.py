"""Floating-point operations of a step's matrix products, stage by stage, counted from shapes.

A product of [n, k] with [k, m] is 2·n·k·m operations, a multiplication and an addition for each pair. What is cheap beside
the products, such as norms, activations, softmax and the optimizer, is left out, as is usual (Kaplan et al. 2020,
arXiv:2001.08361, section 2.1). Nothing is counted that is not known: modules that compute in another way are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from weft.objectives.base import Objective
from weft.objectives.stages import Stage

_LINEAR = (nn.Linear, Conv1D)


@contextmanager
def counted_linear_layers(
    layers: Sequence[nn.Module], current_stage: Callable[[], Stage | None]
) -> Iterator[Counter[Stage]]:
    """Within the block, count the products of ``layers`` as they run.

    A layer of weight [m, k] on n rows takes 2·n·k·m in the stage where it runs, and as much again in the backward pass
    for each of the gradients that are wanted: of its input, and of its weight. For a model of N weights that is the usual
    6·N per token, and 4·N where they are frozen. Activation checkpointing runs a layer once more in the backward pass,
    which is seen as it happens; so is that experts get only their share of the rows.
    """
    flops: Counter[Stage] = Counter()

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        stage, product = current_stage(), 2 * inputs[0].numel() * output.shape[-1]
        if stage is None:
            return
        flops[stage] += product
        if stage != "backward":  # a layer that runs there is run again; its gradients were counted the first time
            flops["backward"] += product * (inputs[0].requires_grad + layer.weight.requires_grad)

    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        yield flops
    finally:
        for hook in hooks:
            hook.remove()


def linear_layers(objective: Objective) -> list[nn.Module]:
    """The linear layers of an objective's model that are called as modules: all but a head in the fused kernel.

    That head must not get a hook: it would no longer be seen as a plain linear layer (weft.models.parts).
    """
    head = objective.fused_head
    return [module for module in objective.model.modules() if isinstance(module, _LINEAR) and module is not head]


def head_flops(head: nn.Linear, targets: int) -> int:
    """Of the fused kernel: 2·V·H per target for the logits, for the hidden states' gradient, and for a trained weight's."""
    return 2 * head.in_features * head.out_features * targets * (2 + head.weight.requires_grad)


def attention_flops(config: PretrainedConfig, lengths: Sequence[int]) -> float:
    """Of one causal forward pass over examples of ``lengths`` tokens; the backward pass takes twice as many.

    In every layer and for each of H query heads, a product of D_qk for the score of a pair of query and key, and one of
    D_v for its value: 2·H·(D_qk + D_v) operations per pair. A causal example of length L has about L²/2 pairs, under a
    sliding window w < L about w·L − w²/2. Zero where the configuration does not say what must be known.
    """
    if not _attends(config):
        return 0.0
    heads = config.num_attention_heads
    scores = getattr(config, "qk_head_dim", None) or getattr(config, "head_dim", None) or config.hidden_size // heads
    values = getattr(config, "v_head_dim", None) or scores
    pairs = {kind: sum(_pairs(length, window) for length in lengths) for kind, window in _windows(config).items()}
    return 2 * heads * (scores + values) * sum(pairs.get(kind, 0.0) for kind in _layer_kinds(config))


def uncounted(model: PreTrainedModel) -> list[str]:
    """What computes with matrices in a way that is not counted here: kinds of modules, such as fused experts, and of layers."""
    weights: Counter[str] = Counter()
    for module in model.modules():
        if not isinstance(module, (*_LINEAR, nn.Embedding)):
            own = module.parameters(recurse=False)
            weights[type(module).__name__] += sum(weight.numel() for weight in own if weight.ndim >= 2)
    found = [f"{name} ({count:,} parameters)" for name, count in weights.items() if count]
    config = model.config.get_text_config()
    if not _attends(config):
        return [*found, "attention or what takes its place"]
    return found + sorted(set(_layer_kinds(config)) - _windows(config).keys())


def _attends(config: PretrainedConfig) -> bool:
    needed = ("num_hidden_layers", "num_attention_heads", "hidden_size")
    return all(isinstance(getattr(config, name, None), int) for name in needed)


def _pairs(length: int, window: int | None) -> float:
    width = min(length, window or length)
    return width * length - width**2 / 2


def _windows(config: PretrainedConfig) -> dict[str, int | None]:
    """The kinds of layers that attend, with the window of each."""
    return {"full_attention": None, "sliding_attention": getattr(config, "sliding_window", None)}


def _layer_kinds(config: PretrainedConfig) -> list[str]:
    """The kind of every layer; a model that does not tell them has one kind."""
    one = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    return getattr(config, "layer_types", None) or [one] * config.num_hidden_layers
