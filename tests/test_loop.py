"""The loop on plain objects: exact normalisation, schedules of saving and evaluating, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import LlamaConfig, LlamaForCausalLM

from small_examples import VOCABULARY, make_examples
from weft.config.schema import TrainConfig
from weft.data.mixture import Mixture
from weft.data.packing import Packing, Row, pack
from weft.errors import WeftError
from weft.objectives.base import LossTerms, Objective
from weft.objectives.causal import CausalObjective
from weft.training.evaluate import Evaluation, evaluate
from weft.training.loop import Training, fit, take_step
from weft.training.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from weft.training.plan import make_plan
from weft.training.progress import Progress
from weft.types import Example

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other


class Events:
    """Records what the loop says and when it saves; a recorder and a `save` in one."""

    def __init__(self) -> None:
        self.lines: list[dict[str, float]] = []
        self.steps: list[int] = []
        self.saved: list[int] = []
        self.rates: list[float] = []

    def step(self, progress: Progress, *, loss: float, learning_rate: float) -> None:
        self.steps.append(progress.step)
        self.rates.append(learning_rate)

    def metrics(self, values: dict[str, float]) -> None:
        self.lines.append(values)

    def save(self, progress: Progress) -> None:
        self.saved.append(progress.step)


def make_training(
    examples: list[Example],
    *,
    objective: Objective | None = None,
    dropout: float = 0.0,
    capacity: int = 12,
    **keys: Any,
) -> Training:
    config = TrainConfig(**{"learning_rate": 0.1, "logging_steps": 1, **keys})
    if objective is None:
        torch.manual_seed(1)
        shape = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            attention_dropout=dropout,
        )
        objective = CausalObjective(LlamaForCausalLM(shape))
    accelerator = Accelerator(cpu=True)
    mixture = Mixture({"train": range(len(examples))}, {"train": 1.0}, seed=3)
    lengths = np.array([len(example.ids) for example in examples])
    packing = Packing(mixture, lengths, how=config.packing, capacity=capacity, seed=3)
    prepared, optimizer = accelerator.prepare(objective, build_optimizer(objective, config))
    return Training(
        objective=prepared,
        optimizer=optimizer,
        accelerator=accelerator,
        examples=examples,
        plan=make_plan(config, packing, processes=accelerator.num_processes),
        config=config,
        seed=3,
    )


def run(training: Training, progress: Progress | None = None, **keys: Any) -> tuple[Events, Progress]:
    events, progress = Events(), progress or Progress()
    fit(training, progress, recorder=events, save=events.save, **keys)
    return events, progress


def weights(training: Training) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in training.objective.parameters()]).clone()


class Scripted(Objective):
    """An objective with one weight, whose loss sum per batch comes from a script."""

    def __init__(self, losses: Callable[[int], float]):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.calls, self.losses = 0, losses

    def forward(self, batch) -> LossTerms:
        self.calls += 1
        return LossTerms(self.weight.sum() + self.losses(self.calls), batch.loss_weights.sum())


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


# What is logged


def test_a_log_line_is_the_mean_over_the_steps_since_the_last_one():
    examples = make_examples(8)
    each, _ = run(make_training(examples, batch_size=2, grad_accum=1, epochs=1))
    pairs, _ = run(make_training(examples, batch_size=2, grad_accum=1, epochs=1, logging_steps=3))
    assert [line["step"] for line in pairs.lines] == [1, 3, 4], "the first step, every third, and the last"
    targets = np.diff([0, *(line["targets"] for line in each.lines)])
    losses = np.array([line["loss"] for line in each.lines])
    assert pairs.lines[0]["loss"] == losses[0]
    assert pairs.lines[1]["loss"] == pytest.approx((losses * targets)[1:3].sum() / targets[1:3].sum())
    assert pairs.lines[2]["loss"] == pytest.approx(losses[3])
    assert pairs.lines[2]["tokens"] == each.lines[3]["tokens"] == sum(len(example.ids) for example in examples)


def test_the_learning_rate_follows_the_schedule():
    training = make_training(
        make_examples(8), batch_size=2, grad_accum=1, epochs=1, warmup_steps=2, lr_scheduler_type="linear"
    )
    events, _ = run(training)
    assert events.rates == pytest.approx([0.05, 0.1, 0.1 * 2 / 3, 0.1 * 1 / 3])
    assert [group["lr"] for group in training.optimizer.param_groups] == [events.rates[-1]] * 2


# When it saves and evaluates


def scripted_evaluations(losses: list[float]) -> Callable[[], Evaluation]:
    script = iter(losses)
    return lambda: Evaluation(loss=next(script), targets=1.0)


@pytest.mark.parametrize(
    ("keys", "saved"),
    [
        ({"save_strategy": "epoch"}, [3, 6, 7]),
        ({"save_strategy": "steps", "save_steps": 2}, [2, 4, 6, 7]),
        ({"save_strategy": "no"}, [7]),  # the last step always does
    ],
)
def test_when_it_saves(keys, saved):
    training = make_training(make_examples(5), batch_size=2, grad_accum=1, max_steps=7, **keys)
    events, progress = run(training)
    assert events.saved == saved
    assert progress.finished


@pytest.mark.parametrize(
    ("keys", "evaluated"),
    [
        ({"evaluation_strategy": "epoch"}, [3, 6, 7]),
        ({"evaluation_strategy": "steps", "eval_steps": 3}, [3, 6, 7]),
        ({"evaluation_strategy": "steps", "save_steps": 5}, [5, 7]),
    ],
)
def test_when_it_evaluates(keys, evaluated):
    training = make_training(make_examples(5), batch_size=2, grad_accum=1, max_steps=7, **keys)
    events, _ = run(training, evaluate=scripted_evaluations([3.0] * 9))
    lines = [line for line in events.lines if "eval_loss" in line]
    assert [line["step"] for line in lines] == evaluated
    assert lines[0] == {
        "step": evaluated[0],
        "epoch": pytest.approx(training.plan.epochs_done(evaluated[0])),
        "eval_loss": 3.0,
        "eval_perplexity": math.exp(3.0),
        "eval_targets": 1.0,
    }


def test_early_stopping_waits_for_its_patience():
    training = make_training(make_examples(2), batch_size=2, grad_accum=1, epochs=9, early_stopping_patience=2)
    events, progress = run(training, evaluate=scripted_evaluations([5, 4, 4, 3, 3.5, 3, 1]))
    assert progress.step == 6  # 4 equals the best, which is no improvement; 3 is one; then two in a row are none
    assert (progress.best_value, progress.best_step, progress.finished) == (3, 4, True)
    assert events.saved[-1] == 6


def test_greater_can_be_better():
    training = make_training(make_examples(2), batch_size=2, grad_accum=1, epochs=3, greater_is_better=True)
    _, progress = run(training, evaluate=scripted_evaluations([5, 7, 6]))
    assert (progress.best_value, progress.best_step) == (7, 2)


def test_every_best_model_is_saved_where_the_best_is_wanted():
    keys = {"batch_size": 2, "grad_accum": 1, "epochs": 4, "save_strategy": "no"}
    evaluations = [5.0, 4.0, 4.5, 4.2]
    events, _ = run(make_training(make_examples(2), **keys), evaluate=scripted_evaluations(evaluations))
    assert events.saved == [4]
    training = make_training(make_examples(2), load_best_model_at_end=True, **keys)
    events, _ = run(training, evaluate=scripted_evaluations(evaluations))
    assert events.saved == [1, 2, 4]


def test_a_requested_stop_saves_at_the_end_of_its_step():
    training = make_training(make_examples(8), batch_size=2, grad_accum=1, epochs=2, save_strategy="no")
    asked: list[int] = []
    events, progress = run(training, stop_requested=lambda: len(asked) == 2 or asked.append(0))
    assert (events.steps, events.saved, progress.finished) == ([1, 2, 3], [3], False)
    again, _ = run(training, progress)
    assert again.steps == [4, 5, 6, 7, 8]


def test_a_finished_run_takes_no_step():
    events, _ = run(make_training(make_examples(2)), Progress(step=3, finished=True))
    assert (events.steps, events.saved) == ([], [])


# What is not finite stops it, before the optimizer


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_optimizer(bad):
    examples = make_examples(12)
    keys = {"optim": "sgd", "batch_size": 2, "grad_accum": 4, "save_strategy": "no"}
    # Step 1 takes calls 1 to 4, step 2 the other four examples in calls 5 and 6.
    training = make_training(examples, objective=Scripted(lambda call: bad if call == 6 else 1.0), **keys)
    events = Events()
    with pytest.raises(WeftError, match=f"the loss became {bad} in step 2") as caught:
        fit(training, Progress(), recorder=events, save=events.save)
    culprits = {f"train.jsonl:{piece.example + 1}" for (piece,) in training.plan.rows(2)[2:]}
    assert culprits == {word.strip(",") for word in caught.value.what.split() if "jsonl" in word}
    assert "train.learning_rate" in caught.value.fix
    one_step = make_training(examples, objective=Scripted(lambda call: 1.0), **keys)
    take_step(one_step, 1, training.plan.rows(1), events.rates[0])
    assert torch.equal(weights(training), weights(one_step))
    assert events.saved == []


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer():
    examples = make_examples(2)
    training = make_training(examples, batch_size=1, grad_accum=2)
    next(training.objective.parameters()).register_hook(lambda gradient: gradient * math.nan)
    before = weights(training)
    with pytest.raises(WeftError, match="the gradient became nan in step 1") as caught:
        run(training)
    assert "train.jsonl:1" in caught.value.what
    assert torch.equal(weights(training), before)
    assert optimizer_tensors(training.optimizer) == {}


def test_a_validation_loss_that_is_not_finite_is_not_saved():
    training = make_training(make_examples(2), batch_size=2, grad_accum=1, epochs=2)
    events = Events()
    with pytest.raises(WeftError, match="the validation loss became nan in step 1"):
        fit(training, Progress(), recorder=events, save=events.save, evaluate=scripted_evaluations([math.nan]))
    assert events.saved == []


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
