"""The order of examples: exact shares, whole copies, fresh remainders, and the same again for the same seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.load import load_config
from weft.data.mixture import Mixture, Share, mixture_line
from weft.errors import ConfigError, Problems

Sizes = st.lists(st.integers(1, 30), min_size=1, max_size=5)
WEIGHT = st.floats(0.01, 100) | st.integers(1, 9).map(float)


def slices(sizes: list[int]) -> dict[str, range]:
    ends = np.cumsum([0, *sizes]).tolist()
    return {f"s{i}": range(start, end) for i, (start, end) in enumerate(pairwise(ends))}


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[Mixture, dict[str, range], dict[str, float]]:
    sources = slices(draw(Sizes))
    weights = {name: draw(WEIGHT) for name in sources}
    return Mixture(sources, weights, draw(st.integers(0, 2**63 - 1))), sources, weights


@given(mixtures(), st.integers(0, 1000))
def test_shares_and_copies_are_exact(drawn: tuple[Mixture, dict[str, range], dict[str, float]], epoch: int) -> None:
    mixture, sources, weights = drawn
    order = mixture.order(epoch)
    assert order.dtype == np.int64
    assert len(order) == mixture.epoch_length == sum(map(len, sources.values()))
    visits = Counter(order.tolist())
    for name, source in sources.items():
        realised = sum(visits[index] for index in source)
        target = Fraction(weights[name]) / sum(map(Fraction, weights.values())) * mixture.epoch_length
        assert abs(realised - target) < 1 + 1e-9
        copies = realised // len(source)
        assert {visits[index] for index in source} <= {copies, copies + 1}


@given(Sizes, st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_one_source_is_a_permutation(sizes: list[int], seed: int, epoch: int) -> None:
    size = sizes[0]
    mixture = Mixture({"only": range(size)}, {"only": 0.3}, seed)
    assert sorted(mixture.order(epoch).tolist()) == list(range(size))


@given(mixtures(), st.integers(0, 50))
def test_the_same_again_from_anywhere(drawn: tuple[Mixture, dict[str, range], dict[str, float]], epoch: int) -> None:
    mixture, sources, weights = drawn
    again = Mixture(sources, weights, mixture._seed)
    again.order(epoch + 1)  # a resumed run comes from elsewhere
    assert again.order(epoch).tolist() == mixture.order(epoch).tolist()


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(Mixture({"a": range(50)}, {"a": 1}, seed).order(epoch).tolist()) for seed in (1, 2) for epoch in range(5)
    }
    assert len(orders) == 10


def test_by_hand() -> None:
    mixture = Mixture({"small": range(2), "large": range(2, 10)}, {"small": 1, "large": 1}, 7)
    for epoch in range(20):
        visits = Counter(mixture.order(epoch).tolist())
        assert [visits[0] + visits[1], sum(visits[index] for index in range(2, 10))] == [5, 5]
        assert sorted([visits[0], visits[1]]) == [2, 3]
        assert max(visits[index] for index in range(2, 10)) == 1


def test_the_remainder_is_drawn_anew_in_every_epoch() -> None:
    """Over many epochs each example of a halved source is visited about every second time."""
    mixture = Mixture({"half": range(10), "more": range(10, 20)}, {"half": 1, "more": 3}, 3)
    visits = Counter(index for epoch in range(400) for index in mixture.order(epoch).tolist())
    for index in range(10):
        assert visits[index] == pytest.approx(200, abs=50)


@given(mixtures())
def test_epochs_repeat_where_no_remainder_is_drawn(drawn: tuple[Mixture, dict[str, range], dict[str, float]]) -> None:
    mixture, sources, _ = drawn
    total = max(source.stop for source in sources.values())
    visits = [np.bincount(mixture.order(epoch), minlength=total) for epoch in range(2)]
    even = all(len({int(visits[0][index]) for index in source}) == 1 for source in sources.values())
    assert mixture.repeats == even
    if mixture.repeats:
        assert visits[0].tolist() == visits[1].tolist()


@pytest.mark.parametrize("weight", [5e-324, 1.7e308])
def test_weights_are_relative_to_each_other_at_any_size(weight: float) -> None:
    sources = slices([4, 6])
    visited = Mixture(sources, dict.fromkeys(sources, weight), 0).order(0)
    assert sorted(visited.tolist()) == sorted(Mixture(sources, dict.fromkeys(sources, 1.0), 0).order(0).tolist())


@given(Sizes, st.integers(0, 2**63 - 1), st.integers(0, 50), st.data())
def test_sources_of_which_none_has_a_weight_are_joined(
    sizes: list[int], seed: int, epoch: int, data: st.DataObject
) -> None:
    sources = slices(sizes)
    lengths = np.array(data.draw(st.lists(st.integers(1, 9_999), min_size=sum(sizes), max_size=sum(sizes))))
    for by in ("examples", "tokens"):
        for length in ("total", "longest", "shortest"):
            mixture = Mixture(sources, dict.fromkeys(sources), seed, by=by, epoch=length, lengths=lengths)
            assert sorted(mixture.order(epoch).tolist()) == list(range(sum(sizes)))
            assert mixture.visits_each_once


def test_beside_a_weight_none_is_one_but_not_beside_zero() -> None:
    sources = {"a": range(30), "b": range(30, 40), "c": range(40, 50)}
    mixed = Mixture(sources, {"a": None, "b": 2, "c": None}, 1)
    assert [(share.name, share.examples) for share in mixed.shares()] == [("a", 13), ("b", 25), ("c", 12)]
    joined = Mixture(sources, {"a": None, "b": 0, "c": None}, 1)
    assert [(share.name, share.examples) for share in joined.shares()] == [("a", 30), ("c", 10)]


def test_a_source_of_weight_zero_is_absent() -> None:
    sources = {"a": range(3), "unused": range(3, 100), "b": range(100, 103)}
    mixture = Mixture(sources, {"a": 1, "unused": 0, "b": 1}, 5)
    assert mixture.epoch_length == 6
    assert mixture.order(0).tolist() == [
        index if index < 3 else index + 97
        for index in Mixture({"a": range(3), "b": range(3, 6)}, {"a": 1, "b": 1}, 5).order(0).tolist()
    ]


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ConfigError, match="no dataset has a weight above 0"):
        Mixture({"a": range(3)}, {"a": 0}, 1)
    with pytest.raises(ConfigError, match="'b' has no examples"):
        Mixture({"a": range(3), "b": range(0)}, {"a": 1, "b": 1}, 1)
    assert Mixture({"a": range(3), "b": range(0)}, {"a": 1, "b": 0}, 1).epoch_length == 3


def test_the_order_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Mixture({"a": range(3)}, {"a": 1}, 1).order(0)[0] = 2


# How much an epoch holds, and of what


Drawn = tuple[Mixture, dict[str, range], dict[str, float], np.ndarray]
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@st.composite
def mixtures_by(draw: st.DrawFn, by: str, epochs: st.SearchStrategy) -> Drawn:
    drawn = draw(st.lists(LENGTHS, min_size=1, max_size=4))
    sources = slices([len(lengths) for lengths in drawn])
    lengths = np.array([length for each in drawn for length in each], np.int32)
    weights = {name: draw(WEIGHT) for name in sources}
    epoch = draw(epochs)
    if isinstance(epoch, int) and by == "tokens":
        epoch += 240  # more than four of the longest, so that something is drawn from the mixture at all
    seed = draw(st.integers(0, 2**63 - 1))
    return Mixture(sources, weights, seed, by=by, epoch=epoch, lengths=lengths), sources, weights, lengths


EPOCH = st.sampled_from(["total", "longest", "shortest"]) | st.integers(1, 400)


def visits_in(mixture: Mixture, epoch: int, source: range) -> np.ndarray:
    """How often an epoch visits each example of a source."""
    return np.bincount(mixture.order(epoch), minlength=source.stop)[source.start : source.stop]


@given(mixtures_by("tokens", EPOCH), st.integers(0, 1000))
def test_shares_of_tokens_are_off_by_less_than_an_example(drawn: Drawn, epoch: int) -> None:
    mixture, sources, weights, lengths = drawn
    shares = {share.name: share for share in mixture.shares(epoch)}
    total = sum(share.target for share in shares.values())
    for name, source in sources.items():
        own = lengths[source.start : source.stop]
        realised = int(visits_in(mixture, epoch, source) @ own)
        assert shares[name].realised == realised
        assert shares[name].target == pytest.approx(weights[name] / sum(weights.values()) * total)
        assert abs(realised - shares[name].target) <= own.max() + 1e-6


@given(mixtures_by("examples", EPOCH), st.integers(0, 1000))
def test_shares_of_examples_are_off_by_less_than_one(drawn: Drawn, epoch: int) -> None:
    mixture, sources, weights, _ = drawn
    shares = {share.name: share for share in mixture.shares(epoch)}
    total = sum(share.target for share in shares.values())
    for name, source in sources.items():
        realised = int(visits_in(mixture, epoch, source).sum())
        assert shares[name].realised == shares[name].examples == realised
        assert shares[name].target == pytest.approx(weights[name] / sum(weights.values()) * total)
        assert abs(realised - shares[name].target) < 1 + 1e-6


@given(st.sampled_from(["examples", "tokens"]).flatmap(lambda by: mixtures_by(by, EPOCH)), st.integers(1, 1000))
def test_epochs_differ_only_in_the_remainder(drawn: Drawn, epoch: int) -> None:
    mixture, sources, _, _ = drawn
    assert len(mixture.order(0)) == len(mixture.order(epoch)) == mixture.epoch_length
    for source, share in zip(sources.values(), mixture.shares(), strict=True):
        copies, remainder = divmod(share.examples, len(source))
        for each in (0, epoch):
            visits = visits_in(mixture, each, source)
            assert sorted(visits) == [copies] * (len(source) - remainder) + [copies + 1] * remainder


@given(st.sampled_from(["examples", "tokens"]), st.data())
def test_a_longest_epoch_leaves_nothing_out_and_a_shortest_one_repeats_nothing(by: str, data: st.DataObject) -> None:
    longest, sources, _, _ = data.draw(mixtures_by(by, st.just("longest")))
    passes = [visits_in(longest, 0, source) for source in sources.values()]
    # by tokens, the remainder of a set that lasts a little less may miss what about one example holds
    complete = [(visits >= 1).all() for visits in passes]
    assert any(complete) if by == "tokens" else all(complete)
    assert any((visits == 1).all() for visits in passes)
    shortest, sources, _, _ = data.draw(mixtures_by(by, st.just("shortest")))
    passes = [visits_in(shortest, 0, source) for source in sources.values()]
    assert all((visits <= 1).all() for visits in passes)
    assert any((visits == 1).all() for visits in passes)


@given(st.integers(1, 500), st.sampled_from(["examples", "tokens"]))
def test_a_number_is_how_much_an_epoch_holds(number: int, by: str) -> None:
    sources, lengths = slices([7, 20]), np.full(27, 1)
    mixture = Mixture(sources, {"s0": 1, "s1": 3}, 5, by=by, epoch=number, lengths=lengths)
    assert sum(share.target for share in mixture.shares()) == pytest.approx(number)
    assert abs(mixture.epoch_length - number) <= (by == "tokens")


def test_epochs_by_hand() -> None:
    """Ten examples of one token against four of five, in equal shares."""
    sources, lengths = {"short": range(10), "long": range(10, 14)}, np.array([1] * 10 + [5] * 4)

    def counts(**how: object) -> list[int]:
        mixture = Mixture(sources, {"short": 2, "long": 2}, 1, lengths=lengths, **how)  # type: ignore[arg-type]
        return [share.examples for share in mixture.shares()]

    assert counts() == counts(by="examples", epoch="total") == [7, 7]
    assert counts(epoch="longest") == [10, 10]
    assert counts(epoch="shortest") == [4, 4]
    assert counts(epoch=6) == [3, 3]
    assert counts(by="tokens", epoch="total") == [15, 3]
    assert counts(by="tokens", epoch="longest") == [20, 4]
    assert counts(by="tokens", epoch="shortest") == [10, 2]
    assert counts(by="tokens", epoch=100) == [50, 10]


def test_the_default_is_the_order_that_runs_have_had() -> None:
    """Of the revision before data.mix: another order would be another run."""
    sources = slices([5, 30, 12])
    weights = {"s0": 0.4, "s1": 0.4, "s2": 0.2}
    order = Mixture(sources, weights, 42).order(3)
    assert (
        hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
        == "2916c5ac7ad977b4532f8d09949904f123e9e7828eb7f9777f646c71dc0082f8"
    )
    again = Mixture(sources, weights, 42, by="examples", epoch="total", lengths=np.arange(1, 48))
    assert again.order(3).tolist() == order.tolist()


def test_by_tokens_the_remainder_is_drawn_anew_and_no_example_is_favoured() -> None:
    lengths = np.array([1, 9] * 10 + [50] * 10)
    mixture = Mixture({"a": range(20), "b": range(20, 30)}, {"a": 1, "b": 9}, 3, by="tokens", lengths=lengths)
    visits = np.bincount(np.concatenate([mixture.order(epoch) for epoch in range(400)]), minlength=30)[:20]
    expected = 400 * mixture.shares()[0].examples / 20
    assert visits.min() > 0.7 * expected
    assert visits.max() < 1.3 * expected


def test_a_weight_that_asks_for_a_thousand_million_visits_is_refused() -> None:
    sources = slices([10, 10])
    for weight in (1e-9, 5e-324):
        with pytest.raises(ConfigError, match=r"data\.mix\.epoch: .* more than 100,000,000 examples, .* dataset 's1'"):
            Mixture(sources, {"s0": weight, "s1": 1}, 1, epoch="longest")
    assert Mixture(sources, {"s0": 5e-324, "s1": 1}, 1, epoch="shortest").epoch_length == 10
    with pytest.raises(ConfigError, match="more than 100,000,000 examples"):
        Mixture(sources, {"s0": 1, "s1": 1}, 1, epoch=10**12)


def test_an_epoch_without_an_example_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.mix\.epoch: an epoch of 3 tokens holds no example"):
        Mixture({"a": range(4)}, {"a": 1}, 1, by="tokens", epoch=3, lengths=np.full(4, 9))


def test_the_line_for_people() -> None:
    shares = (
        Share(name="a", target=300.0, realised=299, examples=30, passes=1.5),
        Share(name="b", target=100.0, realised=101, examples=5, passes=0.25),
    )
    assert mixture_line("tokens", shares) == (
        "by tokens: a 74.75% (target 75.00%), 299 tokens in 1.50 passes; b 25.25% (target 25.00%), 101 tokens in 0.25 passes"
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("datasets: [{path: a.jsonl, weight: -1}]", "datasets[0].weight"),
        ("datasets: [{path: a.jsonl, weight: 0}, {path: b.jsonl, weight: 0}]", "datasets is 0"),
        ("datasets: [{path: a.jsonl, weight: .inf}]", "datasets[0].weight"),
        ("data: {mix: {epoch: 0}}", "data.mix.epoch"),
        ("data: {mix: {epoch: weekly}}", "data.mix.epoch"),
        ("data: {mix: {by: bytes}}", "data.mix.by"),
    ],
)
def test_settings_that_cannot_be_mixed_are_refused_by_name(setting: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(setting, encoding="utf-8")
    with pytest.raises((ConfigError, Problems)) as refused:
        load_config(path, ())
    assert said in str(refused.value)
    assert "c.yaml:1" in str(refused.value)
