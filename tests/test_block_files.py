"""Blocks on their way from one process to another."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from weft.data.block_files import BlockFiles, InOrder
from weft.data.columns import Columns
from weft.data.example_file import ExampleFile, ExampleWriter
from weft.types import Example, Location


def a_block(examples: int) -> Columns:
    return Columns.of(
        [
            Example(
                ids=np.arange(number + 3, dtype=np.int32),
                loss_weights=np.ones(number + 3, np.float32),
                location=Location(path="some.jsonl", line=number + 1),
            )
            for number in range(examples)
        ]
    )


def lines(files: BlockFiles, number: int) -> list[int]:
    batches = files.take(number)
    assert batches is not None
    return [line for batch in batches for line in batch["line"].to_pylist()]


def test_the_file_of_a_block_that_was_taken_is_written_again(tmp_path: Path) -> None:
    files = BlockFiles(tmp_path, ["some.jsonl"])
    files.put(0, a_block(500))
    assert lines(files, 0) == list(range(1, 501))
    (file,) = tmp_path.iterdir()
    size = file.stat().st_size
    files.put(1, a_block(2))  # stands before what is left of the first one
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("1", size)]
    files.put(2, a_block(0))
    assert lines(files, 1) == [1, 2]
    assert lines(files, 2) == []
    assert files.take(1) is None


def test_a_free_file_that_another_process_took_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([self / "7.free"]))
    files = BlockFiles(tmp_path, ["some.jsonl"])
    files.put(0, a_block(1))
    assert lines(files, 0) == [1]


def test_a_block_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    files = BlockFiles(tmp_path, ["some.jsonl"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.put(0, a_block(500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files.take(0) is None


def test_a_block_waits_only_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    files = BlockFiles(tmp_path / "blocks", ["some.jsonl"])
    with ExampleWriter(tmp_path / "all.arrow", ["some.jsonl"]) as writer:
        in_order = InOrder(writer, files)
        files.put(0, a_block(1))  # by another process
        in_order.put(1, a_block(2))
        assert in_order.written == 2
        assert [path.name for path in (tmp_path / "blocks").iterdir()] == ["0.free"]  # the other was never put aside
        in_order.put(3, a_block(4))
        assert in_order.written == 2
        files.put(2, a_block(3))
        in_order.write_what_is_there()
        assert in_order.written == 4
    examples = ExampleFile(tmp_path / "all.arrow", ["some.jsonl"])
    assert [examples[number].location.line for number in range(10)] == [1, 1, 2, 1, 2, 3, 1, 2, 3, 4]
