"""Examples of random tokens, for models of a vocabulary of 64."""

from __future__ import annotations

import numpy as np

from weft.types import Example, Location

VOCABULARY = 64


def make_examples(count: int, *, seed: int = 5) -> list[Example]:
    """Of 4 to 11 tokens that are context, half a target or a whole one."""
    random = np.random.default_rng(seed)
    made = []
    for line in range(1, count + 1):
        length = int(random.integers(4, 12))
        weights = random.choice(np.array([0, 0.5, 1], np.float32), length)
        weights[-1] = 1
        ids = random.integers(0, VOCABULARY, length).astype(np.int32)
        made.append(Example(ids=ids, loss_weights=weights, location=Location(path="train.jsonl", line=line)))
    return made
