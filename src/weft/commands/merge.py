"""Fold a trained adapter into its base model: one ordinary Hugging Face directory that needs neither weft nor PEFT.

The result is loaded again from disk and compared with base plus adapter; the largest difference between their logits is
printed, and a result that does not agree is not written. Tokenizer, chat template and generation settings are those that
training used, byte for byte. Weights keep the type in which the base model is stored. Merging needs memory for the model
in float32, and no GPU. After full tuning there is nothing to merge: the run directory is the model.

Examples:
  weft merge configs/my.yaml                     writes outputs/my-run/merged
  weft merge configs/my.yaml --out models/mine
"""

from __future__ import annotations

import argparse
from pathlib import Path

from weft.commands.arguments import add_config, add_json, emit, load
from weft.importing import importing_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    add_json(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write (default: merged/ in the run directory)"
    )


def run(args: argparse.Namespace) -> int:
    """Merge, and say how well the result agrees."""
    from weft.config.locate import model_directory, output_dir

    config = load(args).config
    run_dir = output_dir(config)

    with importing_libraries():
        from weft.export.merge import merge

    result = merge(model_directory(config.model, weights=True), run_dir, args.out or run_dir / "merged")
    payload = {
        "directory": str(result.directory),
        "dtype": result.dtype,
        "max_difference": result.max_difference,
        "max_change": result.max_change,
        "files": list(result.files),
    }
    text = (
        f"wrote {result.directory} ({result.dtype}, with {', '.join(result.files) or 'no tokenizer: the run has none'})\n"
        f"verified: loaded again, its logits differ from base plus adapter by at most {result.max_difference:.1g}; "
        f"the adapter changes the base model's by up to {result.max_change:.2g}"
    )
    emit(args, payload, text)
    return 0
