"""What validation takes of a training set: the same records wherever they lie, and nothing that training says as well."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from small_run import configure, make_project, write_records
from weft.config.load import load_config
from weft.data import held_out as in_validation
from weft.data.conversations import read_conversations
from weft.data.groups import asked, grouped, said
from weft.data.held_out import held_out_places
from weft.data.inputs import held_out_files, training_files
from weft.data.split import Portion, assign_splits, held_out, split_sizes
from weft.data.store import NoExamplesError, SourceFile, read_source
from weft.errors import DataError
from weft.evaluation.sets import find_sets, read_sets
from weft.training.preflight import open_inputs
from weft.types import Conversation, Location, Material, Message

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


def test_questions_may_be_divided() -> None:
    same = [talk("Say something.", f"answer {number}") for number in range(100)]
    assert set(assign_splits(same, RATIOS, 0)) == {"train"}
    counts = Counter(assign_splits(same, RATIOS, 0, group_by="none"))
    assert counts == {"train": 70, "val": 10, "test": 20}


def test_fields_are_kept_together() -> None:
    talks = [talk(f"{number}?", topic=number % 10) for number in range(100)]
    names = assign_splits(talks, RATIOS, 0, group_by="topic")
    assert Counter(names) == {"train": 70, "val": 10, "test": 20}
    assert names == names[:10] * 10


def test_values_of_a_field_that_share_a_question_are_kept_together() -> None:
    talks = [talk(f"{number}?", topic=number) for number in range(40)]
    between = [talk("0?", "again", topic=1), talk("2?", "again", topic=1)]
    apart = [set(assign_splits(talks, RATIOS, seed, group_by="topic")[:3]) for seed in range(5)]
    joined = [set(assign_splits([*talks, *between], RATIOS, seed, group_by="topic")[:3]) for seed in range(5)]
    assert max(map(len, apart)) > 1
    assert list(map(len, joined)) == [1] * 5


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_field_without_a_value_keeps_nothing_together(nothing: str | None) -> None:
    talks = [talk(f"{number}?", topic="a" if number < 2 else nothing) for number in range(100)]
    assert Counter(assign_splits(talks, RATIOS, 0, group_by="topic")) == {"train": 70, "val": 10, "test": 20}


def test_conversations_that_ask_nothing_are_alike() -> None:
    """As `weft check` counts them, which tells of held-out records that ask what training asks."""
    silent = [replace(each, messages=each.messages[1:]) for each in (talk("?", f"answer {n}") for n in range(20))]
    assert set(assign_splits(silent, RATIOS, 0)) == {"train"}
    assert len(set(assign_splits(silent, RATIOS, 0, group_by="none"))) == 3


FIELDS = st.lists(st.tuples(st.sampled_from("uvwxyz") | st.none(), st.sampled_from("abcdefgh")), max_size=40)


@given(FIELDS, st.integers(0, 99), st.randoms(use_true_random=False))
def test_no_split_divides_a_field_or_a_question(words: list[tuple[str | None, str]], seed: int, random) -> None:
    assume(any(value for value, _ in words))
    talks = [talk(question, **({"by": value} if value else {})) for value, question in words]
    names = assign_splits(talks, RATIOS, seed, group_by="by")
    for part in (0, 1):
        of: dict[str, set[str]] = {}
        for each, name in zip(words, names, strict=True):
            if key := each[part]:
                of.setdefault(key, set()).add(name)
        assert all(len(found) == 1 for found in of.values())
    order = random.sample(range(len(talks)), len(talks))
    assert assign_splits([talks[place] for place in order], RATIOS, seed, group_by="by") == [
        names[place] for place in order
    ]


def test_a_field_with_the_name_of_a_question_divides_none() -> None:
    """Records may well have one: what they ask counts, not what they call by that name."""
    plain = [talk(f"{number % 20}?", f"answer {number}") for number in range(40)]
    talks = [replace(one, meta={"question": f"variant {number}"}) for number, one in enumerate(plain)]
    names = assign_splits(talks, RATIOS, 0)
    assert names[:20] == names[20:]
    assert names == assign_splits(plain, RATIOS, 0)
    held = holds(talks, 0.5, 0)
    assert held[:20] == held[20:]
    assert sum(held) == 20


def holds(talks: Sequence[Material], ratio: float, seed: int) -> list[bool]:
    """What validation holds of a single source."""
    (held,) = held_out([grouped(talks, seed)], ratio)
    return held


def conversation(*questions: str) -> Conversation:
    turns = [(role, text) for text in questions for role, text in (("user", text), ("assistant", "Yes."))]
    messages = tuple(Message(role=role, content=text) for role, text in turns)  # type: ignore[arg-type]
    return Conversation(messages=messages, location=Location(path="a.jsonl", line=1))


QUESTIONS = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4), max_size=40)


@given(QUESTIONS, st.integers(0, 99), st.randoms(use_true_random=False))
def test_a_question_alone_is_with_all_conversations_that_ask_it(words: list[list[str]], seed: int, random) -> None:
    talks = [conversation(*each) for each in words]
    names = assign_splits(talks, RATIOS, seed)
    for one, name in zip(words, names, strict=True):
        if len(one) == 1:
            assert {other for each, other in zip(words, names, strict=True) if one[0] in each} == {name}
    order = random.sample(range(len(talks)), len(talks))
    assert assign_splits([talks[place] for place in order], RATIOS, seed) == [names[place] for place in order]


def test_who_asks_makes_no_other_question_of_one() -> None:
    talks = [talk(f"What is {number}?") for number in range(30)]
    named = [
        replace(one, messages=(replace(one.messages[0], name=name), *one.messages[1:]))
        for one in talks
        for name in ("Ann", "Bob")
    ]
    names = assign_splits([*talks, *named], RATIOS, 0)
    assert [names[30 + 2 * place : 32 + 2 * place] for place in range(30)] == [[name] * 2 for name in names[:30]]
    assert {asked(one) for one in named} == {asked(one) for one in talks}


def test_conversations_that_share_a_question_which_nobody_asks_alone_are_divided() -> None:
    talks = [conversation("Hello", f"What is {number}?") for number in range(100)]
    assert Counter(assign_splits(talks, RATIOS, 0)) == {"train": 70, "val": 10, "test": 20}
    assert set(assign_splits([*talks, conversation("hello ")], RATIOS, 0)) == {"train"}


@given(st.lists(QUESTIONS, min_size=1, max_size=4), st.floats(0.01, 0.6), st.integers(0, 99))
def test_no_question_is_trained_in_one_source_and_held_out_in_another(
    sources: list[list[list[str]]], ratio: float, seed: int
) -> None:
    talks = [[conversation(*each) for each in words] for words in sources]
    held = held_out([grouped(each, seed) for each in talks], ratio)
    where: dict[tuple[str, ...], set[bool]] = {}
    for words, places in zip(sources, held, strict=True):
        for each, is_held in zip(words, places, strict=True):
            where.setdefault(tuple(each), set()).add(is_held)
            if len(each) > 1:
                for question in each:
                    if any([question] in others for others in sources):
                        where.setdefault((question,), set()).add(is_held)
    assert all(len(found) == 1 for found in where.values())


def test_sources_that_share_nothing_are_divided_as_each_alone_is() -> None:
    sources = [[talk(f"{name} {number}") for number in range(50)] for name in "abc"]
    alone = [holds(each, 0.1, 0) for each in sources]
    assert held_out([grouped(each, 0) for each in sources], 0.1) == alone
    assert [sum(each) for each in alone] == [5, 5, 5]


def test_the_first_of_several_sources_decides() -> None:
    sources = [[talk(f"{number}") for number in numbers] for numbers in (range(100), range(50, 90))]
    first, second = held_out([grouped(each, 0) for each in sources], 0.1)
    assert first == holds(sources[0], 0.1, 0)
    assert second == first[50:90] != holds(sources[1], 0.1, 0)


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
    held = holds(talks, ratio, seed)
    places = ("".join("01"[one] for one in held),)
    train, val = (Portion(held_out=part, places=places).of_block(0, talks) for part in (False, True))
    assert [*map(id, val)] == [id(one) for one, taken in zip(talks, held, strict=True) if taken]
    assert [*map(id, train)] == [id(one) for one, taken in zip(talks, held, strict=True) if not taken]
    assert train
    assert not {*map(said, train)} & {*map(said, val)}


@given(st.integers(3, 200), RATIO, st.integers(0, 2**63 - 1), st.randoms(use_true_random=False))
def test_the_part_is_as_large_as_asked_for_and_the_same_in_any_order(
    count: int, ratio: float, seed: int, random
) -> None:
    talks = [talk(f"question {number}") for number in range(count)]
    taken = {talks[number].messages for number, one in enumerate(holds(talks, ratio, seed)) if one}
    assert abs(len(taken) - max(1, ratio * count)) <= 1
    shuffled = random.sample(talks, count)
    assert {shuffled[number].messages for number, one in enumerate(holds(shuffled, ratio, seed)) if one} == taken


def test_another_seed_holds_out_others() -> None:
    talks = [talk(f"question {number}") for number in range(100)]
    taken = {tuple(holds(talks, 0.1, seed)) for seed in range(5)}
    assert len(taken) == 5


def test_both_parts_together_account_for_every_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"prompt": f"Number {number}?", "response": "Yes."}) for number in range(20)]
    path.write_text("\n".join([*rows, "{broken"]), encoding="utf-8")
    (places,) = held_out_places([SourceFile(path=path, name="a")], 0.25, 1, tmp_path)
    train, val = (
        read_conversations(path, on_bad_row="drop", portion=Portion(held_out=part, places=places))
        for part in (False, True)
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


def test_no_question_of_one_set_is_held_out_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, numbers in {"a": range(200), "b": range(150, 300), "c": [*range(190, 195), 999]}.items():
        rows = [json.dumps({"prompt": f"Number {number}?", "response": f"It is {name}."}) for number in numbers]
        Path(f"{name}.jsonl").write_text("\n".join(rows))
    words = ["datasets=[{path: a.jsonl}, {path: b.jsonl}, {path: c.jsonl, weight: 0}]", "data.val_split_ratio=0.1"]
    config = load_config(None, words, {}).config
    for _ in "once", "and from what is kept":
        train, val = read_sets(config, find_sets(config, ["train", "val"]))
        trained, held = ({asked(one) for one in part.conversations} for part in (train, val))
        assert not {asked(one) for one in train.conversations if one.source != "c"} & held
        assert len(held) == 30, "20 of a, 15 of b, of which 5 are the same"
        assert len(trained | held) == 301
        files = {
            name: held_out_files(config, "val") if name == "val" else training_files(config)
            for name in ("train", "val")
        }
        read = {
            name: [asked(one) for file in group for one in _read(file) if file.weight != 0]
            for name, group in files.items()
        }
        assert {*read["val"]} == held
        assert not {*read["train"]} & held
        assert len(read["train"]) + len(read["val"]) == 350
        in_validation._found.cache_clear()
        assert len([one for one in train.conversations if one.source == "c"]) == 6, (
            "of what counts nothing, none is held"
        )
    assert len(list(Path("data/cache").glob("*/held_out.json"))) == 1


def _read(file: SourceFile) -> tuple[Material, ...]:
    return read_source(file, on_bad_row="error", system_prompt=None).conversations


def test_what_sets_share_is_found_again_when_one_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"prompt": f"Number {number}?", "response": "Yes."}) for number in range(100)]
    Path("a.jsonl").write_text("\n".join(rows))
    Path("b.jsonl").write_text("\n".join(rows[:1]))
    config = load_config(None, ["datasets=[{path: a.jsonl}, {path: b.jsonl}]", "data.val_split_ratio=0.5"], {}).config

    def places() -> list[str]:
        return ["".join(file.portion.places) for file in training_files(config) if file.portion]

    first = places()
    Path("b.jsonl").write_text("\n".join(rows[:50]))
    assert places() == [first[0], first[0][:50]]
    Path("b.jsonl").write_text("\n".join(rows[:1]))
    assert places() == first == [first[0], first[0][:1]]


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
