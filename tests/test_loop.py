"""The loop on plain objects: exact normalisation, derived randomness, evaluation and the optimizer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from loop_training import make_training, run, weights
from small_examples import make_examples
from weft.data.packing import Row, pack
from weft.errors import WeftError
from weft.training.evaluate import Evaluation, evaluate
from weft.training.loop import take_step
from weft.training.optimizer import optimizer_tensors, restore_optimizer
from weft.types import Example

# Law 6: no division into micro-batches changes anything


def test_1x8_2x4_and_8x1_give_the_same_parameters():
    examples = make_examples(8)
    ends = []
    for batch_size, grad_accum in ((1, 8), (2, 4), (8, 1), (3, 3)):
        training = make_training(
            examples,
            optim="sgd",
            max_steps=5,
            batch_size=batch_size,
            grad_accum=grad_accum,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
        )
        run(training)
        ends.append(weights(training))
    start = weights(make_training(examples))
    assert (ends[0] - start).abs().max() > 1e-2  # it has moved
    for end in ends[1:]:
        assert (end - ends[0]).abs().max() < 1e-6


def test_1x8_2x4_and_8x1_rows_give_the_same_parameters():
    examples = make_examples(20)
    ends = []
    for batch_size, grad_accum in ((1, 8), (2, 4), (8, 1)):
        keys = {"optim": "sgd", "max_steps": 5, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
        training = make_training(
            examples, packing="bfd", capacity=20, batch_size=batch_size, grad_accum=grad_accum, **keys
        )
        assert len(training.plan.rows(1)) == 8
        run(training)
        ends.append(weights(training))
    for end in ends[1:]:
        assert (end - ends[0]).abs().max() < 1e-6


def gradient(examples: list[Example], rows: list[Row] | None = None, **keys: Any) -> torch.Tensor:
    """Of one step on ``rows``, or on the first ones of the plan."""
    training = make_training(examples, optim="sgd", max_grad_norm=0.0, **keys)
    seen: list[torch.Tensor] = []

    def grasp(*args: Any) -> None:
        seen.append(torch.cat([weight.grad.flatten() for weight in training.objective.parameters()]))

    training.optimizer.optimizer.register_step_pre_hook(grasp)
    take_step(training, 1, training.plan.rows(1) if rows is None else rows, 1e-30)
    return seen[0]


@pytest.mark.parametrize("how", ["bfd", "wrapped"])
def test_packed_rows_give_the_gradient_of_every_piece_alone(how):
    examples = make_examples(12)
    keys = {"packing": how, "capacity": 25}
    packed = gradient(examples, batch_size=100, grad_accum=1, **keys)
    rows = make_training(examples, batch_size=100, grad_accum=1, **keys).plan.rows(1)
    assert max(map(len, rows)) > 2
    pieces = [(piece,) for row in rows for piece in row]
    one_by_one = [gradient(examples, [piece], batch_size=1, grad_accum=1) for piece in pieces]
    counts = [float(examples[p.example].loss_weights[p.start + 1 : p.stop].sum()) for (p,) in pieces]
    mean = sum(count * each for count, each in zip(counts, one_by_one, strict=True)) / sum(counts)
    assert (packed - mean).norm() < 1e-5 * mean.norm()
    several = gradient(examples, batch_size=1, grad_accum=100, **keys)
    assert (several - mean).norm() < 1e-5 * mean.norm()
    unpacked = gradient(examples, batch_size=100, grad_accum=1)
    assert ((unpacked - mean).norm() < 1e-5 * mean.norm()) == (how == "bfd")  # a cut changes what is seen


def test_a_step_is_the_mean_over_its_targets():
    examples = make_examples(4)
    training = make_training(examples, optim="sgd", batch_size=3, grad_accum=2, max_grad_norm=0.0)
    before = weights(training)
    result = take_step(training, 1, training.plan.rows(1), 0.5)
    reference = make_training(examples)
    targets = sum(float(example.loss_weights[1:].sum()) for example in examples)
    loss = torch.zeros(())
    for example in examples:
        logits = reference.objective.model(input_ids=torch.tensor(example.ids[None], dtype=torch.int64)).logits[0]
        log_probabilities = logits[:-1].log_softmax(-1)[range(len(example.ids) - 1), example.ids[1:].astype(int)]
        loss = loss - (log_probabilities * torch.tensor(example.loss_weights[1:])).sum()
    (loss / targets).backward()
    gradient = torch.cat([weight.grad.flatten() for weight in reference.objective.parameters()])
    assert result.loss_sum == pytest.approx(loss.item(), rel=1e-6)
    assert result.targets == targets
    assert result.tokens == sum(len(example.ids) for example in examples)
    assert result.grad_norm == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert torch.allclose(weights(training), before - 0.5 * gradient, atol=1e-7)


def test_the_gradient_is_clipped_to_its_norm():
    examples = make_examples(4)
    training = make_training(examples, optim="sgd", batch_size=4, grad_accum=1, max_grad_norm=0.01)
    before = weights(training)
    result = take_step(training, 1, training.plan.rows(1), 1.0)
    assert result.grad_norm > 0.1
    assert (weights(training) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_the_last_step_of_an_epoch_takes_what_is_left():
    examples = make_examples(7)
    seen: list[int] = []
    training = make_training(examples, batch_size=2, grad_accum=2, epochs=2)
    watched = replace(training, examples=Watched(examples, seen))
    events, progress = run(watched)
    assert events.steps == [1, 2, 3, 4]
    assert [len(set(seen[start:end])) for start, end in ((0, 7), (7, 14))] == [7, 7]
    assert progress.tokens == 2 * sum(len(example.ids) for example in examples)
    assert events.lines[-1]["epoch"] == 2.0


@pytest.mark.parametrize("how", ["none", "bfd", "wrapped"])
def test_an_epoch_trains_every_target_of_its_stream(how):
    examples = make_examples(9)
    training = make_training(examples, packing=how, capacity=16, batch_size=2, grad_accum=1, epochs=1)
    _, progress = run(training)
    assert progress.targets == sum(float(example.loss_weights[1:].sum()) for example in examples)
    rows = training.plan.packing.rows(0)
    assert progress.tokens == rows.tokens == sum(len(one.ids) for one in examples) + int((rows.starts > 0).sum())
    assert (rows.cut_examples > 0) == (how == "wrapped")


def test_a_row_that_is_all_context_trains_nothing():
    examples = make_examples(3)
    for example, last in zip(examples, (0, 0, 1), strict=True):
        example.loss_weights[:] = 0
        example.loss_weights[-1] = last
    training = make_training(examples, packing="wrapped", capacity=12, batch_size=1, grad_accum=1, epochs=1)
    events, progress = run(training)
    losses = [line["loss"] for line in events.lines]
    assert len(losses) > 1
    assert sum(loss > 0 for loss in losses) == 1
    assert all(math.isfinite(value) for line in events.lines for value in line.values())
    assert progress.targets == 1


class Watched(list):
    def __init__(self, items, seen):
        super().__init__(items)
        self.seen = seen

    def __getitem__(self, index):
        self.seen.append(index)
        return super().__getitem__(index)


# Randomness


def test_dropout_depends_on_seed_step_and_micro_batch_alone():
    examples = [make_examples(1)[0]] * 4
    training = make_training(examples, dropout=0.5, optim="sgd", learning_rate=1e-30, batch_size=2, grad_accum=2)

    def loss(step: int, **changes: Any) -> float:
        torch.rand(3)  # whatever ran before
        return take_step(replace(training, **changes), step, training.plan.rows(1), 1e-30).loss_sum

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)
    assert loss(1) != loss(1, seed=4)


# Evaluation


def test_no_batch_size_changes_the_evaluation_loss():
    examples = make_examples(9)
    training = make_training(examples, dropout=0.5)
    training.objective.train()
    lengths = np.array([len(example.ids) for example in examples])
    results = [
        evaluate(training.objective, examples, pack(np.arange(9), lengths, how=how, capacity=25), batch_size=size)
        for how in ("none", "bfd")
        for size in (1, 2, 4, 9, 100)
    ]
    assert training.objective.training
    assert all(result.loss == pytest.approx(results[0].loss, abs=1e-6) for result in results)
    assert {result.targets for result in results} == {sum(float(e.loss_weights[1:].sum()) for e in examples)}
    assert results[0].perplexity == pytest.approx(math.exp(results[0].loss))


def test_a_huge_loss_has_a_perplexity_that_json_can_write():
    assert math.isfinite(Evaluation(loss=1e6, targets=1.0).perplexity)


# The optimizer


def test_vectors_do_not_decay():
    training = make_training(make_examples(2), weight_decay=0.1)
    decayed, plain = training.optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(weight.ndim >= 2 for weight in decayed["params"])
    assert all("norm" in name for name in plain["param_names"])


def test_the_state_of_the_optimizer_survives_as_named_tensors():
    examples = make_examples(4)
    training, other = make_training(examples, batch_size=2, grad_accum=1), make_training(examples)
    run(training)
    tensors = optimizer_tensors(training.optimizer)
    assert {name.rpartition("/")[2] for name in tensors} == {"step", "exp_avg", "exp_avg_sq"}
    restore_optimizer(other.optimizer, tensors)
    restored = optimizer_tensors(other.optimizer)
    assert restored.keys() == tensors.keys()
    assert all(torch.equal(restored[name], tensors[name]) for name in tensors)
    with pytest.raises(WeftError, match="which this run does not train"):
        restore_optimizer(other.optimizer, {"model.unknown/step": torch.zeros(())})
