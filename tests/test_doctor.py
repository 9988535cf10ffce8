"""``weft doctor``: the page for people, the document for reports, and never a secret in either."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from weft.cli import main
from weft.models import environment


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    for line in ("libraries", "hardware", "optional", "hub", "writable", "no problems"):
        assert f"{line}\n" in page
    assert torch.__version__ in page
    assert "bitsandbytes" in page


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["libraries"].keys() == set(environment.LIBRARIES)
    assert found["writable"] == {"data": True, "models": True, "outputs": True}
    assert found["hardware"]["dtype"]["why"]


def test_a_token_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    assert environment.describe()["hub"]["token"] is True
    for words in (["doctor"], ["doctor", "--json"]):
        main(words)
        assert "hf_secret" not in capsys.readouterr().out


def test_nothing_is_made_by_looking(workplace: Path) -> None:
    main(["doctor"])
    assert list(workplace.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_a_problem(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "outputs").write_text("a file where the directory should be")
    assert main(["doctor"]) == 1
    assert "problem: outputs/ cannot be written: " in capsys.readouterr().out


def test_a_broken_torch_is_survived(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "weft.models.hardware", None)  # importing it raises ImportError
    monkeypatch.delattr("weft.models.hardware", raising=False)
    assert main(["doctor"]) == 1
    assert "problem: torch cannot be loaded" in capsys.readouterr().out


def test_a_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "EXTRAS", {"no_such_package": "pip install it"})
    monkeypatch.setattr(environment, "LIBRARIES", ("no_such_library",))
    found = environment.describe()
    assert found["extras"] == {"no_such_package": "pip install it"}
    assert environment.find_problems({**found, "hardware": {}}) == [
        "no_such_library is not installed: pip install weft"
    ]
