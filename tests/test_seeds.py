"""Derived seeds: fixed for ever (a resumed run must draw the same numbers), and different for every purpose."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weft.data.seeds import derive_seed

Purposes = st.lists(st.integers() | st.text(), max_size=4).map(tuple)


def test_the_value_is_the_head_of_a_documented_digest() -> None:
    by_hand = int.from_bytes(hashlib.sha256(b'[42,"order",3]').digest()[:8], "big")
    assert derive_seed(42, "order", 3) == by_hand == 10068695786079465888


def test_arguments_that_read_alike_differ() -> None:
    seeds = {
        derive_seed(1, "a", "b"),
        derive_seed(1, "ab"),
        derive_seed(1, "a", 1),
        derive_seed(1, "a", "1"),
        derive_seed(11, "a"),
        derive_seed(1, 1, "a"),
    }
    assert len(seeds) == 6


def test_numpy_integers_count_as_integers() -> None:
    assert derive_seed(np.int64(7), "step", np.int32(5)) == derive_seed(7, "step", 5)


@given(st.integers(), Purposes, st.integers(), Purposes)
def test_64_bits_and_no_collisions(seed: int, purpose: tuple, other_seed: int, other_purpose: tuple) -> None:
    value, other = derive_seed(seed, *purpose), derive_seed(other_seed, *other_purpose)
    assert 0 <= value < 2**64
    assert (value == other) == ((seed, purpose) == (other_seed, other_purpose))
