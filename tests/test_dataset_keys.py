"""Keys that name datasets as other tools do: `data.dataset_name`, `data.hf_datasets`, `training_mode`; one meaning each."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.config.data_schema import of_configuration
from weft.config.load import Loaded, load_config
from weft.config.schema import Config
from weft.data.inputs import training_files
from weft.errors import DataError, Problems, WeftError

SEED = """
training_mode: sft
data:
  hf_datasets:
    - name: OpenCoder-LLM/opc-sft-stage1
      config: filtered_infinity_instruct
      weight: 0.4
    - name: OpenCoder-LLM/opc-sft-stage1
      config: realuser_instruct
      weight: 0.3
  sft:
    format: alpaca
    instruction_response_separator: "\\n\\n### Response:\\n"
    custom_format:
      instruction_field: "instruction"
      response_field: "response"
      system_field: "system"
"""


def load(text: str, *overrides: str, environ: dict[str, str] | None = None) -> Loaded:
    Path("c.yaml").write_text(text)
    return load_config("c.yaml", overrides, environ or {})


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


WHOLE = "data.val_split_ratio=0"
"""Nothing is held out of the sets, so that none of them need be read."""


def same_as(text: str) -> Config:
    return load(text).config


def test_a_configuration_in_the_words_of_another_tool_means_the_same() -> None:
    loaded = load(SEED)
    assert loaded.config == same_as(
        """
mode: sft
datasets:
  - {path: OpenCoder-LLM/opc-sft-stage1, config: filtered_infinity_instruct, weight: 0.4}
  - {path: OpenCoder-LLM/opc-sft-stage1, config: realuser_instruct, weight: 0.3}
data: {format: alpaca, instruction_response_separator: "\\n\\n### Response:\\n"}
"""
    )
    assert loaded.provenance["datasets[1].path"] == "c.yaml:8"
    assert loaded.provenance["mode"] == "c.yaml:2"


def test_a_configuration_becomes_a_part_of_the_name() -> None:
    files = training_files(load(SEED, WHOLE).config)
    assert [(file.path, file.name, file.weight, file.format[0]) for file in files] == [
        (
            "OpenCoder-LLM/opc-sft-stage1:filtered_infinity_instruct",
            "opc-sft-stage1:filtered_infinity_instruct",
            0.4,
            "alpaca",
        ),
        ("OpenCoder-LLM/opc-sft-stage1:realuser_instruct", "opc-sft-stage1:realuser_instruct", 0.3, "alpaca"),
    ]
    words = ["data.dataset_name=org/set@test#50", "data.dataset_config_name=small"]
    (file,) = training_files(load("", *words).config)
    assert file.path == "org/set:small@test#50"
    (file,) = training_files(load("data: {dataset_name: org/set}").config)
    assert file.path == "org/set"


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("org/set", "org/set:c"),
        ("org/set@s", "org/set:c@s"),
        ("org/set#5", "org/set:c#5"),
        ("data/set@s#5", "data/set:c@s#5"),
        ("org/set:c@s", "org/set:c@s"),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_where_a_configuration_goes(path: str | list[str], whole: str | list[str]) -> None:
    assert of_configuration(path, "c") == whole
    assert of_configuration(path, None) == path


def test_later_layers_win_whatever_a_key_is_called() -> None:
    Path("base.yaml").write_text("data: {train_path: mine.jsonl}\ndatasets: [{path: a.jsonl}]\n")
    text = (
        "include: base.yaml\ndata:\n  dataset_name: org/set\n  hf_datasets: [{name: org/x}, {name: org/y, weight: 2}]\n"
    )
    config = load(text).config
    assert config.data.train_path == "org/set"
    assert [one.path for one in config.datasets] == ["org/x", "org/y"]
    config = load(text, "datasets[1].weight=3", "data.hf_datasets[0].config=c", "data.dataset_name=org/z").config
    assert [(one.path, one.config, one.weight) for one in config.datasets] == [
        ("org/x", "c", None),
        ("org/y", None, 3.0),
    ]
    assert config.data.train_path == "org/z"
    environ = {"WEFT_DATA__HF_DATASETS__1__NAME": "org/e", "WEFT_DATASETS__0__CONFIG": "d"}
    config = load(text, environ=environ).config
    assert [(one.path, one.config) for one in config.datasets] == [("org/x", "d"), ("org/e", None)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "data: {dataset_name: a/b}\ndata.train_path: a/c",
            "c.yaml:2: data.train_path and data.dataset_name (at c.yaml:1) are two names of data.train_path, but ",
        ),
        (
            "datasets: [{path: a/b}]\ndata: {hf_datasets: [{name: a/b}]}",
            "c.yaml:2: data.hf_datasets and datasets (at c.yaml:1) are two names of datasets, but their values differ",
        ),
        (
            "datasets: [{weight: 1}]\ndata: {hf_datasets: [{weight: 1}]}",
            "c.yaml:2: data.hf_datasets and datasets (at c.yaml:1) are two names of datasets, but their values differ",
        ),
        (
            "mode: sft\ntraining_mode: cpt",
            "c.yaml:2: training_mode and mode (at c.yaml:1) are two names of mode, but their values differ",
        ),
        ("training_mode: pretrain", "c.yaml:1: training_mode (mode) must be sft, cpt or cpt_mixed, not 'pretrain'"),
        (
            "data: {dataset_name: a/b:c, dataset_config_name: d}",
            "data.dataset_config_name names a configuration, but data.train_path names another one: a/b:c",
        ),
        (
            "data: {dataset_config_name: d}",
            "data.dataset_config_name names a configuration, but data.train_path names a file: data/processed/train.jsonl",
        ),
        (
            "data: {dataset_config_name: d, train_path: [a/b, a/c]}",
            "data.dataset_config_name names a configuration, but data.train_path names several sources: ",
        ),
        (
            "data: {hf_datasets: [{name: a.jsonl, config: d}]}",
            "datasets[0].config names a configuration, but datasets[0].path names a file: a.jsonl",
        ),
        (
            "data: {hf_datasets: [{weight: 2}]}",
            "data.hf_datasets[0] has no name, which every entry needs\n  fix: add name:",
        ),
        ("datasets: [{weight: 2}]", "datasets[0] has no path, which every entry needs\n  fix: add path:"),
        (
            "data: {hf_datasets: [{name: a/b, path: c}]}",
            "data.hf_datasets[0].path is not a configuration key\n  fix: did you mean datasets[0].path?",
        ),
        (
            "data: {hf_datasets: a/b}",
            "data.hf_datasets must be a list, with one entry for each\n  fix: write hf_datasets: [{",
        ),
        ("hf_datasets: [{name: a/b}]", "hf_datasets is not a configuration key\n  fix: did you mean datasets?"),
        (
            "data: {hf_datasets: [{name: a/b, weight: x}]}",
            "data.hf_datasets[0].weight (datasets[0].weight) must be a number",
        ),
        (
            "data: {hf_datasets: [{name: a/b}, {name: a/b}]}",
            "2 entries of datasets are named 'a/b'\n  fix: list each under datasets with a name: of its own, or once with",
        ),
        (
            "data: {hf_datasets: [{name: a/b}], dataset_config_name: c}",
            "c.yaml:1: data.dataset_config_name is about data.train_path, which is not read where datasets are listed\n"
            "  fix: write config: c into those entries of datasets that it is meant for, and remove it",
        ),
    ],
)
def test_what_contradicts_itself_is_an_error(text: str, said: str) -> None:
    with pytest.raises(WeftError) as error:
        load(text)
    assert said in str(error.value)


def test_two_names_on_one_command_line_must_agree() -> None:
    words = ["data.hf_datasets=[{name: a/b}]", "data.hf_datasets[0].name=a/c", "datasets[0].path=a/d"]
    with pytest.raises(
        Problems, match=r"datasets\[0\].path and data.hf_datasets\[0\].name .* two names of datasets\[0\].path"
    ):
        load("", *words)
    with pytest.raises(Problems, match=r"data.dataset_name and data.train_path"):
        load("", "data.train_path=a/b", "data.dataset_name=a/c")


def test_datasets_that_would_share_a_name_are_called_by_their_paths() -> None:
    text = """
