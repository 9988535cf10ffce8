"""A process that does a share of the work of :mod:`weft.data.store_jobs`.

It is forked where that is safe, and so has imported and read from the start what this process has: half a second of work.
Elsewhere it is a fresh interpreter (``python -m weft.data.store_helper``), which is told its share by standard input.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO

from weft.data.conversation_reader import CannotShare
from weft.data.in_parallel import may_fork, on_interrupt, starting
from weft.data.shortcut import ShortcutWrong
from weft.data.store_build import Done, Share
from weft.errors import DataError, WeftError


@contextmanager
def start_helper(share: Share) -> Iterator[Helper]:
    """A helper that does ``share``, and is ended at the end of the block if it is still at work."""
    with TemporaryFile() as answer, TemporaryFile() as errors:
        helper: Helper | None = None
        try:
            with starting():
                try:
                    helper = (_Forked if may_fork() else _Fresh)(share, answer, errors)
                except OSError:
                    # There is no memory for a copy of this process, where the system reckons with all of it.
                    helper = _Fresh(share, answer, errors)
            yield helper
        finally:
            if helper:
                helper.stop()


class Helper:
    """Another process, which writes what it made into ``answer``, and what it says into ``errors``."""

    def __init__(self, answer: IO[bytes], errors: IO[bytes]) -> None:
        self._answer, self._errors = answer, errors

    def result(self) -> Done:
        """What it made, or the error that it met.

        Raises:
            DataError: it died, or a file cannot be read.
            OSError: its file cannot be written.
            ShortcutWrong, CannotShare: as :meth:`weft.data.store_build.Work.do`.
        """
        if status := self.wait():
            self._errors.seek(0)
            last = (self._errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise DataError(
                f"a helper process ended with status {status}: {last}",
                fix="run it again, or set data.jobs=1 to do without helpers",
            )
        self._answer.seek(0)
        found = pickle.load(self._answer)  # from our own child
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, Done)
        return found

    def wait(self) -> int:
        """Its exit status, when it has ended; that of a signal is negative."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it, if it is still at work."""
        raise NotImplementedError


class _Forked(Helper):
    def __init__(self, share: Share, answer: IO[bytes], errors: IO[bytes]) -> None:
        super().__init__(answer, errors)
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=_answer_aside, args=(share, answer, errors, os.getpid()), daemon=True)
        self._process.start()

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode or 0

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


class _Fresh(Helper):
    def __init__(self, share: Share, answer: IO[bytes], errors: IO[bytes]) -> None:
        super().__init__(answer, errors)
        # It finds what this process finds, and nothing else: not the modules of the directory that weft was started in.
        command = [sys.executable, "-P", "-m", "weft.data.store_helper"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with (
            TemporaryFile() as told
        ):  # not a pipe, which holds less than a tokenizer: nobody waits until the helper reads
            pickle.dump((share, os.getpid()), told)
            told.seek(0)
            self._process = subprocess.Popen(command, env=environment, stdin=told, stdout=answer, stderr=errors)

    def wait(self) -> int:
        return self._process.wait()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _answer_aside(share: Share, answer: IO[bytes], errors: IO[bytes], parent: int) -> None:
    """What a forked process does."""
    for stream in (1, 2):
        os.dup2(errors.fileno(), stream)
    sys.stdout = sys.stderr = io.TextIOWrapper(errors, write_through=True)  # without what the parent has still to write
    _do(share, answer, parent)


def _do(share: Share, answer: IO[bytes], parent: int) -> None:
    """Do the share for the process ``parent``; errors for the user go back in place of what was made."""
    on_interrupt(signal.SIG_IGN)  # who asked for help is told, and ends the helpers

    def go_on(rows: int) -> None:
        if os.getppid() != parent:
            sys.exit("the process that asked for help is gone")

    try:
        result: object = share.do(go_on)
    except (WeftError, ShortcutWrong, CannotShare, OSError) as error:
        result = error
    pickle.dump(result, answer)
    answer.flush()


def main() -> None:
    """What a fresh interpreter does."""
    answer = sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    share, parent = pickle.load(sys.stdin.buffer)  # from our own parent
    _do(share, answer, parent)


if __name__ == "__main__":
    main()
