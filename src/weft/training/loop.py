"""The training loop: count the targets, run the micro-batches, divide once, step, log, evaluate, save.

Everything that a step needs is a function of its number (weft.training.plan, weft.training.schedule, law 9), so a resumed
run takes the very steps that an uninterrupted one would have taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator

from weft.config.schema import TrainConfig
from weft.data.packing import Row, examples_of
from weft.data.seeds import derive_seed
from weft.errors import WeftError
from weft.objectives.base import Objective
from weft.objectives.stages import stage
from weft.training.collate import collate, target_count
from weft.training.evaluate import Evaluation
from weft.training.plan import Plan
from weft.training.progress import Progress
from weft.training.schedule import learning_rate, warmup_length
from weft.types import Example

_NAMED_EXAMPLES = 16


class Recorder(Protocol):
    """What listens to the loop."""

    def step(self, progress: Progress, *, loss: float, learning_rate: float) -> None:
        """Called after every optimizer step; ``loss`` is the step's mean per target."""
        ...

    def metrics(self, values: dict[str, float]) -> None:
        """Called with each line for ``metrics.jsonl``: only what a resumed run would repeat to the bit, so no times."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a run trains, on what, and how: fixed for its whole length."""

    objective: Objective
    """Prepared by ``accelerator``."""
    optimizer: torch.optim.Optimizer
    """Prepared by ``accelerator``, over the objective's trainable weights."""
    accelerator: Accelerator
    examples: Sequence[Example]
    plan: Plan
    """Which rows of ``examples`` each step takes."""
    config: TrainConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one optimizer step did, over all processes."""

    loss_sum: float
    targets: float
    tokens: int
    grad_norm: float
    """The gradient's norm before clipping."""

    @property
    def loss(self) -> float:
        """The mean per target, in nats; 0 where there is none."""
        return self.loss_sum / (self.targets or 1.0)


