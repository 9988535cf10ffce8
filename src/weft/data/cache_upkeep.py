"""What must not stay in the cache: what a killed process left half built, and entries that relied on a shortcut that was none."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HALF_BUILT = re.compile(r"\.[0-9a-f]{64}\.\d+\.[0-9a-f]{8}(\.damaged)?")
_FRESH = 60.0
"""Seconds in which a new directory is left alone, since it exists before it can be held."""


def aside_of(entry: Path) -> Path:
    """A new name beside an entry, under which it can be built, or moved away."""
    return entry.parent / f".{entry.name}.{os.getpid()}.{secrets.token_hex(4)}"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a directory that is being built. The system lets go of it when this process ends, however it ends; a process's number
    alone would not tell, since others on the same disk may count theirs otherwise.
    """
    descriptor = _try_to_hold(directory)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def remove_abandoned(cache: Path) -> None:
    """Remove directories that nobody builds in any more. Where the system cannot tell, they stay."""
    for directory in cache.glob(".*"):
        with contextlib.suppress(OSError):
            is_old = time.time() - directory.stat().st_mtime > _FRESH
            if not (is_old and _HALF_BUILT.fullmatch(directory.name)):
                continue
            descriptor = _try_to_hold(directory)
            if descriptor is not None:
                shutil.rmtree(directory, ignore_errors=True)
                os.close(descriptor)


def forget(cache: Path, renderer: str, *, but: Path) -> None:
    """Remove all entries that were made with a renderer, whatever run made them, ``but`` for one. What is being built aside is no
    entry yet, and is left to whoever builds it.

    Args:
        cache: the directory of the entries.
        renderer: its fingerprint, which each entry's report holds.
        but: the entry that stays.
    """
    for report in cache.glob("[!.]*/report.json"):
        entry = report.parent
        if entry == but:
            continue
        with contextlib.suppress(
            OSError, ValueError, KeyError, TypeError
        ):  # a damaged one is noticed when it is opened
            if json.loads(report.read_bytes())["body"]["renderer"] == renderer:
                away = aside_of(entry)
                entry.rename(away)  # first, so that no half-deleted entry is ever found
                shutil.rmtree(away, ignore_errors=True)


def _try_to_hold(directory: Path) -> int | None:
    """A descriptor that holds the directory until it is closed; None where another process does, or the system has no locks."""
    try:
        import fcntl

        descriptor = os.open(directory, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
