"""How a configuration has records read: names of fields, for all data sets and for one, and system messages or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.cli import main
from weft.config.load import load_config
from weft.config.schema import Config
from weft.data.check import check
from weft.data.conversations import read_conversations
from weft.data.inputs import held_out_files, load_renderer, open_examples, training_files
from weft.data.reading import Reading
from weft.data.show import question, show_training
from weft.errors import ConfigError, DataError, Problems
from weft.evaluation.sets import find_sets, read_sets

TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.fixture
def config_of(tmp_path: Path, tiny_tokenizer_dir: Path) -> Callable[..., Config]:
    def made(yaml: str, *overrides: str, **files: list[Any]) -> Config:
        for name, rows in files.items():
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        (tmp_path / "c.yaml").write_text(yaml, encoding="utf-8")
        base = [
            f"model.name={tiny_tokenizer_dir}",
            f"data.train_path={tmp_path}/train.jsonl",
            f"data.val_path={tmp_path}/val.jsonl",
            f"data.cache_dir={tmp_path}/cache",
            "data.val_split_ratio=0",
        ]
        return load_config(tmp_path / "c.yaml", [*base, *overrides]).config

    return made


def said(config: Config) -> list[list[tuple[str, str]]]:
    """Roles and contents of all training records."""
    return [
        [(message.role, message.content) for message in talk.messages]
        for file in training_files(config)
        for talk in read_conversations(file.path, format=file.format, on_bad_row="error").conversations
    ]


# ---- fields of one data set ---------------------------------------------------------------------------------------------

ROWS = {"a": [{"frage": "Q", "antwort": "A", "rahmen": "S"}], "b": [{"ask": "R", "reply": "B", "hint": "H"}]}
SETS = """
data: {instruction_field: ask, response_field: reply}
datasets:
  - {path: %s/a.jsonl, format: custom, instruction_field: frage, response_field: antwort, system_field: rahmen}
  - {path: %s/b.jsonl, format: custom, context_field: hint}
"""


def test_each_data_set_names_its_own_fields(config_of: Callable[..., Config], tmp_path: Path) -> None:
    config = config_of(SETS % (tmp_path, tmp_path), **ROWS)
    expected = [
        [("system", "S"), ("user", "Q"), ("assistant", "A")],
        [("user", "R\n\nH"), ("assistant", "B")],
    ]
    assert said(config) == expected
    (evaluated,) = read_sets(config, find_sets(config, ["train"]))
    assert [[one.content for one in talk.messages] for talk in evaluated.conversations] == [
        [content for _, content in talk] for talk in expected
    ]


def test_custom_format_is_another_name_of_the_fields(config_of: Callable[..., Config], tmp_path: Path) -> None:
    sets = f"""
datasets:
  - path: {tmp_path}/a.jsonl
    format: custom
    custom_format: {{instruction_field: frage, response_field: antwort, system_field: rahmen}}
