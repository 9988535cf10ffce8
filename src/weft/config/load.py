"""Reading a configuration: defaults < included files < the file < environment < command line.

:func:`load_config` reports every problem of a configuration at once, each with its place and what to do about it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.config.checks import check
from weft.config.files import FileReader
from weft.config.keys import KEYS, find_key
from weft.config.layers import Layer, merge
from weft.config.overrides import command_line_layer, environment_layer
from weft.config.schema import Config
from weft.config.values import build
from weft.errors import Problems, WeftError


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A configuration and where it came from."""

    config: Config
    provenance: dict[str, str]
    """Dotted canonical key → ``configs/x.yaml:12``, ``environment WEFT_…``, ``command line`` or ``default``."""
    files: tuple[str, ...]
    """The files read, the most basic first."""


def load_config(
    path: str | Path | None, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Loaded:
    """Read a configuration.

    Args:
        path: a YAML file; None for the defaults alone.
        overrides: ``key=value`` settings, as on the command line.
        environ: variables to read ``WEFT_…`` settings from; by default the process's own.

    Raises:
        ConfigError: a file cannot be read as a configuration at all (missing, not UTF-8, not YAML, …).
        Problems: all other problems, as :class:`~weft.errors.ConfigError` each.
    """
    problems: list[WeftError] = []
    reader = FileReader(problems)
    layer: Layer = {} if path is None else reader.read(Path(path))
    layer = merge(layer, environment_layer(os.environ if environ is None else environ, problems))
    layer = merge(layer, command_line_layer(overrides, problems))
    config, broken = build(layer, problems)
    problems.extend(check(config, layer, broken))
    if problems:
        raise Problems(sorted(problems, key=_reading_order))
    return Loaded(config=config, provenance=_provenance(config, layer), files=tuple(reader.files))


def _reading_order(problem: WeftError) -> tuple[str, int]:
    """By file and line; the environment and the command line, which have no lines, keep their order."""
    path, _, line = str(problem.where).rpartition(":")
    return (path, int(line)) if line.isdecimal() else ("", 0)


def _provenance(config: Config, layer: Layer) -> dict[str, str]:
    fixed = [name for name, key in KEYS.items() if "[]" not in name and "*" not in name and not key.accepts("map")]
    of_entries = [name.removeprefix("datasets[].") for name in KEYS if name.startswith("datasets[].")]
    entries = [f"datasets[{index}].{name}" for index in range(len(config.datasets)) for name in of_entries]
    free = [name for name in layer if name not in KEYS and "[" not in name and find_key(name) is not None]
    return {name: layer[name].place if name in layer else "default" for name in (*fixed, *entries, *free)}
