"""What all programs train: a model with random weights, and examples that weft has encoded.

``python -m benchmarks.material CASE FOLDER`` writes into FOLDER:

    models/<shape>-…/       weights and tokenizer, the same for every program
    <case>/train.jsonl      records for weft, and <case>/weft.json, its configuration
    <case>/drawn.jsonl      examples for the others, in the order in which weft takes them
    <case>/grouped.jsonl    the same, those of each step in order of their length
    <case>/facts.json       what they are
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from benchmarks.cases import (
    CASES,
    EXAMPLES_PER_STEP,
    LENGTH_LIMIT,
    LORA_ALPHA,
    LORA_RANK,
    ROWS_PER_STEP,
    SEED,
    SHAPES,
    TOKENIZER_SIZE,
    Shape,
    model_directory,
)
from benchmarks.child import ROOT
from benchmarks.examples import CONTEXT, write_examples
from benchmarks.run_weft import labels_of
from weft.config.load import load_config
from weft.data.conversations import read_conversations
from weft.data.inputs import load_renderer, open_examples, training_files
from weft.data.mixture import Mixture
from weft.data.packing import pack
from weft.data.template import built_in_source
from weft.data.texts import read_texts
from weft.models.files import written_aside
from weft.models.new_tokenizer import BOS, CONTROL_TOKENS, EOS, IM_END, PAD, save_tokenizer, train_tokenizer
from weft.models.quiet import quiet_transformers
from weft.training.preflight import open_inputs

ALPACA = ROOT.parent / "shared/data/alpaca_en.json"
QUICKSTART = ROOT / "examples/quickstart/raw"
_FILL = 0.97
"""How full the packed rows are at least."""
_STEADY = 0.1
"""How far the first step, which is not timed, may be from the mean step in tokens and in padding."""


def prepare(name: str, folder: Path, *, steps: int | None = None) -> None:
    """Write a case's material, with ``steps`` steps in place of its own."""
    case = CASES[name]
    steps = steps or case.steps
    model = model_directory(folder, case.shape)
    if not model.exists():
        make_model(SHAPES[case.shape], model)
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    config = out / "weft.json"
    config.write_text(json.dumps(weft_config(model, out, lora=case.lora), indent=2), encoding="utf-8")

    conversations, source = _conversations()
    _write_records(out / "train.jsonl", conversations)
    lengths = _lengths(config)
    assert len(lengths) == len(conversations), "a record was left out, so that lengths belong to other records"
    chosen = _choose(lengths, steps)
    order = Mixture({"train": range(len(chosen))}, {"train": 1.0}, SEED).order(0)
    records = [conversations[0]] * len(chosen)
    for place, index in zip(order, chosen, strict=True):
        records[place] = conversations[index]
    _write_records(out / "train.jsonl", records)

    store = open_inputs(load_config(config, ["train.max_steps=1", "train.learning_rate=1e-3"])).train
    examples = [(store[int(index)].ids.tolist(), labels_of(store[int(index)])) for index in order]
    write_examples(out / "drawn.jsonl", examples)
    by_step = [examples[start : start + EXAMPLES_PER_STEP] for start in range(0, len(examples), EXAMPLES_PER_STEP)]
    write_examples(
        out / "grouped.jsonl", (pair for step in by_step for pair in sorted(step, key=lambda pair: len(pair[0])))
    )
    tokens = sum(len(ids) for ids, _ in examples)
    facts = {
        "records": source,
        "examples": len(examples),
        "tokens": tokens,
        "mean": tokens / len(examples),
        "longest": max(len(ids) for ids, _ in examples),
        "targets": sum(label != CONTEXT for _, labels in examples for label in labels),
        "steps": steps,
    }
    (out / "facts.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def make_model(shape: Shape, out: Path) -> None:
    """A Qwen2 with random weights of standard deviation 1 / √hidden, as weft.models.init, and a tokenizer.

    The usual 0.02 gives a small model that barely looks at its context; then a wrong mask would hardly show in the loss.
    """
    tokenizer = train_tokenizer(read_texts(ALPACA if ALPACA.is_file() else QUICKSTART, []), TOKENIZER_SIZE)
    ids = {token: index for index, token in enumerate(CONTROL_TOKENS)}
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        max_position_embeddings=2 * LENGTH_LIMIT,
        tie_word_embeddings=True,
        initializer_range=shape.hidden**-0.5,
        pad_token_id=ids[PAD],
        bos_token_id=ids[BOS],
        eos_token_id=ids[EOS],
        dtype=torch.float32,
    )
    torch.manual_seed(SEED)
    model = Qwen2ForCausalLM(config)
    assert model.num_parameters() == shape.parameters
    model.generation_config = GenerationConfig(
        pad_token_id=ids[PAD], bos_token_id=ids[BOS], eos_token_id=[ids[IM_END], ids[EOS]]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(out) as aside, quiet_transformers():
        save_tokenizer(tokenizer, aside, chat_template=built_in_source("chatml"), max_length=2 * LENGTH_LIMIT)
        model.save_pretrained(aside)


def weft_config(model: Path, out: Path, *, lora: bool = False) -> dict[str, Any]:
    """What all runs of weft have in common: ``out`` holds ``train.jsonl``."""
    adapter = {"r": LORA_RANK, "alpha": LORA_ALPHA, "dropout": 0.0}
    return {
        "seed": SEED,
        "model": {"name": str(model), "max_seq_len": LENGTH_LIMIT},
        "tuning": {"mode": "lora", "lora": adapter} if lora else {"mode": "full"},
        "train": {
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0,
            "bf16": False,
            "evaluation_strategy": "no",
            "save_strategy": "no",
        },
        "data": {"train_path": str(out / "train.jsonl"), "cache_dir": str(out / "cache")},
    }


def _conversations() -> tuple[list[list[dict[str, str]]], str]:
    """Messages of each record, and what to call them."""
    if ALPACA.is_file():
        read = read_conversations(ALPACA, format="alpaca", on_bad_row="drop").conversations
        return [_messages(conversation.messages) for conversation in read], "Alpaca records (../shared/data)"
    read = read_conversations(QUICKSTART, on_bad_row="drop").conversations
    return _as_long_as_alpaca([_messages(conversation.messages) for conversation in read]), (
        "records strung together from weft's quickstart, because ../shared/data is not here"
    )


def _messages(messages: Any) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _as_long_as_alpaca(pairs: list[list[dict[str, str]]]) -> list[list[dict[str, str]]]:
    """A thousand questions, each answered by as many answers as make one of about the length of Alpaca's, whose lengths are
    about log-normal.
    """
    random = np.random.default_rng(SEED)
    questions = [next(message for message in pair if message["role"] == "user") for pair in pairs]
    answers = [pair[-1]["content"] for pair in pairs]
    made = []
    for wanted in random.lognormal(mean=6.35, sigma=0.8, size=1000).clip(40, 3000):
        text = ""
        while len(text) < wanted:
            text += random.choice(answers) + " "
        question = questions[random.integers(len(questions))]
        made.append([question, {"role": "assistant", "content": text[: int(wanted)].strip()}])
    return made


def _write_records(path: Path, conversations: list[list[dict[str, str]]]) -> None:
    lines = (json.dumps({"messages": messages}, ensure_ascii=False) + "\n" for messages in conversations)
    path.write_text("".join(lines), encoding="utf-8")


def _lengths(config: Path) -> np.ndarray:
    """Tokens of every record."""
    settings = load_config(config).config
    stores, _ = open_examples(settings, {"train": training_files(settings)}, load_renderer(settings))
    return stores["train"].lengths


def _choose(lengths: np.ndarray, steps: int) -> np.ndarray:
    """Records for ``steps`` steps, in the order of their visit: a random choice, repeated until packed programs have as much
    to do in a step as padded ones, and in the first step, which is not timed, about as much as in the others.
    """
    count, rows = steps * EXAMPLES_PER_STEP, steps * ROWS_PER_STEP
    for attempt in range(1_000_000):
        chosen = np.random.default_rng([SEED, attempt]).choice(len(lengths), count, replace=False)
        tokens = lengths[chosen]
        if (
            _FILL <= tokens.sum() / (rows * LENGTH_LIMIT) <= 1
            and _is_steady(tokens.reshape(steps, -1).sum(1))
            and _is_steady(tokens.reshape(steps, 2, -1).max(2).sum(1))
            and len(pack(np.arange(count), tokens, how="bfd", capacity=LENGTH_LIMIT)) == rows
            and _rows_largest_first(tokens.tolist()) == rows
        ):
            return chosen
    raise SystemExit(f"no choice of {count} records fills {rows} rows")


def _is_steady(per_step: np.ndarray) -> bool:
    return abs(per_step[0] / per_step.mean() - 1) <= _STEADY


def _rows_largest_first(lengths: list[int]) -> int:
    """How many rows LLaMA-Factory makes: it fills one after the other, always with the longest example that fits, and keeps
    one token free (benchmarks.peers.llamafactory_data).
    """
    waiting, rows = sorted(lengths, reverse=True), 0
    while waiting:
        room, left = LENGTH_LIMIT - 1, []
        for length in waiting:
            if length <= room:
                room -= length
            else:
                left.append(length)
        waiting, rows = left, rows + 1
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int)
    chosen = parser.parse_args()
    prepare(chosen.case, chosen.folder, steps=chosen.steps)
