"""Normalising: what is changed, what is never touched, what is counted, and that a second pass finds nothing to do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.config.data_schema import NormaliseConfig
from weft.data.formats import parse_record
from weft.data.normalise import Normaliser
from weft.types import Conversation, Location, Message, Record

NONE = {"trim": False, "nfc": False, "control": False, "zero_width": False}


def talk(answer: str, question: str = "q") -> Conversation:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Conversation(messages=messages, location=Location(path="a"))


def normalised(text: str, **rules: bool) -> tuple[str, list[str]]:
    normalise = Normaliser(NormaliseConfig(**rules))
    content = normalise(talk(f"x{text}x" if text.isspace() else text)).messages[1].content
    return content, [step for step, count in normalise.changed.items() if count]


@pytest.mark.parametrize(
    ("text", "expected", "steps"),
    [
        ("plain", "plain", []),
        ("a\tb\nc", "a\tb\nc", []),
        ("a\r\nb\rc\vd\fe\x85f\n\rg", "a\nb\nc\nd\ne\nf\n\ng", ["line ends"]),
        ("a\x00b\x1b[0m\x7f\x9fc", "ab[0mc", ["control characters"]),
        ("\ufeffa\ufeffb", "ab", ["control characters"]),
        ("e\u0301", "\u00e9", ["Unicode form (NFC)"]),
        ("e\x07\u0301", "\u00e9", ["control characters", "Unicode form (NFC)"]),
        ("\u212b x² ﬁ", "\u00c5 x² ﬁ", ["Unicode form (NFC)"]),
        (" a \n\u3000", "a", ["outer whitespace"]),
        ("\r\n a\r\n", "a", ["line ends", "outer whitespace"]),
        ("a\u200bb\u00adc\u2060d", "a\u200bb\u00adc\u2060d", []),
        ("می\u200cخواهم 👩\u200d🚀 a\u2028b \u200fא", "می\u200cخواهم 👩\u200d🚀 a\u2028b \u200fא", []),
    ],
)
def test_what_is_changed_by_default(text: str, expected: str, steps: list[str]) -> None:
    assert normalised(text) == (expected, steps)


def test_zero_width_characters_go_on_request_but_never_joiners() -> None:
    text = "a\u200bb\u00adc\u2060d می\u200cخواهم 👩\u200d🚀"
    assert normalised(text, zero_width=True) == ("abcd می\u200cخواهم 👩\u200d🚀", ["zero-width characters"])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("trim", "\r\x07e\u0301\u200b"),
        ("nfc", " \r\x07\u00e9\u200b "),
        ("control", " \ne\u0301\u200b "),
        ("zero_width", " \r\x07e\u0301 "),
    ],
)
def test_each_rule_can_be_had_alone(rule: str, expected: str) -> None:
    text = " \r\x07e\u0301\u200b "
    if rule == "trim":  # \r is whitespace itself
        expected = expected.lstrip()
    assert normalised(text, **{**NONE, rule: True})[0] == expected
    assert normalised(text, **NONE) == (text, [])


@given(st.text(), *[st.booleans()] * 4)
def test_twice_is_once(text: str, trim: bool, nfc: bool, control: bool, zero_width: bool) -> None:
    rules = NormaliseConfig(trim=trim, nfc=nfc, control=control, zero_width=zero_width)
    once = Normaliser(rules)(talk(f"a{text}b"))
    again = Normaliser(rules)
    assert again(once) is once
    assert not any(again.changed.values())
    content = once.messages[1].content
    assert not nfc or unicodedata.is_normalized("NFC", content)
    assert not control or {unicodedata.category(each) for each in set(content) - set("\t\n")}.isdisjoint({"Cc"})


def test_what_tools_are_given_and_give_stays_to_the_byte() -> None:
    odd = " e\u0301\r\n\x07"
    arguments = {"code": odd}
    record = {
        "id": odd,
        "meta": {"note": odd},
        "tools": [{"type": "function", "function": {"name": "run", "description": odd}}],
        "chat_template_kwargs": {"date": odd},
        "messages": [
            {"role": "system", "content": odd},
            {"role": "user", "content": odd},
            {
                "role": "assistant",
                "content": odd,
                "reasoning_content": odd,
                "tool_calls": [{"function": {"name": "run", "arguments": arguments}}],
            },
            {"role": "tool", "content": odd},
            {"role": "assistant", "content": odd},
        ],
    }
    before = parse_record(Record(data=record, location=Location(path="a")), "auto")
    after = Normaliser(NormaliseConfig())(before)
    assert [message.content for message in after.messages] == ["é", "é", "é", odd, "é"]
    assert after.messages[2].reasoning == "é"
    assert after.messages[2].tool_calls == before.messages[2].tool_calls
    assert (after.id, after.meta, after.messages[0].setting) == (before.id, before.meta, before.messages[0].setting)
    assert after.messages[2].tool_calls[0].arguments == arguments


def pair(question: str, answer: str) -> dict[str, str]:
    return {"prompt": question, "response": answer}


def test_prepare_normalises_before_it_looks_for_duplicates_and_counts_records(
    prepare_rows: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [pair("q", "a"), pair(" q ", "a\x07"), pair("r\r\ns", " b")]
    assert prepare_rows(rows) == 0
    page = capsys.readouterr().out
    assert "normalised (data.normalise): line ends in 1 records, control characters in 1 records, outer" in page
    assert "outer whitespace in 2 records" in page
    report = json.loads(Path("data/processed/prepare_report.json").read_bytes())
    assert report["normalised"] == {"line ends": 1, "control characters": 1, "outer whitespace": 2}
    assert (report["kept"], len(report["duplicates"])) == (2, 1)
    assert prepare_rows(rows, *(f"data.normalise.{rule}=false" for rule in NONE)) == 0
    assert "normalised" not in capsys.readouterr().out
    report = json.loads(Path("data/processed/prepare_report.json").read_bytes())
    assert (report["kept"], report["normalised"]) == (3, {})


def test_a_record_of_which_nothing_is_left_is_a_bad_row(
    prepare_rows: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    tree = [
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "\ufeff"},
        {"message_id": "2", "parent_id": "1", "role": "assistant", "text": "a"},
    ]
    rows = [pair("q", "a"), pair("r", "\x07\ufeff"), *tree]
    assert prepare_rows(rows) == 2
    error = capsys.readouterr().err
    assert "raw.jsonl:2: an assistant message is empty: message 2\n" in error
    assert "2 of 3 records cannot be used" in error
    assert prepare_rows(rows, "on_bad_row=drop") == 0
    report = json.loads(Path("data/processed/prepare_report.json").read_bytes())
    assert report["rejected"] == {"an assistant message is empty": 1, "a user message is empty": 1}
    assert report["records"] == 3 == report["kept"] + 2
    rejects = [json.loads(line) for line in Path("data/processed/rejects.jsonl").read_bytes().splitlines()]
    assert json.loads(rejects[0]["raw"]) == rows[1]
    assert rejects[1]["location"] == "raw.jsonl:4"
