"""The learning rate at each step, by hand."""

from __future__ import annotations

import pytest

from weft.training.schedule import learning_rate, warmup_length


def rates(total: int, warmup: int, kind: str, peak: float = 8.0) -> list[float]:
    return [learning_rate(step, total, warmup, peak, kind) for step in range(1, total + 1)]


def test_linear_without_warmup_starts_at_the_peak_and_never_spends_a_step_at_zero():
    assert rates(4, 0, "linear") == [8, 6, 4, 2]


def test_linear_with_warmup_rises_from_zero_to_the_peak_at_the_last_warmup_step():
    assert rates(5, 2, "linear") == [4, 8, 6, 4, 2]


def test_cosine_is_half_a_cosine():
    assert rates(4, 0, "cosine") == pytest.approx([8, 4 + 4 * 2**-0.5, 4, 4 - 4 * 2**-0.5])


def test_constant_stays():
    assert rates(4, 2, "constant") == [4, 8, 8, 8]


def test_a_warmup_of_all_steps_only_rises():
    assert rates(4, 4, "cosine") == [2, 4, 6, 8]


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_every_rate_is_positive_and_at_most_the_peak(kind):
    for total in range(1, 12):
        for warmup in range(total + 2):
            assert all(0 < rate <= 8 for rate in rates(total, warmup, kind))


def test_the_warmup_ratio_rounds_up_and_steps_take_precedence():
    assert warmup_length(100, steps=None, ratio=0.03) == 3
    assert warmup_length(50, steps=None, ratio=0.03) == 2
    assert warmup_length(50, steps=0, ratio=0.5) == 0
