"""Examples → batch: one flat row, never padded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from weft.objectives.batch import Batch
from weft.types import Example


def collate(examples: Sequence[Example], device: torch.device | str = "cpu", *, pinned: bool = False) -> Batch:
    """Lay ``examples`` end to end on ``device``.

    The weight of an example's first token becomes 0: nothing before it could predict it.

    Args:
        examples: one or more, in order.
        device: where the batch goes.
        pinned: copy through page-locked memory, which lets a GPU go on computing meanwhile.

    Returns:
        A batch of as many tokens T as the examples have together.
    """
    lengths = tuple(len(example.ids) for example in examples)
    weights = np.concatenate([example.loss_weights for example in examples]).astype(np.float32, copy=False)
    starts = np.cumsum((0, *lengths[:-1]))
    weights[starts] = 0

    def on_device(values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor.pin_memory().to(device, non_blocking=True) if pinned else tensor.to(device)

    return Batch(
        input_ids=on_device(np.concatenate([example.ids for example in examples]).astype(np.int64)[None]),
        position_ids=on_device(np.concatenate([np.arange(length) for length in lengths])[None]),
        loss_weights=on_device(weights[None]),
        targets=on_device(weights.nonzero()[0]),  # found here, because a GPU would have to be waited for
        lengths=lengths,
    )


def target_count(example: Example) -> float:
    """The sum of the weights that :func:`collate` keeps: known before any forward pass (law 6)."""
    return float(example.loss_weights[1:].sum(dtype=np.float64))
