"""Get well-known instruction sets as files of prompts and responses, ready for `datasets:` in a configuration.

  dolly15k   databricks/databricks-dolly-15k   → dolly15k.jsonl
  oasst1     OpenAssistant/oasst1              → oasst1_en.jsonl: English, the best-ranked first answer of every tree
  alpaca     tatsu-lab/alpaca                  → alpaca.jsonl

They come from the Hugging Face hub (pip install 'weft[datasets]'), or from a local copy: a file, a pattern, or a directory,
which may hold a copy of each under its name.

Examples:
  weft datasets get all --out data/sft
  weft datasets get dolly15k --source downloads/databricks-dolly-15k.jsonl --out data/sft
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from weft.commands.arguments import add_json, emit

if TYPE_CHECKING:
    from weft.data.well_known import Fetched

_ALL = "all"
_SHOWN = 3
_NAMES = ("dolly15k", "oasst1", "alpaca")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("action", choices=["get"], help="what to do")
    parser.add_argument("name", choices=[*_NAMES, _ALL], help="which set")
    parser.add_argument("--source", type=Path, metavar="PATH", help="a local copy (default: the Hugging Face hub)")
    parser.add_argument("--out", type=Path, default=Path("data/sft"), metavar="DIR", help="default: data/sft")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Get the sets, and say what came of each."""
    from weft.data.well_known import get_datasets
    from weft.escape import visible

    fetched = get_datasets(_NAMES if args.name == _ALL else [args.name], args.source, args.out)
    payload = [{**asdict(one), "path": str(one.path)} for one in fetched]
    emit(args, {"datasets": payload}, visible("\n".join(_lines(fetched))))
    return 0


def _lines(fetched: Sequence[Fetched]) -> Iterator[str]:
    for one in fetched:
        yield f"wrote {one.path}: {one.records:,} records of {one.source}"
        if one.further_exchanges:
            yield f"  left out: {one.further_exchanges:,} answers after the first of their conversation"
        for reason, count in one.left_out.items():
            places = one.bad_rows.get(reason, ())
            first = f": {', '.join(places[:_SHOWN])}{', …' if len(places) > _SHOWN else ''}" if places else ""
            yield f"  left out: {count:,} × {reason}{first}"
