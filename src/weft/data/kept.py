"""Findings that are kept in the cache as JSON, each under a name that stands for everything that it depends on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from weft.data.content import code_digest
from weft.data.files import StagedFiles
from weft.disk import value_digest
from weft.errors import DataError


def sealed(body: Any) -> str:
    """A value as JSON text that tells whether it is whole."""
    return json.dumps({"sha256": value_digest(body), "body": body}, indent=1)


def unsealed(path: Path) -> Any:
    """The value in a file of such text.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not what was written.
    """
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(path.read_bytes())
        if found["sha256"] == value_digest(found["body"]):
            return found["body"]
    raise ValueError(f"{path.name} is not what was written")


class Kept:
    """A finding in the cache.

    Args:
        cache_dir: the cache.
        name: of the file.
        depends_on: what it depends on besides weft's own code.
    """

    def __init__(self, cache_dir: Path, name: str, depends_on: Sequence[Any]) -> None:
        self._place = cache_dir / value_digest([name, code_digest(), *depends_on]) / name

    def read(self) -> Any:
        """What is kept; None where nothing is, or where it is damaged."""
        with suppress(OSError, ValueError):
            return unsealed(self._place)
        return None

    def write(self, found: Any) -> None:
        """Keep it, if that can be done."""
        with suppress(DataError), StagedFiles() as staged:
            staged.write(self._place, [sealed(found).encode()])
            staged.commit()
