"""Cleaning removes what preparation made and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weft.config.load import load_config
from weft.config.schema import Config
from weft.data.clean import clean
from weft.data.prepare import prepare
from weft.data.style import apply_style


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "data/raw/questions.jsonl"
    raw.parent.mkdir(parents=True)
    rows = [json.dumps({"input": f"question {n}", "target": f"answer {n}"}) for n in range(5)]
    raw.write_text("\n".join([*rows, "{broken"]) + "\n", encoding="utf-8")
    return load_config(None, ["on_bad_row=drop"], {}).config


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_everything_that_preparation_and_style_wrote_goes(config: Config, tmp_path: Path) -> None:
    prepare(config)
    apply_style(config, "Be brief.")
    removed = clean(config)
    assert files(tmp_path) == {"data/raw/questions.jsonl"}
    assert not Path("data/processed").exists()
    assert {path.name for path in removed} == {
        "train.jsonl", "val.jsonl", "test.jsonl", "rejects.jsonl", "prepare_report.json",
    }  # fmt: skip


def test_the_cache_goes_and_strange_files_in_it_stay(config: Config, tmp_path: Path) -> None:
    entry = tmp_path / "data/cache" / ("a" * 64)
    entry.mkdir(parents=True)
    (entry / "examples.arrow").write_bytes(b"x")
    (tmp_path / "data/cache/notes.txt").write_text("mine")
    assert [path.name for path in clean(config)] == ["a" * 64]
    assert files(tmp_path) == {"data/raw/questions.jsonl", "data/cache/notes.txt"}


def test_a_file_that_weft_did_not_write_stays(config: Config, tmp_path: Path) -> None:
    mine = tmp_path / "data/processed/train.jsonl"
    mine.parent.mkdir()
    mine.write_text('{"input": "a", "target": "b"}\n')
    assert clean(config) == ()
    assert mine.exists()


def test_a_prepared_file_that_was_replaced_by_ones_own_stays(config: Config, tmp_path: Path) -> None:
    prepare(config)
    mine = tmp_path / "data/processed/val.jsonl"
    mine.write_text('{"input": "a", "target": "b"}\n')
    clean(config)
    assert files(tmp_path) == {"data/raw/questions.jsonl", "data/processed/val.jsonl"}


def test_cleaning_twice_is_cleaning_once(config: Config) -> None:
    prepare(config)
    assert clean(config)
    assert clean(config) == ()
