"""A working project, and that a command which cannot do what it is told refuses in the proper way."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.cli import main

RECORD = json.dumps({"input": "What is the capital of France?", "target": "Paris."})
GOOD = "".join(json.dumps({"input": f"Hello {number}", "target": "user"}) + "\n" for number in range(4))
TRAIN, VAL, RAW = "data/processed/train.jsonl", "data/processed/val.jsonl", "data/raw/a.jsonl"


@pytest.fixture
def sound_project(tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the working directory: a configuration, records that were prepared by hand, and a model's tokenizer."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_tokenizer_dir, "model")
    write("c.yaml", "model: {name: ./model}\n")
    write(TRAIN, GOOD)
    write(VAL, GOOD)


@pytest.fixture
def refused(sound_project: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused in the proper way, and returns the message."""

    def run(*words: str) -> str:
        before = snapshot()
        code = main(words)
        out, err = capsys.readouterr()
        assert (code, out) == (2, ""), err
        assert "\n  fix: " in err
        assert err.startswith("weft: ")
        assert "Traceback" not in err
        assert "bug in weft" not in err
        assert snapshot() == before, "a refused command changes nothing"
        return err

    return run


def write(path: str, content: str | bytes) -> None:
    """A file with its directory."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode())


def snapshot() -> dict[str, str]:
    """What every file of the working directory holds, but for the cache of encoded examples, which is anybody's to delete."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path().rglob("*")
        if path.is_file() and "cache" not in path.parts
    }
