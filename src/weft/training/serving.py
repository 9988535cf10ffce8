"""The files that serving needs beside the weights: byte for byte what training used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from weft.data.template import ChatTemplate
from weft.data.tokenizer import Tokenizer
from weft.disk import sync
from weft.models.files import GENERATION, TOKENIZER_FILES, copy_serving_files
from weft.training.checkpoint import ASIDE, MANIFEST
from weft.training.state import OPTIMIZER, STATE

_ONLY_FOR_RESUMING = {MANIFEST, OPTIMIZER, STATE}


def write_serving_files(directory: Path, base: Path, template: ChatTemplate | None, tokenizer: Tokenizer) -> None:
    """Put the tokenizer, the chat template that was used, and how generation stops into ``directory``.

    Args:
        directory: where the weights are.
        base: the base model's directory.
        template: becomes ``chat_template.jinja``, which Transformers prefers to the one in ``tokenizer_config.json``; None
            where only documents were trained and there is none.
        tokenizer: perhaps another one than the base model's, or with tokens more; knows the ids of the template's stop strings.
    """
    copy_serving_files(base, directory, (GENERATION,))
    copy_serving_files(tokenizer.place, directory, TOKENIZER_FILES)
    for name, content in tokenizer.made.items():
        (directory / name).write_bytes(content)
    if template:
        (directory / "chat_template.jinja").write_bytes(template.source.encode())
    settings = directory / GENERATION
    generation = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    generation["eos_token_id"] = sorted(tokenizer.stopping_ids(template.stop_strings if template else ()))
    if tokenizer.place != base:  # the ids of another vocabulary mean nothing in this one
        generation |= {f"{name}_token_id": tokenizer.named_ids.get(name) for name in ("bos", "pad")}
    if tokenizer.pad_id is not None:
        generation.setdefault("pad_token_id", tokenizer.pad_id)
    settings.write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def publish(checkpoint: Path, run: Path) -> None:
    """Copy a checkpoint's model to the top of the run directory, each file whole or not at all."""
    for path in sorted(checkpoint.iterdir()):
        if path.name not in _ONLY_FOR_RESUMING:
            aside = run / f"{ASIDE}{path.name}"
            shutil.copyfile(path, aside)
            sync(aside)
            aside.replace(run / path.name)
    sync(run)
