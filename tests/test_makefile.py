"""make hands the words of its command line to weft as they stand."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def make(tmp_path: Path):
    """Run make with a stand-in for the environment, and return the words of the weft command that it prints."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/weft").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin/weft").chmod(0o755)
    (tmp_path / ".ready").touch()

    def run(*words: str) -> list[str]:
        command = ["make", "--no-print-directory", f"VENV={tmp_path}", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        line = next(line for line in done.stdout.splitlines() if "bin/weft" in line)
        return shlex.split(line)[1:]

    return run


def test_overrides_reach_weft_literally(make) -> None:
    words = make("train", "CONFIG=c.yaml", "model.name=X", "train.epochs=5", "datasets[0].weight=0.8", "seed=3")
    assert words[:2] == ["train", "c.yaml"]
    assert sorted(words[2:]) == ["datasets[0].weight=0.8", "model.name=X", "seed=3", "train.epochs=5"]


@pytest.mark.parametrize("style", ["Be brief.", "a.b=c d=e", "it's \"quoted\", isn't it?", "costs $5 #1 `ls` \\ ; * &"])
def test_style_may_hold_anything(make, style: str) -> None:
    assert make("style", f"STYLE={style}") == ["style", "--style", style]


def test_a_style_may_come_from_the_configuration_and_be_undone(make) -> None:
    assert make("style", "CONFIG=c.yaml") == ["style", "c.yaml"]
    assert make("style", "ARGS=--undo") == ["style", "--undo"]


def test_a_value_may_hold_spaces_and_quotes(make) -> None:
    assert make("check", 'data.system_prompt=it\'s "fine" here')[-1] == 'data.system_prompt=it\'s "fine" here'


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("process", ["prepare"]),
        ("infer", ["chat"]),
        ("infer-batch", ["infer"]),
        ("eval", ["eval"]),
        ("eval-quick", ["eval", "--quick"]),
        ("eval-full", ["eval", "--full"]),
        ("train-tb", ["train", "train.report_to=tensorboard"]),
        ("train-bnb", ["train", "tuning.backend=bnb"]),
        ("train-unsloth", ["train", "tuning.backend=unsloth"]),
        ("merge", ["merge"]),
    ],
)
def test_each_target_is_one_command(make, target: str, words: list[str]) -> None:
    assert make(target) == words


def test_input_file(make) -> None:
    assert make("infer-batch", "CONFIG=c.yaml", "INPUT_FILE=my questions.txt") == [
        "infer", "c.yaml", "--input", "my questions.txt",
    ]  # fmt: skip
