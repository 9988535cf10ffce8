"""Examples as LLaMA-Factory reads them from its ``tokenized_path``; rows are packed by its own code.

``python -m benchmarks.peers.llamafactory_data EXAMPLES FOLDER``; ``--packed`` for rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.cases import LENGTH_LIMIT
from benchmarks.examples import read_examples
from datasets import Dataset, DatasetDict
from llamafactory.data.processor.supervised import PackedSupervisedDatasetProcessor

PAD = 0
"""The id of the padding token in weft's tokenizers."""
ROW = LENGTH_LIMIT - 1
"""Tokens to pack into a row. LLaMA-Factory adds one for padding and its collator then pads ids, but not positions, to a
multiple of 8, so that a row of 1,024 fails in the model (version 0.9.5)."""


class _Encoded(PackedSupervisedDatasetProcessor):
    """Packs examples that are token ids already: what would be encoded holds them."""

    def _encode_data_example(self, prompt: Any, response: Any, **_: Any) -> tuple[list[int], list[int]]:
        return prompt[0], response[0]


def padded(columns: dict[str, list[list[int]]]) -> dict[str, list[Any]]:
    """The columns of an unpacked data set."""
    return {**columns, "attention_mask": [[1] * len(ids) for ids in columns["input_ids"]], **_no_media(columns)}


def packed(columns: dict[str, list[list[int]]]) -> dict[str, list[Any]]:
    """The columns of a packed one."""
    packing = _Encoded(
        template=None,
        tokenizer=SimpleNamespace(pad_token_id=PAD),
        processor=None,
        data_args=SimpleNamespace(cutoff_len=ROW, neat_packing=True),
    )
    count = len(columns["input_ids"])
    nothing = {name: [None] * count for name in ("_system", "_tools", "_images", "_videos", "_audios")}
    encoded = {
        name: [[value] for value in columns[key]] for name, key in (("_prompt", "input_ids"), ("_response", "labels"))
    }
    return dict(packing.preprocess_dataset({**encoded, **nothing}))


def _no_media(columns: dict[str, list[list[int]]]) -> dict[str, list[None]]:
    return {name: [None] * len(columns["input_ids"]) for name in ("images", "videos", "audios")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packed", action="store_true")
    args = parser.parse_args()
    layout = packed if args.packed else padded
    DatasetDict(train=Dataset.from_dict(layout(read_examples(args.examples)))).save_to_disk(str(args.folder))


if __name__ == "__main__":
    main()
