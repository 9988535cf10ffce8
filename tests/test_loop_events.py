"""When the loop saves, evaluates and stops; what it logs; and that nothing that is not finite gets past it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from loop_training import Events, make_training, run, weights
from small_examples import make_examples
from weft.errors import WeftError
from weft.objectives.base import LossTerms, Objective
from weft.training.evaluate import Evaluation
from weft.training.loop import fit, take_step
from weft.training.optimizer import optimizer_tensors
from weft.training.progress import Progress


class Scripted(Objective):
    """An objective with one weight, whose loss sum per batch comes from a script."""

    def __init__(self, losses: Callable[[int], float]):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.calls, self.losses = 0, losses

    def forward(self, batch) -> LossTerms:
        self.calls += 1
        return LossTerms(self.weight.sum() + self.losses(self.calls), batch.loss_weights.sum())


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
