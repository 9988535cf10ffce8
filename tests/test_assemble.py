"""Many examples put together at once are those that are put together one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatml_by_hand import PLACE, conversation
from weft.data.assemble import assemble
from weft.data.columns import Columns, Part, joined, whole
from weft.data.flat_ids import FlatIds
from weft.data.render import Renderer
from weft.data.rendering import Rendering
from weft.data.runs import Frame
from weft.data.template import load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.types import Conversation, Example, Location

EOS = 3

some_ids = st.lists(st.integers(10, 99), max_size=4)
some_runs = st.lists(
    st.tuples(some_ids, st.booleans(), st.booleans()).filter(lambda run: bool(run[0]) or not run[2]),
    min_size=1,
    max_size=5,
)


def by_hand(
    runs: list[tuple[list[int], bool, bool]], *, append_eos: bool, beside: float
) -> tuple[list[int], list[float]]:
    ids, weights = [], []
    for run, trained, skips in runs:
        kept = run[skips:]
        ids += kept
        weights += [1.0 if trained else beside] * len(kept)
    if append_eos:
        ids.append(EOS)
        weights.append(1.0)
    if beside:
        weights[:1] = [0.0] * len(weights[:1])
    return ids, weights


@given(st.lists(st.tuples(some_runs, st.booleans()), min_size=1, max_size=6), st.sampled_from([0.0, 1.0]))
def test_ids_weights_and_borders_are_those_by_hand(
    examples: list[tuple[list[tuple[list[int], bool, bool]], bool]], beside: float
) -> None:
    frames = [
        Frame(
            trained=tuple(trained for _, trained, _ in runs),
            skips=tuple(skips for *_, skips in runs),
            continues=(False,) * len(runs),
            append_eos=append_eos,
        )
        for runs, append_eos in examples
    ]
    flat = FlatIds.of([run for runs, _ in examples for run, *_ in runs])
    places = [Location(path="x", line=line) for line in range(len(frames))]
    columns, borders, is_open = assemble(flat, frames, places, eos_id=EOS, beside=beside)
    assert columns.ids.dtype == np.int32
    assert columns.weights.dtype == np.float32
    for number, (runs, append_eos) in enumerate(examples):
        last, trained, skips = runs[-1]
        assert is_open[number] == (not beside and (not trained or len(last) == skips))
        lengths = [len(run) - skips for run, _, skips in runs]
        assert borders.of(number) == tuple(sum(lengths[:place]) for place in range(len(runs)))
        if not is_open[number]:
            example = columns.example(number)
            found = example.ids.tolist(), example.loss_weights.tolist()
            assert found == by_hand(runs, append_eos=append_eos, beside=beside)
            assert example.location == places[number]


# ---- columns of columns -------------------------------------------------------------------------------------------------


def columns_of(*lengths: int) -> Columns:
    examples = [
        Example(
            ids=np.arange(length, dtype=np.int32) + 100 * length,
            loss_weights=np.full(length, length, np.float32),
            location=Location(path="x", line=length),
        )
        for length in lengths
    ]
    return Columns.of(examples)


def seen(columns: Columns) -> list[Any]:
    examples = [columns.example(number) for number in range(len(columns))]
    return [(one.ids.tolist(), one.loss_weights.tolist(), one.location) for one in examples]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_parts_of_columns_are_joined_in_order(chosen: list[tuple[int, int, int]]) -> None:
    wholes = [columns_of(1, 2, 3, 4), columns_of(7, 5, 6, 8), columns_of(9, 12, 10, 11)]
    parts = [Part(wholes[which], min(a, b), max(a, b), None) for which, a, b in chosen]
    expected = [row for part in parts for row in seen(part.columns)[part.first : part.end]]
    assert seen(joined(parts)) == expected


def test_neighbours_are_not_copied() -> None:
    columns = columns_of(1, 2, 3)
    assert joined([Part(columns, 0, 1, None), Part(columns, 1, 3, None)]) is columns
    assert joined([whole(columns)]) is columns
    assert len(joined([])) == 0


# ---- a batch and its conversations --------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


def weighing(talk: Conversation, *weights: float | None) -> Conversation:
    messages = [replace(message, weight=weight) for message, weight in zip(talk.messages, weights, strict=True)]
    return replace(talk, messages=tuple(messages))


TALKS = [
    conversation("Why?", "Because."),
    conversation("Why?", "Because.", "And then?", "Then it was over, and everybody went home."),
    weighing(conversation("Why?", "Because."), None, 0.5),
    weighing(conversation("Why?", "Because.", "And then?", "It ended."), None, 0.0, 0.5, None),
    weighing(conversation("Why?", "Because."), None, 0.0),
    conversation("Tell me everything.", "word " * 60 + "end"),
    conversation("Half \ud83d of it?", "No."),
    conversation("<|im_end|>", "spelled <|im_start|> out"),
    conversation("  spaces ", " at ends "),
    conversation("Last?", "Yes."),
]


def told(rendering: Rendering) -> Any:
    examples = [(one.ids.tolist(), one.loss_weights.tolist(), one.location) for one in rendering.examples]
    others = rendering.location, rendering.borders, rendering.shortened, rendering.notes
    return examples, *others, [str(one) for one in (*rendering.overlong, rendering.error) if one]


@pytest.mark.parametrize("overlong", ["drop", "truncate", "split_turns"])
@pytest.mark.parametrize("train_on", ["assistant", "last_turn", "all"])
@pytest.mark.parametrize("template", ["chatml", "plain", "mistral"])
def test_a_batch_is_its_conversations_one_by_one(
    tokenizer: Tokenizer, overlong: Any, train_on: Any, template: str
) -> None:
    printed = load_template(None if template == "chatml" else template, tokenizer)
    renderer = Renderer(tokenizer, printed, 40, overlong=overlong, train_on=train_on)
    together = list(map(told, renderer.render_batch(TALKS)))
    assert together == [told(renderer.render_batch([talk])[0]) for talk in TALKS]
    assert together[6][-1] == [
        f"{PLACE}: half a surrogate pair is no character: '\\ud83d'\n  fix: correct its \\u escape"
    ]
    unlimited = Renderer(tokenizer, printed, 4096, train_on=train_on)
    whole_ones = unlimited.render_batch(TALKS)
    for rendering, talk in zip(whole_ones, TALKS, strict=True):
        for example, text in zip(rendering.examples, [] if rendering.error else unlimited.texts(talk), strict=True):
            encoded = tokenizer.encode_batch([stretch.run for stretch in text.stretches])
            apart = unlimited._encoded(text, encoded)
            assert example.ids.tolist() == apart.ids.tolist()
            assert example.loss_weights.tolist() == apart.weights.tolist()
    assert {len(one.examples) for one in whole_ones} >= {0, 1}
