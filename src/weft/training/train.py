"""A run from its configuration to its result: look first, then load, train, save, publish."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from weft.config.load import Loaded
from weft.config.locate import output_dir
from weft.config.schema import Config
from weft.data.files import check_directory
from weft.data.seeds import derive_seed
from weft.errors import Interrupted, RunError, WeftError
from weft.escape import visible
from weft.models.adapters import add_lora, restore_adapter, save_model
from weft.models.hardware import (
    OtherWork,
    choose_autocast,
    choose_device,
    choose_dtype,
    contention,
    is_out_of_memory,
)
from weft.models.load import copy_out_of_files, load_model
from weft.models.quiet import quiet_transformers
from weft.models.vocab import add_rows, check_vocab
from weft.objectives.causal import CausalObjective
from weft.training.checkpoint import find_damage, replace_file, rotate, write_checkpoint
from weft.training.display import ConsoleDisplay, Display
from weft.training.evaluate import Evaluation, evaluate
from weft.training.freed_memory import keeping_freed_memory
from weft.training.header import run_facts, run_header
from weft.training.identity import differences, environment, identity, model_fingerprint
from weft.training.interrupt import interruptible
from weft.training.log import RunLog, read_metrics
from weft.training.loop import Training, fit
from weft.training.optimizer import build_optimizer
from weft.training.preflight import Inputs, list_rejects, open_inputs
from weft.training.profile import measure
from weft.training.profile_table import Profile, profile_text
from weft.training.progress import Progress
from weft.training.run_dir import CONFIG, METRICS, PROFILE, SUMMARY, Start, choose_start, locked
from weft.training.serving import publish, write_serving_files
from weft.training.state import State, load_optimizer, read_state, write_state
from weft.training.summary import summarise, summary_text


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What :func:`train` leaves."""

    output_dir: Path
    summary: dict[str, Any]
    """``train_summary.json`` (weft.training.summary); empty where a finished run lacks it."""
    already_finished: bool = False
    """There was nothing to train: the directory held this very run."""


def train(loaded: Loaded, *, fresh: bool = False, display: Display | None = None) -> TrainResult:
    """Train what a configuration asks for; resume where an earlier call of the same run was stopped.

    Args:
        loaded: the configuration and where it came from.
        fresh: move what the run directory holds aside and begin anew.
        display: what shows the run; by default lines on standard output.

    Raises:
        WeftError: whatever cannot be used; what is known before weights load is reported before weights load.
        Interrupted: Ctrl-C; the steps done so far are saved.
    """
    config = loaded.config
    compute = _choose_compute(config)
    inputs = open_inputs(loaded)
    who = identity(config, _fingerprints(inputs))
    run = output_dir(config)
    notices = [*inputs.notices]
    named = config.train.resume_from_checkpoint
    chosen = Path(named) if named else None
    with locked(run, fresh=fresh, needed=list(filter(None, [*inputs.files, inputs.base, chosen]))):
        start = choose_start(run, who, resume_from=chosen, warn=notices.append)
        if start.finished:
            return TrainResult(output_dir=run, summary=_read_summary(run), already_finished=True)
        with _as_user_errors(run), keeping_freed_memory(compute.device):
            return _Run(config, compute, inputs, run, who, start).train(display or ConsoleDisplay(), notices)


def profile(loaded: Loaded, steps: int, *, display: Display | None = None) -> Profile:
    """Measure where the time of a run's first steps goes; write that to ``profile/`` in the run directory, and show it.

    The steps start from the base model, and their weights are thrown away. Whatever else the directory holds, such as
    this run or another one, stays as it is.

    Args:
        loaded: the configuration and where it came from.
        steps: how many to measure, at least 1; where the run has fewer, all of them.
        display: what shows the profile; by default lines on standard output.

    Raises:
        WeftError: whatever cannot be used, or the directory is in use.
    """
    config = loaded.config
    compute = _choose_compute(config)
    inputs = open_inputs(loaded)
    run = output_dir(config)
    display = display or ConsoleDisplay()
    notices = [*inputs.notices]
    if steps > inputs.plan.total_steps:
        notices.append(f"the run has {inputs.plan.total_steps} steps, so no more than these are measured")
    with locked(run), _as_user_errors(run), keeping_freed_memory(compute.device), closing(display):
        check_directory(run / PROFILE)
        this = _Run(config, compute, inputs, run, {}, Start())
        training = this.load()
        for notice in [*notices, *this.crowding()]:
            display.show("notice", {"text": notice}, visible(notice))
        facts = run_facts(config, inputs, training.objective, this.environment)
        display.show("header", facts, visible(run_header(facts)))
        found = measure(training, min(steps, inputs.plan.total_steps), run / PROFILE, display)
        display.show("profile", found.as_dict(), "\n" + visible(profile_text(found)))
        return found


