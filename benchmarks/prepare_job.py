"""What a process that prepares records is told to do, and what it says in the end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.examples import CONTEXT, fingerprint
from benchmarks.job import JsonFile

MAX_LENGTH = 2048


@dataclass(frozen=True, kw_only=True)
class PrepareJob(JsonFile):
    """A file of records to render, encode, mask and pack; all paths are absolute."""

    kind: str
    """``messages``: the assistant's are trained; ``prompts``: completions are."""
    records: str
    tokenizer: str
    """A directory, with the chat template in it."""
    processes: int
    record: bool
    """Whether fingerprints of the examples are reported."""
    folder: str
    """Where the program may write."""
    report: str

    def report_of(
        self,
        seconds: float,
        peak: int,
        *,
        libraries: int,
        rows: int,
        tokens: int,
        examples: Iterable[tuple[Sequence[int], Sequence[int]]],
        **more: Any,
    ) -> None:
        """Write the report.

        Args:
            seconds: from the records' file to packed rows.
            peak: bytes, of the process up to then.
            libraries: bytes, of the process when it had loaded its libraries.
            rows: how many were made.
            tokens: how many they hold.
            examples: ids and labels.
            more: what else there is to report.
        """
        found = {
            "seconds": seconds,
            "rows": rows,
            "tokens": tokens,
            "peak_bytes": peak,
            "library_bytes": libraries,
            **more,
        }
        if self.record:
            found["examples"] = [_fingerprint(ids, labels) for ids, labels in examples]
        Path(self.report).write_text(json.dumps(found), encoding="utf-8")


def _fingerprint(ids: Sequence[int], labels: Sequence[int]) -> str:
    """Of an example up to its last trained token: what stands behind it trains nothing, and weft leaves it out."""
    end = max((place for place, label in enumerate(labels, 1) if label != CONTEXT), default=0)
    return fingerprint(ids[:end], labels[:end])
