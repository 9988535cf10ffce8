"""Which rows a step takes; what `auto` becomes."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.schema import TrainConfig
from weft.data.mixture import Mixture
from weft.data.packing import Packing
from weft.errors import ConfigError
from weft.training.header import planned_epochs
from weft.training.plan import Plan, make_plan


def plan_of(epoch_length: int, longest: int = 100, processes: int = 1, capacity: int = 10_000, **keys) -> Plan:
    """Of examples of one length, ``longest``."""
    config = TrainConfig(**keys)
    mixture = Mixture({"train": range(epoch_length)}, {"train": 1.0}, seed=1)
    lengths = np.full(epoch_length, longest, np.int32)
    return make_plan(
        config, Packing(mixture, lengths, how=config.packing, capacity=capacity, seed=1), processes=processes
    )


def uneven(how: str = "bfd") -> Packing:
    """A mixture whose remainder is drawn anew, of long examples or short ones, so that epochs differ in their rows."""
    lengths = np.array([9] * 16 + [1] * 16 + [5] * 4, np.int32)
    mixture = Mixture({"some": range(32), "few": range(32, 36)}, {"some": 1.0, "few": 1.0}, seed=2)
    return Packing(mixture, lengths, how=how, capacity=10, seed=2)


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
    ("longest", "capacity", "keys", "batch_size", "grad_accum"),
    [
        (1000, 1000, {}, 4, 4),  # one example a row: 16 rows, of which 4 fit
        (500, 1000, {}, 4, 2),  # two a row: 8 rows
        (250, 1000, {}, 4, 1),
        (100, 1000, {}, 2, 1),  # ten a row: 4 rows would fit, 2 hold about 16 examples
        (10, 1000, {}, 1, 1),  # a row holds 100 examples
        (2500, 5000, {}, 1, 8),  # a row is more than the budget
        (500, 1000, {"batch_size": 3}, 3, 3),
        (500, 1000, {"batch_size": 32}, 32, 1),
        (500, 1000, {"grad_accum": 4}, 2, 4),
        (500, 1000, {"grad_accum": 1}, 4, 1),
        (500, 1000, {"batch_size": 3, "grad_accum": 5}, 3, 5),
        (500, 1000, {"processes": 4}, 2, 1),
    ],
)
@pytest.mark.parametrize("packing", ["bfd", "wrapped"])
def test_auto_counts_rows_where_examples_are_packed(packing, longest, capacity, keys, batch_size, grad_accum):
    plan = plan_of(1000, longest, capacity=capacity, packing=packing, **keys)
    assert (plan.batch_size, plan.grad_accum) == (batch_size, grad_accum)


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


@given(st.integers(1, 10_000_000), st.integers(1, 20_000))
def test_epochs_that_are_alike_take_their_steps_times_their_number(thousandths, steps_per_epoch):
    plan = plan_of(steps_per_epoch, batch_size=1, grad_accum=1, epochs=thousandths / 1000)
    assert plan.total_steps == -(-thousandths * steps_per_epoch // 1000)


def test_steps_beyond_what_floats_count_are_exact():
    plan = plan_of(20_001, batch_size=1, grad_accum=1, epochs=1e12)
    assert plan.total_steps == 20_001 * 10**12


@pytest.mark.parametrize("epochs", [1.1e12, 1e308])
def test_more_epochs_than_anyone_means(epochs):
    with pytest.raises(ConfigError) as refused:
        plan_of(40, epochs=epochs)
    assert str(refused.value) == (
        f"train.epochs: {epochs:g} epochs are too many, 1,000,000,000,000 is the most here\n"
        "  fix: set train.max_steps instead, which goes before train.epochs"
    )
    assert plan_of(40, epochs=epochs, max_steps=7).total_steps == 7


def test_epochs_done_counts_examples():
    plan = plan_of(40)
    assert [plan.epochs_done(step) for step in (1, 2, 3, 4)] == [0.4, 0.8, 1.0, 1.4]
    assert [plan.ends_epoch(step) for step in (1, 2, 3, 6)] == [False, False, True, True]


@given(
    epoch_length=st.integers(1, 70),
    batch_size=st.integers(1, 7),
    grad_accum=st.integers(1, 4),
    processes=st.integers(1, 3),
    packing=st.sampled_from(["none", "bfd"]),
)
def test_every_epoch_takes_every_example_once(epoch_length, batch_size, grad_accum, processes, packing):
    keys = {"batch_size": batch_size, "grad_accum": grad_accum, "packing": packing, "processes": processes}
    plan = plan_of(epoch_length, longest=30, capacity=100, **keys)
    for epoch in (0, 1):
        taken = []
        for step in range(plan.steps_before(epoch) + 1, plan.steps_before(epoch + 1) + 1):
            rows = plan.rows(step)
            ranks = [plan.micro_batches(rows, rank) for rank in range(processes)]
            assert len({len(micro_batches) for micro_batches in ranks}) == 1  # they meet after as many
            assert all(len(chosen) <= batch_size for micro_batches in ranks for chosen in micro_batches)
            taken += [piece.example for chosen in chain.from_iterable(ranks) for row in chosen for piece in row]
        assert sorted(taken) == list(range(epoch_length))


# Epochs that differ


@pytest.mark.parametrize("how", ["bfd", "wrapped"])
def test_the_steps_are_those_of_the_epochs_one_after_the_other(how):
    config = TrainConfig(packing=how, batch_size=1, grad_accum=2, epochs=6.0)
    plan = make_plan(config, uneven(how))
    counts = [len(uneven(how).rows(epoch)) for epoch in range(6)]
    assert len({math.ceil(count / 2) for count in counts}) > 1  # or this test shows nothing
    steps = [(epoch, start) for epoch, count in enumerate(counts) for start in range(0, count, 2)]
    assert plan.total_steps == len(steps)
    for step, (epoch, start) in enumerate(steps, 1):
        rows = list(uneven(how).rows(epoch))
        assert plan.rows(step) == make_plan(config, uneven(how)).rows(step) == rows[start : start + 2]
        last = start + 2 >= len(rows)
        assert plan.ends_epoch(step) == last
        assert plan.epochs_done(step) == (epoch + 1 if last else epoch + (start + 2) / len(rows))


def test_a_fraction_is_one_of_its_own_epoch():
    def steps(epochs):
        config = TrainConfig(packing="bfd", batch_size=1, grad_accum=1, epochs=epochs)
        return make_plan(config, uneven()).total_steps

    counts = [uneven().row_count(epoch) for epoch in range(6)]
    halves = [math.ceil(count / 2) for count in counts]
    assert len(set(halves)) > 1
    assert [steps(epoch + 0.5) for epoch in range(6)] == [sum(counts[:epoch]) + halves[epoch] for epoch in range(6)]


@pytest.mark.parametrize("how", ["bfd", "wrapped"])
def test_more_epochs_than_can_be_packed_are_refused(how):
    packing = uneven(how)
    for epochs in (147_058.5, 1e9, 1e308):
        with pytest.raises(
            ConfigError, match=r"train\.epochs: .* 147,058 is the most here: these differ in their number of rows"
        ):
            make_plan(TrainConfig(packing=how, epochs=epochs), packing)
    assert make_plan(TrainConfig(packing=how, epochs=1e308, max_steps=7), packing).total_steps == 7


def test_many_epochs_of_few_examples_and_some_of_many_are_counted():
    def plan(visits, epochs):
        packing = uneven("wrapped")
        packing.visits = visits
        return make_plan(TrainConfig(packing="wrapped", batch_size=1, grad_accum=1, epochs=epochs), packing)

    assert plan(36, 1000).total_steps == sum(uneven("wrapped").row_count(epoch) for epoch in range(1000))
    assert plan(10**9, 100).total_steps == sum(uneven("wrapped").row_count(epoch) for epoch in range(100))
    with pytest.raises(ConfigError, match=r"100\.5 epochs are too many, 100 is the most here"):
        plan(10**9, 100.5)


@pytest.mark.parametrize("how", ["bfd", "wrapped"])
def test_the_header_says_the_epochs_that_were_asked_for(how):
    def planned(**keys):
        config = TrainConfig(packing=how, batch_size=1, grad_accum=1, **keys)
        return planned_epochs(config, make_plan(config, uneven(how)))

    counts = [uneven(how).row_count(epoch) for epoch in range(6)]
    assert sum(counts) != 6 * counts[0]  # or this test shows nothing
    assert planned(epochs=6) == 6
    assert planned(epochs=5.5) == 5 + math.ceil(counts[5] / 2) / counts[5]
    assert planned(max_steps=1) == 1 / counts[0]
    assert planned(max_steps=10**9) == 10**9 / counts[0]  # about


class Counted(Packing):
    """Counts how often it packs."""

    packed = 0

    def _pack(self, epoch):
        self.packed += 1
        return super()._pack(epoch)


def test_a_plan_packs_only_what_it_must():
    def counted(how, weights=(1.0, 2.0)):
        mixture = Mixture({"a": range(16), "b": range(16, 32)}, dict(zip("ab", weights, strict=True)), seed=2)
        return Counted(mixture, np.full(32, 3), how=how, capacity=10, seed=2)

    packing = counted("bfd")
    plan = make_plan(TrainConfig(packing="bfd", batch_size=1, grad_accum=1, max_steps=10**9), packing)
    assert (plan.total_steps, packing.packed) == (10**9, 1)
    steps = plan.steps_in(0)
    assert (plan.ends_epoch(steps), plan.epochs_done(steps), packing.packed) == (True, 1.0, 1)
    assert plan.rows(steps + 1) == [packing.rows(1)[0]]
    assert packing.packed == 2

    alike = counted("bfd", weights=(1.0, 1.0))
    plan = make_plan(TrainConfig(packing="bfd", batch_size=1, grad_accum=1, epochs=1e9), alike)
    assert (plan.epochs_done(plan.total_steps), alike.packed) == (1e9, 1)

    none = counted("none")
    plan = make_plan(TrainConfig(batch_size=1, grad_accum=1, epochs=1e9), none)
    assert (plan.total_steps, plan.ends_epoch(plan.total_steps), none.packed) == (32 * 10**9, True, 0)