def fit(
    training: Training,
    progress: Progress,
    *,
    recorder: Recorder,
    save: Callable[[Progress], None],
    evaluate: Callable[[], Evaluation] | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> None:
    """Take the steps that ``progress`` still lacks, and note them there.

    Returns when all are taken, when the patience for better evaluations ends (either sets ``progress.finished``), or,
    after saving, at the end of a step during which a stop was requested.

    Args:
        training: the run.
        progress: where it stands; updated in place.
        recorder: told about every step and metric.
        save: writes a checkpoint of ``progress`` and the weights.
        evaluate: computes the loss on held-out examples; None where there are none.
        stop_requested: asked once a step, after its evaluation.

    Raises:
        WeftError: a loss or gradient is not finite; the weights are those before the step, and nothing was saved since.
    """
    plan, config = training.plan, training.config
    warmup = warmup_length(plan.total_steps, steps=config.warmup_steps, ratio=config.warmup_ratio)
    training.objective.train()
    while not progress.finished:
        started = time.perf_counter()
        step = progress.step + 1
        rate = learning_rate(step, plan.total_steps, warmup, config.learning_rate, config.lr_scheduler_type)
        result = take_step(training, step, plan.rows(step), rate)
        progress.add_step(loss_sum=result.loss_sum, targets=result.targets, tokens=result.tokens)
        progress.finished = step == plan.total_steps
        recorder.step(progress, loss=result.loss, learning_rate=rate)
        if step == 1 or progress.finished or step % config.logging_steps == 0:
            recorder.metrics(_training_line(plan, progress, rate, result))
        improved = False
        if evaluate is not None and (progress.finished or _evaluation_due(config, plan, step)):
            improved = _evaluate(evaluate(), training, progress, recorder)
        stopping = stop_requested()
        progress.seconds += time.perf_counter() - started
        wanted = improved and config.load_best_model_at_end
        if progress.finished or stopping or wanted or _save_due(config, plan, step):
            save(progress)
        if stopping:
            return


def take_step(training: Training, step: int, rows: Sequence[Row], rate: float) -> StepResult:
    """One optimizer step on ``rows``, at the learning rate ``rate``.

    The gradient is that of (Σ losses) / (Σ targets) over all micro-batches and processes: the targets are counted first,
    and every micro-batch's sum is divided by them. Wrappers average gradients over processes, hence the factor. Without
    any target it is zero.

    Raises:
        WeftError: a loss or gradient is not finite; no weight has changed.
    """
    accelerator, objective = training.accelerator, training.objective
    rank, processes = accelerator.process_index, accelerator.num_processes
    with stage("data"):
        held = [examples_of(row, training.examples) for row in rows]
    examples = list(chain.from_iterable(held))
    targets = sum(map(target_count, examples))  # 0 where all rows are cut from the context of long examples
    micro_batches = [list(chain.from_iterable(chosen)) for chosen in training.plan.micro_batches(held, rank)]
    losses = []
    for number, chosen in enumerate(micro_batches):
        torch.manual_seed(derive_seed(training.seed, "dropout", step, number, rank))
        with stage("data"):
            batch = collate(
                chosen or [_without_targets(examples[0])],
                accelerator.device,
                pinned=training.config.dataloader_pin_memory and accelerator.device.type == "cuda",
            )
        last = number == len(micro_batches) - 1
        with nullcontext() if last else accelerator.no_sync(objective):
            loss_sum = objective(batch).loss_sum
            with stage("backward"):
                accelerator.backward(loss_sum * (processes / (targets or 1.0)))
        losses.append(loss_sum.detach())
    local = torch.stack(losses)
    loss = accelerator.reduce(local.sum(), "sum").item()
    if not math.isfinite(loss):
        bad = [chosen for chosen, value in zip(micro_batches, local.tolist(), strict=True) if not math.isfinite(value)]
        raise _not_finite("loss", loss, step, bad[0] if bad else examples)
    with stage("optimizer"):
        norm = _clip(training)
        if not math.isfinite(norm) and accelerator.scaler is None:  # a gradient scaler skips such a step by itself
            raise _not_finite("gradient", norm, step, examples)
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        training.optimizer.step()
        training.optimizer.zero_grad()
    return StepResult(
        loss_sum=loss, targets=targets, tokens=sum(len(example.ids) for example in examples), grad_norm=norm
    )


def _clip(training: Training) -> float:
    limit = training.config.max_grad_norm or math.inf
    return training.accelerator.clip_grad_norm_(training.objective.parameters(), limit).item()


def _without_targets(example: Example) -> Example:
    return replace(example, loss_weights=np.zeros_like(example.loss_weights))


def _training_line(plan: Plan, progress: Progress, rate: float, result: StepResult) -> dict[str, float]:
    return {
        "step": progress.step,
        "epoch": plan.epochs_done(progress.step),
        "loss": progress.close_window(),
        "learning_rate": rate,
        "grad_norm": result.grad_norm,
        "tokens": progress.tokens,
        "targets": progress.targets,
    }


def _evaluate(evaluation: Evaluation, training: Training, progress: Progress, recorder: Recorder) -> bool:
    """Record an evaluation and judge it: whether it is the best so far. Ends the run where the patience ends."""
    config = training.config
    if not math.isfinite(evaluation.loss):
        raise _not_finite("validation loss", evaluation.loss, progress.step, [])
    metrics = {"eval_loss": evaluation.loss, "eval_perplexity": evaluation.perplexity}
    epoch = training.plan.epochs_done(progress.step)
    recorder.metrics({"step": progress.step, "epoch": epoch, **metrics, "eval_targets": evaluation.targets})
    improved = progress.judge(metrics[config.metric_for_best_model], greater_is_better=config.greater_is_better)
    patience = config.early_stopping_patience
    progress.finished |= patience is not None and progress.stale_evaluations >= patience
    return improved


def _evaluation_due(config: TrainConfig, plan: Plan, step: int) -> bool:
    every = config.eval_steps or config.save_steps
    return _due(config.evaluation_strategy, every, plan, step)


def _save_due(config: TrainConfig, plan: Plan, step: int) -> bool:
    return _due(config.save_strategy, config.save_steps, plan, step)


def _due(strategy: str, every: int, plan: Plan, step: int) -> bool:
    return (strategy == "epoch" and plan.ends_epoch(step)) or (strategy == "steps" and step % every == 0)


def _not_finite(what: str, value: float, step: int, examples: Sequence[Example]) -> WeftError:
    places = ", ".join(str(example.location) for example in examples[:_NAMED_EXAMPLES])
    more = f" and {len(examples) - _NAMED_EXAMPLES} more" if len(examples) > _NAMED_EXAMPLES else ""
    return WeftError(
        f"the {what} became {value} in step {step}" + (f", on {places}{more}" if places else ""),
        fix="lower train.learning_rate or train.max_grad_norm, and look at the records with `weft show`; "
        "nothing was saved since, so the last checkpoint is sound",
    )
