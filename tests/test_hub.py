"""Datasets by name: through the datasets library where it is installed, with a directory that is laid out like a dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weft.cli import main
from weft.data.places import exists, find_parts
from weft.data.sources import read_records
from weft.errors import DataError
from weft.types import Record

CARD = """---
configs:
- {config_name: small, data_files: [{split: train, path: small/train.jsonl}, {split: test, path: small/test.jsonl}]}
- {config_name: large, data_files: [{split: train, path: large/train.jsonl}]}
---
"""


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the dataset ``data/set``, of two configurations."""
    monkeypatch.chdir(tmp_path)
    for name, count in (("small/train", 30), ("small/test", 7), ("large/train", 300)):
        path = Path("data/set", f"{name}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(json.dumps({"input": f"{name} {n}", "target": "x"}) for n in range(count)))
    Path("data/set/README.md").write_text(CARD)
    return tmp_path


@pytest.fixture
def library(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    datasets = pytest.importorskip("datasets", reason="needs weft[datasets], which is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", dataset / "cache")
    return datasets


def inputs(name: str, seed: int = 1) -> list[str]:
    return [row.data["input"] for row in read_records(name, seed=seed) if isinstance(row, Record)]


@pytest.mark.parametrize("name", ["org/name", "org/name:config@split#5", "data/set:small", "data/set@train"])
def test_without_the_library_the_extra_is_named(dataset: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert exists(name)
    with pytest.raises(
        DataError, match=r"no such file or directory, and .*\n  fix: correct the path; .*weft\[datasets\]"
    ):
        find_parts(name)


@pytest.mark.parametrize("name", ["org/name.jsonl", "a/b/c", "name", "org/", "/org/name", "org/name@", "org/name:a b"])
def test_what_is_no_name_of_a_dataset(dataset: Path, name: str) -> None:
    assert not exists(name)
    with pytest.raises(DataError, match="no such file or directory\n"):
        find_parts(name)


def test_the_hub_is_asked_once(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def load_dataset(*args: Any, split: str, **_: Any) -> Any:
        asked.append((*args, split))
        return SimpleNamespace(cache_files=[{"filename": f"{len(asked)}.arrow"}])

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    for name in ("asked/once", "asked/once@train", "asked/once:c", "asked/once:c", "data/set:small", "data/set:small"):
        find_parts(name)
    assert asked == [
        ("asked/once", None, "train"),
        ("asked/once", "c", "train"),
        ("data/set", "small", "train"),
        ("data/set", "small", "train"),
    ]
    assert find_parts("asked/once")[0].files == (Path("1.arrow"),)


def test_a_bare_name_below_a_directory_that_lies_here_is_a_path(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert (exists("data/val"), exists("data/val@train"), exists("val/data")) == (False, True, True)
    for name, fix in {
        "data/val": "look into data; or, for a dataset of the hub, write data/val@train",
        "data/sett": "did you mean data/set?",
        "data/val.jsonl": "look into data",
    }.items():
        with pytest.raises(DataError) as error:
            find_parts(name)
        assert str(error.value) == f"{name}: there is no such file or directory\n  fix: {fix}"
    assert main(["prepare", "data.raw_path=data/val"]) == 2
    assert "there is no such file or directory\n  fix: set data.raw_path to your records" in capsys.readouterr().err


def test_a_directory_is_read_by_weft_itself_unless_a_configuration_or_a_split_is_named(dataset: Path) -> None:
    Path("data/set/more.jsonl").write_text("{}")
    assert [path.name for path in find_parts("data/set")[0].files] == ["more.jsonl"]


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("data/set:small", "small/train", 30),
        ("data/set:small@test", "small/test", 7),
        ("data/set:large", "large/train", 300),
    ],
)
def test_a_split_of_a_configuration(library: Any, name: str, config: str, count: int) -> None:
    assert inputs(name) == [f"{config} {n}" for n in range(count)]
    assert str(next(iter(read_records(name))).location).endswith(
        "-{}.arrow (record 1)".format(config.partition("/")[2])
    )


def test_a_sample_is_streamed_and_kept(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    load = library.load_dataset
    monkeypatch.setattr(library, "load_dataset", lambda *a, **k: calls.append(k["streaming"]) or load(*a, **k))
    sample = inputs("data/set:large#20")
    assert len(sample) == 20
    assert sample == sorted(sample, key=lambda text: int(text.split()[1]))
    assert inputs("data/set:large#20") == sample
    assert calls == [True], "the second time it is there"
    assert inputs("data/set:large#20", seed=2) != sample
    lines = Path("data/set/large/train.jsonl").read_text().replace('"x"', '"y"')
    Path("data/set/large/train.jsonl").write_text(lines)
    (row, *_) = read_records("data/set:large#20", seed=1)
    assert isinstance(row, Record)
    assert row.data["target"] == "y", "what changed is streamed again"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("data/set:none", "'none' not found"),
        ("data/set@train", "Config name is missing"),
        ("data/set:small@none", "none"),
        ("data/set:small@none#5", "none"),
        ("org/name", "Couldn't reach 'org/name' on the Hub"),
    ],
)
def test_what_the_library_cannot_load(library: Any, name: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        find_parts(name)
    assert "the dataset cannot be loaded: " in str(error.value)
    assert said in str(error.value)
    assert "\n  fix: write org/name:config@split" in str(error.value)


def test_preparing_a_dataset_by_name(library: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["prepare", "data.raw_path=['data/set:small', 'data/set:large#900']", "data.train_path=out/train.jsonl"])
        == 0
    )
    report = json.loads(Path("out/prepare_report.json").read_text())
    assert report["records"] == 330
    assert (
        report["notes"][0]
        == "data/set:large#900 asks for a sample of 900 records, and there are 300: all of them are taken"
    )


def test_the_library_is_loaded_for_datasets_only(dataset: Path) -> None:
    code = (
        "import sys; from weft.data.sources import read_records; list(read_records('data/set/small'));"
        "sys.exit('datasets' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
