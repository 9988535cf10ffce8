"""Where values come from: files, includes, environment, command line, aliases; and the place each is traced to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.config.load import Loaded, load_config
from weft.config.schema import Config
from weft.errors import ConfigError, Problems

Write = Callable[..., Loaded]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write files under the working directory, given as name=text with __ for / and _yaml for .yaml."""
    monkeypatch.chdir(tmp_path)

    def write_all(**files: str) -> None:
        for name, text in files.items():
            path = Path(name.replace("__", "/") + ".yaml")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return write_all


def load(path: str | None = None, *overrides: str, **environ: str) -> Loaded:
    return load_config(path, overrides, environ)


def value(loaded: Loaded, name: str) -> Any:
    result: Any = loaded.config
    for part in name.split("."):
        result = getattr(result, part)
    return result


def test_nothing_gives_the_defaults(write: Callable[..., None]) -> None:
    write(empty="", comment="# all defaults\n", sections="train:\ndata: {split: }\nlogging:\n")
    for path in (None, "empty.yaml", "comment.yaml", "sections.yaml"):
        loaded = load(path)
        assert loaded.config == Config()
        assert loaded.config.model_dump_json() == Config().model_dump_json()
        assert set(loaded.provenance.values()) == {"default"}


def test_the_later_source_wins_and_is_traced(write: Callable[..., None]) -> None:
    write(
        base="train:\n  epochs: 1\n  learning_rate: 1e-1\n  optim: sgd\n  save_steps: 1\n  max_grad_norm: 2",
        mine="include: base.yaml\ntrain:\n  learning_rate: 2e-1\n  optim: sgd\n  save_steps: 2\n",
    )
    environ = {"WEFT_TRAIN__OPTIM": "adamw", "WEFT_TRAIN__SAVE_STEPS": "3", "OTHER": "x"}
    loaded = load("mine.yaml", "train.save_steps=4", **environ)
    train = loaded.config.train
    assert (train.epochs, train.learning_rate, train.optim, train.save_steps) == (1.0, 0.2, "adamw", 4)
    names = ("epochs", "learning_rate", "optim", "save_steps", "warmup_steps")
    assert [loaded.provenance[f"train.{name}"] for name in names] == [
        "base.yaml:2",
        "mine.yaml:3",
        "environment WEFT_TRAIN__OPTIM",
        "command line",
        "default",
    ]
    assert loaded.files == ("base.yaml", "mine.yaml")


def test_includes_beside_the_file_then_from_the_working_directory(write: Callable[..., None]) -> None:
    write(
        configs__mine="include: [near.yaml, configs/near.yaml, far.yaml, ~]",
        configs__near="seed: 1\ngen: {top_p: 0.5}",
        far="seed: 2\ngen: {temperature: 1}",
        near="seed: 3",
    )
    loaded = load("configs/mine.yaml")
    assert loaded.config.seed == 2, "the last include wins"
    assert (loaded.config.gen.top_p, loaded.config.gen.temperature) == (0.5, 1.0), "mappings are merged"
    assert loaded.files == ("configs/near.yaml", "far.yaml", "configs/mine.yaml"), "a file is read once"


def test_lists_are_replaced_and_their_entries_can_be_overridden(write: Callable[..., None]) -> None:
    write(
        base="datasets: [{path: a, weight: 3}, {path: b}]\neval: {sets: {x: x.jsonl}, metrics: [loss]}",
        mine="include: base.yaml\ndatasets:\n- path: c\n  name: 2024\neval: {sets: {y: y.jsonl}, metrics: [rouge_l]}",
        edit="include: base.yaml\ndatasets[1].weight: 0.5",
    )
    loaded = load("mine.yaml", "datasets[0].weight=0.8", WEFT_DATASETS__0__FORMAT="qa", WEFT_EVAL__SETS__Z="z.jsonl")
    assert [d.model_dump(exclude_none=True) for d in loaded.config.datasets] == [
        {"path": "c", "name": "2024", "format": "qa", "weight": 0.8, "loss_weight": 1.0}
    ]
    assert loaded.config.eval.sets == {"x": "x.jsonl", "y": "y.jsonl", "z": "z.jsonl"}
    assert loaded.config.eval.metrics == ["rouge_l"]
    assert loaded.provenance["datasets"] == "mine.yaml:2"
    assert loaded.provenance["datasets[0].name"] == "mine.yaml:4"
    assert loaded.provenance["datasets[0].weight"] == "command line"
    assert loaded.provenance["datasets[0].format"] == "environment WEFT_DATASETS__0__FORMAT"
    assert loaded.provenance["eval.sets.x"] == "base.yaml:2"
    assert [d.weight for d in load("edit.yaml").config.datasets] == [3.0, 0.5]
    assert load("base.yaml", "datasets=").config.datasets == []


