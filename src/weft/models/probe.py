"""A row of random documents on which a model would show that they are not kept apart, and the comparison.

Changing one document and watching the others is too weak: chunked attention and frequencies that depend on the row
leave that test clean and the logits wrong. So logits are compared with those of each document alone.
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
_UNNAMED = 256
"""Always among the thresholds, for the blocks of a model that no name tells of."""
_ROWS_AT_ONCE = 512
_AT_ENDS, _BETWEEN = 8, 32

_THRESHOLD = re.compile(
    r"window|chunk|block_size|local_attention|max_position|n_positions|max_seq|model_max_length|max_target|max_distance"
    r"|context_length|floor_scale|n_floor|rel_extent|index_topk|budget"
)
"""Names in configurations for lengths at which models change their ways: windows, chunks, long context."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Documents of random tokens end to end."""

    input_ids: Tensor
    """int64 [1, T]."""
    position_ids: Tensor
    """int64 [1, T], from 0 in every document."""
    lengths: tuple[int, ...]
    """Tokens of each document; documents of one length are equal."""
    watched: tuple[Tensor, ...]
    """int64: of each document the positions that are compared, counted in the document."""

    @property
    def watched_in_row(self) -> Tensor:
        """int64: the same positions, counted in the row."""
        starts = accumulate((0, *self.lengths[:-1]))
        return torch.cat([start + positions for start, positions in zip(starts, self.watched, strict=True)])

    def last(self, documents: int) -> Row:
        """The row of its last documents."""
        tokens = sum(self.lengths[-documents:])
        return Row(
            input_ids=self.input_ids[:, -tokens:],
            position_ids=self.position_ids[:, -tokens:],
            lengths=self.lengths[-documents:],
            watched=self.watched[-documents:],
        )


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
        longest_document=min(longest_document or _UNBOUNDED, most_positions(base.config) or _UNBOUNDED),
        longest_row=longest_row or _UNBOUNDED,
    )
    embeddings = base.get_input_embeddings().weight
    vocabulary, device = embeddings.shape[0], embeddings.device
    documents = [
        torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(length)) for length in lengths
    ]
    return Row(
        input_ids=torch.cat(documents)[None].to(device),
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        lengths=lengths,
        watched=tuple(_watched(length).to(device) for length in lengths),
    )


def probe_lengths(thresholds: set[int], *, longest_document: int, longest_row: int) -> tuple[int, ...]:
    """The documents of a probe: one that exceeds the largest threshold within reach exceeds all smaller ones as well."""
    named = {*thresholds, _UNNAMED}
    short = [min(length, longest_document) for length in _SHORT]
    long = []
    if reached := [threshold for threshold in named if threshold < longest_document]:
        long.append(min(_clearly_beyond(max(reached)), longest_document))
    if reached := [threshold for threshold in named if threshold < longest_row]:
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
def complaint(head: Head, packed: Tensor, alone: Tensor, row: Row) -> str | None:
    """What is wrong with the hidden states [N, H] of the watched positions of ``packed`` documents, beside those of each
    ``alone``; None if nothing.

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
    document = bisect_right(list(accumulate(map(len, row.watched))), worst)
    position = int(torch.cat(row.watched)[worst])
    return f"position {position} of document {document + 1} differs by {difference[worst].item():.2g}"


def _watched(length: int) -> Tensor:
    """The ends of a document, where it meets others, and some positions between; of a short document all."""
    ends = [*range(min(_AT_ENDS, length)), *range(max(length - _AT_ENDS, 0), length)]
    return torch.tensor(sorted({*ends, *range(0, length, 1 + length // _BETWEEN)}))


def _clearly_beyond(threshold: int) -> int:
    """So much longer that what lies beyond counts."""
    return threshold + threshold // 4 + 4


def most_positions(config: PreTrainedConfig) -> int | None:
    """The positions that a model has, or None where it can go on beyond them because its frequencies change then."""
    text = config.get_text_config()
    if ("rope_type", "dynamic") in _settings(text.to_dict()):
        return None
    named = (getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len"))
    return next((length for length in named if isinstance(length, int) and length > 0), None)


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
