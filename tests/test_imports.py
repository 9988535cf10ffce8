"""The garbage collector sleeps during large imports, and only then."""

from __future__ import annotations

import gc

import pytest

from weft.garbage import collecting_later


def test_it_sleeps_inside_and_forgets_what_was_made_there():
    try:
        with collecting_later():
            assert not gc.isenabled()
            made: list[object] = []
            made.append(made)
        assert gc.isenabled()
        assert not any(found is made for found in gc.get_objects())  # it is frozen
    finally:
        gc.unfreeze()


def test_it_wakes_after_an_error_too():
    with pytest.raises(ImportError), collecting_later():
        raise ImportError
    gc.unfreeze()
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off():
    gc.disable()
    try:
        with collecting_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
