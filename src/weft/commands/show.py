"""Show the tokens of training records: what is only read, and what is trained.

In a terminal, trained text is bold and green, context is dim, and control tokens are set off. Elsewhere (in a file, in a pipe)
trained text stands between ⟦ and ⟧. Line ends and tabs are marked ↵ and ⇥, spaces that are easily overlooked ·.

The text is read back from the ids, so that it is what the model gets.

Examples:
  weft show configs/my.yaml -n 3
  weft show configs/my.yaml data.template_path=chatml
  weft show configs/my.yaml --json                        ids and loss weights
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, console, emit, load

if TYPE_CHECKING:
    from rich.text import Text

    from weft.data.show import ShownExample, Stretch

_STYLES = {
    # (trained, control): style
    (False, False): "dim",
    (False, True): "cyan",
    (True, False): "bold green",
    (True, True): "bold black on green",
}
_OVERLOOKED = re.compile(r"^ +| +$| {2,}| +(?=\n)", re.MULTILINE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    add_json(parser)
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many records to show (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Show the first records."""
    from weft.data.show import show_training

    _, shown = show_training(load(args).config, args.n)
    emit(args, {"examples": [one.as_dict() for one in shown]}, lambda: _print(shown))
    return 0


def _print(shown: list[ShownExample]) -> None:
    from rich.text import Text

    out = console()
    colours = out.is_terminal and not out.no_color
    marks = "↵ line end, ⇥ tab, · space"
    if colours:
        legend = [
            ("context", (False, False)),
            ("control", (False, True)),
            ("trained", (True, False)),
            ("stop", (True, True)),
        ]
        out.print(Text("  ").join(Text(name, _STYLES[kind]) for name, kind in legend), f"  {marks}")
    else:
        out.print(f"⟦trained⟧ context  {marks}")
    for one in shown:
        out.print()
        out.print(Text(_headline(one), "bold"))
        out.print(Text("").join(_painted(part) for part in one.stretches) if colours else _bracketed(one))


def _headline(one: ShownExample) -> str:
    from weft.escape import visible

    trained = int((one.example.loss_weights > 0).sum())
    notes = "".join(f", {note}" for note in one.printed.notes)
    too_long = ", longer than model.max_seq_len: left out of training" if one.left_out else ""
    return visible(f"{one.example.location}: {len(one.example.ids):,} tokens, {trained:,} trained{notes}{too_long}")


def _painted(part: Stretch) -> Text:
    from rich.text import Text

    return Text(_marked(part.text), _STYLES[part.trained, part.control])


def _bracketed(one: ShownExample) -> str:
    """Trained text between brackets; an answer and its stop token share a pair."""
    text, before = "", False
    for part in one.stretches:
        text += "⟦" * (part.trained and not before) + "⟧" * (before and not part.trained) + _marked(part.text)
        before = part.trained
    return text + "⟧" * before


def _marked(text: str) -> str:
    """``text`` with what the eye overlooks made visible, and nothing in it that a terminal would obey."""
    from weft.escape import visible

    dotted = _OVERLOOKED.sub(lambda spaces: "·" * len(spaces[0]), visible(text))
    return dotted.replace("\t", "⇥\t").replace("\n", "↵\n")
