"""The files of results: each entry says when, how and where it was measured, and a new one replaces only its own kind."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT, machine


def measured(module: str, words: Sequence[str]) -> dict[str, Any]:
    """Today, on this machine, by ``python -m benchmarks.<module> <words>``; where files were kept meanwhile is left out."""
    told = [
        word.removeprefix(f"{ROOT}/") for before, word in pairwise(["", *words]) if "--folder" not in (before, word)
    ]
    command = shlex.join(["python", "-m", f"benchmarks.{module}", *told])
    return {"date": date.today().isoformat(), "command": command, "machine": machine()}


def read_results(path: Path) -> dict[str, Any]:
    """Everything that was measured so far; nothing where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def keep(path: Path, name: str, entry: Mapping[str, Any], *, order: Sequence[str]) -> dict[str, Any]:
    """Put ``entry`` into the file in place of the last of its ``name``, and return all entries, by ``order``."""
    entries = {**read_results(path), name: entry}
    entries = {name: entries[name] for name in order if name in entries}
    write_json(path, entries)
    return entries


def write_json(path: Path, value: Any) -> None:
    """Indented, and in a directory that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def measured_line(measured: Mapping[str, Any]) -> str:
    """When, where and how, as a sentence."""
    machine = measured["machine"]
    return (
        f"{measured['date']}; {machine['processor']}, {machine['cores']} cores, {machine['threads used']} threads, "
        f"{machine['memory bytes'] / 2**30:.0f} GiB, {machine['system']}, Python {machine['python']}, float32; "
        f"`{measured['command']}`."
    )
