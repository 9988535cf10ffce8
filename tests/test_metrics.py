"""ROUGE-L by hand and against the textbook recurrence; exact match; tokens of several scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.evaluation.metrics import METRICS, exact_match, rouge_l, tokens

WORDS = st.lists(st.sampled_from(["the", "a", "cat", "sat", "on", "mat", "Mat.", "--"]), max_size=12).map(" ".join)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("police killed the gunman", "police kill the gunman", 0.75),  # Lin 2004, section 3.1: LCS 3 of 4 and 4
        ("the gunman kill police", "police kill the gunman", 0.5),  # Lin 2004: "the gunman"
        ("The CAT sat!", "the cat, sat", 1.0),
        ("a b c d", "a c", 2 * (2 / 4) * (2 / 2) / (2 / 4 + 2 / 2)),
        ("one two", "three four", 0.0),
        ("", "something", 0.0),
        ("!!!", "!!!", 0.0),  # no token at all, as rouge-score has it
        ("snake_case", "snake case", 1.0),
        ("电场强度是矢量", "电场是矢量", 2 * (5 / 7) * (5 / 5) / (5 / 7 + 5 / 5)),
        ("東京タワー", "東京 タワー", 1.0),
        ("Straße café", "straße CAFÉ", 1.0),
        ("cafe\u0301", "café", 1.0),
        ("कि", "की", 0.0),  # "that" and "of", which differ in a vowel sign
        ("ไม่ดี", "ดี", 2 * (1 / 3) * (1 / 1) / (1 / 3 + 1 / 1)),  # no spaces: ไ ม่ ดี
    ],
)
def test_rouge_l_by_hand(prediction: str, reference: str, expected: float) -> None:
    assert rouge_l(prediction, reference) == pytest.approx(expected, abs=1e-12)


@given(WORDS, WORDS)
def test_rouge_l_is_the_f1_of_the_textbook_recurrence(prediction: str, reference: str) -> None:
    """On ASCII, with the tokenisation of rouge-score: everything but [a-z0-9] separates."""
    a, b = ["".join(c if c.isalnum() else " " for c in text.lower()).split() for text in (prediction, reference)]
    length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            length[i + 1][j + 1] = length[i][j] + 1 if left == right else max(length[i][j + 1], length[i + 1][j])
    common = length[-1][-1]
    precision, recall = common / max(1, len(a)), common / max(1, len(b))
    expected = 2 * precision * recall / (precision + recall) if common else 0.0
    assert rouge_l(prediction, reference) == pytest.approx(expected, abs=1e-12)
    assert rouge_l(reference, prediction) == pytest.approx(expected, abs=1e-12)


def test_tokens_of_several_scripts() -> None:
    assert tokens("GPT-2 kostet 3.5 €") == ["gpt", "2", "kostet", "3", "5"]
    assert tokens("用Python写、人々は〇") == ["用", "python", "写", "人", "々", "は", "〇"]
    assert tokens("한국어 모델") == ["한국어", "모델"]
    assert tokens("नमस्ते, दुनिया।") == ["नमस्ते", "दुनिया"]
    assert tokens("ภาษาไทย ๓") == ["ภ", "า", "ษ", "า", "ไ", "ท", "ย", "๓"]
    assert tokens("ខ្មែរ ၁၂ မြန်မာ") == ["ខ្", "មែ", "រ", "၁၂", "မြ", "န်", "မာ"]
    assert tokens("שָׁלוֹם עֲלֵיכֶם") == ["שָׁלוֹם", "עֲלֵיכֶם"]
    assert tokens("か\u3099 İstanbul") == ["が", "i\u0307stanbul"]


def test_marks_on_nothing_are_no_tokens() -> None:
    assert tokens("\u0301 ❤\ufe0f a\ufe0f ’\u0301s") == ["a", "s"]


def test_exact_match_forgives_whitespace_only() -> None:
    assert exact_match("  Paris is\n\nthe capital. ", "Paris is the capital.") == 1.0
    assert exact_match("paris is the capital.", "Paris is the capital.") == 0.0
    assert exact_match("Paris is the capital", "Paris is the capital.") == 0.0


def test_the_configuration_accepts_every_metric() -> None:
    from weft.config.schema import EvalConfig

    assert set(EvalConfig().metrics) == {*METRICS, "loss"}
