"""Documents of an exact length of which every position is trained: ``python -m benchmarks.documents SHAPE FOLDER``.

Training records have a context; here it is one token, the first, which nothing before it could predict anyway. A chat
template that prints contents and nothing else does that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from benchmarks.cases import SEED, SHAPES, model_directory
from benchmarks.material import make_model, weft_config
from weft.config.load import load_config
from weft.training.preflight import open_inputs

TEMPLATE = (
    "{% for message in messages %}{{ message['content'] + ('<|im_end|>' if message['role'] == 'assistant' else '') }}"
    "{% endfor %}"
)


def write_documents(shape: str, folder: Path, *, length: int, count: int) -> Path:
    """``count`` documents of ``length`` tokens, and a configuration that trains ``shape`` on them, whose path is returned."""
    model = model_directory(folder, shape)
    if not model.exists():
        make_model(SHAPES[shape], model)
    out = folder / f"{shape}-{length}"
    out.mkdir(parents=True, exist_ok=True)
    template = out / "everything.jinja"
    template.write_text(TEMPLATE, encoding="utf-8")
    words = _words(model / "tokenizer.json")
    random = np.random.default_rng(SEED)
    lines = []
    for _ in range(count):
        text = "".join(random.choice(words, length - 2))  # the context before, and the end of the turn after
        lines.append(json.dumps({"prompt": "x", "response": text}, ensure_ascii=False) + "\n")
    (out / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    config = out / "weft.json"
    settings = weft_config(model, out)
    settings["data"]["template_path"] = str(template)
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    store = open_inputs(load_config(config, ["train.max_steps=1"])).train
    assert set(store.lengths) == {length}, "a word is more than one token"
    assert set(store.targets) == {length - 1}, "a position is not trained"
    return config


def _words(tokenizer_file: Path) -> list[str]:
    """Words with a space before them that are one token each, also beside each other: the tokenizer cuts between words."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    candidates = (" " + token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha())
    return sorted(word for word in candidates if word.isascii() and len(tokenizer.encode(word).ids) == 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    args = parser.parse_args()
    write_documents(args.shape, args.folder, length=args.length, count=args.count)
