"""Talk with the tuned model, or with the base model while nothing is trained.

  weft chat configs/quickstart.yaml
  weft chat configs/quickstart.yaml gen.temperature=0.7 gen.top_p=0.9
  echo "What is an adapter?" | weft chat configs/quickstart.yaml

The conversation remembers its earlier turns. /help lists what can be typed beside questions: /reset, /system TEXT, /exit.
The system prompt is that of the configuration, with its style. Lines that are piped in are questions of one conversation.
"""

from __future__ import annotations

import argparse

from weft.commands.arguments import add_config, load
from weft.importing import importing_libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration."""
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    """Talk until one side leaves."""
    config = load(args).config

    with importing_libraries():
        from weft.inference.chat import chat

    chat(config)
    return 0
