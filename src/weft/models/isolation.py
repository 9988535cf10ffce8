"""How the documents of a row are kept from seeing each other: the highest rung that is proven exact on this model (law 7).

Architectures differ in what they let an attention function know, and some mix tokens elsewhere: in convolutions, in
recurrent states, in position frequencies that depend on the row. Which of them do is not guessed from names. At start-up a packed
row is compared with each of its documents alone, under the attention that the model came with.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from weft.errors import ModelError
from weft.models.attention import ATTENTION, Segments, UnsupportedAttention, segment_attention
from weft.models.hardware import is_out_of_memory
from weft.models.parts import Parts, evaluating
from weft.models.probe import Row, complaint, probe_row
from weft.models.quiet import quiet_transformers
from weft.models.trial import pass_backwards
from weft.models.wrapper import unwrapped

if TYPE_CHECKING:
    from peft import PeftModel

Rung = Literal["segments", "the model's own packed mask", "one document per forward"]

Implementation = str | dict[str, Any]
"""What a model's attention is called; of models within it as well, by the names of their configurations."""

_TRIED = 3
"""How many documents of a probe are tried in training mode; its last ones are short."""

_original: WeakKeyDictionary[PreTrainedModel, Implementation] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """The way in which one model runs rows, so that no document sees another."""

    rung: Rung
    reason: str = ""
    """One line: that the rung is proven, or what was wrong with those above it."""
    parts: Parts
    carried: bool = False
    """Whether the model takes ``segments`` as a keyword, rather than positions only."""
    proven: int = 0
    """Tokens of the row that was compared: no longer one is known to be exact."""
    rotary: tuple[nn.Module, ...] = ()
    """Where the model keeps the longest length that it met, for frequencies that depend on it."""

    def hidden_at(
        self, positions: Tensor, *, input_ids: Tensor, position_ids: Tensor, lengths: tuple[int, ...]
    ) -> Tensor:
        """The hidden states of a row at some of its positions, as each document alone would give them.

        On the lower rungs of ``weft.models.parts`` they are finished logits.

        Args:
            positions: int64 [N], ascending, counted in the row.
            input_ids: int64 [1, T].
            position_ids: int64 [1, T], from 0 in every document.
            lengths: tokens of each document; they sum to T.

        Returns:
            [N, H], with a gradient for every weight of the body even where N is 0.
        """
        if self.rung == "one document per forward":
            return self._one_by_one(positions, input_ids, lengths)
        segments = {"segments": Segments(lengths)} if self.carried else {}
        return self.parts.hidden_at(
            positions, input_ids=input_ids, position_ids=position_ids, use_cache=False, **segments
        )

    def _one_by_one(self, positions: Tensor, input_ids: Tensor, lengths: tuple[int, ...]) -> Tensor:
        # Without position_ids: not every model knows them, and every model counts from 0 by itself.
        ends = torch.tensor(tuple(accumulate(lengths)), device=positions.device)
        counts = torch.searchsorted(positions, ends).diff(prepend=ends.new_zeros(1)).tolist()
        starts = accumulate((0, *lengths[:-1]))
        documents = zip(positions.split(counts), starts, input_ids.split(lengths, dim=1), strict=True)
        return torch.cat([self.alone(ids, here - start) for here, start, ids in documents])

    def alone(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """The hidden states [N, H] of one document, int64 [1, L], whatever documents came before it.

        ``rope_type: dynamic`` goes on with the frequencies of a longer document that came before; Transformers asks for
        new ones where a document is longer than all that it remembers.
        """
        for module in self.rotary:
            for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
                setattr(module, name, 0)
        return self.parts.hidden_at(positions, input_ids=input_ids, use_cache=False)


def isolate(
    model: PreTrainedModel | PeftModel,
    parts: Parts,
    *,
    longest_document: int | None = None,
    longest_row: int | None = None,
    autocast: torch.dtype | None = None,
    trained: bool = True,
) -> Isolation:
    """Find the highest rung on which a packed row gives what each document alone gives, and switch ``model`` to it.

    It costs about a forward pass of a row and one of a document. Call it before the model is wrapped for distribution.

    Args:
        model: a causal model of Transformers, or a PEFT model around one, whose adapters take part.
        parts: its body and head (``weft.models.parts``).
        longest_document: tokens of the longest document of the run; longer ones are not tried. None is 8,192.
        longest_row: tokens of the longest row of the run. None is 8,192.
        autocast: the type of the run's autocast, if it has one. Then everything is compared in it as well: other kernels
            run there, but it is too coarse to be the only comparison.
        trained: whether training is to follow, so that a pass in training mode and its way back must succeed too.

    Raises:
        ModelError: the model shares its configuration object with one that was isolated before, or fails in training mode.
    """
    base = unwrapped(model)
    if base not in _original:
        if base.config._attn_implementation == ATTENTION:
            raise ModelError(
                "shares its configuration with a model that runs rows already, so its own attention is not known",
                where=type(base).__name__,
                fix="give it a copy of the configuration",
            )
        _original[base] = _implementation(base.config)
    original = _original[base]
    row = probe_row(base, longest_document=longest_document, longest_row=longest_row)
    length = row.input_ids.shape[1]
    by_segments = Isolation(rung="segments", parts=parts, proven=length, carried=_takes_any_keyword(base, parts))
    by_mask = Isolation(rung="the model's own packed mask", parts=parts, proven=length)
    rotary = tuple(module for module in base.modules() if hasattr(module, "max_seq_len_cached"))
    one_by_one = Isolation(rung="one document per forward", parts=parts, rotary=rotary)
    with evaluating(model), torch.no_grad():
        _switch(base, original)
        alone = {}
        for dtype in [None] if autocast is None else [None, autocast]:
            with _computing_in(dtype, row):
                alone[dtype] = _each_alone(one_by_one, row)
        problems = []
        for isolation, implementation in ((by_segments, _implementation(base.config, ATTENTION)), (by_mask, original)):
            _switch(base, implementation)
            found = (_problem(isolation, row, hidden, dtype) for dtype, hidden in alone.items())
            problem = next(filter(None, found), None)  # the first one, if any
            if trained:
                problem = problem or _problem_in_training(isolation, model, row, autocast)
            if problem is None:
                return replace(isolation, reason="; ".join([*problems, "packed rows equal each document alone"]))
            problems.append(f"{isolation.rung}: {problem}")
        if trained and (problem := _problem_in_training(one_by_one, model, row, autocast)):
            raise ModelError(
                f"cannot be trained on single examples: {problem}",
                where=base.name_or_path or type(base).__name__,
                fix="use another model, or other adapters (tuning.lora.target_modules)",
            )
    return replace(one_by_one, reason="; ".join(problems))


@contextmanager
def original_attention(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """The attention that ``model`` came with, inside the block: generation needs its cache and masks."""
    base = unwrapped(model)
    in_use, original = _implementation(base.config), _original.get(base)
    if original in (None, in_use):
        yield
        return
    _switch(base, original)
    try:
        yield
    finally:
        _switch(base, in_use)


def _problem(isolation: Isolation, row: Row, alone: Tensor, autocast: torch.dtype | None) -> str | None:
    """Why ``isolation`` is no way to run rows of its model, in a few words; None if it is one."""
    try:
        with _counting_calls() as layers, _computing_in(autocast, row):
            problem = complaint(isolation.parts.head, _packed(isolation, row), alone, row)
    except Exception as error:  # whatever a model makes of a packed row, there is another way to run it
        return _in_words(error)
    if isolation.rung == "segments" and not layers:
        return "the attention function was never called"
    return problem


def _problem_in_training(isolation: Isolation, model: nn.Module, row: Row, autocast: torch.dtype | None) -> str | None:
    """Why ``model`` cannot be trained in that way, which evaluation mode does not show; None if it can."""

    def forward() -> Tensor:
        with _computing_in(autocast, row):
            return isolation.parts.head(_packed(isolation, row.last(_TRIED)))

    try:
        pass_backwards(model, forward)
    except Exception as error:  # a model's own code, or that of a kernel
        return f"in training mode, {_in_words(error)}"
    return None


def _in_words(error: Exception) -> str:
    """What a failed way of running rows raised, in one line."""
    if is_out_of_memory(error):
        raise error
    if isinstance(error, UnsupportedAttention):
        return str(error)
    return textwrap.shorten(f"{type(error).__name__}: {error}", 120)


def _packed(isolation: Isolation, row: Row) -> Tensor:
    return isolation.hidden_at(
        row.watched_in_row, input_ids=row.input_ids, position_ids=row.position_ids, lengths=row.lengths
    )


def _each_alone(one_by_one: Isolation, row: Row) -> Tensor:
    """The hidden states of each document's watched positions, the document alone in its forward pass."""
    found: dict[int, Tensor] = {}
    for ids, positions in zip(row.input_ids.split(row.lengths, dim=1), row.watched, strict=True):
        if ids.shape[1] not in found:  # documents of one length are equal
            found[ids.shape[1]] = one_by_one.alone(ids, positions)
    return torch.cat([found[length] for length in row.lengths])


def _computing_in(autocast: torch.dtype | None, row: Row) -> torch.autocast:
    return torch.autocast(row.input_ids.device.type, autocast, enabled=autocast is not None)


@contextmanager
def _counting_calls() -> Iterator[list[nn.Module]]:
    """The layers that call :func:`segment_attention` inside the block: some architectures take any name and use none."""
    layers: list[nn.Module] = []

    def counted(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        layers.append(module)
        return segment_attention(module, *args, **kwargs)

    AttentionInterface.register(ATTENTION, counted)
    try:
        yield layers
    finally:
        AttentionInterface.register(ATTENTION, segment_attention)


def _takes_any_keyword(base: PreTrainedModel, parts: Parts) -> bool:
    called = parts.body if isinstance(parts.body, nn.Module) else base
    parameters = inspect.signature(called.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _implementation(config: PreTrainedConfig, chosen: str | None = None) -> Implementation:
    """What ``set_attn_implementation`` takes to bring a model to where ``config`` is, or all of it to ``chosen``."""
    own = chosen or config._attn_implementation
    inner = {name: getattr(config, name, None) for name in config.sub_configs}
    parts = {
        name: _implementation(sub, chosen)
        for name, sub in inner.items()
        if sub and sub._attn_implementation is not None
    }
    return {"": own, **parts} if parts else own


def _switch(base: PreTrainedModel, implementation: Implementation) -> None:
    with quiet_transformers():  # it warns of models that cannot be switched; the probe finds them
        base.set_attn_implementation(implementation)
