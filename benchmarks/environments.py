"""The peers' own environments, each apart from weft's and from the other's, in ``.venv-peers/``."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.child import ROOT

ENVIRONMENTS = ROOT / ".venv-peers"
REQUIREMENTS = ROOT / "benchmarks/peers"


class CannotInstall(Exception):
    """A peer does not install here; the text says why."""


def python_of(name: str, say: Callable[[str], None]) -> str:
    """The interpreter of the environment ``name``, which is built where it is missing or its requirements have changed.

    Raises:
        CannotInstall: pip could not.
    """
    if name == "weft":
        return sys.executable
    folder, requirements = ENVIRONMENTS / name, REQUIREMENTS / f"{name}.txt"
    python, ready = folder / "bin/python", folder / ".ready"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not ready.is_file() or ready.read_text() != wanted:
        say(f"installing {requirements.relative_to(ROOT)} into {folder.relative_to(ROOT)}; this takes a few minutes")
        _call([sys.executable, "-m", "venv", "--clear", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)])
        if name == "llamafactory":
            _remove_what_needs_cuda(python, folder)
        ready.write_text(wanted)
    return str(python)


def _remove_what_needs_cuda(python: Path, folder: Path) -> None:
    """LLaMA-Factory asks for torchvision and torchaudio, whose packages are linked against CUDA and fail to load beside a
    torch without it. For text it needs neither: Transformers does without torchvision, and torchaudio, which is imported,
    does without its libraries.
    """
    _call([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "torchvision"])
    for library in folder.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
        library.unlink()


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"status {done.returncode}"]
        raise CannotInstall(lines[-1])