data:
  hf_datasets:
    - {name: orgA/opc-sft-stage1, config: infinity}
    - {name: orgB/opc-sft-stage1, config: infinity}
    - {name: orgB/opc-sft-stage1, config: realuser}
"""
    assert [file.name for file in training_files(load(text, WHOLE).config)] == [
        "orgA/opc-sft-stage1:infinity",
        "orgB/opc-sft-stage1:infinity",
        "opc-sft-stage1:realuser",
    ]
    files = "datasets: [{path: x/a.jsonl}, {path: [y/a.json, b.csv]}, {path: b.csv#5}, {path: c.csv, name: b}]"
    assert [one.called for one in load(files).config.datasets] == ["x/a.jsonl", "y/a.json", "b.csv#5", "b"]


def test_the_same_configuration_may_be_named_twice() -> None:
    config = load("data: {dataset_name: 'a/b:c@s', dataset_config_name: c}").config
    assert config.data.training == "a/b:c@s"


def test_where_datasets_are_listed_the_name_of_one_is_of_no_account() -> None:
    config = load("datasets: [{path: a/b}]\ndata: {dataset_name: d/e, dataset_config_name: c}", WHOLE).config
    assert [file.path for file in training_files(config)] == ["a/b"]


def test_datasets_are_read_in_the_format_of_the_section_data_unless_they_have_their_own() -> None:
    text = "data: {format: custom}\ndatasets: [{path: a/b}, {path: a/c, format: qa}]"
    assert [file.format[0] for file in training_files(load(text, WHOLE).config)] == ["custom", "qa"]


def test_files_with_commas_between_them_are_no_list() -> None:
    Path("a.jsonl").touch()
    Path("b.jsonl").touch()
    for words in (["data.train_path=a.jsonl,b.jsonl"], ["datasets=[{path: 'a.jsonl,b.jsonl'}]"]):
        with pytest.raises(DataError) as error:
            training_files(load("", *words).config)
        assert str(error.value) == (
            "a.jsonl,b.jsonl: there is no such file of training records\n"
            "  fix: write several paths as a list: [a.jsonl, b.jsonl]"
        )


def test_a_file_that_is_missing_is_no_dataset() -> None:
    with pytest.raises(DataError, match=r"there is no such file of training records"):
        training_files(load("data: {dataset_name: nothing}").config)
