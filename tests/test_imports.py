"""What a command loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from small_run import write_records

NEVER = ("datasets", "matplotlib", "pandas", "sklearn", "tensorboard")
"""Libraries that training can do without, and that others import wherever they are installed.

Not here are SciPy, torchaudio and torchvision: where they are installed, Transformers imports them with every model.
"""


def pretended(folder: Path) -> Path:
    """A directory in which these libraries seem to be installed; whoever wants something of them finds nothing in them."""
    for name in NEVER:
        for path, text in (
            (f"{name}/__init__.py", ""),
            (f"{name}-99.dist-info/METADATA", f"Name: {name}\nVersion: 99\n"),
        ):
            (folder / path).parent.mkdir(parents=True)
            (folder / path).write_text(text)
    return folder


@pytest.mark.parametrize(("tuning", "loaded"), [("full", []), ("lora", ["peft"])])
def test_training_loads_no_library_that_it_does_not_use(
    tuning: str, loaded: list[str], tiny_model_dir: Path, tmp_path: Path
) -> None:
    """From reading and encoding records to the published model, and once more from the cache."""
    write_records(tmp_path / "train.jsonl", 4)
    words = [
        "train",
        f"model.name={tiny_model_dir}",
        f"tuning.mode={tuning}",
        "data.train_path=train.jsonl",
        "train.max_steps=1",
        "train.evaluation_strategy=no",
    ]
    path = filter(None, (os.environ.get("PYTHONPATH"), str(pretended(tmp_path / "installed"))))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    code = (
        f"import sys\nfrom weft.cli import main\nassert main({words!r}) == 0\n"
        f"assert main({[*words, '--fresh']!r}) == 0\n"
        f"print([name for name in {('peft', *NEVER)!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(loaded)
