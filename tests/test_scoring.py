"""From predictions to the numbers over a set."""

from __future__ import annotations

from weft.evaluation.scoring import Prediction, Summary, score
from weft.types import Completion, Location, Message


def _prediction(answer: str, *, reference: str = "a b c d", finish: str = "stop", tokens: int = 5) -> Prediction:
    return Prediction(
        id=None,
        location=Location(path="set.jsonl", line=1),
        prompt=(Message(role="user", content="q"),),
        reference=reference,
        completion=Completion(text=answer, finish=finish, tokens=tokens),
    )


def test_mean_median_share_and_endings() -> None:
    predictions = [
        _prediction("a b c d"),  # 1.0
        _prediction("a b", finish="length", tokens=7),  # precision 1, recall 1/2: 2/3
        _prediction("x", tokens=1),  # 0.0
        _prediction("a b c d e", reference="a b c d"),  # precision 4/5, recall 1: 8/9
    ]
    result = score(predictions, ["rouge_l", "exact_match"])
    values = [1.0, 2 / 3, 0.0, 8 / 9]  # 2 × common / (tokens of both)
    assert [row["rouge_l"] for row in result.rows] == values
    assert result.metrics["rouge_l"] == Summary(mean=sum(values) / 4, median=(2 / 3 + 8 / 9) / 2, share_high=0.25)
    assert result.metrics["exact_match"] == Summary(mean=0.25, median=0.0, share_high=None)
    assert (result.n, result.at_limit, result.tokens) == (4, 1, 18)


def test_a_score_of_exactly_the_mark_counts_as_high() -> None:
    nine_of_ten = _prediction("1 2 3 4 5 6 7 8 9 x", reference="1 2 3 4 5 6 7 8 9 10")  # 9/10 and 9/10
    assert score([nine_of_ten], ["rouge_l"]).metrics["rouge_l"].share_high == 1.0


def test_only_what_was_asked_for_is_computed() -> None:
    assert list(score([_prediction("a")], ["exact_match"]).metrics) == ["exact_match"]