"""
    assert said(config_of(sets, **ROWS)) == [[("system", "S"), ("user", "Q"), ("assistant", "A")]]
    with pytest.raises((ConfigError, Problems), match=r"two names of datasets\[0\]\.instruction_field"):
        config_of(sets + "    instruction_field: other\n", **ROWS)


def test_a_field_that_is_not_there_is_named_by_its_key(config_of: Callable[..., Config], tmp_path: Path) -> None:
    sets = (
        f"datasets: [{{path: {tmp_path}/a.jsonl, format: custom, instruction_field: fragen, response_field: antwort}}]"
    )
    with pytest.raises(Problems) as refused:
        said(config_of(sets, **ROWS))
    assert f'{tmp_path}/a.jsonl:1: the record has no field "fragen", which datasets[].instruction_field' in str(
        refused.value
    )
    assert "set datasets[].instruction_field: frage" in str(refused.value)
    sets = sets.replace("fragen", "frage").replace("antwort", "antwort, system_field: rolle")
    with pytest.raises(DataError, match=r'no record has the field "rolle", which datasets\[\]\.system_field names'):
        said(config_of(sets, **ROWS))


def test_fields_are_refused_where_they_would_be_ignored(config_of: Callable[..., Config], tmp_path: Path) -> None:
    sets = f"datasets: [{{path: {tmp_path}/a.jsonl, instruction_field: frage}}]"
    with pytest.raises(
        (ConfigError, Problems), match=r"datasets\[0\]\.instruction_field is for records of format: custom"
    ):
        config_of(sets, **ROWS)


def test_fields_of_a_data_set_are_apart_too(config_of: Callable[..., Config], tmp_path: Path) -> None:
    sets = f"datasets: [{{path: {tmp_path}/a.jsonl, format: custom, response_field: instruction}}]"
    with pytest.raises((ConfigError, Problems)) as refused:
        config_of(sets, **ROWS)
    assert "data.instruction_field and datasets[0].response_field both name the field 'instruction'" in str(
        refused.value
    )


# ---- fields that are named for all sets ------------------------------------------------------------------------------------

COMMON = """
data: {{sft: {{format: custom, custom_format: {{instruction_field: q, response_field: a, system_field: {field}}}}}}}
datasets: [{{path: {folder}/with.jsonl}}, {{path: {folder}/bare.jsonl}}]
"""
BARE = [{"q": f"question {number}", "a": "yes"} for number in range(4)]
WITH = [{"q": "framed", "a": "no", "sys": "S"}, *BARE]
LACK = 'no record has the field "sys", which data.system_field names'


def test_a_set_may_be_without_a_field_that_is_named_for_all(config_of: Callable[..., Config], tmp_path: Path) -> None:
    config = config_of(COMMON.format(field="sys", folder=tmp_path), **{"with": WITH}, bare=BARE, val=BARE[:2])
    files = {"train": training_files(config), "val": held_out_files(config, "val")}
    for is_cached in (False, True):
        stores, _ = open_examples(config, files, load_renderer(config))
        assert [stores[name].report.cached for name in files] == [is_cached] * 2
        assert [stores[name].report.notices for name in files] == [(f"bare: {LACK}",), (f"val: {LACK}",)]
        assert [notice for notice in check(config).notices if LACK in notice] == [f"bare: {LACK}", f"val: {LACK}"]
    assert [len(one.conversations) for one in read_sets(config, find_sets(config, ["train", "val"]))] == [9, 2]
    assert len(show_training(config, 99)[1]) == 9
    divided = config_of(
        COMMON.format(field="sys", folder=tmp_path), "data.val_split_ratio=0.5", "data.val_path=none.jsonl"
    )
    assert [notice for notice in check(divided).notices if LACK in notice] == [f"bare: {LACK}"]


def test_a_field_that_no_set_has_is_an_error(config_of: Callable[..., Config], tmp_path: Path) -> None:
    config = config_of(COMMON.format(field="syss", folder=tmp_path), **{"with": WITH}, bare=BARE, val=BARE[:2])
    error = (
        'no record has the field "syss", which data.system_field names\n  fix: correct data.system_field, or remove it'
    )
    trained = f"{tmp_path}/with.jsonl, {tmp_path}/bare.jsonl"
    files = {"train": training_files(config), "val": held_out_files(config, "val")}
    for _ in ("encoded", "kept"):
        with pytest.raises(DataError) as refused:
            open_examples(config, files, load_renderer(config))
        assert str(refused.value) == f"{trained}, {tmp_path}/val.jsonl: {error}"
    with pytest.raises(DataError) as refused:
        check(config)
    assert str(refused.value) == f"{trained}, {tmp_path}/val.jsonl: {error}"
    with pytest.raises(DataError) as refused:
        show_training(config, 99)
    assert str(refused.value) == f"{trained}: {error}"


def test_raw_files_are_one_set(config_of: Callable[..., Config], tmp_path: Path) -> None:
    text = COMMON.format(field="sys", folder=tmp_path).partition("datasets")[0]
    config_of(text, **{"with": WITH}, bare=BARE)
    words = [
        f"data.raw_path=[{tmp_path}/bare.jsonl, {tmp_path}/with.jsonl]",
        f"data.train_path={tmp_path}/out/train.jsonl",
    ]
    assert main(["prepare", str(tmp_path / "c.yaml"), *words]) == 0


# ---- without system messages ----------------------------------------------------------------------------------------------

TALKS = [
    {"system": "S", "user": "Q", "assistant": "A", "tools": TOOLS},
    {"messages": [{"role": "user", "content": "R"}, {"role": "assistant", "content": "B"}]},
]


@pytest.mark.parametrize("key", ["data.include_system_prompt", "data.sft.include_system_prompt"])
def test_system_messages_are_left_out_and_counted(
    config_of: Callable[..., Config], key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = config_of("", f"{key}=false", train=TALKS)
    assert said(config) == [[("user", "Q"), ("assistant", "A")], [("user", "R"), ("assistant", "B")]]
    report = check(config)
    notice = "1 records are without their system message, which data.include_system_prompt: false leaves out"
    assert notice in report.notices
    assert report.sets[0].records == 2
    words = [f"data.raw_path={tmp_path}/train.jsonl", f"data.train_path={tmp_path}/out/train.jsonl", f"{key}=false"]
    words += ["data.split.train_ratio=1", "data.split.val_ratio=0", "data.split.test_ratio=0"]
    assert main(["prepare", *words]) == 0
    assert notice in " ".join(capsys.readouterr().out.split())
    lines = (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert [[one["role"] for one in json.loads(line)["messages"]] for line in lines] == [["user", "assistant"]] * 2
    assert json.loads(lines[0])["tools"] == TOOLS  # what the conversation is held with stays


def test_by_default_they_are_kept(config_of: Callable[..., Config]) -> None:
    assert said(config_of("", train=TALKS))[0][0] == ("system", "S")
    assert said(config_of("", "data.sft.include_system_prompt=true", train=TALKS))[0][0] == ("system", "S")


@pytest.mark.parametrize("key", ["data.system_prompt", "data.style"])
def test_what_is_added_says_something(config_of: Callable[..., Config], key: str) -> None:
    with pytest.raises((ConfigError, Problems), match=rf"{key} says nothing\n  fix: give it words, or remove it"):
        config_of("", f"{key}=' '", train=TALKS)


@pytest.mark.parametrize("key", ["data.system_prompt", "data.style"])
def test_an_empty_one_is_none(config_of: Callable[..., Config], key: str) -> None:
    assert said(config_of("", f"{key}=''", train=[TALKS[1]])) == [[("user", "R"), ("assistant", "B")]]


@pytest.mark.parametrize("adds", ["data.system_prompt=Be kind", "data.style=Be brief"])
def test_adding_one_and_leaving_all_out_contradict_each_other(config_of: Callable[..., Config], adds: str) -> None:
    with pytest.raises(
        (ConfigError, Problems), match=r"data\.include_system_prompt: false leaves every system message out"
    ):
        config_of("", "data.include_system_prompt=false", adds, train=TALKS)


def test_a_style_of_the_files_is_not_added_to_questions_either(
    config_of: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"data.raw_path={tmp_path}/raw.jsonl", f"data.train_path={tmp_path}/out/train.jsonl"]
    config_of("", raw=TALKS)
    words += ["data.split.train_ratio=1", "data.split.val_ratio=0", "data.split.test_ratio=0"]
    assert main(["prepare", *words]) == 0
    assert main(["style", *words, "--style", "Be brief"]) == 0
    kept = config_of("", *words)
    assert [message.role for message in question(kept, "Q")] == ["system", "user"]
    without = config_of("", *words, "data.include_system_prompt=false")
    assert [message.role for message in question(without, "Q")] == ["user"]
    assert said(without)[0][0] == ("user", "Q")


def test_another_choice_is_another_entry_of_the_cache() -> None:
    assert list(Reading()) != list(Reading(include_system_prompt=False))
