"""A row of random documents on which a model would show that they are not kept apart, and the comparison.

Changing one document and watching the others is too weak: chunked attention and frequencies that depend on the row
leave that test clean and the logits wrong. So every logit is compared with that of its document alone.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from weft.models.parts import RELATIVE_TOLERANCE, Head

_SHORT = (5, 1, 11, 3, 7)
_UNBOUNDED = 8192
_ROWS_AT_ONCE = 512

_THRESHOLD = re.compile(r"window|chunk|local_attention|max_position|n_positions|max_seq|floor_scale|index_topk")
"""Names in configurations for lengths at which models change their ways: windows, chunks, long context."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Documents of random tokens end to end."""

    input_ids: Tensor
    """int64 [1, T]."""
    position_ids: Tensor
    """int64 [1, T], from 0 in every document."""
    lengths: tuple[int, ...]


def probe_row(base: PreTrainedModel, *, longest_document: int | None, longest_row: int | None) -> Row:
    """Short documents, and where a threshold of ``base`` can be met, a document and a row that are longer than it.

    Args:
        base: the model, whose configuration names the thresholds.
        longest_document: tokens of the longest document that the model will see; None is 8,192. No document is longer,
            nor has more positions than the model was made for, which many have as a table.
        longest_row: tokens of the longest row; None is 8,192. The row is no longer, but for a few short documents.
    """
    lengths = probe_lengths(
        thresholds(base.config.to_dict()),
        longest_document=min(longest_document or _UNBOUNDED, _most_positions(base.config) or _UNBOUNDED),
        longest_row=longest_row or _UNBOUNDED,
    )
    embeddings = base.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(embeddings.shape[0], (1, sum(lengths)), generator=generator)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return Row(input_ids=ids.to(embeddings.device), position_ids=positions.to(embeddings.device), lengths=lengths)


def probe_lengths(thresholds: set[int], *, longest_document: int, longest_row: int) -> tuple[int, ...]:
    """The documents of a probe: one that exceeds the largest threshold within reach exceeds all smaller ones as well."""
    short = [min(length, longest_document) for length in _SHORT]
    long = []
    if reached := [threshold for threshold in thresholds if threshold < longest_document]:
        long.append(min(_clearly_beyond(max(reached)), longest_document))
    if reached := [threshold for threshold in thresholds if threshold < longest_row]:
        missing = min(_clearly_beyond(max(reached)), longest_row) - sum(short) - sum(long)
        long += [min(longest_document, missing - done) for done in range(0, missing, longest_document)]
    return (*short[:2], *long, *short[2:])  # short ones on both sides, for what leaks forwards and backwards


def thresholds(config: Mapping[str, Any]) -> set[int]:
    """The whole numbers that a configuration gives under names of thresholds."""
    return {
        value
        for name, value in _settings(config)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0 and _THRESHOLD.search(name)
    }


@torch.no_grad()
def complaint(head: Head, packed: Tensor, alone: Tensor, lengths: tuple[int, ...]) -> str | None:
    """What is wrong with the hidden states ``packed`` [T, H], beside those of each document ``alone``; None if nothing.

    Logits may differ by rounding, relative to the largest one, as in ``weft.models.parts``.
    """
    differences, largest = [], 0.0
    for rows in zip(packed.split(_ROWS_AT_ONCE), alone.split(_ROWS_AT_ONCE), strict=True):
        actual, expected = (head(hidden) for hidden in rows)
        differences.append((actual.float() - expected.float()).abs().amax(dim=1))
        largest = max(largest, expected.abs().max().item())
        tolerance = RELATIVE_TOLERANCE.get(expected.dtype, 2e-5)
    difference = torch.cat(differences)
    if difference.max() <= tolerance * largest:  # which what is not a number never is
        return None
    worst = int(difference.argmax())
    starts = list(accumulate((0, *lengths[:-1])))
    document = bisect_right(starts, worst)
    return f"position {worst - starts[document - 1]} of document {document} differs by {difference[worst].item():.2g}"


def _clearly_beyond(threshold: int) -> int:
    """So much longer that what lies beyond counts."""
    return threshold + threshold // 4 + 4


def _most_positions(config: PreTrainedConfig) -> int | None:
    """The positions that a model has, or None where it can go on beyond them because its frequencies change then."""
    text = config.get_text_config()
    if ("rope_type", "dynamic") in _settings(text.to_dict()):
        return None
    return getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)


def _settings(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a configuration with its name, on any level; of a list, each entry."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _settings(inner, str(key))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _settings(inner, name)
    else:
        yield name, value