@pytest.mark.parametrize(
    ("override", "name", "expected"),
    [
        ("train.epochs=5", "train.epochs", 5.0),
        ("train.epochs = 5", "train.epochs", 5.0),
        ("train.learning_rate=2e-4", "train.learning_rate", 2e-4),
        ("train.max_steps=0x10", "train.max_steps", 16),
        ("train.bf16=true", "train.bf16", True),
        ("train.evaluation_strategy=no", "train.evaluation_strategy", "no"),
        ("train.packing=false", "train.packing", "none"),
        ("train.packing=true", "train.packing", "bfd"),
        ("tuning.lora.target_modules=[q_proj, 1]", "tuning.lora.target_modules", ["q_proj", "1"]),
        ("tuning={lora: {r: 64}}", "tuning.lora.r", 64),
        ("task_mode=sft", "mode", "sft"),
        ("train.max_steps=", "train.max_steps", None),
        ("data.system_prompt=", "data.system_prompt", None),
        ("data.system_prompt=null", "data.system_prompt", None),
        ('data.system_prompt="null"', "data.system_prompt", "null"),
        ("data.system_prompt=Be kind: yes", "data.system_prompt", "Be kind: yes"),
        ("data.style=a: b", "data.style", "a: b"),
        ("data.style=[a", "data.style", "[a"),
        ("data.style=- x", "data.style", "- x"),
        ("data.style={a: 1}", "data.style", "{a: 1}"),
        ("data.style=# x", "data.style", "# x"),
        ("data.style=---", "data.style", "---"),
        ("data.style=*a", "data.style", "*a"),
        ("data.style=a=b", "data.style", "a=b"),
        ("data.style='a' and 'b'", "data.style", "'a' and 'b'"),
        ("data.style='it''s'", "data.style", "it's"),
        ('data.style="two\\nlines"', "data.style", "two\nlines"),
        ("run_name=1:30", "run_name", "1:30"),
        ("run_name=2024", "run_name", "2024"),
        ("run_name=010", "run_name", "010"),
        ("run_name=1e5", "run_name", "1e5"),
        ("run_name=true", "run_name", "true"),
        ("eval.sets.paraphrases=x.jsonl", "eval.sets", {"paraphrases": "x.jsonl"}),
    ],
)
def test_overrides(override: str, name: str, expected: Any) -> None:
    result = value(load(None, override), name)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("text", ["2024", "1:30", "0o17", "true", "1e5", "2024-01-31", "-.inf"])
def test_text_in_files_stays_as_written(text: str, write: Callable[..., None]) -> None:
    write(mine=f"run_name: {text}\ndata:\n  style: '{text}'")
    config = load("mine.yaml").config
    assert (config.run_name, config.data.style) == (text, text)


@pytest.mark.parametrize(
    ("written", "text"),
    [('"aaa\n    # b"', "aaa # b"), ('"aaa\\\n    # b"', "aaa# b"), ('"a\n\n    b"', "a\nb"), ("'a\n    b'", "a b")],
)
def test_a_folded_text(written: str, text: str, write: Callable[..., None]) -> None:
    """Of a line break within quotes a space is left, and nothing where a backslash stands before it (YAML 1.2, 7.3.1)."""
    write(mine=f"data:\n  style: {written}")
    assert load("mine.yaml").config.data.style == text


def test_the_last_of_repeated_overrides_wins() -> None:
    assert load(None, "seed=1", "train={epochs: 1}", "seed=2", "train.epochs=2").config.seed == 2


@pytest.mark.parametrize("variable", ["WEFT_TRAIN__EPOCHS", "weft_train__epochs", "Weft_Train__Epochs"])
def test_variables_in_any_case(variable: str) -> None:
    assert load(None, **{variable: "5"}).config.train.epochs == 5.0


