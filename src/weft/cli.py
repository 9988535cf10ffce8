"""The command line: names → commands, each imported only when it is called, so that ``weft --help`` is instant."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TextIO

from weft.errors import WeftError
from weft.escape import visible
from weft.version import __version__

COMMANDS = {
    "init-model": "make a small base model from text, offline",
    "train-tokenizer": "make a tokenizer from text",
    "datasets": "get well-known instruction sets as files of prompts and responses",
    "prepare": "turn raw records into train, validation and test files",
    "style": "add an instruction to every system message, reversibly",
    "render": "print records as the model will read them",
    "check": "answer 'will this train what I think?' before any weights load",
    "show": "colour the tokens of records by context and trained",
    "train": "fine-tune the model",
    "chat": "talk with the tuned model",
    "infer": "answer questions from a file, standard input or --prompt",
    "eval": "score the model on held-out records",
    "merge": "fold an adapter into its base model, verified",
    "doctor": "tell versions, devices and what is missing",
}
ALIASES = {"process": "prepare"}

_EXIT_BUG = 1
_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 a finding or a bug of ours, 2 a user's error, 130 interrupted."""
    _prepare_output()
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]
    debug = len(words) < len(given)
    try:
        return _run(words)
    except WeftError as error:
        return _fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        return _fail("interrupted", _EXIT_INTERRUPTED, debug)
    except BrokenPipeError:  # the reader of our output left (`weft show … | head`)
        _say_no_more(sys.stdout)
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        fix = "look at the path, its permissions, and the room on the disk"
        message = f"{place}the system refused: {error.strerror or error}\n  fix: {fix}"
        return _fail(message, WeftError.exit_code, debug)
    except Exception as error:
        message = (
            f"this is a bug in weft: {type(error).__name__}: {error}\n  fix: run it again with --debug and report it"
        )
        return _fail(message, _EXIT_BUG, debug)


def _run(words: list[str]) -> int:
    _check_encoding(words)
    name = next((word for word in words if not word.startswith("-")), None)
    if name is None or words[0] != name:
        _overview().parse_args(words or ["--help"])
    name = ALIASES.get(str(name), str(name))
    if name not in COMMANDS:
        raise WeftError(f"there is no command '{name}'", fix=_nearest(name))
    command = importlib.import_module(f"weft.commands.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        prog=f"weft {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.add_arguments(parser)
    arguments = parser.parse_intermixed_args(words[1:])
    return int(command.run(arguments) or 0)


def _prepare_output() -> None:
    """Let output go nowhere where it was closed, and escape what its encoding lacks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - as long as the process
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _check_encoding(words: list[str]) -> None:
    """Refuse bytes that are no UTF-8 before they reach a file or a message."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            what = f"a word is not valid UTF-8: {word!r}"
            raise WeftError(
                what, where="command line", fix="write it in UTF-8; rename the file, if it is one"
            ) from None


def _overview() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    table = "\n".join(f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="weft",
        usage="weft COMMAND [CONFIG] [key=value ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Fine-tune language models: see exactly what will be trained, train exactly that.",
        epilog=f"commands, in the order of use:\n{table}\n\n`weft COMMAND --help` explains one. `process` is another name for "
        "`prepare`.\nCONFIG is a YAML file; `key=value` overrides one of its keys, e.g. `train.epochs=5`.",
    )
    parser.add_argument("--version", action="version", version=f"weft {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=1)
    return f"did you mean `weft {near[0]}`?" if near else "`weft --help` lists the commands"


def _fail(message: str, code: int, debug: bool) -> int:
    try:
        if debug:
            traceback.print_exc()
        print(visible(f"weft: {message}"), file=sys.stderr, flush=True)
    except BrokenPipeError:
        _say_no_more(sys.stderr)
    return code


def _say_no_more(stream: TextIO) -> None:
    """Lose what is still to be written to a stream that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
