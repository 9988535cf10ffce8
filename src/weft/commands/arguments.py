"""What commands have in common: a configuration with overrides, and output for people or for machines."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from weft.config.load import Loaded
    from weft.data.leaks import Leaks


_SHOWN_LEAKS = 5
_CONFIGURATIONS = (".yaml", ".yml", ".json")
"""How the names of configurations may end."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``[CONFIG] [key=value ...]``."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CONFIG or key=value",
        help="a YAML file (without one, every key has its default), and overrides such as train.epochs=5",
    )


def load(args: argparse.Namespace) -> Loaded:
    """The configuration that the command line asks for; a word with ``=`` that is no file is an override."""
    from weft.config.load import load_config
    from weft.errors import ConfigError

    overrides = [word for word in args.words if "=" in word and not Path(word).is_file()]
    files = [word for word in args.words if word not in overrides]
    if len(files) > 1:
        raise ConfigError(
            f"only one configuration file can be given, not {', '.join(files)}",
            where="command line",
            fix="name the others under `include:` in the first; overrides are written key=value, without spaces",
        )
    for file in files:
        _refuse_records(file)
    return load_config(files[0] if files else None, overrides)


def _refuse_records(file: str) -> None:
    """Say which key names the records that were given in place of a configuration."""
    path = Path(file)
    if path.suffix.lower() in _CONFIGURATIONS or not path.is_file():
        return
    from weft.data.readers import kind
    from weft.errors import ConfigError

    if kind(path):
        raise ConfigError(
            "this is a file of records, and no configuration",
            where=file,
            fix=f"write data.train_path={file}, or data.raw_path={file} for `weft prepare`",
        )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def emit(args: argparse.Namespace, payload: Mapping[str, Any], text: Callable[[], None] | str) -> None:
    """Print ``payload`` as JSON where ``--json`` asks for it, else ``text``."""
    if args.json:
        json.dump(payload, sys.stdout, ensure_ascii=False, indent=2)
        print()
    elif callable(text):
        text()
    else:
        print(text)


def console(*, stderr: bool = False) -> Console:
    """A rich console that neither guesses markup in our users' text nor wraps lines that a program will read."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=not stream.isatty())


def mapping_lines(mappings: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """For each format what was read as what, with the number of records where not all of them have the field."""
    for name, counts in mappings.items():
        every = max(counts.values())
        fields = (field if count == every else f"{field} ({count:,})" for field, count in counts.items())
        yield f"  {name}: {', '.join(fields)}"


def leak_lines(leaks: Sequence[Leaks]) -> Iterator[str]:
    """What training tells of each held-out set, with the first places."""
    for one in leaks:
        quoted = "" if one.quoted is None else f", {one.quoted:,} more quoted ({one.words} words in a row)"
        yield f"known to training: {one.asked:,} of {one.questions:,} questions of {one.name} are asked{quoted}"
        for leak in one.first[:_SHOWN_LEAKS]:
            yield f"            {leak.question} is {leak.kind} by {leak.training}"
