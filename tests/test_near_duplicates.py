"""Near duplicates: nothing below the threshold is ever found, hardly anything above it missed, and the first one stays."""

from __future__ import annotations

import json
import os
import random
import string
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.data import in_parallel, near_duplicates
from weft.data.comparing import comparable, piece_hashes
from weft.data.near_duplicates import Similar, find_similar
from weft.data.seeds import derive_seed
from weft.errors import DataError


@cache
def pieces(text: str) -> frozenset[str]:
    return frozenset(text[start : start + 5] for start in range(len(text) - 4)) if len(text) > 5 else frozenset({text})


def resemblance(one: str, other: str) -> float:
    return len(pieces(one) & pieces(other)) / len(pieces(one) | pieces(other))


def varied(rng: random.Random, count: int, length: int = 400) -> list[str]:
    """Random texts, each perhaps a copy of an earlier one of which some characters are others."""
    texts: list[str] = []
    for _ in range(count):
        text = (
            list(rng.choice(texts)) if texts and rng.random() < 0.7 else rng.choices(string.ascii_lowercase, k=length)
        )
        for place in rng.sample(range(len(text)), k=rng.choice([0, 1, 3, 6, 10, 20])):
            text[place] = rng.choice(string.ascii_lowercase)
        texts.append("".join(text))
    return texts


def test_texts_are_compared_without_case_and_spacing() -> None:
    assert comparable(" What\tIS\n\n Straße?\u3000") == "what is strasse?"
    assert find_similar([comparable("DER WEG  zur Straße."), comparable("der weg ZUR STRASSE.\n")], 1.0) == [
        Similar(place=1, first=0, similarity=1.0)
    ]


def test_the_similarity_is_the_share_of_common_pieces() -> None:
    one, other = "abcdefghij", "abcdefghix"  # abcde bcdef cdefg defgh efghi, and fghij or fghix
    assert find_similar([one, other], 5 / 7) == [Similar(place=1, first=0, similarity=5 / 7)]
    assert find_similar([one, other], 5 / 7 + 1e-9) == []
    assert find_similar(["aaaaaaaaa", "aaaaaa"], 1.0) == [Similar(place=1, first=0, similarity=1.0)]


@pytest.mark.parametrize("texts", [[], ["a"], ["", "a", "ab", "abcd", "abcde"], ["什么是电场强度", "什么是磁场强度"]])
def test_few_and_short_texts(texts: list[str]) -> None:
    assert find_similar(texts, 0.5) == []
    assert find_similar(texts + texts, 0.5) == [
        Similar(place=len(texts) + place, first=place, similarity=1.0) for place in range(len(texts))
    ]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_what_is_found_is_right_and_little_is_missed(threshold: float) -> None:
    texts = varied(random.Random(threshold), 250, length=200)
    found = {each.place: each for each in find_similar(texts, threshold)}
    kept = [place for place in range(len(texts)) if place not in found]
    for each in found.values():
        assert each.first < each.place
        assert each.first not in found
        assert each.similarity == resemblance(texts[each.place], texts[each.first]) >= threshold
    missed = [pair for pair in combinations(kept, 2) if resemblance(*(texts[place] for place in pair)) >= threshold]
    assert len(missed) <= 0.01 * len(found)
    assert len(found) > (10 if threshold == 1 else 40)


