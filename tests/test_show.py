"""`weft show` and `weft render`: what they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from small_project import qa, write_project
from weft.cli import main


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path) -> Path:
    return write_project(tmp_path, tiny_model_dir)


def test_show_marks_what_is_trained_and_obeys_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "Hi \x1b[31m [bold]x[/bold]  <|im_end|>\t"
    (project / "train.jsonl").write_text(qa(evil, " Yes\nand \u202eno"), encoding="utf-8")
    assert main(["show", str(project / "c.yaml"), "model.max_seq_len=512"]) == 0
    shown = capsys.readouterr().out
    assert "<|im_start|>user↵\nHi \\x1b[31m [bold]x[/bold]··<|im_end|>⇥ <|im_end|>↵\n" in shown
    assert "⟦·Yes↵\nand \\u202eno<|im_end|>⟧\n" in shown
    assert shown.count("⟦") == 2, "one in the legend, one in the record"


def test_show_says_what_is_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(project / "c.yaml"), "model.max_seq_len=8", "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("longer than model.max_seq_len: left out of training") == 2


def test_show_as_json_carries_ids_and_weights(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(project / "c.yaml"), "--json"]) == 0
    (example,) = json.loads(capsys.readouterr().out)["examples"]
    assert len(example["ids"]) == len(example["loss_weights"])
    assert example["ids"][-1] == 5
    assert "".join(segment["text"] for segment in example["segments"] if segment["trained"]) == "Answer 0<|im_end|>"


def test_show_reads_no_more_than_it_shows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [qa(f"Question {i}?", f"Answer {i}") for i in range(1200)]
    rows[1100] = "{broken"
    train = project / "train.jsonl"
    train.write_text("\n".join(rows), encoding="utf-8")
    words = ["show", str(project / "c.yaml"), "-n"]
    assert main([*words, "1"]) == 0
    assert main([*words, "513"]) == 0
    shown = capsys.readouterr().out
    assert f"{train}:513: " in shown
    assert f"{train}:514: " not in shown
    assert main([*words, "1100"]) == 2
    assert f"{train}:1101: broken JSON" in capsys.readouterr().err


def test_show_names_all_that_cannot_be_used_once_it_meets_some(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [qa(f"Question {i}?", f"Answer {i}") for i in range(1200)]
    rows[3] = rows[1100] = "{broken"
    train = project / "train.jsonl"
    train.write_text("\n".join(rows), encoding="utf-8")
    words = ["show", str(project / "c.yaml")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"{train}:4: broken JSON" in error
    assert f"{train}:1101: broken JSON" in error
    assert f"{train}: 2 of 1200 records cannot be used" in error
    assert main([*words, "-n", "4", "on_bad_row=drop"]) == 0
    shown = capsys.readouterr().out
    assert [f"{train}:{line}: " in shown for line in range(1, 7)] == [True, True, True, False, True, False]


def test_records_of_which_nothing_is_trained_are_passed_over_where_training_leaves_them_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "train": False}]
    untrained = json.dumps({"messages": turns})
    train = project / "train.jsonl"
    train.write_text("\n".join([untrained, qa("Q?", "A"), untrained, qa("R?", "B"), qa("S?", "C")]), encoding="utf-8")
    for command in ("show", "render"):
        words = [command, str(project / "c.yaml"), "--json", "-n", "2"]
        assert main([*words, "on_bad_row=drop"]) == 0
        shown = json.loads(capsys.readouterr().out)["examples"]
        assert [one["location"] for one in shown] == [f"{train}:2", f"{train}:4"]
        assert main(words) == 2
        assert f"{train}:1: nothing in it is trained" in capsys.readouterr().err
    train.write_text(untrained, encoding="utf-8")
    assert main([*words, "on_bad_row=drop"]) == 2
    assert f"{train}:1: nothing in it is trained" in capsys.readouterr().err


def test_render_prints_what_the_model_reads(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(project / "c.yaml"), "-n", "2"]) == 0
    first, second = (
        f"<|im_start|>user\nQuestion {i}?<|im_end|>\n<|im_start|>assistant\nAnswer {i}<|im_end|>" for i in (0, 1)
    )
    assert capsys.readouterr().out == f"{first}\n\n{second}\n"


def test_render_of_a_question_is_its_prompt(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["render", str(project / "c.yaml"), "data.system_prompt=Be brief.", "--text", "Why?"]
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert main(words) == 0
    assert capsys.readouterr().out == expected + "\n"
    assert main([*words, "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert "".join(segment["text"] for segment in payload["segments"]) == expected
    assert payload["ids"][0] == 4


@pytest.mark.parametrize("command", ["show", "render"])
def test_a_number_below_one_is_refused(project: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, str(project / "c.yaml"), "-n", "0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err