@pytest.mark.parametrize(
    ("variables", "name", "expected"),
    [
        ({"WEFT_SEED": "7"}, "seed", 7),
        ({"WEFT_TUNING__LORA__R": "8"}, "tuning.lora.r", 8),
        ({"WEFT_DATA__SYSTEM_PROMPT": "a: b"}, "data.system_prompt", "a: b"),
        ({"WEFT_LOGGING__BACKEND": "tensorboard"}, "train.report_to", "tensorboard"),
        ({"WEFT_GEN": "{top_p: 0.5}"}, "gen.top_p", 0.5),
        ({"WEFT_CI": "1", "WEFT_HOME": "/x", "WEFT_": "x", "XWEFT_SEED": "1"}, "seed", 42),
    ],
)
def test_environment(variables: dict[str, str], name: str, expected: Any) -> None:
    assert value(load(None, **variables), name) == expected


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_SEED", "7")
    assert load_config(None).config.seed == 7


@pytest.mark.parametrize(
    ("alias", "text", "name", "expected"),
    [
        ("train.steps", "7", "train.max_steps", 7),
        ("train.num_train_epochs", "7", "train.epochs", 7.0),
        ("train.eval_strategy", "steps", "train.evaluation_strategy", "steps"),
        ("train.run_name", "x", "run_name", "x"),
        ("train.max_seq_len", "64", "model.max_seq_len", 64),
        ("logging.backend", "tensorboard", "train.report_to", "tensorboard"),
        ("logging.log_interval", "7", "train.logging_steps", 7),
        ("data.template", "chatml", "data.template_path", "chatml"),
        ("task_mode", "sft", "mode", "sft"),
    ],
)
def test_aliases_mean_their_key(alias: str, text: str, name: str, expected: Any, write: Callable[..., None]) -> None:
    section, _, last = alias.rpartition(".")
    write(mine=f"{section}:\n  {last}: {text}" if section else f"{last}: {text}")
    for loaded in (load("mine.yaml"), load(None, f"{alias}={text}")):
        assert value(loaded, name) == expected
        assert loaded.provenance[name] in ("mine.yaml:2", "mine.yaml:1", "command line")


def test_aliases_across_layers_and_agreeing_ones(write: Callable[..., None]) -> None:
    write(
        base="train: {steps: 5}",
        mine="include: base.yaml\ntrain: {max_steps: 6}",
        twice="train: {steps: 5, max_steps: 5}",
    )
    assert load("mine.yaml").config.train.max_steps == 6
    assert load("mine.yaml", "train.steps=7").config.train.max_steps == 7
    assert load("twice.yaml").config.train.max_steps == 5


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        (
            "train:\n  steps: 5\n  max_steps: 6",
            "mine.yaml:3",
            "train.max_steps and train.steps (at mine.yaml:2) are two names of train.max_steps, but their values differ",
        ),
        (
            "run_name: a\ntrain:\n  run_name: b",
            "mine.yaml:3",
            "train.run_name and run_name (at mine.yaml:1) are two names",
        ),
        (
            "train: {epochs: 1}\ntrain.epochs: 2",
            "mine.yaml:2",
            "train.epochs is set twice, to different values; first at",
        ),
    ],
)
def test_two_names_that_disagree(text: str, where: str, what: str, write: Callable[..., None]) -> None:
    write(mine=text)
    with pytest.raises(Problems) as caught:
        load("mine.yaml")
    (problem,) = caught.value.problems
    assert problem.where == where
    assert what in problem.what


@pytest.mark.parametrize(
    ("overrides", "environ", "where"),
    [
        (["train.steps=5", "train.max_steps=6"], {}, "command line"),
        ([], {"WEFT_TRAIN__STEPS": "5", "WEFT_TRAIN__MAX_STEPS": "6"}, "environment WEFT_TRAIN__STEPS"),
        ([], {"WEFT_SEED": "5", "weft_seed": "6"}, "environment weft_seed"),
    ],
)
def test_names_that_disagree_outside_files(overrides: list[str], environ: dict[str, str], where: str) -> None:
    with pytest.raises(Problems) as caught:
        load(None, *overrides, **environ)
    assert [problem.where for problem in caught.value.problems] == [where]


