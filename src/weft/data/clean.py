"""Removing what preparation made, and nothing else: raw data, models, runs and people's own files stay."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from weft.config.schema import Config
from weft.data.last_report import REPORT_NAME, last_report
from weft.data.prepare import is_canonical
from weft.data.prepared import prepared_path
from weft.data.style import end_style
from weft.errors import DataError

_CACHE_ENTRY = re.compile(r"\.?[0-9a-f]{64}(\..*)?")
"""An entry of the store, or one that an interrupted process left half built."""


def clean(config: Config) -> tuple[Path, ...]:
    """Remove the files that the last preparation of ``data.train_path`` lists in its report, and the encoded examples.

    Returns:
        What was removed. Directories that are left empty go too, and are not listed.

    Raises:
        DataError: something cannot be removed.
    """
    path = prepared_path(config)
    directory = path.parent
    written = _written(directory, str(config.data.train_path))
    cache = Path(config.data.cache_dir)
    entries = [path for path in cache.glob("*") if _CACHE_ENTRY.fullmatch(path.name) and path.is_dir()]
    if written:
        end_style(config, written)
    try:
        for path in written:
            path.unlink()
        for path in entries:
            shutil.rmtree(path)
    except OSError as error:
        raise DataError(
            f"it cannot be removed: {error.strerror}", where=str(path), fix="check its permissions"
        ) from None
    for empty in (cache, directory):
        with contextlib.suppress(OSError):  # it is not there, or holds something that is not ours
            empty.rmdir()
    return (*written, *entries)


def _written(directory: Path, train_path: str) -> list[Path]:
    """The files of a preparation, its report last: without it nobody would know what to remove."""
    try:
        last = last_report(directory)
        if last is None or last["train_path"] != train_path:
            return []
        splits = [Path(split["path"]) for split in last["splits"].values()]
        rejects = [Path(last["rejects_path"])] if last["rejects_path"] else []
    except (KeyError, TypeError, AttributeError):
        return []
    ours = [path for path in splits if path.is_file() and is_canonical(path)]
    return [*ours, *(path for path in rejects if path.is_file()), directory / REPORT_NAME]