def _read_summary(run: Path) -> dict[str, Any]:
    """The summary that the finished run wrote; nothing where somebody removed or changed it."""
    try:
        return dict(json.loads((run / SUMMARY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


@contextmanager
def _as_user_errors(run: Path) -> Iterator[None]:
    """A machine that is too small, for disk or memory, is nobody's bug."""
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        if not is_out_of_memory(problem):
            raise
        raise WeftError(
            "there is not enough memory for this run",
            where=str(run),
            fix="set train.batch_size=1, a smaller model.max_seq_len, or train.gradient_checkpointing=true; tuning.mode=lora "
            "needs less than full, and a smaller tuning.lora.r less still",
        ) from problem
    except BrokenPipeError:  # whoever read our output has left: the command line knows what to do
        raise
    except OSError as problem:
        raise RunError(
            f"the run directory could not be written: {problem.strerror or problem}",
            where=problem.filename or str(run),
            fix="make room or mend the disk, then run the same command; training resumes from the newest checkpoint",
        ) from problem


def _fingerprints(inputs: Inputs) -> dict[str, Any]:
    """What weights depend on beside settings. The plan is here because `auto` may be resolved differently elsewhere."""
    return {
        "data": inputs.train.fingerprint,
        "validation data": inputs.validation.fingerprint if inputs.validation else None,
        "template and tokenizer": inputs.renderer.fingerprint,
        "base model": model_fingerprint(inputs.base),
        "rows per step": inputs.plan.effective_batch,
        "steps": inputs.plan.total_steps,
    }


@dataclass(frozen=True, kw_only=True)
class _Compute:
    device: torch.device
    dtype: torch.dtype
    """Of the weights in memory."""
    autocast: torch.dtype | None
    """Of the forward pass; None for that of the weights."""

    @property
    def mixed_precision(self) -> str:
        """Accelerate's name of it."""
        return {None: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.autocast]


def _choose_compute(config: Config) -> _Compute:
    device = choose_device()
    return _Compute(
        device=device,
        dtype=choose_dtype(config, device, trained=config.tuning.mode == "full"),
        autocast=choose_autocast(config, device),
    )


def _accelerator(compute: _Compute) -> Accelerator:
    try:
        return Accelerator(cpu=compute.device.type == "cpu", mixed_precision=compute.mixed_precision)
    except ValueError as problem:
        raise RunError(
            f"Accelerate refuses: {problem}",
            where="train.bf16, train.fp16",
            # It keeps the precision of the first run for the life of the process.
            fix="if an earlier run in this process trained with another precision, give each a process of its own; "
            "if not, set both keys to false",
        ) from problem


class _Run:
    """One run in its locked directory."""

    def __init__(self, config: Config, compute: _Compute, inputs: Inputs, run: Path, who: dict[str, Any], start: Start):
        self.config, self.compute, self.inputs, self.run, self.identity = config, compute, inputs, run, who
        self.others = OtherWork()
        self.checkpoint = start.checkpoint
        self.state = read_state(start.checkpoint) if start.checkpoint else None
        self.progress = self.state.progress if self.state else Progress()
        self.environment = environment(
            device=str(compute.device),
            dtype=str(compute.dtype).removeprefix("torch."),
            mixed_precision=compute.mixed_precision,
            processes=inputs.plan.processes,
            batch_size=inputs.plan.batch_size,
            grad_accum=inputs.plan.grad_accum,
        )

    def train(self, display: Display, notices: list[str]) -> TrainResult:
        """Train, publish and summarise."""
        replace_file(self.run / CONFIG, self._training_config())
        notices = [*notices, *list_rejects(self.run, self.config, self.inputs)]
        log = RunLog(
            self.run,
            display,
            start=self.progress,
            total_steps=self.inputs.plan.total_steps,
            tensorboard=self.config.train.report_to == "tensorboard",
        )
        with closing(log):
            for notice in notices:
                log.notice(notice)
            self._say_what_changed(log)
            training = self.load()
            for notice in self.crowding():
                log.notice(notice)
            facts = run_facts(self.config, self.inputs, training.objective, self.environment)
            log.event("header", facts, run_header(facts))
            with interruptible() as stop:
                self._fit(training, log, stop)
            if not self.progress.finished:
                raise Interrupted(
                    f"training stopped after step {self.progress.step} of {self.inputs.plan.total_steps}; "
                    f"it is saved in {self.run / f'checkpoint-{self.progress.step}'}",
                    fix="run the same command to resume",
                )
            return self._finish(log)

    def load(self) -> Training:
        """The model on its device, with the weights and the optimizer of the checkpoint to resume from."""
        accelerator = _accelerator(self.compute)
        model = self._load_model()
        check_vocab(model, self.inputs.renderer.tokenizer.vocab_size)
        if self.config.train.gradient_checkpointing:
            with quiet_transformers():  # it is about to be renamed, and older versions know only this name
                model.gradient_checkpointing_enable({"use_reentrant": False})
        objective = CausalObjective(
            model,
            longest_document=self.inputs.longest_document,
            longest_row=self.inputs.longest_row,
            autocast=self.compute.autocast,
        )
        optimizer = build_optimizer(objective, self.config.train)
        if self.checkpoint:
            load_optimizer(self.checkpoint, optimizer)
        objective, optimizer = accelerator.prepare(objective, optimizer)
        if self.state and self.state.grad_scaler:
            accelerator.scaler.load_state_dict(self.state.grad_scaler)
        return Training(
            objective=objective,
            optimizer=optimizer,
            accelerator=accelerator,
            examples=self.inputs.train,
            plan=self.inputs.plan,
            config=self.config.train,
            seed=self.config.seed,
        )

    def crowding(self) -> list[str]:
        """What is to be said about the machine after loading, during which it was watched."""
        return list(filter(None, [contention(self.compute.device, self.others.busy_cores())]))

    def _load_model(self) -> PreTrainedModel:
        if self.config.tuning.mode == "full":
            model = self._load(self.checkpoint) if self.checkpoint else self._load_base()
            copy_out_of_files(model)
            return model
        seed = derive_seed(self.config.seed, "lora")
        new_ids = self.inputs.renderer.tokenizer.new_ids
        model = add_lora(self._load_base(), self.config.tuning.lora, seed, new_ids=new_ids)
        if self.checkpoint:
            restore_adapter(model, self.checkpoint)
        return model

    def _load_base(self) -> PreTrainedModel:
        """The base model, with a row for every token that the template needed and the tokenizer lacked."""
        base = self._load(self.inputs.base)
        add_rows(base, self.inputs.renderer.tokenizer.new_ids)
        return base

    def _load(self, directory: Path) -> PreTrainedModel:
        return load_model(directory, dtype=self.compute.dtype, device=self.compute.device)

    def _fit(self, training: Training, log: RunLog, stop: Callable[[], bool]) -> None:
        model = training.accelerator.unwrap_model(training.objective).model

        def save(progress: Progress) -> None:
            log.flush()
            path = write_checkpoint(self.run, progress.step, lambda into: self._fill(into, model, training))
            log.event("checkpoint", {"step": progress.step, "path": str(path)}, f"saved {path}")
            keep = self.config.train.save_total_limit
            rotate(self.run, newest=progress.step, keep=keep, best_step=progress.best_step)

        def evaluate_validation() -> Evaluation:
            return evaluate(
                training.objective,
                self.inputs.validation,
                self.inputs.validation_rows,
                self.compute.device,
                batch_size=self.inputs.plan.batch_size,
            )

        fit(
            training,
            self.progress,
            recorder=log,
            save=save,
            evaluate=evaluate_validation if self.inputs.validation else None,
            stop_requested=stop,
        )

    def _fill(self, directory: Path, model: PreTrainedModel, training: Training) -> None:
        """Write a checkpoint's files: a model directory that anything can load, and what only resuming needs."""
        save_model(model, directory, base_name=self.config.model.name)
        write_serving_files(directory, self.inputs.base, self.inputs.renderer.template, self.inputs.renderer.tokenizer)
        scaler = training.accelerator.scaler
        state = State(
            progress=self.progress,
            identity=self.identity,
            environment=self.environment,
            grad_scaler=scaler.state_dict() if scaler else None,
        )
        write_state(directory, state, training.optimizer)

    def _finish(self, log: RunLog) -> TrainResult:
        chosen = self._result_checkpoint(log)
        publish(chosen, self.run)
        metrics = read_metrics(self.run / METRICS)
        summary = summarise(self.progress, self.inputs.plan, metrics, weights_from=chosen.name)
        log.event("summary", summary, summary_text(summary, self.run))
        replace_file(self.run / SUMMARY, _json(summary))
        return TrainResult(output_dir=self.run, summary=summary)

    def _result_checkpoint(self, log: RunLog) -> Path:
        """The checkpoint of the best evaluation where that is asked for, else of the last step."""
        last = self.run / f"checkpoint-{self.progress.step}"
        if not last.exists():  # nothing was left to train after a checkpoint of another directory
            assert self.checkpoint is not None
            last = self.checkpoint
        if not self.config.train.load_best_model_at_end:
            return last
        best = last.with_name(f"checkpoint-{self.progress.best_step}")
        damage = find_damage(best)
        if damage is None:
            return best
        log.notice(f"the result is the last step's, because the best one's {best} cannot be used: {damage}")
        return last

    def _say_what_changed(self, log: RunLog) -> None:
        if self.state is None:
            return
        log.notice(f"resuming from {self.checkpoint}")
        changed = differences(self.state.environment, self.environment)
        if changed:
            log.notice(f"this changed since, so the last bits of the numbers will differ: {'; '.join(changed)}")

    def _training_config(self) -> bytes:
        return _json(
            {
                "base_model": self.config.model.name,
                "config": self.config.model_dump(mode="json"),
                "identity": self.identity,
                "environment": self.environment,
            }
        )


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
