"""Print records as the model will read them: the chat template's text, and nothing else.

With --text, prints what the model reads when that question is asked, up to where its answer begins.

Examples:
  weft render configs/my.yaml                    the first training record
  weft render configs/my.yaml -n 5
  weft render configs/my.yaml --text "What is the capital of France?"
  weft render configs/my.yaml --json             with segments, ids and loss weights
"""

from __future__ import annotations

import argparse
from typing import Any

from weft.commands.arguments import add_config, add_json, console, emit, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    add_json(parser)
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many records to print (default: 1)")
    parser.add_argument("--text", metavar="QUESTION", help="print the prompt of this question instead")


def run(args: argparse.Namespace) -> int:
    """Render, and print."""
    from weft.data.show import show_training
    from weft.escape import visible

    config = load(args).config
    if args.text is not None:
        payload, text = _prompt(config, args.text)
    else:
        renderer, shown = show_training(config, args.n)
        payload = {"examples": [one.as_dict() for one in shown]}
        text = "\n\n".join(one.text(renderer.tokenizer.eos) for one in shown)
    emit(args, payload, lambda: console().print(visible(text)))
    return 0


def _prompt(config: Any, text: str) -> tuple[dict[str, Any], str]:
    from weft.data.inputs import load_renderer
    from weft.data.show import question, segments_as_dicts

    renderer, messages = load_renderer(config), question(config, text)
    segments = renderer.template.prompt(messages)
    payload = {"segments": segments_as_dicts(segments), "ids": renderer.prompt_ids(messages).tolist()}
    return payload, "".join(segment.text for segment in segments)
