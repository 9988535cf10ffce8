"""The files that ``weft prepare`` writes, as the configuration names them."""

from __future__ import annotations

import re
from pathlib import Path

from weft.config.schema import Config
from weft.data.places import spelled
from weft.errors import ConfigError


def prepared_path(config: Config) -> Path:
    """``data.train_path`` as the one file that preparation writes.

    Raises:
        ConfigError: it names several files, or a sample, which can be read but not written.
    """
    path = config.data.train_path
    if isinstance(path, str) and not re.search(r"[*?\[]|#\d+$", path):
        return Path(path)
    raise ConfigError(
        f"data.train_path names files to read, but prepared records go into one: {spelled(path)[:80]}",
        where="data.train_path",
        fix="name one .jsonl file; files that need no preparing are trained on as they are",
    )
