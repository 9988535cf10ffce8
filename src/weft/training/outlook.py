"""What a run will do and need, as far as can be known without torch and without weights: batches, steps, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weft.config.locate import model_directory
from weft.config.schema import Config, TrainConfig
from weft.data.check import CheckReport, check
from weft.data.packing import Packing
from weft.data.store import Progress
from weft.data.warn import Warn, ranked
from weft.errors import ModelError
from weft.models.directory import check_rows
from weft.models.memory import Device, Memory, estimate, is_named
from weft.models.shape import ModelShape, read_shape
from weft.training.plan import EFFECTIVE_BATCH, TOKENS_PER_MICRO_BATCH, Plan, make_plan

CARDS = (8, 16, 24, 80)
"""Sizes of GPU memory that are judged, in 10⁹ bytes."""
ROOM = 1.25
"""What an estimate is multiplied by to call it a fit: fragments, kernels' work space, and what the formulas leave out."""

Verdict = Literal["fits", "tight", "too small", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What one process on one device will do and need."""

    batch_size: int
    """Rows per micro-batch."""
    grad_accum: int
    """Micro-batches per step."""
    batch_reason: str
    steps_per_epoch: int
    """Of the first epoch."""
    steps: int
    """Of the whole run."""
    micro_batch_tokens: int
    """Of the largest micro-batch that may come."""
    memory: Mapping[Device, Memory] | None
    """None where the model cannot be read; ``unknown`` says why."""
    cards: Mapping[int, Verdict]
    """Whether a GPU of so many 10⁹ bytes will do."""
    unknown: str | None
    """What cannot be known about memory, and why."""


@dataclass(frozen=True, kw_only=True)
class RunCheck(CheckReport):
    """The findings of :func:`weft.data.check.check`, and what the run will do with these records."""

    run: Outlook | None
    """None where there is no tokenizer yet, or the training sets cannot be mixed."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = super().as_dict()
        for device, memory in ((self.run and self.run.memory) or {}).items():
            content["run"]["memory"][device]["total"] = memory.total
        return content


def check_run(config: Config, progress: Progress | None = None, *, jobs: int = 1) -> RunCheck:
    """Check the records, and look ahead at the run.

    Args: see :func:`weft.data.check.check`.

    Raises:
        WeftError: as :func:`weft.data.check.check`.
    """
    found = check(config, progress, jobs=jobs)
    fields = {name: getattr(found, name) for name in CheckReport.__dataclass_fields__}
    if found.epochs is None:
        return RunCheck(**fields, run=None)
    warnings: list[Warn] = []
    run = _outlook(config, found, found.epochs, warnings)
    return RunCheck(**{**fields, "warnings": ranked([*found.warnings, *warnings])}, run=run)


def _outlook(config: Config, found: CheckReport, packing: Packing, warnings: list[Warn]) -> Outlook:
    plan = make_plan(config.train, packing)
    tokens = packing.most_tokens(min(plan.batch_size, packing.row_count(0)))
    shape, unknown = _shape(config, warnings)
    memory: dict[Device, Memory] | None = None
    if shape:
        report = found.sets[0].encoded
        assert report is not None, "records that can be packed were encoded"
        targets = math.ceil(tokens * report.trained_tokens / report.tokens)
        devices: tuple[Device, ...] = ("cuda", "cpu")
        memory = {device: estimate(shape, config, device, tokens=tokens, targets=targets) for device in devices}
        unknown = unknown or shape.unknown
        warnings += [*_without_rows(found, shape), *_refused(config, shape), *_too_large(config, memory["cuda"])]
    return Outlook(
        batch_size=plan.batch_size,
        grad_accum=plan.grad_accum,
        batch_reason=_batch_reason(config.train, plan),
        steps_per_epoch=plan.steps_in(0),
        steps=plan.total_steps,
        micro_batch_tokens=tokens,
        memory=memory,
        cards={size: _verdict(memory["cuda"], size) if memory else "unknown" for size in CARDS},
        unknown=unknown,
    )


def _shape(config: Config, warnings: list[Warn]) -> tuple[ModelShape | None, str | None]:
    """The shape of the model, or why it is not known; a model that training would refuse is warned of.

    There need not be one to check records with a tokenizer of its own.
    """
    directory: Path | None = None
    try:
        directory = model_directory(config.model, weights=False)
        return read_shape(directory), None
    except ModelError as problem:
        what = f"{problem.where}: {problem.what}"
        if directory and config.model.local_dir is None and directory != Path(config.model.name).expanduser():
            return (
                None,
                f"the weights of {config.model.name} are not on this machine ({what}); `weft train` fetches them",
            )
        warnings.append(_refusal(problem))
        return None, what


def _without_rows(found: CheckReport, shape: ModelShape) -> Iterator[Warn]:
    """What training will refuse where the tokenizer has more ids than the model has rows."""
    assert found.model is not None, "records that can be packed were encoded"
    try:
        check_rows(shape.rows, found.model.vocab_size - found.model.new_tokens)
    except ModelError as problem:
        yield _refusal(problem)


def _refusal(problem: ModelError) -> Warn:
    what = f"training will refuse the model: {problem.where}: {problem.what}"
    return Warn(name="cannot-train", what=what, fix=problem.fix or "")


def _refused(config: Config, shape: ModelShape) -> Iterator[Warn]:
    """What training will refuse for how it tunes the model."""
    tuning, targets = config.tuning, config.tuning.lora.target_modules
    if tuning.mode == "full" and config.model.dtype == "float16":
        yield Warn(
            name="cannot-train",
            what="training will refuse model.dtype: float16 for weights that are trained",
            fix="set model.dtype to auto, float32 or bfloat16",
        )
    for name in targets if tuning.mode == "lora" and targets != "auto" else ():
        is_tied_head = shape.tied and name.rpartition(".")[2] == "lm_head"  # its weights are the embedding's
        if not is_tied_head and not any(is_named(module, name) for module in shape.matrices):
            last = {module.name.rpartition(".")[2] for module in shape.matrices}
            yield Warn(
                name="cannot-train",
                what=f"training will refuse tuning.lora.target_modules: '{name}' is no module of this model",
                fix=f"this model has {', '.join(sorted(last))}; `auto` takes all but the head",
            )


def _batch_reason(config: TrainConfig, plan: Plan) -> str:
    """Which setting, or which limit, makes the batch."""
    packing, given = plan.packing, []
    row = packing.longest if packing.how == "none" else packing.capacity
    if config.batch_size != "auto":
        given.append("train.batch_size")
    if config.grad_accum != "auto":
        given.append("train.grad_accum")
    said = f"as {' and '.join(given)} say{'s' if len(given) == 1 else ''}" if given else ""
    limits = []
    if config.batch_size == "auto":
        kind = "rows" if packing.how != "none" else "examples as long as the longest"
        fits = max(1, TOKENS_PER_MICRO_BATCH // row)
        limits.append(
            f"{fits:,} {kind}, {row:,} tokens each, fit into {TOKENS_PER_MICRO_BATCH:,}"
            if row <= TOKENS_PER_MICRO_BATCH
            else f"one of {row:,} tokens is more than {TOKENS_PER_MICRO_BATCH:,} already"
        )
    if "auto" in (config.batch_size, config.grad_accum):
        wanted = min(EFFECTIVE_BATCH, packing.visits)
        limits.append(f"{wanted} examples a step are aimed at")
    return "; ".join(filter(None, [said, f"auto: {', and '.join(limits)}" if limits else ""]))


def _verdict(memory: Memory, size: int) -> Verdict:
    """Whether a card of ``size`` · 10⁹ bytes will do; what is known may be too much already."""
    if memory.total > size * 10**9:
        return "too small"
    if memory.activations is None:
        return "unknown"
    return "fits" if memory.total * ROOM <= size * 10**9 else "tight"


def _too_large(config: Config, memory: Memory) -> Iterator[Warn]:
    if _verdict(memory, CARDS[-1]) != "too small":
        return
    ways = [
        *(["train.gradient_checkpointing=true"] if not config.train.gradient_checkpointing else []),
        "train.batch_size=1, or a smaller model.max_seq_len",
        *(["tuning.mode=lora"] if config.tuning.mode == "full" else []),
    ]
    yield Warn(
        name="memory",
        what=f"training needs about {memory.total / 1e9:,.0f} GB, more than a GPU of {CARDS[-1]} GB has",
        fix=f"set {'; '.join(ways)}",
    )
