"""Chat records for the benchmark of preparation: sentences of real data, put together anew.

There is no set of 50,000 records here, and repeating a small one would flatter any cache. So answers, questions and
encyclopaedic text are cut into sentences, and each record draws its own: one to three exchanges, with a system message in
every fifth, about as long as Alpaca's with GPT-4's answers. What repeats is sentences, a few times each, as it does in real data;
how many of the chunks that an encoder meets it has met before is measured with the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.child import ROOT

DATA = ROOT.parent / "shared/data"
SEED = 17
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def sentences() -> tuple[list[str], list[str]]:
    """Sentences of questions, and of answers and articles."""
    records = json.loads((DATA / "alpaca_en.json").read_text(encoding="utf-8"))
    asked = _distinct(record["instruction"] for record in records)
    said = _distinct(record["output"] for record in records)
    said += _distinct((DATA / "wiki.txt").read_text(encoding="utf-8").splitlines())
    return asked, said


def conversations(count: int, seed: int = SEED) -> Iterator[list[dict[str, str]]]:
    """The messages of ``count`` records."""
    asked, said = sentences()
    random = np.random.default_rng(seed)
    for _ in range(count):
        messages = []
        if random.random() < 0.2:
            messages.append({"role": "system", "content": _joined(said, 1, random)})
        for _ in range(random.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
            messages.append({"role": "user", "content": _joined(asked, random.integers(1, 3), random)})
            messages.append({"role": "assistant", "content": _joined(said, random.integers(1, 8), random)})
        yield messages


def write_messages(path: Path, count: int) -> None:
    """``{"messages": […]}``, one record a line."""
    _write(path, ({"messages": messages} for messages in conversations(count)))


def write_prompts(path: Path, count: int) -> None:
    """``{"prompt": …, "completion": …}``, of each conversation the first exchange."""
    pairs = ([each for each in messages if each["role"] != "system"][:2] for messages in conversations(count))
    _write(path, ({"prompt": user["content"] + "\n", "completion": answer["content"]} for user, answer in pairs))


def _write(path: Path, records: Iterator[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _joined(texts: list[str], count: int, random: np.random.Generator) -> str:
    return " ".join(texts[number] for number in random.integers(0, len(texts), count))


def _distinct(texts: Iterator[str]) -> list[str]:
    found = (part.strip() for text in texts for part in _SENTENCE.split(text))
    return list(dict.fromkeys(part for part in found if part))
