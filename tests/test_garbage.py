"""The garbage collector is called seldom while records are read, and as before afterwards."""

from __future__ import annotations

import gc

import pytest

from weft.garbage import collecting_seldom


def test_it_comes_seldom_and_then_as_before():
    before = gc.get_threshold()
    with collecting_seldom():
        assert gc.get_threshold() == (200_000, *before[1:])
    assert gc.get_threshold() == before


def test_it_comes_as_before_after_an_error_too():
    before = gc.get_threshold()
    with pytest.raises(ImportError), collecting_seldom():
        raise ImportError
    assert gc.get_threshold() == before
