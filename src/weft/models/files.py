"""Model directories on disk: written whole or not at all, with the files that serving needs beside the weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from weft.disk import sync
from weft.errors import RunError

GENERATION = "generation_config.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)
"""What turns text into ids and back."""
SERVING_FILES = (*TOKENIZER_FILES, "chat_template.jinja", GENERATION)
"""And how to print and to stop: copied byte for byte wherever a model goes."""


def copy_serving_files(source: Path, out: Path, which: Sequence[str] = SERVING_FILES) -> tuple[str, ...]:
    """Copy those of ``which`` that ``source`` has into ``out``, following links, and return their names."""
    names = tuple(name for name in which if (source / name).is_file())
    for name in names:
        shutil.copyfile(source / name, out / name)
    return names


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """A fresh directory beside ``out`` that becomes ``out`` when the block ends well, and vanishes when it does not.

    Raises:
        RunError: ``out`` holds something already, or the disk refuses.
    """
    refuse_occupied(out)
    aside = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        _flush(aside)
        aside.rename(out)  # replaces an empty directory, and nothing else
        sync(out.parent)
    except (OSError, SafetensorError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise RunError(
            f"cannot be written: {reason}",
            where=str(out),
            fix="choose a place that exists, is yours to write and has room left",
        ) from problem
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def refuse_occupied(out: Path) -> None:
    """Raise RunError where ``out`` is a file or a directory with content: nothing is ever overwritten."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise RunError("is there already", where=str(out), fix="choose another --out, or move it away")


def _flush(directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        sync(path)
    sync(directory)
