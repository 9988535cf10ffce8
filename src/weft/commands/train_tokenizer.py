"""Make a tokenizer from text or records: a SentencePiece model, or a byte-level BPE.

  sentencepiece   unigram with bytes for unknown characters; tokenizer.model and its conversion, tokenizer.json
                  (needs pip install 'weft[sentencepiece]')
  bpe             byte-level BPE, with ChatML's control tokens behind the others; tokenizer.json

Both decode every text to itself (the first one makes ▁ a space). Files may be of any kind that weft reads, packed or not,
directories, patterns, or datasets of the hub (org/name:config@split); of records every string is read. The same text gives the
same files. A vocabulary that the text cannot fill is refused, and so is a directory that is there already.

Examples:
  weft train-tokenizer data/books data/sft/alpaca.jsonl --vocab 32000 --type sentencepiece --out data/tokenizer
  weft train-tokenizer 'corpus/*.txt.gz' --vocab 16000 --type bpe --out data/tokenizer
  weft init-model nano --tokenizer data/tokenizer --out models/nano          a model for it
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from weft.commands.arguments import add_json, console, emit
from weft.importing import importing_libraries

_NAMES = ("pad", "unk", "bos", "eos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="text or records to learn from")
    parser.add_argument("--vocab", type=int, default=32_000, metavar="N", help="entries, all told (default: 32000)")
    parser.add_argument(
        "--type", choices=["sentencepiece", "bpe"], default="sentencepiece", help="default: sentencepiece"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to make")
    parser.add_argument(
        "--ids",
        type=_ids,
        default=_ids("pad=0,unk=1,bos=2,eos=3"),
        metavar="NAME=ID,…",
        help="of the special tokens (default: pad=0,unk=1,bos=2,eos=3); -1 for a pad or bos that is not wanted",
    )
    add_json(parser)


def _ids(text: str) -> dict[str, int]:
    pairs = [part.partition("=") for part in text.split(",")]
    ids: dict[str, int] = {}
    for name, _, value in pairs:
        if name.strip() not in _NAMES or name.strip() in ids:
            raise argparse.ArgumentTypeError(f"{name.strip()!r} is none of {', '.join(_NAMES)}, or is there twice")
        try:
            ids[name.strip()] = int(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value.strip()!r} is no id: write {name.strip()}=0") from None
    if missing := [name for name in _NAMES if name not in ids]:
        raise argparse.ArgumentTypeError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return ids


def run(args: argparse.Namespace) -> int:
    """Learn, write, and say what came of it."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with importing_libraries():
        from weft.data.texts import read_lines
        from weft.training.tokenizer import learn_tokenizer

    errors, notices = console(stderr=True), list[str]()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("reading")
        made = learn_tokenizer(
            read_lines(args.files, notices),
            args.out,
            kind=args.type,
            vocab_size=args.vocab,
            ids=args.ids,
            progress=lambda characters: bar.update(
                task, description=f"learning from {characters / 1e6:.1f}M characters"
            ),
        )
    ids = ", ".join(f"{name} {index}" for name, index in made.ids.items())
    place = made.directory / "tokenizer.model" if made.kind == "sentencepiece" else made.directory
    text = "".join(f"notice: {notice}\n" for notice in notices) + (
        f"wrote {made.directory}: {made.vocab_size:,} tokens ({made.kind}) from {made.lines:,} lines of "
        f"{made.characters:,} characters; {ids}\nnext: weft init-model nano --tokenizer {place} --out models/nano, or "
        f"model.tokenizer={place} with a model of this vocabulary"
    )
    emit(args, {**asdict(made), "directory": str(made.directory), "ids": dict(made.ids), "notices": notices}, text)
    return 0
