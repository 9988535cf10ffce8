"""What validation takes of a training set: the same records wherever they lie, and nothing that training says as well."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_run import configure, make_project, write_records
from weft.config.load import load_config
from weft.data.conversations import read_conversations
from weft.data.split import Portion, assign_splits, said, split_sizes
from weft.data.store import NoExamplesError
from weft.errors import DataError
from weft.evaluation.sets import find_sets, read_sets
from weft.training.preflight import open_inputs
from weft.types import Conversation, Location, Message

RATIO = st.floats(0.001, 0.999)


RATIOS = {"train": 0.7, "val": 0.1, "test": 0.2}


def talk(question: str, answer: str = "Yes.", *, source: str | None = None, **meta: object) -> Conversation:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Conversation(messages=messages, location=Location(path="a.jsonl", line=1), source=source, meta=meta)


@given(
    st.lists(st.tuples(st.text("abc", max_size=2), st.text("xy", max_size=2), st.sampled_from("pq")), max_size=60),
    st.integers(0, 99),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_question_is_in_one_split_whatever_its_answers_and_sources(
    words: list[tuple[str, str, str]], seed: int, by_source: bool, random
) -> None:
    talks = [talk(question, answer, source=source) for question, answer, source in words]
    names = assign_splits(talks, RATIOS, seed, by_source=by_source)
    split_of = {question: name for (question, _, _), name in zip(words, names, strict=True)}
    assert [split_of[question] for question, _, _ in words] == names
    order = random.sample(range(len(talks)), len(talks))
    shuffled = assign_splits([talks[place] for place in order], RATIOS, seed, by_source=by_source)
    assert shuffled == [names[place] for place in order]


@given(st.lists(st.integers(1, 30), max_size=8), st.integers(0, 99), st.sampled_from(["train", "val", "test", None]))
def test_every_split_gets_a_question_where_there_are_enough(answers: list[int], seed: int, without: str | None) -> None:
    """However many answers each question has."""
    ratios = {"train": 0.7, "val": 0.1, "test": 0.2}
    if without:
        ratios[without] = 0.0
    wanted = [name for name, ratio in ratios.items() if ratio]
    talks = [talk(f"{number}?", f"{answer}") for number, count in enumerate(answers) for answer in range(count)]
    names = assign_splits(talks, ratios, seed)
    assert set(names) == set(wanted[: len(answers)])
    distinct = [talk(f"{number}?") for number in range(len(talks))]
    counts = Counter(assign_splits(distinct, ratios, seed))
    assert counts == {name: size for name, size in split_sizes(len(talks), ratios).items() if size}


def test_questions_may_be_divided_and_fields_kept_together() -> None:
    same = [talk("Say something.", f"answer {number}", topic=number % 10) for number in range(100)]
    assert set(assign_splits(same, RATIOS, 0)) == {"train"}
    counts = Counter(assign_splits(same, RATIOS, 0, group_by="none"))
    assert counts == {"train": 70, "val": 10, "test": 20}
    by_topic = assign_splits(same, RATIOS, 0, group_by="topic")
    assert Counter(by_topic) == counts
    assert all(by_topic[number] == by_topic[number % 10] for number in range(100))


def test_each_source_is_divided_by_itself() -> None:
    talks = [talk(f"{number}?", source="large" if number < 90 else "small") for number in range(100)]
    names = assign_splits(talks, RATIOS, 0, by_source=True)
    assert Counter(names[:90]) == {"train": 63, "val": 9, "test": 18}
    assert Counter(names[90:]) == {"train": 7, "val": 1, "test": 2}


def test_a_field_that_no_record_has_is_refused() -> None:
    with pytest.raises(DataError, match='no record has the field "topc" in its meta'):
        assign_splits([talk("a", topic=1)], RATIOS, 0, group_by="topc")


@given(st.lists(st.text("abc", max_size=2), min_size=1, max_size=60), RATIO, st.integers(0, 2**63 - 1))
def test_every_conversation_is_in_one_part_and_what_it_says_in_no_other(
    words: list[str], ratio: float, seed: int
) -> None:
    talks = [talk(word) for word in words]
    train, val = (Portion(held_out=held_out, ratio=ratio, seed=seed).holds(talks) for held_out in (False, True))
    assert [not one for one in val] == train
    assert any(train)
    parts = [{said(one) for one, taken in zip(talks, part, strict=True) if taken} for part in (train, val)]
    assert not parts[0] & parts[1]


@given(st.integers(3, 200), RATIO, st.integers(0, 2**63 - 1), st.randoms(use_true_random=False))
def test_the_part_is_as_large_as_asked_for_and_the_same_in_any_order(
    count: int, ratio: float, seed: int, random
) -> None:
    talks = [talk(f"question {number}") for number in range(count)]
    portion = Portion(held_out=True, ratio=ratio, seed=seed)
    taken = {talks[number].messages for number, one in enumerate(portion.holds(talks)) if one}
    assert abs(len(taken) - max(1, ratio * count)) <= 1
    shuffled = random.sample(talks, count)
    assert {shuffled[number].messages for number, one in enumerate(portion.holds(shuffled)) if one} == taken


def test_another_seed_holds_out_others() -> None:
    talks = [talk(f"question {number}") for number in range(100)]
    taken = {tuple(Portion(held_out=True, ratio=0.1, seed=seed).holds(talks)) for seed in range(5)}
    assert len(taken) == 5


def test_both_parts_together_account_for_every_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"prompt": f"Number {number}?", "response": "Yes."}) for number in range(20)]
    path.write_text("\n".join([*rows, "{broken"]), encoding="utf-8")
    train, val = (
        read_conversations(path, on_bad_row="drop", portion=Portion(held_out=held_out, ratio=0.25, seed=1))
        for held_out in (False, True)
    )
    assert (train.files, val.files) == ({str(path): 16}, {str(path): 5})
    assert (train.formats, val.formats) == ({"prompt": 15}, {"prompt": 5})
    assert (len(train.bad_rows), len(val.bad_rows)) == (1, 0)
    whole = read_conversations(path, on_bad_row="drop")
    assert sorted(map(said, (*train.conversations, *val.conversations))) == sorted(map(said, whole.conversations))


def test_evaluation_reads_the_parts_that_training_does(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"Number {number}?", "response": "Yes."}) for number in range(50))
    )
    (tmp_path / "c.yaml").write_text(
        f"datasets: [{{path: {tmp_path}/a.jsonl}}]\ndata: {{val_path: {tmp_path}/val.jsonl, val_split_ratio: 0.1}}\n"
    )
    config = load_config(tmp_path / "c.yaml", ()).config
    train, val, whole = read_sets(config, find_sets(config, ["train", "val", str(tmp_path / "a.jsonl")]))
    assert [len(one.conversations) for one in (train, val, whole)] == [45, 5, 50]
    assert not {*map(said, train.conversations)} & {*map(said, val.conversations)}


def test_training_holds_out_what_it_evaluates(tmp_path: Path, tiny_model_dir: Path) -> None:
    make_project(tmp_path, tiny_model_dir)
    (tmp_path / "val.jsonl").unlink()
    loaded = configure(tmp_path, datasets=[{"path": str(tmp_path / "train.jsonl")}])
    inputs = open_inputs(loaded)
    assert inputs.validation is not None
    assert (len(inputs.train), len(inputs.validation)) == (6, 1)
    lines = [store[number].location.line for store in (inputs.train, inputs.validation) for number in range(len(store))]
    assert sorted(line for line in lines if line) == list(range(1, 8))
    assert inputs.notices[0].startswith("2.00% of each dataset is held out for validation")


def test_training_goes_on_where_what_is_held_out_is_too_long(tmp_path: Path, tiny_model_dir: Path) -> None:
    make_project(tmp_path, tiny_model_dir)
    (tmp_path / "val.jsonl").unlink()
    write_records(tmp_path / "train.jsonl", 7, subject="thing")  # of which one that is not the shortest is held out
    sets = [{"path": str(tmp_path / "train.jsonl")}]
    lengths = open_inputs(configure(tmp_path, datasets=sets)).validation.lengths  # type: ignore[union-attr]
    limit = int(lengths[0]) - 1
    inputs = open_inputs(configure(tmp_path, datasets=sets, max_seq_len=limit))
    assert len(inputs.train) > 0
    assert inputs.validation is None
    assert any("of what is held out, every example is longer than" in notice for notice in inputs.notices)
    with pytest.raises(NoExamplesError):
        open_inputs(configure(tmp_path, datasets=sets, max_seq_len=limit, load_best_model_at_end=True))
