"""The walk-throughs of the systems that weft takes the place of, as a stranger would type them."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the walk-through needs of a clone, with the environment of the tests in the place of a new one."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, tmp_path / name)
    for name in ("configs", "chat_templates"):
        shutil.copytree(ROOT / name, tmp_path / name)
    weft_into(tmp_path / ".venv/bin")
    (tmp_path / ".venv/.ready").touch()
    return tmp_path


def weft_into(folder: Path) -> None:
    folder.mkdir(parents=True)
    weft = folder / "weft"
    weft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m weft "$@"\n')
    weft.chmod(0o755)


def walk(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a walk-through to its end."""
    done = subprocess.run(
        ["bash", str(ROOT / "tests/walkthroughs" / script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_seed_001(checkout: Path) -> None:
    walk("seed_001.sh", checkout)
    run = checkout / "outputs/sft-run"
    assert {"adapter_config.json", "adapter_model.safetensors", "metrics.jsonl"} <= {
        path.name for path in run.iterdir()
    }
    assert (run / "merged/model.safetensors").is_file()


@pytest.mark.skipif(
    importlib.util.find_spec("sentencepiece") is None,
    reason="needs the sentencepiece library (pip install 'weft[dev]')",
)
def test_seed_002(tmp_path: Path) -> None:
    walk("seed_002.sh", tmp_path, WEFT=f"{shlex.quote(sys.executable)} -m weft")
    shares = json.loads((tmp_path / "check.json").read_text())["mixture"]["shares"]
    assert [(share["name"], round(share["target"], 1), share["examples"]) for share in shares] == [
        ("dolly15k", 69.6, 70),
        ("oasst1_en", 69.6, 69),
        ("alpaca", 34.8, 35),
    ]
    for run in ("tiny-mixed", "small-balanced", "tiny-quality", "tiny-full-ft"):
        kept = {path.name for path in (tmp_path / "checkpoints/sft" / run).iterdir()}
        assert {"tokenizer.json", "tokenizer.model", "chat_template.jinja", "generation_config.json"} <= kept
    assert (tmp_path / "checkpoints/sft/tiny-quality/merged/model.safetensors").is_file()


def test_seed_003(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs weft[datasets], which is not installed")
    folder = tmp_path / "empty"
    folder.mkdir()
    weft_into(tmp_path / "bin")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = walk(
        "seed_003.sh", folder, PATH=path, HF_HOME=str(tmp_path / "hf"), HF_DATASETS_CACHE=str(tmp_path / "cache")
    )
    assert done.stdout.count("100.0% of the trained turns end with a stop token") == 7
