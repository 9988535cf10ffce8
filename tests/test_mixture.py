"""The order of examples: exact shares, whole copies, fresh remainders, and the same again for the same seed."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.data.mixture import Mixture
from weft.errors import ConfigError

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


def test_a_source_without_weight_is_absent() -> None:
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
