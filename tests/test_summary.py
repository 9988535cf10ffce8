"""The memory that a run says it took."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from weft.training import summary

GIBIBYTE = 2**30


def test_the_peak_is_that_of_the_address_space(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t   99 kB\nVmHWM:\t   12 kB\nVmRSS:\t    9 kB\n")
    assert summary.peak_memory(status) == 12 * 1024


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
@pytest.mark.parametrize("content", [None, "Name:\tpython\n"])
def test_elsewhere_it_is_that_of_getrusage(tmp_path, monkeypatch, platform, unit, content) -> None:
    status = tmp_path / "status"
    if content is not None:
        status.write_text(content)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=7))
    assert summary.peak_memory(status) == 7 * unit


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux counts what a parent held")
def test_what_the_parent_held_is_not_ours() -> None:
    held = bytearray(GIBIBYTE)
    code = "from weft.training.summary import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**20 < int(child.stdout) < len(held)
