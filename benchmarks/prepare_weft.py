"""weft's preparation of a file of records: ``python -m benchmarks.prepare_weft JOB`` (benchmarks.prepare_job)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.compute  # noqa: F401 - libraries are loaded before the time is taken, as are TRL's; weft loads this one late

from benchmarks.prepare_job import MAX_LENGTH, PrepareJob
from benchmarks.run_weft import labels_of
from benchmarks.stopwatch import peak_bytes
from weft.data.packing import pack
from weft.data.render import Renderer
from weft.data.store import ExampleStore, SourceFile, open_stores
from weft.data.template import load_template
from weft.data.tokenizer import load_tokenizer


def main(job: PrepareJob) -> None:
    """Encode through the function behind ``weft train`` and ``weft check``, and pack; then once more, from the cache."""
    libraries = peak_bytes()
    separator = "" if job.kind == "prompts" else None
    sets, cache = {"train": [SourceFile(path=job.records, name="train")]}, Path(job.folder) / "cache"

    def prepare() -> tuple[float, ExampleStore, int, float]:
        tokenizer = load_tokenizer(Path(job.tokenizer))
        renderer = Renderer(tokenizer, load_template(None, tokenizer, separator=separator), MAX_LENGTH)
        started = time.monotonic()  # as for TRL, whose tokenizer is loaded before
        stores, _ = open_stores(sets, renderer, cache, on_bad_row="error", system_prompt=None, jobs=job.processes)
        store = stores["train"]
        rows = pack(np.arange(len(store)), store.lengths, how="bfd", capacity=MAX_LENGTH)
        seconds = time.monotonic() - started
        return seconds, store, len(rows), tokenizer.known_chunks

    seconds, store, rows, known = prepare()
    peak = peak_bytes()
    started = time.monotonic()
    prepare()
    again = time.monotonic() - started  # with the tokenizer
    examples = (store[number] for number in range(len(store)))
    tokens = int(store.lengths.sum())
    job.report_of(
        seconds,
        peak,
        libraries=libraries,
        rows=rows,
        tokens=tokens,
        examples=((example.ids.tolist(), labels_of(example)) for example in examples),
        seconds_again=again,
        fill=tokens / (rows * MAX_LENGTH),
        known_chunks=known,
    )


if __name__ == "__main__":
    main(PrepareJob.read(sys.argv[1]))
