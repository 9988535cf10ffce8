"""Rows: best fit against a brute force, nothing split, lost or doubled, and a stream whose targets are all there, once."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_run import configure, make_project, write_records
from weft.data.best_fit import best_fit_decreasing
from weft.data.mixture import Mixture
from weft.data.packing import Packing, Piece, Row, Rows, examples_of, pack, packing_line
from weft.training.preflight import open_inputs
from weft.types import Example, Location

CAPACITY = 12
LENGTHS = st.lists(st.integers(1, CAPACITY), min_size=1, max_size=60)
SHORT_LENGTHS = st.lists(st.integers(1, 7), min_size=30, max_size=60)
SEED = st.integers(0, 2**64 - 1)


def contents(rows: Rows) -> list[tuple[int, ...]]:
    return [tuple(piece.example for piece in row) for row in rows]


def realistic_lengths(count: int) -> np.ndarray:
    """Like instruction data: a mean near 200 tokens, many short ones, a few as long as a row."""
    return np.clip(np.random.default_rng(7).lognormal(5, 0.8, count), 4, 1024).astype(np.int32)


# Best fit decreasing


def brute_force(lengths: list[int], capacity: int) -> list[list[int]]:
    bins: list[list[int]] = []  # the one that was filled last comes last
    for length in sorted(lengths, reverse=True):
        fitting = [one for one in reversed(bins) if sum(one) + length <= capacity]
        fullest = max(fitting, key=sum, default=[])
        bins = [*(one for one in bins if one is not fullest), [*fullest, length]]
    return bins


@given(LENGTHS | SHORT_LENGTHS, st.integers(CAPACITY, 3 * CAPACITY))
def test_best_fit_fills_the_bins_that_a_brute_force_fills(lengths: list[int], capacity: int) -> None:
    descending = sorted(lengths, reverse=True)
    bins = best_fit_decreasing(np.array(descending), capacity)
    assert sorted(set(bins.tolist())) == list(range(bins.max() + 1))
    filled = [[length for length, one in zip(descending, bins, strict=True) if one == number] for number in set(bins)]
    assert sorted(filled) == sorted(brute_force(lengths, capacity))


def test_best_fit_by_hand() -> None:
    lengths = np.array([7, 6, 4, 4, 3, 3, 3, 2, 1])
    # 7 and 6 open bins 0 and 1; the first 4 fits best on 6, the second opens bin 2; 3 fits best on 7; two 3s fill bin 2.
    assert best_fit_decreasing(lengths, 10).tolist() == [0, 1, 1, 2, 0, 2, 2, 3, 3]
    # 16 and 9 + 7 leave the same room: the bin that was filled last comes first, and takes two of the 2s.
    assert best_fit_decreasing(np.array([16, 9, 7, 2, 2, 2]), 20).tolist() == [0, 1, 1, 1, 1, 0]


# The rows of an epoch: whole examples


@given(LENGTHS, st.data())
def test_no_example_is_split_lost_or_doubled(lengths: list[int], data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=80))
    for how in ("none", "bfd"):
        rows = pack(np.array(order), np.array(lengths, np.int32), how=how, capacity=CAPACITY, seed=data.draw(SEED))
        pieces = list(chain.from_iterable(rows))
        assert Counter(piece.example for piece in pieces) == Counter(order)
        assert all((piece.start, piece.stop) == (0, lengths[piece.example]) for piece in pieces)
        assert all(1 <= sum(piece.stop for piece in row) <= CAPACITY for row in rows)
        assert rows.tokens == sum(lengths[index] for index in order)
        assert rows.fill == rows.tokens / (len(rows) * CAPACITY)
        assert rows.cut_examples == 0


def test_without_packing_each_visit_is_a_row_in_its_order() -> None:
    rows = pack(np.array([2, 0, 2, 1]), np.array([3, 4, 5]), how="none", capacity=8)
    assert list(rows) == [(Piece(example=index, start=0, stop=[3, 4, 5][index]),) for index in (2, 0, 2, 1)]


def test_examples_of_one_length_are_packed_in_the_order_of_their_visit() -> None:
    lengths = np.array([5, 5, 5, 5, 2])
    rows = pack(np.array([3, 1, 4, 0, 2]), lengths, how="bfd", capacity=12, seed=1)
    assert sorted(contents(rows)) == [(0, 2, 4), (3, 1)]


def test_the_rows_are_shuffled_by_the_seed_alone() -> None:
    order, lengths = np.arange(400), realistic_lengths(400)
    by_seed = [contents(pack(order, lengths, how="bfd", capacity=1024, seed=seed)) for seed in (1, 1, 2)]
    assert by_seed[0] == by_seed[1]
    assert by_seed[0] != by_seed[2]
    assert sorted(by_seed[0]) == sorted(by_seed[2])
    longest = [max(lengths[list(row)]) for row in by_seed[0]]
    assert longest != sorted(longest, reverse=True)


def test_realistic_lengths_fill_the_rows() -> None:
    lengths = realistic_lengths(5000)
    assert lengths.max() > 1000
    assert pack(np.arange(5000), lengths, how="bfd", capacity=1024).fill > 0.99


def test_an_example_that_is_longer_than_a_row_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError, match="longer than a row"):
        pack(np.arange(2), np.array([3, 9]), how="bfd", capacity=8)


def test_rows_end_where_they_end() -> None:
    rows = pack(np.arange(3), np.array([3, 4, 5]), how="none", capacity=8)
    for index in (-1, 3):
        with pytest.raises(IndexError):
            rows[index]


# One stream, cut into rows


def stream_of(lengths: list[int], weights: list[float]) -> list[Example]:
    """Examples whose ids say where in the stream of all of them a token stands."""
    starts = np.cumsum([0, *lengths])
    return [
        Example(
            ids=np.arange(start, end, dtype=np.int32),
            loss_weights=np.array([weights[place % len(weights)] for place in range(start, end)], np.float32),
            location=Location(path="stream", line=line),
        )
        for line, (start, end) in enumerate(pairwise(starts), 1)
    ]


def targets_of(examples: list[Example]) -> list[tuple[int, float]]:
    """The tokens that are predicted, with their weights: what has a token before it and a weight."""
    pairs = [zip(example.ids[1:].tolist(), example.loss_weights[1:].tolist(), strict=True) for example in examples]
    return [(token, weight) for token, weight in chain.from_iterable(pairs) if weight > 0]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=7),
    st.integers(2, 20),
    st.randoms(use_true_random=False),
)
def test_every_target_of_the_stream_is_trained_once(
    lengths: list[int], weights: list[float], capacity: int, random
) -> None:
    examples = stream_of(lengths, weights)
    order = random.sample(range(len(lengths)), len(lengths))
    rows = pack(np.array(order), np.array(lengths), how="wrapped", capacity=capacity)
    full = [row for row in rows if lengths[row[0].example] == capacity]
    whole = [index for index in order if lengths[index] == capacity]
    assert full == [(Piece(example=index, start=0, stop=capacity),) for index in whole]
    stream = [row for row in rows if row not in full]
    others = [index for index in order if index not in whole]
    trained = targets_of(list(chain.from_iterable(examples_of(row, examples) for row in stream)))
    assert trained == targets_of([examples[index] for index in others])
    sizes = [sum(piece.stop - piece.start for piece in row) for row in stream]
    assert all(capacity - 1 <= size <= capacity for size in sizes[:-1])
    assert all(1 <= size <= capacity for size in sizes[-1:])
    pieces = list(chain.from_iterable(stream))
    for piece, following in pairwise(pieces):
        assert following.start == (piece.stop - 1 if following.example == piece.example else 0)
    assert all(piece.stop - piece.start > 1 or lengths[piece.example] == 1 for piece in pieces)
    assert [piece.example for piece in pieces if piece.start == 0] == others
    assert rows.tokens == sum(lengths) + sum(piece.start > 0 for piece in pieces)


def test_a_stream_by_hand() -> None:
    lengths = np.array([5, 7, 8, 4, 2])
    rows = pack(np.array([0, 1, 2, 3, 4]), lengths, how="wrapped", capacity=8)
    assert list(rows) == [
        (Piece(example=0, start=0, stop=5), Piece(example=1, start=0, stop=3)),
        (Piece(example=1, start=2, stop=7), Piece(example=3, start=0, stop=3)),
        (Piece(example=2, start=0, stop=8),),  # it fills a row: it is no part of the stream, which would cut it
        (Piece(example=3, start=2, stop=4), Piece(example=4, start=0, stop=2)),
    ]
    assert rows.cut_examples == 2
    assert rows.tokens == 28
    assert rows.fill == 28 / 32


def test_a_row_is_left_short_where_one_token_would_train_nothing() -> None:
    rows = pack(np.array([0, 1]), np.array([7, 4]), how="wrapped", capacity=8)
    assert contents(rows) == [(0,), (1,)]
    assert rows.cut_examples == 0


def test_a_document_may_be_longer_than_many_rows() -> None:
    (document,) = stream_of([20], [1.0])
    rows = pack(np.array([0]), np.array([20]), how="wrapped", capacity=8)
    parts = [part for row in rows for part in examples_of(row, [document])]
    assert [part.ids.tolist() for part in parts] == [[*range(8)], [*range(7, 15)], [*range(14, 20)]]
    assert [part.loss_weights.tolist() for part in parts] == [[1] * 8, [0] + [1] * 7, [0] + [1] * 5]
    assert all(part.location == document.location for part in parts)
    assert document.loss_weights.tolist() == [1] * 20
    assert rows.cut_examples == 1


def test_a_whole_example_is_not_copied() -> None:
    examples = stream_of([3, 2], [1.0])
    row: Row = (Piece(example=1, start=0, stop=2), Piece(example=0, start=0, stop=3))
    first, second = examples_of(row, examples)
    assert first is examples[1]
    assert second is examples[0]


# All epochs


def test_every_epoch_shuffles_its_rows_anew() -> None:
    mixture = Mixture({"only": range(9)}, {"only": 1.0}, seed=3)
    packing = Packing(mixture, np.arange(11, 20), how="bfd", capacity=20, seed=3)  # each is a row, longest first
    assert len({tuple(contents(packing.rows(epoch))) for epoch in range(4)}) == 4


def packing_of(how, sizes=(40,), weights=(1.0,), seed=3) -> Packing:
    ends = np.cumsum([0, *sizes]).tolist()
    sources = {str(number): range(start, end) for number, (start, end) in enumerate(pairwise(ends))}
    mixture = Mixture(sources, {str(number): weight for number, weight in enumerate(weights)}, seed)
    return Packing(mixture, realistic_lengths(sum(sizes)), how=how, capacity=1024, seed=seed)


def test_every_epoch_packs_anew_and_the_same_again() -> None:
    packing, again = packing_of("bfd", sizes=(500,)), packing_of("bfd", sizes=(500,))
    epochs = [contents(packing.rows(epoch)) for epoch in range(3)]
    assert [contents(again.rows(epoch)) for epoch in (2, 0, 1)] == [epochs[2], epochs[0], epochs[1]]
    together = [{frozenset(row) for row in epoch} for epoch in epochs]
    assert together[0] != together[1] != together[2] != together[0]
    assert contents(packing_of("bfd", sizes=(500,), seed=4).rows(0)) != epochs[0]


@pytest.mark.parametrize("how", ["none", "bfd", "wrapped"])
@pytest.mark.parametrize(("sizes", "weights"), [((40,), (1.0,)), ((20, 20), (1.0, 1.0)), ((30, 50), (2.0, 1.0))])
def test_rows_are_counted_right(how, sizes, weights) -> None:
    packing = packing_of(how, sizes, weights)
    counts = [packing.row_count(epoch) for epoch in range(6)]
    assert counts == [len(packing_of(how, sizes, weights).rows(epoch)) for epoch in range(6)]
    if packing.alike:
        assert len(set(counts)) == 1
    assert packing.alike == (how == "none" or (how == "bfd" and sizes != (30, 50)))


def test_a_remainder_that_is_drawn_anew_can_take_other_rows() -> None:
    counts = {packing_of("bfd", (30, 50), (2.0, 1.0)).row_count(epoch) for epoch in range(20)}
    assert len(counts) > 1


def test_a_line_for_people() -> None:
    assert packing_line("bfd", rows=1063, capacity=1024, fill=0.9918) == "bfd, 1,063 rows of 1,024 tokens, 99.2% full"
    assert packing_line("none", rows=7, capacity=1024, fill=0.2) == "none, each example is a row of its own"


# What a run makes of it


@pytest.mark.parametrize("how", ["none", "bfd", "wrapped"])
def test_no_micro_batch_of_a_run_exceeds_its_longest_row(how, tmp_path: Path, tiny_model_dir: Path) -> None:
    make_project(tmp_path, tiny_model_dir)
    write_records(tmp_path / "val.jsonl", 5, subject="the longest of all subjects, by far, and")
    inputs = open_inputs(configure(tmp_path, packing=how, max_seq_len=200, batch_size=2, grad_accum=1))
    lengths = [*inputs.train.lengths, *inputs.validation.lengths]
    assert inputs.longest_document == max(lengths) == max(inputs.validation.lengths)
    rows = [[*inputs.plan.rows(step)] for step in range(1, inputs.plan.total_steps + 1)]
    validation = inputs.validation_rows
    rows += [
        [validation[number] for number in range(at, min(at + 2, len(validation)))] for at in range(len(validation))
    ]
    sizes = [sum(piece.stop - piece.start for piece in chain.from_iterable(taken)) for taken in rows]
    assert max(sizes) <= inputs.longest_row < 2 * max(sizes)
    at_once = open_inputs(configure(tmp_path, packing=how, max_seq_len=200, batch_size=10**6, grad_accum=1))
    assert sum(inputs.train.lengths) <= at_once.longest_row <= 7 * 200
    assert validation.cut_examples == 0
    assert sorted(chain.from_iterable(contents(validation))) == list(range(5))
    assert any("are cut by train.packing: wrapped" in notice for notice in inputs.notices) == (how == "wrapped")


def test_a_run_tells_of_a_set_of_which_no_epoch_holds_an_example(tmp_path: Path, tiny_model_dir: Path) -> None:
    make_project(tmp_path, tiny_model_dir)
    write_records(tmp_path / "more.jsonl", 4, subject="another")
    sets = [{"path": str(tmp_path / "train.jsonl")}, {"path": str(tmp_path / "more.jsonl"), "weight": 0.01}]
    told = "nothing of more is trained: its weight asks for less than one example an epoch; raise its weight"
    assert [one for one in open_inputs(configure(tmp_path, datasets=sets)).notices if one.startswith(told)]
    sets[1]["weight"] = 0.5
    assert not [one for one in open_inputs(configure(tmp_path, datasets=sets)).notices if one.startswith(told)]


def test_the_position_of_a_step_needs_no_search_where_tokens_are_mixed() -> None:
    lengths = np.random.default_rng(1).integers(1, 50, 60)
    mixture = Mixture({"a": range(20), "b": range(20, 60)}, {"a": 3, "b": 1}, 3, by="tokens", lengths=lengths)
    packing = Packing(mixture, lengths, how="none", capacity=50, seed=3)
    assert packing.alike
    assert {len(packing.rows(epoch)) for epoch in range(8)} == {packing.row_count(10**12)} == {packing.visits}


def test_a_mixture_leaves_validation_as_it_is(tmp_path: Path, tiny_model_dir: Path) -> None:
    make_project(tmp_path, tiny_model_dir)
    sets = [{"path": str(tmp_path / "train.jsonl"), "weight": 0.5}]
    mixed = configure(tmp_path, datasets=sets, mix={"by": "tokens", "epoch": 2000})
    inputs = open_inputs(mixed)
    assert inputs.plan.packing.visits > 20
    assert contents(inputs.validation_rows) == [(0,), (1,), (2,)]
