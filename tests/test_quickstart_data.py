"""The quickstart's records keep what their README promises: enough of them, all different, with six known bad rows."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.data.conversations import read_conversations

QUICKSTART = Path(__file__).resolve().parents[1] / "examples" / "quickstart"
ROLES = {"system", "user", "assistant"}
FORMATS = {
    "chat": ("user", "assistant"),
    "qa": ("input", "target"),
    "prompt": ("prompt", "response"),
    "alpaca": ("instruction", "output"),
}


def rows(path: Path) -> Iterator[tuple[str, object]]:
    """Yield (place, data) as weft names places; data is None where the JSON is broken."""
    if path.suffix == ".json":
        text = path.read_text(encoding="utf-8")
        first_lines = [line for line, printed in enumerate(text.splitlines(), start=1) if printed == "  {"]
        for record, (line, data) in enumerate(zip(first_lines, json.loads(text), strict=True), start=1):
            yield f"raw/{path.name}:{line} (record {record})", data
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            last_line = 1  # the header's
            for row in reader:
                yield f"raw/{path.name}:{last_line + 1}", row
                last_line = reader.line_num
    else:
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                yield f"raw/{path.name}:{line}", json.loads(text)
            except json.JSONDecodeError:
                yield f"raw/{path.name}:{line}", None


def turns(data: object) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """Return the format and the (question, answer) turns of a good record; None for a bad one."""
    if not isinstance(data, dict):
        return None
    if "messages" in data:
        messages = data["messages"]
        if any(message["role"] not in ROLES or not message["content"] for message in messages):
            return None
        spoken = [message for message in messages if message["role"] != "system"]
        if [message["role"] for message in spoken] != ["user", "assistant"] * (len(spoken) // 2):
            return None
        texts = [message["content"] for message in spoken]
        return "messages", tuple(zip(texts[::2], texts[1::2], strict=True))
    for name, (question, answer) in FORMATS.items():
        if data.get(question) and data.get(answer):
            asked = f"{data[question]}\n{data['input']}" if name == "alpaca" and data["input"] else data[question]
            return name, ((asked, data[answer]),)
    return None


def all_rows() -> list[tuple[str, tuple[str, tuple[tuple[str, str], ...]] | None]]:
    files = sorted((QUICKSTART / "raw").iterdir())
    return [(place, turns(data)) for path in files for place, data in rows(path)]


@pytest.fixture(scope="module")
def good() -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    return [parsed for _, parsed in all_rows() if parsed is not None]


@pytest.fixture(scope="module")
def trained(good) -> dict[str, str]:
    """Question → answer, over every turn of the distinct records."""
    return {question: answer for _, pairs in good for question, answer in pairs}


@pytest.fixture(scope="module")
def paraphrases() -> list[dict]:
    return [json.loads(line) for line in (QUICKSTART / "paraphrases.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def readme() -> str:
    return (QUICKSTART / "README.md").read_text(encoding="utf-8")


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def trigrams(text: str) -> set[tuple[str, ...]]:
    tokens = words(text)
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))


def test_every_format_is_there_in_the_numbers_that_the_readme_states(good, readme):
    stated = re.findall(r"^\| `raw/\S+` \| (\w+):.* \| (\d+) \|", readme, flags=re.MULTILINE)
    assert Counter(name for name, _ in good) == {name: int(count) for name, count in stated}
    assert {name for name, _ in stated} == {"messages", *FORMATS}


def test_there_are_enough_distinct_records_and_one_exact_copy(good, readme):
    distinct = set(good)
    assert len(distinct) >= 180
    assert f"{len(distinct)} different records" in readme
    assert len(good) - len(distinct) == 1


def test_the_copy_is_where_the_readme_says(readme):
    copy, original = re.search(r"`(raw/\S+:\d+)` repeats `(raw/\S+:\d+)`", readme).groups()
    by_place = dict(all_rows())
    assert by_place[copy] == by_place[original] is not None


def test_no_question_is_asked_twice(good, trained):
    assert len(trained) == sum(len(pairs) for _, pairs in set(good))


def test_answers_are_sentences_of_a_useful_length(trained):
    lengths = [len(answer.split()) for answer in trained.values()]
    assert sum(lengths) / len(lengths) >= 24
    assert min(lengths) >= 20
    assert max(lengths) <= 60
    assert [answer for answer in trained.values() if not answer.endswith(".")] == []


def test_no_two_answers_are_near_duplicates(trained):
    grams = {answer: trigrams(answer) for answer in trained.values()}
    close = [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(grams.items(), 2)
        if len(a & b) > 0.25 * len(a | b)
    ]
    assert len(grams) == len(trained)
    assert close == []


def test_some_records_have_a_system_message_several_turns_or_an_alpaca_input(good):
    raw = QUICKSTART / "raw"
    chat = [data for _, data in rows(raw / "chat.jsonl") if isinstance(data, dict)]
    alpaca = [data for _, data in rows(raw / "alpaca.json") if isinstance(data, dict)]
    assert 0 < sum("system" in data for data in chat) < len(chat)
    assert 0 < sum(bool(data["input"]) for data in alpaca) < len(alpaca)
    assert sum(len(pairs) == 2 for _, pairs in good) == 6


def test_bad_rows_are_exactly_those_of_the_readme(readme):
    documented = re.findall(r"^\| `(raw/\S+:\d+[^`]*)` \|", readme, flags=re.MULTILINE)
    assert [place for place, parsed in all_rows() if parsed is None] == documented
    assert len(documented) == 6


def test_paraphrases_ask_for_trained_answers_in_other_words(paraphrases, trained, readme):
    assert len(paraphrases) >= 30
    assert f"{len(paraphrases)} questions that are never trained" in readme
    known = {tuple(words(question)) for question in trained}
    for record in paraphrases:
        assert tuple(words(record["input"])) not in known
        assert trained[record["meta"]["original"]] == record["target"]
    assert len({record["input"] for record in paraphrases}) == len(paraphrases)
    assert len({record["target"] for record in paraphrases}) == len(paraphrases)


def test_weft_reads_the_same_records_and_rejects_the_same_rows(good, monkeypatch):
    monkeypatch.chdir(QUICKSTART)
    read = read_conversations(Path("raw"), on_bad_row="drop")
    said = [[message.content for message in each.messages if message.role != "system"] for each in read.conversations]
    assert said == [[text for pair in pairs for text in pair] for _, pairs in good]
    assert read.formats == Counter(name for name, _ in good)
    assert [str(bad.location) for bad in read.bad_rows] == [place for place, parsed in all_rows() if parsed is None]


def test_weft_reads_every_paraphrase_and_keeps_the_question_that_it_rewords(paraphrases):
    read = read_conversations(QUICKSTART / "paraphrases.jsonl", on_bad_row="error")
    assert [each.messages[0].content for each in read.conversations] == [record["input"] for record in paraphrases]
    assert [each.meta for each in read.conversations] == [record["meta"] for record in paraphrases]


def test_files_are_plain_ascii_and_end_with_a_newline():
    for path in QUICKSTART.rglob("*.*"):
        assert path.read_bytes().isascii(), path
        assert path.read_bytes().endswith(b"\n"), path
