"""Add an instruction to every system message of the prepared files, reversibly.

The instruction follows the text of each system message (data.style_mode: prepend puts it before that text, replace in its place),
or becomes the system message where there is none; chat uses it too.
The files as they were are kept beside them (train.unstyled.jsonl, ...). The same style twice changes nothing, another one
replaces the first, and --undo restores the files byte for byte. `weft prepare` makes files without a style, unless data.style
names one.

Examples:
  weft style --style "Be helpful and concise"       the files of the default configuration
  weft style configs/my.yaml --style "Answer in bullet points."
  weft style configs/my.yaml --style "You are a pirate." data.style_mode=replace
  weft style configs/my.yaml                        the style that data.style names
  weft style configs/my.yaml --undo
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, console, emit, load

if TYPE_CHECKING:
    from weft.data.style import StyleReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--style", metavar="TEXT", help="the instruction; without it, data.style of the configuration")
    choice.add_argument("--undo", action="store_true", help="put the files back as they were")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Style or restore the files, and print which."""
    from weft.data.style import apply_style, remove_style
    from weft.errors import ConfigError
    from weft.escape import visible

    config = load(args).config
    if args.undo:
        report = remove_style(config)
    else:
        style = config.data.style if args.style is None else args.style
        if style is None:
            raise ConfigError("there is no style to apply", fix='give one: weft style --style "Be concise", or --undo')
        report = apply_style(config, style)
    emit(args, report.as_dict(), lambda: console().print(visible("\n".join(_lines(report)))))
    return 0


def _lines(report: StyleReport) -> Iterator[str]:
    if report.style is None:
        yield "restored as they were before the style:" if report.changed else "no style is applied: nothing to undo"
    else:
        yield f"style: {report.style}"
        yield "now in every system message of:" if report.changed else "already in every system message of:"
    for path in report.files:
        yield f"  {path}"
    for note in report.notes:
        yield f"note: {note}"
