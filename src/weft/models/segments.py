"""How one flat row divides into documents, and what a model asks of its attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

Derived = TypeVar("Derived")


class UnsupportedAttention(ValueError):
    """The model asks its attention for something that would be ignored here; its text says for what."""


@dataclass(frozen=True)
class Segments:
    """The documents of one row [1, T], handed through a model as a keyword that nothing looks into.

    Python integers, because reading lengths from a device would stop it once per layer. What is derived from them is
    kept for the other layers, and for checkpoints that compute a layer again; it goes with the object after one pass.
    """

    lengths: tuple[int, ...]
    """Tokens of each document, in order; they sum to T."""
    causal: bool = True
    """Whether a token sees only what is before it. ``module.is_causal`` is true on every decoder and says nothing."""
    _derived: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_positions(cls, position_ids: Tensor) -> Segments:
        """Causal segments that start wherever ``position_ids``, int64 [1, T], are 0. Waits for a device.

        Raises:
            UnsupportedAttention: they are not one row, or do not start at 0.
        """
        if position_ids.ndim != 2 or position_ids.shape[0] != 1 or position_ids[0, 0] != 0:
            raise UnsupportedAttention("its position_ids are not those of one row of whole documents")
        starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
        ends = [*starts[1:], position_ids.shape[1]]
        return cls(tuple(end - start for start, end in zip(starts, ends, strict=True)))

    @property
    def longest(self) -> int:
        """Tokens of the longest document."""
        return max(self.lengths)

    def reach(self, window: int | None) -> int | None:
        """How many tokens away a token sees in a window of ``window``, or None where that limits no document.

        As ``transformers.masking_utils`` means it: causal, a window counts the token itself; both ways, it does not.
        """
        if window is None:
            return None
        reach = window - 1 if self.causal else window
        return reach if reach < self.longest - 1 else None

    def visible(self, reach: int | None, device: torch.device) -> Tensor:
        """Which tokens (columns) a token (row) of the longest document sees: bool [longest, longest].

        Its upper left corner is that of a shorter document.
        """

        def make() -> Tensor:
            everything = torch.ones(self.longest, self.longest, dtype=torch.bool, device=device)
            ahead = 0 if self.causal else (reach if reach is not None else self.longest)
            return everything.tril_(ahead).triu_(-reach if reach is not None else -self.longest)

        return self.derived(("visible", reach, device), make)

    def boundaries(self, device: torch.device) -> Tensor:
        """Where each document starts, then T: int32 [documents + 1], as variable-length kernels take them."""

        def make() -> Tensor:
            return torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32).to(device, non_blocking=True)

        return self.derived(("boundaries", device), make)

    def derived(self, key: tuple[object, ...], make: Callable[[], Derived]) -> Derived:
        """What ``make`` gives, made once per ``key``: a tensor, or what a kernel takes in place of one."""
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How a layer scores pairs of tokens, as the keywords of an attention function say it."""

    scaling: float | None
    """What products of queries and keys are multiplied by; None is 1 / √D."""
    dropout: float
    """The share of attention weights that is dropped."""
    reach: int | None
    """How many tokens away a token sees; None is as far as its document goes (:meth:`Segments.reach`)."""
    softcap: float | None
    """Scores become softcap · tanh(score / softcap), as in Gemma 2 (arXiv:2408.00118)."""
    sinks: Tensor | None
    """[Hq], in each head the score of a place that takes weight and gives nothing, as in GPT-OSS (arXiv:2508.10925)."""

    @property
    def plain(self) -> bool:
        """Whether scores are scaled products and nothing else, which is what fused kernels compute."""
        return self.softcap is None and self.sinks is None
