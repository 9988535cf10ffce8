"""What is compared: shapes, the rows of the table with their floors and targets, programs and the settings to try."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES_PER_STEP = 16
ROWS_PER_STEP = 3
"""Packed rows that hold the examples of a step; the examples are chosen so that all of a run fill just as many rows."""
LENGTH_LIMIT = 1024
"""Tokens of the longest example, and of a packed row."""
SEED = 42
"""Of the random weights and of weft's order of examples."""
TOKENIZER_SIZE = 16_384
"""Entries, fewer than the models have: what costs time is the model's vocabulary."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen2 with tied embeddings and heads of 64, two query heads to a key head; its MLP is 2.75 × hidden wide."""

    hidden: int
    layers: int
    vocabulary: int

    @property
    def intermediate(self) -> int:
        """Width of the MLP."""
        return self.hidden * 11 // 4

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.hidden // 64

    @property
    def parameters(self) -> int:
        """All of them; the embedding, which is the head too, is counted once."""
        query_and_out = 2 * self.hidden**2 + self.hidden
        key_and_value = self.hidden**2 + self.hidden  # half as many heads, twice
        layer = query_and_out + key_and_value + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden


SHAPES = {
    "small": Shape(hidden=512, layers=8, vocabulary=32_000),
    "tiny": Shape(hidden=256, layers=4, vocabulary=32_000),
    "tiny-152k": Shape(hidden=256, layers=4, vocabulary=151_936),
}

LORA_RANK, LORA_ALPHA = 16, 32


def model_directory(folder: Path, shape: str) -> Path:
    """Where the model of ``shape`` lies; a name of its own for all that it is made of, so that no older one is taken for it."""
    made_of = hashlib.sha256(repr((SHAPES[shape], SEED, TOKENIZER_SIZE)).encode()).hexdigest()
    return folder / "models" / f"{shape}-{made_of[:8]}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a program divides a step: ``batch_size`` examples, or packed rows, at a time, ``grad_accum`` times."""

    batch_size: int
    grad_accum: int
    packed: bool = False
    grouped: bool = False
    """The examples of a step are in order of their length, which spares padding: what a length-grouping sampler is for, but
    with the same examples in every step as all other programs have."""

    def __str__(self) -> str:
        unit = "rows of 1,024" if self.packed else "examples"
        return f"{self.batch_size} × {self.grad_accum} {unit}" + (", grouped by length" if self.grouped else "")


_ONE_ROW = Setting(batch_size=1, grad_accum=ROWS_PER_STEP, packed=True)
_ALL_ROWS = Setting(batch_size=ROWS_PER_STEP, grad_accum=1, packed=True)
_PADDED = (
    Setting(batch_size=8, grad_accum=2),
    Setting(batch_size=4, grad_accum=4),
    Setting(batch_size=EXAMPLES_PER_STEP, grad_accum=1),
)
_LEAST_PADDING = (
    Setting(batch_size=1, grad_accum=EXAMPLES_PER_STEP),
    Setting(batch_size=2, grad_accum=8, grouped=True),
    Setting(batch_size=4, grad_accum=4, grouped=True),
)
ALL_AT_ONCE = Setting(batch_size=EXAMPLES_PER_STEP, grad_accum=1)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A trainer, in one way of laying out its batches."""

    title: str
    environment: str
    settings: tuple[Setting, ...]
    """Those that ``--tune`` tries; the first is taken where nothing was tried."""


PROGRAMS = {
    "weft": Program(title="weft", environment="weft", settings=(_ONE_ROW, _ALL_ROWS, ALL_AT_ONCE)),
    "trl-padded": Program(title="TRL padded", environment="trl", settings=_PADDED),
    "trl-unpadded": Program(title="TRL, least padding", environment="trl", settings=_LEAST_PADDING),
    "trl-packed": Program(title="TRL packed", environment="trl", settings=(_ONE_ROW, _ALL_ROWS)),
    "llamafactory-padded": Program(title="LLaMA-Factory padded", environment="llamafactory", settings=_PADDED),
    "llamafactory-unpadded": Program(
        title="LLaMA-Factory, least padding", environment="llamafactory", settings=_LEAST_PADDING
    ),
    "llamafactory-packed": Program(
        title="LLaMA-Factory packed", environment="llamafactory", settings=(_ONE_ROW, _ALL_ROWS)
    ),
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a ratio should reach."""

    floor: float
    target: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """A row of the table."""

    title: str
    shape: str
    steps: int
    lora: bool = False
    bars: dict[str, Bar] = field(default_factory=dict)
    """By program: how many times faster than it weft should be."""
    memory: float | None = None
    """The most that weft's peak may be of TRL packed's."""
    stepwise: bool = False
    """Whether losses are also compared step by step at a real learning rate (not with adapters, whose random halves differ)."""

    @property
    def programs(self) -> tuple[str, ...]:
        """weft, and every program of the peers that it has a bar against."""
        peers = {PROGRAMS[name].environment for name in self.bars}
        return tuple(name for name, program in PROGRAMS.items() if program.environment in {"weft", *peers})


FIRST_STEP = 0.6
"""The most that weft's time from process start to the first finished step may be of TRL's."""

CASES = {
    "small": Case(
        title="hidden 512 × 8, vocabulary 32k, full",
        shape="small",
        steps=4,
        memory=0.7,
        bars={
            "trl-padded": Bar(floor=3.6, target=4.2),
            "trl-packed": Bar(floor=1.6, target=1.9),
            "llamafactory-padded": Bar(floor=2.5, target=3.0),
        },
    ),
    "tiny": Case(
        title="hidden 256 × 4, vocabulary 32k, full",
        shape="tiny",
        steps=6,
        memory=0.5,
        stepwise=True,
        bars={
            "trl-padded": Bar(floor=6.5, target=7.7),
            "trl-packed": Bar(floor=2.9, target=3.4),
            "llamafactory-padded": Bar(floor=2.6, target=3.1),
        },
    ),
    "tiny-152k": Case(
        title="hidden 256 × 4, vocabulary 152k, full",
        shape="tiny-152k",
        steps=4,
        bars={"trl-padded": Bar(floor=7.2, target=8.5), "trl-packed": Bar(floor=3.3, target=3.9)},
    ),
    "small-lora": Case(
        title="hidden 512 × 8, LoRA r = 16",
        shape="small",
        steps=4,
        lora=True,
        bars={
            "trl-padded": Bar(floor=3.7, target=4.4),
            "trl-packed": Bar(floor=1.7, target=2.0),
            "llamafactory-padded": Bar(floor=2.4, target=2.8),
        },
    ),
}
