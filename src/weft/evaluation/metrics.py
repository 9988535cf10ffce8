"""Metrics: pure functions from a prediction and its reference to a number in [0, 1], each with a versioned name.

A version changes whenever the same two texts would get another number, so that reports of different days are comparable
exactly where their versions agree. The loss is not here: it needs the model, not its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

# Scripts written without spaces between words: every character is a token. Han with its extensions, hiragana, katakana,
# and 々〆〇. Hangul is not among them: Korean puts spaces between words.
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_TOKEN = re.compile(f"[{_HAN}{_KANA}]|[^\\W_{_HAN}{_KANA}]+")


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L: the F1 of the longest common subsequence of tokens (Lin 2004, "ROUGE", section 3, with beta = 1).

    A token is a lower-cased run of letters and digits; each Chinese and Japanese character is a token of its own. On ASCII
    text this equals the ``rougeL`` f-measure of the ``rouge-score`` package without stemming. Where a text has no token
    at all, the score is 0, as it is there.

    Returns:
        A number in [0, 1]; 1 where the tokens are the same, in the same order.
    """
    predicted, expected = tokens(prediction), tokens(reference)
    common = LCSseq.similarity(predicted, expected)
    # 2PR / (P + R) with the precision P = common / len(predicted) and the recall R = common / len(expected)
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


def exact_match(prediction: str, reference: str) -> float:
    """1 where both texts are the same after runs of whitespace became one space and the edges were trimmed, else 0."""
    return float(prediction.split() == reference.split())


def tokens(text: str) -> list[str]:
    """The tokens of :func:`rouge_l`."""
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A metric as reports name it."""

    function: Callable[[str, str], float]
    """From (prediction, reference) to [0, 1]; greater is better."""
    title: str
    """What tables call it."""
    version: str
    """Reports are comparable where this agrees."""
    high: float | None = None
    """Reports give the share of answers that reach this score; None where the mean says it already."""


METRICS = {
    "rouge_l": Metric(function=rouge_l, title="ROUGE-L", version="rouge_l-f1-1", high=0.9),
    "exact_match": Metric(function=exact_match, title="exact match", version="exact_match-1"),
}
"""Every metric by the name that ``eval.metrics`` uses. A new one is a function above and a line here."""
