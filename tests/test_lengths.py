"""Records that are too short or too long are left out, counted by reason, and listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.cli import main
from weft.config.data_schema import FilterConfig
from weft.config.schema import ModelConfig
from weft.data.lengths import by_length
from weft.data.tokenizer import load_tokenizer
from weft.types import Conversation, Location, Message, ToolCall

MODEL = ModelConfig()


def talk(question: str, answer: str, **beside: Any) -> Conversation:
    messages = (
        Message(role="system", content="A system message counts for nothing."),
        Message(role="user", content=question),
        Message(role="assistant", content=answer, **beside),
    )
    return Conversation(messages=messages, location=Location(path="a", line=1), id="1", source="a")


def kept(talks: list[Conversation], model: ModelConfig = MODEL, **rules: Any) -> list[int]:
    found, left_out = by_length(talks, FilterConfig(**rules), model)
    assert len(found) + len(left_out) == len(talks)
    return [talks.index(each) for each in found]


def test_both_ends_of_a_limit_are_within_it() -> None:
    talks = [talk("q" * length, "a" * (10 - length)) for length in range(1, 10)]
    assert kept(talks) == list(range(9))
    assert kept(talks, min_prompt=3) == [2, 3, 4, 5, 6, 7, 8]
    assert kept(talks, max_prompt=3) == [0, 1, 2]
    assert kept(talks, min_response=3) == [0, 1, 2, 3, 4, 5, 6]
    assert kept(talks, max_response=3) == [6, 7, 8]
    assert kept(talks, min_prompt=3, max_prompt=6, min_response=5) == [2, 3, 4]
    assert kept(talks, min_prompt=3, max_prompt=3) == [2]


def test_words_and_code_points() -> None:
    talks = [talk("one  two\nthree", "é👩🚀"), talk("onetwothree", "什么是电场强度")]
    assert kept(talks, unit="words", min_prompt=3) == [0]
    assert kept(talks, unit="words", max_response=1) == [0, 1]
    assert kept(talks, min_response=4) == [1]


def test_all_turns_count_together_with_reasoning_and_calls() -> None:
    call = ToolCall(name="run", arguments={"code": ["1234567", {"x": "89"}], "n": 5})
    messages = (
        Message(role="user", content="abc"),
        Message(role="assistant", content="", reasoning="12345", tool_calls=(call,)),
        Message(role="tool", content="a result counts for nothing"),
        Message(role="assistant", content="1"),
        Message(role="user", content="de"),
        Message(role="assistant", content="2"),
    )
    conversation = Conversation(messages=messages, location=Location(path="a"))
    response = 5 + 3 + 7 + 2 + 1 + 1
    assert kept([conversation], min_prompt=5, max_prompt=5, min_response=response, max_response=response) == [0]
    assert kept([conversation], min_prompt=6) == kept([conversation], max_prompt=4) == []
    assert kept([conversation], min_response=response + 1) == kept([conversation], max_response=response - 1) == []


@pytest.mark.parametrize("key", ["name", "tokenizer"])
def test_tokens_are_those_of_the_tokenizer_that_reads_the_records(tiny_tokenizer_dir: Path, key: str) -> None:
    model = ModelConfig.model_validate({key: str(tiny_tokenizer_dir)})
    text = "The capital of France is <|im_end|>"
    length = len(load_tokenizer(tiny_tokenizer_dir).encode(text))
    assert 5 < length < len(text)
    talks = [talk(text, "a")] * 1000
    assert len(kept(talks, model, unit="tokens", min_prompt=length, max_prompt=length)) == 1000
    assert kept(talks, model, unit="tokens", min_prompt=length + 1) == []


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Working in a new directory; runs ``weft prepare`` on questions and answers of one letter and these lengths."""
    monkeypatch.chdir(tmp_path)

    def run(lengths: list[tuple[int, int]], *words: str) -> int:
        rows = [json.dumps({"prompt": "q" * long, "response": "a" * answer}) for long, answer in lengths]
        Path("raw.jsonl").write_text("\n".join([*rows, "{broken"]))
        return main(["prepare", "data.raw_path=raw.jsonl", "on_bad_row=drop", *words])

    return run


def test_prepare_counts_by_reason_and_lists_every_record(
    prepared: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    limits = ("data.filter.min_prompt=2", "data.filter.max_response=4")
    assert prepared([(1, 3), (2, 3), (2, 3), (3, 4), (3, 5), (1, 9)], *limits) == 0
    page = capsys.readouterr().out
    assert "         4  rejected, listed in data/processed/rejects.jsonl\n" in page
    assert "            2 × the prompt is shorter than data.filter.min_prompt, 2 characters\n" in page
    assert "            1 × the response is longer than data.filter.max_response, 4 characters\n" in page
    report = json.loads(Path("data/processed/prepare_report.json").read_bytes())
    assert report["records"] == 7 == report["kept"] + sum(report["rejected"].values()) + len(report["duplicates"])
    assert (report["kept"], len(report["duplicates"])) == (2, 1)
    rejects = [json.loads(line) for line in Path("data/processed/rejects.jsonl").read_bytes().splitlines()]
    assert [(row["location"], row["detail"]) for row in rejects[1:]] == [
        ("raw.jsonl:1", "its length is 1"),
        ("raw.jsonl:5", "its length is 5"),
        ("raw.jsonl:6", "its length is 1"),
        ("raw.jsonl:3", "raw.jsonl:2"),
    ]
    assert json.loads(rejects[2]["raw"]) == {"prompt": "qqq", "response": "aaaaa"}


def test_nothing_left_is_an_error_with_the_reasons(
    prepared: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared([(1, 3), (1, 4), (5, 3)], "data.filter.min_prompt=2", "data.filter.max_prompt=4") == 2
    assert capsys.readouterr().err == (
        "weft: raw.jsonl: no record is left: 2 × the prompt is shorter than data.filter.min_prompt, 2 characters; "
        "1 × broken JSON; 1 × the prompt is longer than data.filter.max_prompt, 4 characters\n"
        "  fix: widen data.filter\n"
    )
    assert not Path("data").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("data.filter.min_prompt=5", "data.filter.max_prompt=4"),
            "no prompt is at least 5 and at most 4 characters long\n  fix: set data.filter.max_prompt to at least",
        ),
        (
            ("data.filter.unit=words", "data.filter.min_response=5", "data.filter.max_response=1"),
            "no response is at least 5 and at most 1 words long",
        ),
        (("data.filter.max_prompt=0",), "data.filter.max_prompt must be a whole number of at least 1 or null, not 0"),
        (("data.filter.unit=bytes",), "data.filter.unit must be characters, words or tokens, not 'bytes'"),
        (("data.filter.unit=tokens", "data.filter.min_prompt=2", "model.name=nowhere"), "model.name"),
    ],
)
def test_filters_that_cannot_be_used(
    prepared: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert prepared([(1, 1)], *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
