"""Which examples a step takes; what `auto` becomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.schema import TrainConfig
from weft.training.plan import Plan, make_plan


def plan_of(epoch_length: int, longest: int = 100, processes: int = 1, **keys) -> Plan:
    return make_plan(TrainConfig(**keys), epoch_length=epoch_length, longest=longest, processes=processes)


@pytest.mark.parametrize(
    ("epoch_length", "longest", "keys", "batch_size", "grad_accum"),
    [
        (1000, 100, {}, 16, 1),  # 40 would fit, 16 make a step
        (1000, 500, {}, 8, 2),
        (1000, 700, {}, 4, 4),  # 5 would fit, but 16 is not divided by 5
        (1000, 9000, {}, 1, 16),  # the longest alone is more than the budget
        (5, 100, {}, 5, 1),  # never more than there are
        (7, 1000, {}, 1, 7),
        (1000, 100, {"batch_size": 4}, 4, 4),
        (1000, 100, {"batch_size": 32}, 32, 1),
        (1000, 100, {"grad_accum": 8}, 2, 8),
        (1000, 4000, {"grad_accum": 2}, 1, 2),
        (1000, 9000, {"batch_size": 3, "grad_accum": 5}, 3, 5),
    ],
)
def test_auto(epoch_length, longest, keys, batch_size, grad_accum):
    plan = plan_of(epoch_length, longest, **keys)
    assert (plan.batch_size, plan.grad_accum) == (batch_size, grad_accum)


def test_auto_shares_the_effective_batch_between_processes():
    plan = plan_of(1000, processes=4)
    assert (plan.batch_size, plan.grad_accum, plan.effective_batch) == (4, 1, 16)


@pytest.mark.parametrize(
    ("keys", "steps"),
    [
        ({"epochs": 3}, 9),  # 40 examples in steps of 16: 16, 16, 8
        ({"epochs": 0.5}, 2),
        ({"epochs": 2.1}, 7),
        ({"epochs": 0.001}, 1),
        ({"epochs": 3, "max_steps": 4}, 4),
        ({"epochs": 1, "max_steps": 40}, 40),
    ],
)
def test_total_steps(keys, steps):
    assert plan_of(40, **keys).total_steps == steps


def test_a_fraction_that_binary_numbers_miss_is_not_a_step_more():
    assert plan_of(1600, epochs=0.07).total_steps == 7  # 0.07 * 100 is 7.000000000000001


def test_epochs_done_counts_examples():
    plan = plan_of(40)
    assert [plan.epochs_done(step) for step in (1, 2, 3, 4)] == [0.4, 0.8, 1.0, 1.4]
    assert [plan.ends_epoch(step) for step in (1, 2, 3, 6)] == [False, False, True, True]
    assert [plan.epoch(step) for step in (1, 3, 4, 7)] == [0, 0, 1, 2]


@given(
    epoch_length=st.integers(1, 70),
    batch_size=st.integers(1, 7),
    grad_accum=st.integers(1, 4),
    processes=st.integers(1, 3),
)
def test_every_epoch_takes_every_example_once(epoch_length, batch_size, grad_accum, processes):
    plan = plan_of(epoch_length, processes=processes, batch_size=batch_size, grad_accum=grad_accum)
    order = np.random.default_rng(0).permutation(epoch_length)
    for epoch in (0, 1):
        taken = []
        for step in range(epoch * plan.steps_per_epoch + 1, (epoch + 1) * plan.steps_per_epoch + 1):
            indices = plan.examples(step, order)
            ranks = [plan.micro_batches(indices, rank) for rank in range(processes)]
            assert len({len(micro_batches) for micro_batches in ranks}) == 1  # they meet after as many
            assert all(len(chosen) <= batch_size for micro_batches in ranks for chosen in micro_batches)
            taken += [index for micro_batches in ranks for chosen in micro_batches for index in chosen]
        assert sorted(taken) == sorted(order)
