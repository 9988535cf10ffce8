"""Work on several processes: what becomes of them when the one that started them is interrupted or gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from weft.data.in_parallel import in_parallel

_SHARING = """
import os
import signal
import sys
import threading
import time

from weft.data.in_parallel import in_parallel

signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background would have ignored

def work(texts):
    if "last" in texts[-1]:
        print("at work", flush=True)
        time.sleep(60)

if __name__ == "__main__":
    if sys.argv[1] == "spawn":  # as is done beside another thread
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    try:
        list(in_parallel(work, ["x" * 1_000_000] * 15 + ["last" + "x" * 1_000_000], 2))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        os._exit(130)
"""
"""One of two processes has something to do; the other one waits."""


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("number", "of_all", "said", "status"),
    [(signal.SIGINT, True, "interrupted\n", 130), (signal.SIGTERM, False, "", -15), (signal.SIGKILL, False, "", -9)],
)
def test_processes_end_without_a_word_with_the_one_that_shares(
    number: int, of_all: bool, said: str, status: int, how: str, tmp_path: Path
) -> None:
    script = tmp_path / "sharing.py"
    script.write_text(_SHARING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, script, how],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as sharing:
        try:
            assert sharing.stdout
            assert sharing.stdout.readline() == "at work\n"
            (os.killpg if of_all else os.kill)(sharing.pid, number)
            out, errors = sharing.communicate(timeout=30)  # until nobody is left who could say anything
        finally:
            if sharing.returncode is None:
                os.killpg(sharing.pid, signal.SIGKILL)
    if how == "spawn" and not of_all:
        errors = "" if "resource_tracker" in errors else errors  # which cleans up for the one that is gone, and says so
    assert (out, errors, sharing.returncode) == (said, "", status)


def lengths(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def test_a_process_that_may_not_start_others_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "daemon", True)  # as those of multiprocessing.Pool are
    texts = ["x" * size for size in (4_000_000, 5_000_000)]
    assert list(in_parallel(lengths, texts, 2)) == [[4_000_000, 5_000_000]]
