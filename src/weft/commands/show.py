"""Show the tokens of training records: what is only read, and what is trained.

In a terminal, trained text is bold and green, context is dim, and control tokens are set off. Elsewhere (in a file, in a pipe)
trained text stands between ⟦ and ⟧. Text that counts more or less than 1 in the loss is yellow, and its weight stands before it:
×0.5. A bar │ is where text was encoded apart from what goes before. Line ends and tabs are marked ↵ and ⇥, spaces that are easily
overlooked ·.

The text is read back from the ids, so that it is what the model gets.

Examples:
  weft show configs/my.yaml -n 3
  weft show configs/my.yaml data.template_path=chatml
  weft show configs/my.yaml --json                        ids, loss weights, borders
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, console, emit, load

if TYPE_CHECKING:
    from rich.text import Text

    from weft.data.show import ShownExample, Stretch

_STYLES = {
    # (what it counts: 0, 1, or another weight; control): style
    (0, False): "dim",
    (0, True): "cyan",
    (1, False): "bold green",
    (1, True): "bold black on green",
    (None, False): "bold yellow",
    (None, True): "bold black on yellow",
}
_BORDER = "│"
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
    weighed = any(_kind(part.weight) is None for one in shown for part in one.stretches)
    marks = f"{_BORDER} encoded apart, ↵ line end, ⇥ tab, · space"
    if colours:
        legend = [("context", (0, False)), ("control", (0, True)), ("trained", (1, False)), ("stop", (1, True))]
        legend += [("×0.5 counts half", (None, False))] if weighed else []
        out.print(Text("  ").join(Text(name, _STYLES[kind]) for name, kind in legend), f"  {marks}")
    else:
        out.print(f"⟦trained⟧ {'⟦×0.5 counts half⟧ ' if weighed else ''}context  {marks}")
    for one in shown:
        out.print()
        out.print(Text(_headline(one), "bold"))
        out.print(Text("").join(_painted(one.stretches)) if colours else "".join(_bracketed(one.stretches)))


def _kind(weight: float) -> int | None:
    """What a style is chosen by: 0, 1, or None for any other weight."""
    return int(weight) if weight in (0, 1) else None


def _headline(one: ShownExample) -> str:
    from weft.escape import visible

    trained = int((one.example.loss_weights > 0).sum())
    notes = "".join(f", {note}" for note in one.printed.notes)
    too_long = ", longer than model.max_seq_len: left out of training" if one.left_out else ""
    return visible(f"{one.example.location}: {len(one.example.ids):,} tokens, {trained:,} trained{notes}{too_long}")


def _painted(parts: Sequence[Stretch]) -> Iterator[Text]:
    """Each stretch in its colour; a weight that no colour tells stands before it."""
    from rich.text import Text

    before = 0.0
    for number, part in enumerate(parts):
        if part.begins and number:
            yield Text(_BORDER, "dim")
        style = _STYLES[_kind(part.weight), part.control]
        if part.weight != before and _kind(part.weight) is None:
            yield Text(f"×{part.weight:g} ", "yellow")
        yield Text(_marked(part.text), style)
        before = part.weight


def _bracketed(parts: Sequence[Stretch]) -> Iterator[str]:
    """Trained text between brackets; what counts alike, as an answer and its stop, shares a pair."""
    before = 0.0
    for number, part in enumerate(parts):
        changes = part.weight != before
        yield "⟧" * (changes and before > 0)
        yield _BORDER * (part.begins and number > 0)
        if changes and part.weight:
            yield "⟦" if _kind(part.weight) == 1 else f"⟦×{part.weight:g} "
        yield _marked(part.text)
        before = part.weight
    yield "⟧" * (before > 0)


def _marked(text: str) -> str:
    """``text`` with what the eye overlooks made visible, and nothing in it that a terminal would obey."""
    from weft.escape import visible

    dotted = _OVERLOOKED.sub(lambda spaces: "·" * len(spaces[0]), visible(text))
    return dotted.replace("\t", "⇥\t").replace("\n", "↵\n")
