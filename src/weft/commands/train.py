"""Fine-tune the model on the prepared records.

Reads data.train_path (or datasets) and data.val_path, and writes everything into the run directory, train.output_dir:
checkpoints, logs, and at the end the adapter or model with its tokenizer. Whatever can be known before the weights load is
reported before they load.

Running it again with the same settings resumes from the newest checkpoint, exactly; with other settings it is refused and
the difference shown, unless --fresh moves the old run aside. Ctrl-C finishes the step, saves, and leaves with code 130.

--profile N measures N of the run's steps instead, on weights that are thrown away: where the time goes, what share of the
machine's peak that is, and a trace for https://ui.perfetto.dev. It writes only into profile/ of the run directory.

Examples:
  weft train configs/my.yaml
  weft train configs/my.yaml train.epochs=5 train.learning_rate=1e-4 tuning.lora.r=64
  weft train configs/my.yaml tuning.mode=full train.output_dir=outputs/full
  weft train configs/my.yaml --fresh        move the old run to outputs/….old-1 and begin anew
  weft train configs/my.yaml --json         one JSON object per event, for programs
  weft train configs/my.yaml --profile 10   where does the time of a step go?
"""

from __future__ import annotations

import argparse
import shlex

from weft.commands.arguments import add_config, console, load
from weft.importing import importing_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--fresh", action="store_true", help="move an existing run aside (nothing is deleted) and begin anew"
    )
    instead.add_argument(
        "--profile", type=_steps, metavar="N", help="measure N steps instead of training; nothing of a run is changed"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per event instead of text")


def run(args: argparse.Namespace) -> int:
    """Train, and say what to do next; or profile."""
    loaded = load(args)

    with importing_libraries():
        from weft.training.display import ConsoleDisplay, JsonDisplay
        from weft.training.train import profile, train

    display = JsonDisplay() if args.json else ConsoleDisplay(console())
    if args.profile:
        profile(loaded, args.profile, display=display)
        return 0
    result = train(loaded, fresh=args.fresh, display=display)
    if result.already_finished:
        text = f"{result.output_dir} holds this very run, finished: there is nothing to train (--fresh begins anew)"
        display.show("finished", {"output_dir": str(result.output_dir), **result.summary}, text)
    commands = {name: shlex.join(["weft", name, *args.words]) for name in ("chat", "eval")}
    display.show("next", commands, f"next: {commands['chat']}, or {commands['eval']}")
    return 0


def _steps(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of steps, 1 or more")
    return int(word)
