"""A causal model taken apart into body and head, so that logits are computed only where they count (law 8).

Transformers has no common call for "hidden states in, logits out": heads differ by a bias, a scale or a soft cap. So the
parts are guessed from what models have in common, and compared with the model's own logits before anything relies on
them. Where the guess fails, the model's ``logits_to_keep`` does the selection, and where that fails too, indexing does;
the rung that holds is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from weft.errors import ModelError
from weft.models.wrapper import unwrapped

if TYPE_CHECKING:
    from peft import PeftModel

Rung = Literal["body and head", "logits_to_keep", "full logits"]

_PROBE_LENGTH = 16
_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")
"""What configurations call a number that logits are multiplied by, or divided by."""
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
RELATIVE_TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""By which logits of two ways of computing them may differ, relative to the largest."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """Hidden states [N, H] → logits [N, V], in the head's type: a module, then what models do to its output.

    Granite divides, Cohere multiplies, Gemma 2 caps softly.
    """

    module: nn.Module
    scale: float = 1.0
    """The logits are multiplied by it,"""
    soft_cap: float | None = None
    """and then softly capped to it."""

    def __call__(self, hidden: Tensor) -> Tensor:
        """The logits [N, V] of hidden states [N, H]."""
        logits = self.module(hidden)
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.soft_cap is None else self.soft_cap * torch.tanh(logits / self.soft_cap)

    @property
    def linear(self) -> nn.Linear | None:
        """The module, if it is a linear layer and nothing else, so that its weight and bias say all that it does.

        What PEFT or bitsandbytes put in place of one has a ``weight`` too, without adapter or scale; hooks see or change
        what passes (offloading, for one).
        """
        module = self.module
        if type(module) is not nn.Linear or "forward" in vars(module):
            return None
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        return None if any(hooks) else module


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A body that gives hidden states, and what makes logits of them.

    On the first rung that is the model's body and its head with transforms. On the others the "body" is the whole model,
    its "hidden states" are finished logits, and the head returns what it is given.
    """

    body: Callable[..., BaseModelOutput]
    """The model's inputs → an output with ``last_hidden_state`` [1, T, H], differentiable."""
    head: Head
    rung: Rung

    def hidden_at(self, positions: Tensor, **inputs: Any) -> Tensor:
        """The hidden states [N, H] of one row, ``inputs`` [1, T], at ``positions`` int64 [N]."""
        if self.rung == "logits_to_keep":
            return self.body(**inputs, logits_to_keep=positions).last_hidden_state[0]
        return self.body(**inputs).last_hidden_state[0].index_select(0, positions)


def split_model(model: PreTrainedModel | PeftModel) -> Parts:
    """The first rung of the ladder on which the probe's logits equal the model's own.

    Wrappers of PEFT are seen through; their adapters take part. Call it before the model is wrapped for distribution.

    Raises:
        ModelError: the model fails on token ids alone, gives logits that are not numbers, or changes its weights to
            evaluate (RWKV).
    """
    base = unwrapped(model)
    rows = base.get_input_embeddings().weight.shape[0]
    device = base.get_input_embeddings().weight.device
    probe = torch.arange(_PROBE_LENGTH, device=device).mul(7919).remainder(rows).unsqueeze(0)
    positions = torch.arange(1, _PROBE_LENGTH, 2, device=device)
    with evaluating(model), torch.no_grad():
        expected = _own_logits(base, probe)[0, positions]
        if getattr(base.base_model, "layers_are_rescaled", False) and base.config.rescale_every:
            raise ModelError(
                "changes its weights in order to evaluate, so that what is saved after it would not be what was trained",
                where=base.name_or_path or type(base).__name__,
                fix='set "rescale_every": 0 in its config.json',
            )
        if not expected.isfinite().all():
            raise ModelError(
                "its output is not a number (NaN or infinite), so nothing can be learned",
                where=base.name_or_path or type(base).__name__,
                fix="download or make the model again: its weights are damaged",
            )
        for guesses in (_bodies_with_heads(base), [_logits_to_keep(base)], [_full_logits(base)]):
            if parts := _closest(guesses, probe, positions, expected):
                return parts
    raise ModelError(
        "gives different logits for the same tokens, so that nothing can be computed from them",
        where=type(base).__name__,
        fix="use a causal language model of Transformers",
    )


def _own_logits(base: PreTrainedModel, ids: Tensor) -> Tensor:
    try:
        return base(input_ids=ids, use_cache=False).logits
    except Exception as problem:  # a model's own code; with adapters, also whatever they do not fit
        raise ModelError(
            f"fails on a row of {ids.shape[1]} tokens: {type(problem).__name__}: {problem}",
            where=type(base).__name__,
            fix="if it has adapters, name the layers that get one in tuning.lora.target_modules, such as [q_proj, v_proj]; "
            "else use another model",
        ) from problem


def _bodies_with_heads(base: PreTrainedModel) -> Iterator[Parts]:
    """Guesses: what the configuration names counts, or is left over from another architecture."""
    config = base.config.get_text_config()
    named = [value for name in _SCALES if (value := getattr(config, name, None))]
    scales = dict.fromkeys(scale for value in (*named, 1.0) for scale in (value, 1 / value))
    caps = dict.fromkeys([*filter(None, (getattr(config, name, None) for name in _SOFT_CAPS)), None])
    body = base.base_model if base.base_model is not base else getattr(base, "model", None)  # Llama 4 misnames it
    for soft_cap, scale in product(caps, scales) if body is not None else ():
        head = Head(module=base.get_output_embeddings(), scale=scale, soft_cap=soft_cap)
        yield Parts(body=body, head=head, rung="body and head")


def _logits_to_keep(base: PreTrainedModel) -> Parts:
    return Parts(body=_finished_logits(base), head=Head(module=nn.Identity()), rung="logits_to_keep")


def _full_logits(base: PreTrainedModel) -> Parts:
    return Parts(body=_finished_logits(base), head=Head(module=nn.Identity()), rung="full logits")


def _finished_logits(base: PreTrainedModel) -> Callable[..., BaseModelOutput]:
    return lambda **inputs: BaseModelOutput(last_hidden_state=base(**inputs).logits)


def _closest(guesses: Iterable[Parts], probe: Tensor, positions: Tensor, expected: Tensor) -> Parts | None:
    """The guess that gives the model's own logits up to rounding, relative to the largest one.

    Several do in half precision: a soft cap far above the logits changes little more than rounding does. But it changes
    nearly all of them, where rounding differs in few; so the least mean difference tells.
    """
    tolerance = RELATIVE_TOLERANCE.get(expected.dtype, 2e-5) * expected.abs().max()
    mean, closest = math.inf, None
    for parts in guesses:
        try:
            actual = parts.head(parts.hidden_at(positions, input_ids=probe, use_cache=False))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            continue  # the guess does not fit this architecture
        if actual.shape != expected.shape:
            continue
        difference = (actual.float() - expected.float()).abs()
        if difference.max() <= tolerance and difference.mean() < mean:
            mean, closest = difference.mean().item(), parts
    return closest


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off in every module, and each put back as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
