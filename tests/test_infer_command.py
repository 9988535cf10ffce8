"""`weft infer` and `weft chat` from end to end on a tiny model, and the questions they read."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from weft.cli import main
from weft.errors import DataError, Problems
from weft.inference.questions import plain_question, questions_of_lines, read_questions, with_system_prompt
from weft.types import Message


@pytest.fixture
def config(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration of the tiny model, with nothing trained; the working directory is a fresh one."""
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"model: {{name: {tiny_model_dir}}}\ngen: {{max_new_tokens: 6}}\n")
    return "c.yaml"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch):
    """Put bytes on standard input, as a pipe would."""

    def put(content: bytes, errors: str = "strict") -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors=errors))

    return put


def test_prompts_are_answered_in_order_as_json_lines(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["infer", config, "--prompt", "What is Python?", "--prompt", "Hello", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["prompt"] for row in rows] == ["What is Python?", "Hello"]
    assert all(row.keys() == {"prompt", "response", "finish"} for row in rows)
    assert "nothing is trained yet in outputs/run: this is the base model" in err


def test_the_three_sources_give_the_same_answers(config: str, pipe, capsys: pytest.CaptureFixture[str]) -> None:
    questions = ["What is Python?", "What is the capital of France?"]
    Path("questions.txt").write_text("\n".join(["\ufeff" + questions[0], "", questions[1] + "\r", ""]))
    outputs = []
    for words in (
        ["--input", "questions.txt"],
        ["--input", "-"],
        [],
        ["--prompt", questions[0], "--prompt", questions[1]],
    ):
        pipe("\n".join(questions).encode())
        assert main(["infer", config, *words]) == 0
        outputs.append(capsys.readouterr().out)
    assert len(set(outputs)) == 1
    assert outputs[0].startswith("> What is Python?\n")


def test_output_file_and_that_it_never_replaces_the_questions(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("q.jsonl").write_text('{"prompt": "Hi"}\n')
    assert main(["infer", config, "--input", "q.jsonl", "--output", "out/a.jsonl"]) == 0
    assert json.loads(Path("out/a.jsonl").read_text())["prompt"] == "Hi"
    assert capsys.readouterr().out == "1 answers are in out/a.jsonl\n"
    assert main(["infer", config, "--input", "q.jsonl", "--output", "./q.jsonl"]) == 2
    assert "would replace the questions" in capsys.readouterr().err
    assert Path("q.jsonl").read_text() == '{"prompt": "Hi"}\n'


@pytest.mark.parametrize(("output", "message"), [("c.yaml", "holds no answers of `weft infer`"), (".", "a directory")])
def test_answers_replace_nothing_but_answers(
    config: str, output: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("c.yaml").read_text()
    assert main(["infer", config, "--prompt", "Hi", "--output", output]) == 2
    out, err = capsys.readouterr()
    assert (out, message in err, "answers," in err) == ("", True, False), "nothing was answered in vain"
    assert Path("c.yaml").read_text() == before
    for _ in range(2):
        assert main(["infer", config, "--prompt", "Hi", "--output", "a.jsonl"]) == 0


@pytest.mark.parametrize(
    ("words", "content", "message"),
    [
        ([], b"", "standard input: there is no question in it"),
        ([], b"\n  \n", "standard input: there is no question in it"),
        ([], b"fine\nbad \xff\n", "standard input:2: the line is not valid UTF-8"),
        (["--input", "missing.txt"], b"", "missing.txt: there is no such file"),
        (["--prompt", " "], b"", "--prompt: the question is empty"),
        (["--prompt", "word " * 600], b"", "leaves no room in the model's context of 512"),
    ],
)
def test_what_cannot_be_answered_is_one_message(
    config: str, pipe, capsys: pytest.CaptureFixture[str], words: list[str], content: bytes, message: str
) -> None:
    pipe(content)
    assert main(["infer", config, *words]) == 2
    out, err = capsys.readouterr()
    assert (out, message in err, "Traceback" in err) == ("", True, False)


def test_no_question_on_a_terminal(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["infer", config]) == 2
    assert "give --prompt TEXT or --input FILE" in capsys.readouterr().err


def test_piped_chat_answers_every_line(config: str, pipe, capsys: pytest.CaptureFixture[str]) -> None:
    pipe(b"hi\n/reset\nhi\n")
    assert main(["chat", config]) == 0
    out, err = capsys.readouterr()
    pipe(b"hi\n/exit\nhi\n")
    assert main(["chat", config]) == 0
    once = capsys.readouterr().out
    assert out == once * 2  # greedy, and the conversation was forgotten in between
    assert "this is the base model" in err
    for errors in ("strict", "surrogateescape"):
        pipe(b"bad \xff\n", errors)
        assert main(["chat", config]) == 2
        assert "standard input: a question is not valid UTF-8" in capsys.readouterr().err


def _user(*texts: str) -> list[tuple[Message, ...]]:
    return [plain_question(text) for text in texts]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, ["a"]),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, ["a"]),
        ({"question": "a"}, ["a"]),
        ({"query": "a", "response": None}, ["a"]),
        ({"input": "a", "target": "b"}, ["a"]),
        ({"prompt": "a", "completion": ""}, ["a"]),
        ({"instruction": "a", "input": "b"}, ["a\nb"]),
        ({"user": "a"}, ["a"]),
        ({"conversations": [{"from": "human", "value": "a"}]}, ["a"]),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, ["a"]),
        ({"instruction": "a", "context": "b"}, ["a\n\nb"]),
    ],
)
def test_a_record_is_a_question_with_or_without_its_answer(tmp_path: Path, record: dict, expected: list[str]) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(record))
    assert read_questions(path) == _user(*expected)


def test_of_a_conversation_everything_up_to_the_last_user_turn(tmp_path: Path) -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    path = tmp_path / "q.json"
    path.write_text(json.dumps([{"messages": [{"role": role, "content": text} for role, text in turns]}]))
    assert read_questions(path) == [tuple(Message(role=role, content=text) for role, text in turns[:-1])]
    turns.append(("assistant", "an answer's second message"))
    path.write_text(json.dumps([{"messages": [{"role": role, "content": text} for role, text in turns]}]))
    assert read_questions(path) == [tuple(Message(role=role, content=text) for role, text in turns[:-2])]


def test_csv_and_bad_rows(tmp_path: Path) -> None:
    good, bad = tmp_path / "q.csv", tmp_path / "bad.jsonl"
    good.write_text('question\nfirst\n"second, with comma"\n')
    assert read_questions(good) == _user("first", "second, with comma")
    bad.write_text('{"question": "a"}\n{"nothing": 1}\n{broken\n')
    with pytest.raises(Problems) as problems:
        read_questions(bad)
    assert [str(problem.where) for problem in problems.value.problems] == [f"{bad}:2", f"{bad}:3", str(bad)]
    assert "2 of 3 records hold no question" in str(problems.value)


def test_lines_are_lines_whatever_else_unicode_calls_one() -> None:
    assert questions_of_lines("a\u2028b\r\nc".encode(), "x") == _user("a\u2028b", "c")
    with pytest.raises(DataError, match="x: there is no question"):
        questions_of_lines(b"", "x")


def test_a_system_prompt_goes_where_there_is_none() -> None:
    (question,) = _user("a")
    styled = with_system_prompt(question, "Be brief.")
    assert styled == (Message(role="system", content="Be brief."), *question)
    assert with_system_prompt(styled, "Be long.") == styled
    assert with_system_prompt(question, None) == question
