"""Memory that a step frees is there for the next one, and the system's again when training is over."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource
import torch
from weft.training.freed_memory import keeping_freed_memory

def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(size * 2**18) for size in (4, 4, 4, 8, 20, 60)]  # 100 MiB, 25,600 pages
    found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    del tensors
    return found

def resident_pages():
    return int(open("/proc/self/statm").read().split()[1])

before = resident_pages()
with keeping_freed_memory(torch.device("cpu")):
    print(*(faults_of_a_step() for _ in range(6)))
    print(resident_pages() - before)
print(resident_pages() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
@pytest.mark.parametrize("told", [{}, {"MALLOC_MMAP_THRESHOLD_": "65536"}], ids=["by weft", "by the environment"])
def test_pages_are_asked_for_once(told: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STEPS], env={**os.environ, **told}, capture_output=True, text=True, check=True
    )
    steps, inside, behind = done.stdout.splitlines()
    first, *others = map(int, steps.split())
    assert first > 25_000
    if told:
        assert min(others) > 25_000
        assert int(inside) < 5_000
    else:
        assert others[-1] < 500  # the second to fifth may still fit blocks together
        assert int(inside) > 25_000
    assert int(behind) < 5_000
