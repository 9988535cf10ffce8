"""The run directory: whose it is, and what a new run may do with what it finds there. Nothing is ever overwritten."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from weft.errors import RunError
from weft.training.checkpoint import ASIDE, checkpoints, find_damage, newest_sound
from weft.training.identity import differences
from weft.training.state import read_state

CONFIG = "training_config.json"
SUMMARY = "train_summary.json"
METRICS = "metrics.jsonl"
TEXT_LOG = "training.log"
TENSORBOARD = "runs"
PROFILE = "profile"

_LOCK = ".weft.lock"
_OURS_WITHOUT_CONFIG = ("predictions_*", "eval_report_*", "report.html", TEXT_LOG, PROFILE, f"{ASIDE}*")
_WEIGHTS = ("model*.safetensors", "adapter_model.safetensors")


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a run begins."""

    checkpoint: Path | None = None
    """What to resume from; None for the first step."""
    finished: bool = False
    """The directory holds this very run, done: there is nothing to train."""


@contextmanager
def locked(run: Path, *, fresh: bool = False, needed: Sequence[Path] = ()) -> Iterator[None]:
    """Make ``run`` a directory that only this process trains in, for the length of the block.

    Args:
        run: the run directory; created with its parents.
        fresh: move what it holds to ``<run>.old-<n>`` first, unless another process trains in it.
        needed: what the new run reads, and so what must not be moved with the old one.

    Raises:
        RunError: it is not a directory, cannot be written, holds files that no run of weft wrote, is in use, or cannot be
            moved.
    """
    if fresh:
        _refuse_to_move(run, (Path.cwd(), *needed))
    else:
        _refuse_foreign(run)
    with _lock(run):
        if not fresh or not _content(run):
            yield
            return
        try:
            run.rename(_free_name(run))
        except OSError as problem:
            raise _unwritable(run, f"cannot be moved aside: {problem.strerror}") from problem
        with _lock(run):
            yield


def choose_start(
    run: Path, identity: Mapping[str, Any], *, resume_from: Path | None = None, warn: Callable[[str], None]
) -> Start:
    """Decide what a run with ``identity`` does in the locked directory ``run``, and clear what a dead one left there.

    It resumes from the newest sound checkpoint of its own, finds itself finished, or begins. A run that died before its
    first checkpoint is replaced.

    Args:
        run: the run directory.
        identity: of the run that wants to begin.
        resume_from: a certain checkpoint; later ones in ``run`` are renamed to ``checkpoint-<n>.old-<n>``.
        warn: told about damaged checkpoints and about what was renamed.

    Raises:
        RunError: the directory or the checkpoint belongs to a run with another identity (the difference is shown), or
            no sound checkpoint is there.
    """
    for leftover in run.glob(f"{ASIDE}*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    newest = newest_sound(run, warn)
    if newest is not None:
        state = read_state(newest)
        _refuse_other(run, state.identity, identity)
        if resume_from is None:
            return Start(checkpoint=newest, finished=state.progress.finished and (run / SUMMARY).is_file())
    elif _holds_weights(run):
        _refuse_other(run, _identity_of(run) or {}, identity)
        return Start(finished=True)
    if resume_from is not None:
        return Start(checkpoint=_chosen_checkpoint(run, resume_from, identity, warn))
    for name in (CONFIG, TEXT_LOG, METRICS):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / TENSORBOARD, ignore_errors=True)
    return Start()


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(run / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as problem:
        raise _unwritable(run, f"cannot be written: {problem.strerror}") from problem
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise RunError(
                "another weft process trains in this directory",
                where=str(run),
                fix="wait for it or stop it; or set train.output_dir to another directory",
            ) from problem
        except OSError:
            pass  # a file system without locks: nothing can be known about other processes
        yield
    finally:
        os.close(handle)


def _refuse_to_move(run: Path, needed: Sequence[Path]) -> None:
    for path in needed:
        if path.resolve().is_relative_to(run.resolve()):
            raise RunError(
                f"it cannot be moved aside, because {path} lies in it and is needed",
                where=str(run),
                fix="set train.output_dir to a directory of its own",
            )


def _unwritable(run: Path, what: str) -> RunError:
    return RunError(
        f"the run directory {what}", where=str(run), fix="set train.output_dir to a place that is yours to write"
    )


def _content(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir() if path.name != _LOCK) if run.is_dir() else []


def _refuse_foreign(run: Path) -> None:
    if _identity_of(run) is not None:
        return
    strange = [name for name in _content(run) if not any(fnmatch(name, ours) for ours in _OURS_WITHOUT_CONFIG)]
    if strange:
        listed = ", ".join(strange[:5]) + (", …" if len(strange) > 5 else "")
        raise RunError(
            f"the directory holds files that no run of weft wrote: {listed}",
            where=str(run),
            fix="set train.output_dir to another directory, or move it aside with --fresh",
        )


def _refuse_other(place: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changed = differences(old, new)
    if changed:
        raise RunError(
            "it holds a run with other settings or data (there → now):\n    " + "\n    ".join(changed),
            where=str(place),
            fix="set train.output_dir to another directory, go back to those settings, or move this run aside with --fresh",
        )


def _holds_weights(run: Path) -> bool:
    return any(fnmatch(name, weights) for name in _content(run) for weights in _WEIGHTS)


def _identity_of(run: Path) -> dict[str, Any] | None:
    """The identity of the run that a directory says it holds; None where it says nothing that weft would write."""
    try:
        return dict(json.loads((run / CONFIG).read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _chosen_checkpoint(run: Path, chosen: Path, identity: Mapping[str, Any], warn: Callable[[str], None]) -> Path:
    damage = find_damage(chosen) if chosen.is_dir() else "there is no such directory"
    if damage is not None:
        raise RunError(
            f"cannot be resumed from: {damage}",
            where=f"train.resume_from_checkpoint: {chosen}",
            fix="name a complete checkpoint directory, or leave the key out: a run finds its newest one itself",
        )
    state = read_state(chosen)
    _refuse_other(chosen, state.identity, identity)
    for step, path in checkpoints(run):
        if step > state.progress.step:
            aside = path.rename(_free_name(path))
            warn(f"{path.name} is later than the checkpoint to resume from: renamed to {aside.name}")
    return chosen


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.old-{number}") for number in range(1, 10**6))
    return next(name for name in names if not name.exists())