@pytest.mark.parametrize(
    ("files", "where", "message"),
    [
        ({"mine": "include: mine.yaml"}, "mine.yaml:1", "mine.yaml → mine.yaml"),
        (
            {"mine": "seed: 1\ninclude: a.yaml", "a": "include: [b.yaml]", "b": "\ninclude: mine.yaml"},
            "b.yaml:2",
            "mine.yaml → a.yaml → b.yaml → mine.yaml",
        ),
        (
            {"d__x": "", "mine": "seed: 1\ninclude: d/missing.yaml"},
            "mine.yaml:2",
            "there is no file 'd/missing.yaml' to include",
        ),
        ({"mine": "include: {a: b}"}, "mine.yaml:1", "a path or a list of paths"),
        ({"mine": "include: [[a]]"}, "mine.yaml:1", "a path or a list of paths"),
        ({"mine": "- a\n- b"}, "mine.yaml:1", "holds a list"),
        ({"mine": "\njust text"}, "mine.yaml:2", "holds a single value"),
        ({"mine": "include: a.yaml", "a": "x: [\n"}, "a.yaml:2", "not valid YAML"),
    ],
)
def test_files_that_cannot_be_read(files: dict[str, str], where: str, message: str, write: Callable[..., None]) -> None:
    write(**files)
    with pytest.raises(ConfigError) as caught:
        load("mine.yaml")
    assert caught.value.where == where
    assert message in str(caught.value)


def test_a_missing_include_names_both_places(write: Callable[..., None]) -> None:
    write(configs__mine="include: other/base.yaml")
    with pytest.raises(ConfigError, match=r"neither configs/other/base\.yaml nor other/base\.yaml"):
        load("configs/mine.yaml")


def test_a_missing_file_names_its_neighbours(write: Callable[..., None], tmp_path: Path) -> None:
    write(configs__quickstart="", configs__alpaca="")
    for path in ("configs/quickstrat.yaml", str(tmp_path / "configs/quickstart.yml")):
        with pytest.raises(ConfigError, match=r"no such configuration file\n.*did you mean configs/quickstart\.yaml\?"):
            load(path)
    with pytest.raises(ConfigError, match=r"directory.*\n.*configs/alpaca\.yaml or configs/quickstart\.yaml"):
        load("configs")
    with pytest.raises(ConfigError, match="no such configuration file"):
        load("nowhere/" + "x" * 300)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin1.yaml"
    path.write_bytes(b"seed: 1\nrun_name: caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert str(caught.value.where).endswith("latin1.yaml:2")
    assert "not UTF-8: byte 0xe9" in caught.value.what


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"x" * 1_000_001)
    with pytest.raises(ConfigError, match="longer than 1,000,000 bytes"):
        load(str(path))


def test_loading_a_configuration_imports_nothing_heavy() -> None:
    code = "import sys; from weft.config.load import load_config; load_config(None); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "transformers", "numpy", "pyarrow", "huggingface_hub", "rapidfuzz", "rich"}
    assert "weft.config.load" in loaded
    assert not heavy & set(loaded)


def test_the_home_directory_in_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/weaver")
    words = [
        "data.raw_path=[~/a.jsonl#5, b/~.csv, '~/c/*.json']",
        "data.train_path=~/train.jsonl",
        "data.val_path=~",
        "data.system_prompt='~/not a path'",
        "data.template_path=~/t.jinja",
        "datasets=[{path: ~/d.csv, name: ~/d}]",
        "eval.sets={far: ~/far.jsonl}",
        "train.output_dir=~/out",
    ]
    with pytest.raises(Problems, match=r"data\.val_path must be text, not null"):
        load_config(None, words, environ={})
    config = load_config(None, [word for word in words if word != "data.val_path=~"], environ={}).config
    assert config.data.raw_path == ["/home/weaver/a.jsonl#5", "b/~.csv", "/home/weaver/c/*.json"]
    assert (config.data.train_path, config.data.template_path) == (
        "/home/weaver/train.jsonl",
        "/home/weaver/t.jinja",
    )
    assert config.data.system_prompt == "~/not a path"
    assert (config.datasets[0].path, config.datasets[0].name) == ("/home/weaver/d.csv", "~/d")
    assert (config.eval.sets, config.train.output_dir) == ({"far": "/home/weaver/far.jsonl"}, "/home/weaver/out")


def test_an_include_from_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Callable[..., None]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(home__base="train: {epochs: 7}", my="include: ~/base.yaml")
    assert load_config("my.yaml", environ={}).config.train.epochs == 7
