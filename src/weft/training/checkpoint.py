"""Checkpoints are complete or absent (law 10).

A checkpoint is written aside, flushed to disk file by file, sealed by a manifest of SHA-256 sums, and renamed into place;
it is removed by a rename first. So whatever stops the program or the machine, every directory named ``checkpoint-N`` is
whole, and one that was damaged later is found by its manifest.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from weft.disk import file_digest, sync
from weft.errors import RunError

MANIFEST = "MANIFEST.json"
ASIDE = ".tmp-"
"""How names begin that mean nothing yet, or nothing any more: unfinished, or on the way out."""

_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a run directory with their steps, newest first; whether they are sound is not looked at."""
    found = [(_NAME.fullmatch(path.name), path) for path in run.iterdir() if path.is_dir()]
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def write_checkpoint(run: Path, step: int, fill: Callable[[Path], None]) -> Path:
    """Write ``checkpoint-<step>`` into ``run``; every earlier one stays as it is until this one is in place.

    Args:
        run: the run directory.
        step: optimizer steps taken.
        fill: writes the files into the empty directory that it is given.

    Raises:
        RunError: the disk refused (full, read-only, failing).
    """
    final = run / f"checkpoint-{step}"
    aside = run / f"{ASIDE}{final.name}"
    try:
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir()
        fill(aside)
        _seal(aside)
        _rename(aside, final)
    except (OSError, SafetensorError) as problem:
        shutil.rmtree(aside, ignore_errors=True)
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise RunError(
            f"the checkpoint could not be written: {reason}",
            where=str(final),
            fix="make room or mend the disk, then run the same command: it resumes from the newest checkpoint",
        ) from problem
    return final


def remove(directory: Path) -> None:
    """Remove ``directory`` so that its name disappears at once, before its content does."""
    leaving = directory.with_name(f"{ASIDE}removed-{directory.name}")
    if leaving.exists():
        shutil.rmtree(leaving)
    directory.replace(leaving)
    shutil.rmtree(leaving)


def rotate(run: Path, *, newest: int, keep: int | None, best_step: int | None) -> None:
    """Remove the oldest checkpoints up to step ``newest`` but for ``keep`` of them and the one of ``best_step``.

    A checkpoint that the disk refuses to remove stays: the run goes on.
    """
    past = [(step, path) for step, path in checkpoints(run) if step <= newest]
    for step, path in past[keep:] if keep else []:
        if step != best_step:
            try:
                remove(path)
            except OSError:
                continue


def newest_sound(run: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint of ``run`` that is whole; None where there is no checkpoint at all.

    Args:
        run: the run directory.
        warn: told about each damaged checkpoint that is skipped.

    Raises:
        RunError: there are checkpoints, and all of them are damaged.
    """
    found = checkpoints(run)
    for _, path in found:
        damage = find_damage(path)
        if damage is None:
            return path
        warn(f"{path} is damaged and skipped: {damage}")
    if found:
        raise RunError(
            f"every checkpoint is damaged ({', '.join(path.name for _, path in found)})",
            where=str(run),
            fix="restore one from a backup, or start anew with --fresh, which moves this directory aside",
        )
    return None


def find_damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, compared with its manifest; None where nothing is."""
    try:
        listed = json.loads((checkpoint / MANIFEST).read_bytes())["files"]
        expected = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"its {MANIFEST} cannot be read"
    try:
        present = {path.name for path in _content(checkpoint)}
        if present != expected.keys():
            strange = ", ".join(sorted(present ^ expected.keys()))
            return f"its files are not those of its {MANIFEST}: {strange}"
        for name, (size, digest) in expected.items():
            path = checkpoint / name
            if path.stat().st_size != size or file_digest(path) != digest:
                return f"{name} is not what was written"
    except OSError as problem:
        return f"it cannot be read: {problem.strerror}"
    return None


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` so that it holds either what it held or all of ``content``, whatever happens."""
    aside = path.with_name(f"{ASIDE}{path.name}")
    aside.write_bytes(content)
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def _seal(directory: Path) -> None:
    files = {}
    for path in _content(directory):
        sync(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    manifest = directory / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=2) + "\n", encoding="utf-8")
    sync(manifest)
    sync(directory)


def _rename(aside: Path, final: Path) -> None:
    if final.exists():  # damaged, or of the same step of the same run: nothing is lost with it
        remove(final)
    aside.replace(final)
    sync(final.parent)


def _content(directory: Path) -> list[Path]:
    """The files that a manifest lists: all but itself and hidden ones, which file managers strew about."""
    return sorted(path for path in directory.iterdir() if path.name != MANIFEST and not path.name.startswith("."))
