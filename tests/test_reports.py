"""Report files: their content, their safety against what models write, and that each is whole or absent."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from weft.errors import DataError
from weft.escape import visible
from weft.evaluation.report import EvalReport, SetLoss, markdown, write_report
from weft.evaluation.scoring import Prediction, score
from weft.types import Completion, Location, Message


def _predictions(*answers: str) -> list[Prediction]:
    return [
        Prediction(
            id=f"r{index}",
            location=Location(path="data/val.jsonl", line=index + 1),
            prompt=(Message(role="system", content="Be kind."), Message(role="user", content=f"question {index}")),
            reference="yes it is",
            completion=Completion(text=answer, finish="stop", tokens=4),
        )
        for index, answer in enumerate(answers)
    ]


def _report(predictions: list[Prediction], **changes: object) -> EvalReport:
    report = EvalReport(
        set_name="val",
        sources=("data/val.jsonl",),
        evaluated=len(predictions),
        score=score(predictions, ["rouge_l", "exact_match"]) if predictions else None,
        loss=SetLoss(loss=1.5, perplexity=4.4817, tokens=100, examples=3),
        dropped={},
        tuned=True,
        quick=False,
        model={"name": "models/nano"},
        template="chatml",
        generation={"max_new_tokens": 8, "temperature": 0.0},
        seconds=0.5,
        config={"seed": 42},
        date="2025-01-01T00:00:00+00:00",
        weft="0.1",
    )
    return dataclasses.replace(report, **changes)


def test_three_files_with_everything_a_reader_needs(tmp_path: Path) -> None:
    predictions = _predictions("yes it is", "no")
    paths = write_report(tmp_path / "run", _report(predictions), predictions)
    assert {path.name for path in paths} == {"eval_report_val.json", "eval_report_val.md", "predictions_val.jsonl"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in paths}  # nothing left aside
    rows = [json.loads(line) for line in (tmp_path / "run/predictions_val.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "id": "r0",
        "source": "data/val.jsonl:1",
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "question 0"}],
        "reference": "yes it is",
        "prediction": "yes it is",
        "finish": "stop",
        "tokens": 4,
        "scores": {"rouge_l": 1.0, "exact_match": 1.0},
    }
    report = json.loads((tmp_path / "run/eval_report_val.json").read_text())
    assert report["metrics"]["rouge_l"] == {"version": "rouge_l-f1-2", "mean": 0.5, "median": 0.5, "share_ge_0.9": 0.5}
    assert report["metrics"]["exact_match"] == {"version": "exact_match-1", "mean": 0.5, "median": 0.5}
    assert (report["n"], report["loss"], report["perplexity"], report["tuned"]) == (2, 1.5, 4.4817, True)
    assert report["config"] == {"seed": 42}


def test_names_tell_evaluations_apart() -> None:
    names = [
        _report(_predictions("a"), **changes).file_name
        for changes in ({}, {"tuned": False}, {"quick": True, "tuned": False}, {"set_name": "my set/é.v2"})
    ]
    assert names == ["val", "val_untuned", "val_quick_untuned", "my_set_é.v2"]


def test_without_answers_there_are_no_predictions(tmp_path: Path) -> None:
    paths = write_report(tmp_path, _report([]), [])
    assert [path.suffix for path in paths] == [".json", ".md"]
    assert "metrics" not in json.loads(paths[0].read_text())


def test_markdown_shows_worst_and_best_once() -> None:
    predictions = _predictions("yes it is", "no", "yes it")
    text = markdown(_report(predictions), predictions)
    lowest, highest = text.index("## Lowest"), text.index("## Highest")
    assert lowest < text.index("question 1") < text.index("question 2") < highest < text.index("question 0")
    assert text.count("question 1") == 1
    assert "| perplexity | 4.482 |" in text


def test_a_model_cannot_write_into_the_page() -> None:
    predictions = _predictions("```\n# not a heading\n<script>\x1b[2J")
    text = markdown(_report(predictions, sources=("a|b_<i>.jsonl",)), predictions)
    assert "````text\n```\n# not a heading\n<script>\\x1b[2J\n````" in text
    assert "a\\|b\\_\\<i\\>.jsonl" in text


def test_visible_keeps_text_and_writes_controls_out() -> None:
    assert visible("tab\tline\né 中 👩‍💻") == "tab\tline\né 中 👩‍💻"
    assert visible("\x1b]0;title\x07\r\x00\x9b31m\u202egnp.exe") == r"\x1b]0;title\x07\r\x00\x9b31m\u202egnp.exe"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(tmp_path / "file" / "run", _report(_predictions("a")), _predictions("a"))