@given(st.lists(st.text("ab ", max_size=12), max_size=20), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_nothing_below_the_threshold_is_found(texts: list[str], threshold: float) -> None:
    found = {each.place: each for each in find_similar(texts, threshold)}
    for each in found.values():
        assert each.first < each.place
        assert each.first not in found
        assert resemblance(texts[each.place], texts[each.first]) == each.similarity >= threshold
    first = {text: place for place, text in reversed(list(enumerate(texts)))}
    assert {place for place, text in enumerate(texts) if first[text] != place} <= found.keys()


def test_a_crowd_of_similar_texts_takes_bounded_time_and_loses_nothing_that_differs() -> None:
    """Three quarters of each text are the same for all."""
    rng = random.Random(0)
    common = "".join(rng.choices(string.ascii_lowercase, k=900))
    texts = [common + "".join(rng.choices(string.ascii_lowercase, k=120)) for _ in range(500)]
    assert 0.75 < resemblance(texts[0], texts[1]) < 0.8
    assert find_similar(texts, 0.8) == []
    found = find_similar([*texts, *texts[:50]], 0.8)
    assert [(each.place, each.first) for each in found if each.similarity < 1] == []
    assert len(found) >= 45


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_miss_at_most_one_in_a_hundred_at_the_threshold(threshold: float) -> None:
    def missed(rows: int) -> float:
        return float((1 - threshold**rows) ** (128 // rows))

    rows = near_duplicates._rows(threshold)
    assert missed(rows) <= 0.01
    assert rows == 128 or missed(rows + 1) > 0.01


def test_signatures_estimate_the_similarity() -> None:
    """With 128 hashes the error has a standard deviation of at most 0.5 / √128 = 0.044."""
    rng = random.Random(1)
    errors = []
    for _ in range(300):
        one = rng.choices(string.ascii_lowercase, k=rng.choice([50, 400]))
        changed = set(rng.sample(range(len(one)), k=len(one) // rng.choice([10, 20, 40])))
        other = [rng.choice(string.ascii_lowercase) if place in changed else each for place, each in enumerate(one)]
        texts = ["".join(one), "".join(other)]
        agreeing = np.equal(*near_duplicates._signatures(texts)).mean()
        errors.append(agreeing - resemblance(*texts))
    assert abs(np.mean(errors)) < 3 * 0.044 / 300**0.5
    assert np.std(errors) < 0.044


def test_hashes_are_those_of_every_piece_on_every_machine() -> None:
    codes = np.array([1, 2, 3, 1, 2, 3, 0x10FFFF], dtype=np.uint32)
    hashes = piece_hashes(codes, 3).tolist()
    assert [len(hashes), len(set(hashes))] == [5, 4]
    assert hashes[0] == hashes[3]
    assert [piece_hashes(codes[start : start + 3], 3).tolist()[0] for start in range(5)] == hashes
    factors = [derive_seed(0, "pieces of 3", place) | 1 for place in range(3)]
    for start, found in enumerate(hashes):
        mixed = sum((int(code) + 1) * factor for code, factor in zip(codes[start:], factors, strict=False)) % 2**64
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = (mixed ^ mixed >> 33) * factor % 2**64
        assert found == mixed ^ mixed >> 33


def test_several_processes_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = varied(random.Random(2), 300)
    alone = find_similar(texts, 0.8)
    assert alone
    monkeypatch.setattr(in_parallel, "_WORTH_A_PROCESS", 10_000)
    assert find_similar(texts, 0.8, jobs=2) == alone


def _die(texts: Sequence[str]) -> None:
    os._exit(1)


def test_a_process_that_dies_is_an_error_for_people() -> None:
    texts = ["x" * in_parallel._WORTH_A_PROCESS] * 3
    with pytest.raises(DataError, match=r"data\.jobs: one of 2 processes was ended.*\n  fix: set data\.jobs=1"):
        list(in_parallel.in_parallel(_die, texts, 2))


@pytest.mark.parametrize(("jobs", "parts"), [(1, 1), (2, 3)])
def test_parts_come_in_order_and_few_texts_are_one(jobs: int, parts: int) -> None:
    enough = in_parallel._WORTH_A_PROCESS
    texts = ["a" * enough, "b" * (enough - 1), "c"]
    found = list(in_parallel.in_parallel("".join, texts, jobs))
    assert (len(found), "".join(found)) == (parts, "".join(texts))
    assert len(list(in_parallel.in_parallel("".join, texts[:2], jobs))) == 1


def report() -> dict[str, Any]:
    return json.loads(Path("data/processed/prepare_report.json").read_bytes())


LONG = "The weft is the thread that is drawn through the warp, over one thread and under the next. "


def rows_of_three() -> list[dict[str, str]]:
    return [
        {"prompt": "What is weft?", "response": LONG},
        {"prompt": "What is wool?", "response": "Hair of sheep, and of other animals, that can be spun."},
        {"prompt": "what is  weft??", "response": LONG.upper(), "system": "Another one."},
        {"prompt": "What is weft?", "response": LONG},
    ]


def test_prepare_keeps_the_first_and_lists_the_others(
    prepare_rows: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare_rows(rows_of_three(), "data.near_duplicates=0.8") == 0
    similarity = resemblance(f"what is weft? {LONG.lower().strip()}", f"what is weft?? {LONG.lower().strip()}")
    page = capsys.readouterr().out
    assert "nearly the same (data.near_duplicates: 0.8), the first of 1:\n" in page
    assert f"raw.jsonl:3 is {similarity:.3f} similar to raw.jsonl:1\n" in page
    found = report()
    assert (found["records"], found["kept"], len(found["duplicates"])) == (4, 2, 1)
    assert found["rejected"] == {"nearly the same as an earlier record (data.near_duplicates: 0.8)": 1}
    assert found["near_duplicates"] == {
        "threshold": 0.8,
        "records": 1,
        "first": [{"location": "raw.jsonl:3", "first": "raw.jsonl:1", "similarity": similarity}],
    }
    row, again = [json.loads(line) for line in Path("data/processed/rejects.jsonl").read_bytes().splitlines()]
    assert row["location"] == "raw.jsonl:3"
    assert row["detail"] == f"similarity {similarity:.3f} to raw.jsonl:1"
    assert json.loads(row["raw"]) == rows_of_three()[2]
    assert again["reason"] == "the same as an earlier record"


def test_nobody_asked_nothing_is_left_out(prepare_rows: Callable[..., int]) -> None:
    assert prepare_rows(rows_of_three()) == 0
    assert (report()["kept"], report()["near_duplicates"]) == (3, None)


def test_preparing_with_several_processes_writes_the_same_bytes(
    prepare_rows: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = varied(random.Random(3), 200)
    rows = [{"prompt": f"Question {number}", "response": text} for number, text in enumerate(texts)]
    written = []
    monkeypatch.setattr(in_parallel, "_WORTH_A_PROCESS", 10_000)
    for jobs in ("1", "2"):
        assert prepare_rows(rows, "data.near_duplicates=0.7", "--jobs", jobs) == 0
        written.append({path.name: path.read_bytes() for path in Path("data/processed").iterdir()})
    assert written[0] == written[1]
    assert report()["near_duplicates"]["records"] > 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.near_duplicates=0",), "data.near_duplicates must be a number above 0 and at most 1 or null, not 0"),
        (
            ("data.near_duplicates=1.5",),
            "data.near_duplicates must be a number above 0 and at most 1 or null, not 1.5",
        ),
        (("data.near_duplicates=yes",), "data.near_duplicates must be a number"),
        (("--jobs", "0"), "--jobs: the number of processes must be at least 1, not 0"),
        (("--jobs", "-3"), "--jobs: the number of processes must be at least 1, not -3"),
    ],
)
def test_what_cannot_be_asked_for(
    prepare_rows: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert prepare_rows(rows_of_three(), *words) == 2
    assert message in capsys.readouterr().err
    assert not Path("data").exists()
