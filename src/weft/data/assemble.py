"""Examples from the ids of their runs: many at once, where what counts follows from which runs are trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from weft.data.columns import Borders, Columns
from weft.data.flat_ids import FlatIds
from weft.data.runs import Frame
from weft.types import Location


def assemble(
    flat: FlatIds, frames: Sequence[Frame], locations: Sequence[Location], *, eos_id: int, beside: float
) -> tuple[Columns, Borders, np.ndarray]:
    """Examples, their borders, and of which of them it is not known here what counts: bool [n].

    Those end with a run that is not trained, or hold nothing.

    Args:
        flat: the ids of the runs of all examples, one after the other.
        frames: what the runs of each example are; at least one.
        locations: of the examples' records.
        eos_id: what follows where a frame says so.
        beside: as for :func:`weft.data.encoded.counted`.
    """
    counts = np.fromiter((len(frame.trained) for frame in frames), np.int64, len(frames))
    trained = np.fromiter(chain.from_iterable(frame.trained for frame in frames), bool, len(flat.ends))
    skips = np.fromiter(chain.from_iterable(frame.skips for frame in frames), bool, len(flat.ends))
    ends_with_eos = np.fromiter((frame.append_eos for frame in frames), bool, len(frames))
    lasts = np.cumsum(counts) - 1
    lengths = np.diff(flat.ends, prepend=0)
    ids = flat.ids
    if skips.any():
        ids = np.delete(ids, (flat.ends - lengths)[skips])
        lengths -= skips
    is_open = ~trained[lasts] | (lengths[lasts] == 0) if not beside else np.zeros(len(frames), bool)
    if ends_with_eos.any():
        ids = np.insert(ids, np.cumsum(lengths)[lasts[ends_with_eos]], eos_id)
        lengths[lasts] += ends_with_eos
    run_ends = np.cumsum(lengths)
    ends = run_ends[lasts]
    starts = np.append(0, ends[:-1])
    if beside:
        weights = np.full(len(ids), beside, np.float32)
        weights[starts[starts < ends]] = 0
    else:
        weights = np.repeat(trained.astype(np.float32), lengths)
    columns = Columns(
        ids=ids,
        weights=weights,
        ends=ends,
        locations=locations,
    )
    return columns, Borders(run_ends - lengths - np.repeat(starts, counts), lasts + 1), is_open
