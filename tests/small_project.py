"""A project of a few records in one directory."""

from __future__ import annotations

import json
from pathlib import Path


def qa(question: str, answer: str) -> str:
    return json.dumps({"prompt": question, "response": answer})


def write_project(folder: Path, model: Path) -> Path:
    """A directory with a configuration, ten training records and two held-out ones."""
    (folder / "train.jsonl").write_text(
        "\n".join(qa(f"Question {i}?", f"Answer {i}") for i in range(10)), encoding="utf-8"
    )
    (folder / "val.jsonl").write_text(qa("New?", "Yes") + "\n" + qa("Newer?", "No"), encoding="utf-8")
    (folder / "c.yaml").write_text(
        f"model: {{name: {model}, max_seq_len: 64}}\n"
        f"data: {{train_path: {folder}/train.jsonl, val_path: {folder}/val.jsonl,"
        f" test_path: {folder}/test.jsonl, cache_dir: {folder}/cache}}\n",
        encoding="utf-8",
    )
    return folder
