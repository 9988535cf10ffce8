"""Metrics: pure functions from a prediction and its reference to a number in [0, 1], each with a versioned name.

A version changes whenever the same two texts would get another number, so that reports of different days are comparable
exactly where their versions agree. The loss is not here: it needs the model, not its answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

from weft.evaluation.tokens import tokens


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L: the F1 of the longest common subsequence of tokens (Lin 2004, "ROUGE", section 3, with beta = 1).

    A token is a lower-cased run of letters and digits with their marks; in scripts without spaces, such as Chinese, Japanese and
    Thai, each letter is a token of its own (:func:`weft.evaluation.tokens.tokens`). On ASCII text this equals the ``rougeL``
    f-measure of the ``rouge-score`` package without stemming. Where a text has no token at all, the score is 0, as it is there.

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
    "rouge_l": Metric(function=rouge_l, title="ROUGE-L", version="rouge_l-f1-2", high=0.9),
    "exact_match": Metric(function=exact_match, title="exact match", version="exact_match-1"),
}
"""Every metric by the name that ``eval.metrics`` uses. A new one is a function above and a line here."""
