"""Where the time of a run goes: some of its steps, measured, and one more as a trace.

The steps are those of the run, through its own loop: its data, micro-batches, model and optimizer. The first one is taken
beforehand, to warm up. Then come the measured steps, timed stage by stage (weft.objectives.stages) without a profiler,
which would slow them down unevenly. Two micro-batches with an optimizer step follow under torch.profiler, for the trace.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from weft.objectives.base import Objective
from weft.objectives.batch import Batch
from weft.objectives.stages import STAGES, Stage, StageClock
from weft.training.checkpoint import ASIDE, replace_file
from weft.training.display import Display
from weft.training.flops import (
    attention_flops,
    counted_linear_layers,
    head_flops,
    linear_layers,
    uncounted,
)
from weft.training.loop import Training, fit
from weft.training.peak import peak_flops_per_second
from weft.training.profile_table import Profile
from weft.training.progress import Progress

TABLE = "profile.json"
TRACE = "trace.json"
TRACED_MICRO_BATCHES = 2
"""At most: the others of a step look the same, and viewers are slow with hundreds of megabytes."""

_SILENT = "6"
"""The level of torch.profiler's own log on standard error at which nothing is left of it."""


def measure(training: Training, steps: int, into: Path, display: Display) -> Profile:
    """Measure the first ``steps`` steps of ``training``, and write ``profile.json`` and ``trace.json``.

    The weights are changed and of no further use.

    Args:
        training: a run that has not begun.
        steps: at least 1, and no more than the run has.
        into: the directory for the files, which replace those of an earlier profile.
        display: told about every step.

    Raises:
        OSError: the files cannot be written.
        WeftError: a loss or gradient is not finite.
    """
    device, objective = training.accelerator.device, training.accelerator.unwrap_model(training.objective)
    dtype = _product_type(training, objective)
    peak, peak_size = peak_flops_per_second(device, dtype)
    linear = _linear_flops_per_token(training, objective, _Watch(display, "warming up", steps))
    clock, watch = StageClock(device), _Watch(display, "measuring", steps)
    with clock.running(), _observed(training.objective) as done:
        _take(training, steps, watch)
    flops = _stage_flops(objective, linear, done, recomputed=training.config.gradient_checkpointing)
    profile = Profile(
        device=device.type,
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        step_seconds=tuple(watch.seconds),
        part_seconds={stage: clock.seconds[stage] / steps for stage in STAGES},
        part_flops={stage: flops[stage] / steps for stage in STAGES if flops[stage]},
        not_counted=tuple(uncounted(objective.model)),
        tokens=done.tokens / steps,
        targets=done.targets / steps,
        peak=peak,
        peak_size=peak_size,
        trace=into / TRACE,
    )
    into.mkdir(exist_ok=True)
    _write_trace(training, into / TRACE, _Watch(display, "tracing", 1))
    replace_file(into / TABLE, (json.dumps(profile.as_dict(), indent=2) + "\n").encode())
    return profile


@dataclass
class _Work:
    """What went through the model."""

    lengths: list[int] = field(default_factory=list)
    """Tokens of each example."""
    targets: int = 0

    @property
    def tokens(self) -> int:
        return sum(self.lengths)


class _Watch:
    """The loop's recorder: seconds of every step, and word to the display."""

    def __init__(self, display: Display, doing: str, total: int):
        self.seconds: list[float] = []
        self._display, self._doing, self._total = display, doing, total
        self._since = time.perf_counter()

    def step(self, progress: Progress, *, loss: float, learning_rate: float) -> None:
        self.seconds.append(time.perf_counter() - self._since)
        self._display.step(progress.step, self._total, self._doing)
        self._since = time.perf_counter()

    def metrics(self, values: dict[str, float]) -> None:
        """Nothing is learned here."""


def _take(training: Training, steps: int, watch: _Watch) -> None:
    """Take the first ``steps`` steps as training does, on whatever weights there are, and save nothing."""
    progress = Progress()
    fit(training, progress, recorder=watch, save=lambda _: None, stop_requested=lambda: progress.step == steps)


@contextmanager
def _observed(objective: Objective) -> Iterator[_Work]:
    work = _Work()

    def add(_: Objective, inputs: tuple[Batch]) -> None:
        work.lengths.extend(inputs[0].lengths)
        work.targets += len(inputs[0].targets)

    hook = objective.register_forward_pre_hook(add)
    try:
        yield work
    finally:
        hook.remove()


def _linear_flops_per_token(training: Training, objective: Objective, watch: _Watch) -> dict[Stage, float]:
    """Of the linear layers, by stage, found out in a step that nobody times."""
    clock = StageClock(training.accelerator.device)
    with (
        clock.running(),
        _observed(training.objective) as done,
        counted_linear_layers(linear_layers(objective), lambda: clock.stage) as flops,
    ):
        _take(training, 1, watch)
    return {stage: count / done.tokens for stage, count in flops.items()}


def _stage_flops(
    objective: Objective, linear: Mapping[Stage, float], done: _Work, *, recomputed: bool
) -> Counter[Stage]:
    """All of what was ``done``; ``recomputed``: the backward pass runs the layers' forward pass once more."""
    flops: Counter[Stage] = Counter({stage: per_token * done.tokens for stage, per_token in linear.items()})
    attention = attention_flops(objective.model.config.get_text_config(), done.lengths)
    flops["body_forward"] += attention
    flops["backward"] += attention * (3 if recomputed else 2)
    if objective.fused_head is not None:
        flops["head_loss"] += head_flops(objective.fused_head, done.targets)
    return flops


def _product_type(training: Training, objective: Objective) -> torch.dtype:
    autocast = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return autocast.get(training.accelerator.mixed_precision, objective.model.dtype)


def _write_trace(training: Training, path: Path, watch: _Watch) -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    plan = replace(training.plan, grad_accum=min(TRACED_MICRO_BATCHES, training.plan.grad_accum))
    with torch.profiler.profile() as profiler:
        _take(replace(training, plan=plan), 1, watch)
    aside = path.with_name(f"{ASIDE}{path.name}")
    profiler.export_chrome_trace(str(aside))
    aside.replace(path)
