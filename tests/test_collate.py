"""Examples laid end to end."""

from __future__ import annotations

import numpy as np
import torch

from weft.training.collate import collate, target_count
from weft.types import Example, Location


def example(ids: list[int], weights: list[float]) -> Example:
    return Example(
        ids=np.array(ids, np.int32),
        loss_weights=np.array(weights, np.float32),
        location=Location(path="x.jsonl", line=1),
    )


def test_rows_are_flat_and_positions_restart():
    batch = collate([example([5, 6, 7], [0, 1, 1]), example([8, 9], [0, 0.5])])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.loss_weights.tolist() == [[0, 1, 1, 0, 0.5]]
    assert batch.lengths == (3, 2)
    assert (batch.input_ids.dtype, batch.position_ids.dtype, batch.loss_weights.dtype) == (
        torch.int64,
        torch.int64,
        torch.float32,
    )


def test_a_first_token_is_never_a_target_and_the_example_is_left_alone():
    whole = example([5, 6], [1, 1])
    batch = collate([whole, whole])
    assert batch.loss_weights.tolist() == [[0, 1, 0, 1]]
    assert whole.loss_weights.tolist() == [1, 1]


def test_a_single_example_is_not_changed_through_its_batch():
    alone = example([5, 6], [1, 1])  # of one array, concatenate could return a view
    collate([alone]).loss_weights.fill_(7)
    assert alone.loss_weights.tolist() == [1, 1]


def test_the_targets_that_are_counted_are_those_that_are_kept():
    examples = [example([1, 2, 3], [1, 0.25, 1]), example([4], [1]), example([5, 6], [0, 2])]
    assert sum(map(target_count, examples)) == collate(examples).loss_weights.sum().item() == 3.25
