"""Make a small base model, offline: random weights, and a byte-level BPE tokenizer learned from text or one that you have.

Sizes, in parameters (the last number of each with a full vocabulary, which takes enough text):
  nano    1.8 to 2.8 million     learns a few hundred answers by heart in a minute or two on two CPU cores
  micro   7.7 to 10 million
  small   32 to 41 million

The directory is an ordinary Hugging Face one. --text takes files of any kind that weft reads, packed or not, directories,
patterns, or datasets of the hub (org/name:config@split); of records every string is read, so that yours can be the text.
--tokenizer takes a SentencePiece model or a directory with a tokenizer.json in its place. The same text and seed give the same
files, byte for byte.

Examples:
  weft init-model nano --text data/raw --out models/nano
  weft init-model small --text book.txt notes.md --out models/small --seed 7
  weft init-model nano --tokenizer data/tokenizer/spm32k.model --out models/nano
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from weft.commands.arguments import add_json, emit
from weft.importing import importing_libraries

if TYPE_CHECKING:
    from weft.models.init import GivenTokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("size", metavar="SIZE", help="nano, micro or small")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--text",
        nargs="+",
        metavar="FILE",
        help="text or records to learn words from, or directories of them",
    )
    source.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="a tokenizer to make the model for, in place of --text"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the directory to make")
    parser.add_argument("--seed", type=_seed, default=42, help="of the random weights (default: 42)")
    parser.add_argument("--vocab-size", type=int, metavar="N", help="at most so many tokens (default: by size)")
    add_json(parser)


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to {2**63 - 1}")
    return seed


def run(args: argparse.Namespace) -> int:
    """Make the model, and say what came of it."""
    from weft.data.template import built_in_source
    from weft.data.texts import read_texts
    from weft.errors import ModelError

    with importing_libraries():
        from weft.models.init import init_model, init_model_for

    notices: list[str] = []
    if args.tokenizer is None:
        report = init_model(
            args.size,
            read_texts(args.text, notices),
            args.out,
            chat_template=built_in_source("chatml"),
            seed=args.seed,
            vocab_size=args.vocab_size,
        )
    elif args.vocab_size is not None:
        raise ModelError("a tokenizer has the size that it has", where="--vocab-size", fix="leave it out")
    else:
        report = init_model_for(args.size, _given(args.tokenizer), args.out, seed=args.seed)
    payload = {
        "directory": str(report.directory),
        "size": report.size,
        "parameters": report.parameters,
        "vocab_size": report.vocab_size,
        "vocab_limit": report.vocab_limit,
        "characters": report.characters,
        "notices": notices,
    }
    text = "".join(f"notice: {notice}\n" for notice in notices)
    text += f"wrote {report.directory}: {report.parameters / 1e6:.1f} million parameters, {report.vocab_size:,} tokens"
    if report.vocab_size < report.vocab_limit:
        text += (
            f"\nthe text ({report.characters:,} characters) is too small for {report.vocab_limit:,} tokens: "
            "no further pair of tokens occurs twice in it"
        )
    emit(args, payload, text)
    return 0


def _given(place: Path) -> GivenTokenizer:
    """The tokenizer at ``place``, with the files that a model's directory holds of it."""
    from weft.data.tokenizer import load_tokenizer
    from weft.errors import ModelError
    from weft.models.files import TOKENIZER_FILES
    from weft.models.init import GivenTokenizer

    if not place.exists():
        raise ModelError("there is no such tokenizer", where=str(place), fix="make one with `weft train-tokenizer`")
    tokenizer = load_tokenizer(place)
    copied = (*TOKENIZER_FILES, "chat_template.jinja")
    own = {name: (place / name).read_bytes() for name in copied if (place / name).is_file()}
    if "chat_template.jinja" in own and tokenizer.chat_template:  # beside which there may be another one, for tools
        own["chat_template.jinja"] = tokenizer.chat_template.encode()
    return GivenTokenizer(
        files={**own, **tokenizer.made},
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.named_ids.get("bos"),
        eos_id=tokenizer.eos_id,
        stop_ids=sorted(tokenizer.stop_ids),
    )
