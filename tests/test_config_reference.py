"""The generated pages say what the schema says."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.config import reference
from weft.config.keys import KEYS
from weft.config.load import load_config
from weft.config.schema import Config


def test_the_committed_pages_are_current() -> None:
    assert (reference.ROOT / "docs/config.md").read_text(encoding="utf-8") == reference.markdown()
    assert (reference.ROOT / "configs/config_base.yaml").read_text(encoding="utf-8") == reference.base_yaml()


def test_the_base_configuration_sets_every_default(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text(reference.base_yaml(), encoding="utf-8")
    loaded = load_config(path, environ={})
    assert loaded.config == Config()
    assert loaded.config.model_dump_json() == Config().model_dump_json()
    assert [name for name, place in loaded.provenance.items() if place == "default"] == []


def test_the_table_has_a_row_for_every_key_with_help() -> None:
    rows = [
        line.split(" | ")
        for line in reference.markdown().splitlines()
        if line.startswith("| `") and line.count("|") > 4
    ]
    assert sorted(row[0].strip("| `") for row in rows) == sorted(name for name in KEYS if "*" not in name)
    assert all(key.help for key in KEYS.values())
    assert {row[0].strip("| `") for row in rows if "†" in row[2]} == {key.name for key in KEYS.values() if key.pending}
    row = next(row for row in rows if row[0] == "| `mode`")
    assert row[1:4] == ["`task_mode`, `training_mode`", "sft, cpt or cpt_mixed", "`sft`"]


def test_check_and_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().err.count("is not current") == 2
    assert reference.main(["--write"]) == 0
    assert reference.main(["--check"]) == 0
    (tmp_path / "docs/config.md").write_text("stale", encoding="utf-8")
    assert reference.main(["--check"]) == 1
