"""The walk-throughs of the systems that weft takes the place of, as a stranger would type them."""

from __future__ import annotations

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
    (tmp_path / ".venv/bin").mkdir(parents=True)
    weft = tmp_path / ".venv/bin/weft"
    weft.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m weft "$@"\n')
    weft.chmod(0o755)
    (tmp_path / ".venv/.ready").touch()
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_seed_001(checkout: Path) -> None:
    script = ROOT / "tests/walkthroughs/seed_001.sh"
    done = subprocess.run(
        ["bash", str(script)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    run = checkout / "outputs/sft-run"
    assert {"adapter_config.json", "adapter_model.safetensors", "metrics.jsonl"} <= {
        path.name for path in run.iterdir()
    }
    assert (run / "merged/model.safetensors").is_file()
