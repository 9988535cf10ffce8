"""What is kept of the division of training sets: read once, found anew where it is damaged, never of another content."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small_run import configure, make_project
from weft.data import content as contents
from weft.data import held_out
from weft.data.content import content
from weft.data.conversation_reader import Block, ConversationReader
from weft.data.held_out import held_out_places
from weft.data.store import SourceFile
from weft.errors import DataError
from weft.training.preflight import open_inputs

RATIO, SEED = 0.1, 3


def write(path: Path, numbers: range) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"Number {n}?", "response": "Yes."}) + "\n" for n in numbers))
    return path


@pytest.fixture
def sources(tmp_path: Path) -> list[SourceFile]:
    first, second = write(tmp_path / "a.jsonl", range(1500)), write(tmp_path / "b.jsonl", range(1400, 1600))
    return [SourceFile(path=str(first), name="a"), SourceFile(path=str(second), name="b")]


def found(sources: list[SourceFile], cache: Path) -> tuple[tuple[str, ...], ...]:
    """As another process finds it."""
    held_out._found.cache_clear()
    return held_out_places(sources, RATIO, SEED, cache)


def test_every_conversation_has_its_place_in_its_block(sources: list[SourceFile], tmp_path: Path) -> None:
    first, second = found(sources, tmp_path / "cache")
    assert [len(block) for block in first] == [1024, 476]
    assert [len(block) for block in second] == [200]
    assert "".join(first).count("1") == 150
    assert second[0][:100] == "".join(first)[1400:], "the first decides over what both ask"
    assert {*"".join(first), *second[0]} == {"0", "1"}


def _not_what_was_found(kept: bytes) -> Iterator[bytes]:
    sealed = json.loads(kept)
    yield b""
    yield kept[:-1]
    yield kept[: len(kept) // 2]
    yield kept.replace(b"1", b"0", 1)
    yield kept.replace(b"0010", b"0100")
    yield kept.replace(b'"0', b'"2', 1)
    yield b"\xff" + kept
    yield b"[" * 100_000
    yield from (json.dumps(other).encode() for other in (None, [], {}, sealed["body"], {"sha256": 1, "body": 1}))
    yield json.dumps({**sealed, "body": [["01"], "x"]}).encode()


def test_what_is_damaged_is_found_anew(sources: list[SourceFile], tmp_path: Path) -> None:
    true = found(sources, tmp_path / "cache")
    (kept,) = tmp_path.glob("cache/*/held_out.json")
    whole = kept.read_bytes()
    for damaged in _not_what_was_found(whole):
        assert damaged != whole
        kept.write_bytes(damaged)
        assert found(sources, tmp_path / "cache") == true
        assert kept.read_bytes() == whole
    kept.unlink()
    kept.mkdir()
    assert found(sources, tmp_path / "cache") == true, "where nothing can be kept"


def test_a_file_that_changes_meanwhile_is_an_error_and_nothing_is_kept(
    sources: list[SourceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = ConversationReader.blocks

    def changing(self: ConversationReader) -> Iterator[Block]:
        yield from blocks(self)
        write(tmp_path / "b.jsonl", range(7))

    monkeypatch.setattr(ConversationReader, "blocks", changing)
    with pytest.raises(DataError, match=r"b\.jsonl: the file changed while it was being read"):
        found(sources, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_file_that_changes_after_it_was_divided_is_an_error(sources: list[SourceFile], tmp_path: Path) -> None:
    from weft.data.split import Portion

    first, _ = found(sources, tmp_path / "cache")
    portion = Portion(held_out=False, places=first)
    for numbers in (range(1499), range(3000)):
        write(tmp_path / "a.jsonl", numbers)
        with pytest.raises(DataError, match=r"a\.jsonl: the files changed while they were being read"):
            list(ConversationReader(sources[0].path).blocks(portion=portion))


def test_training_sets_are_read_once_to_divide_them_and_not_when_nothing_changed(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, tiny_model_dir)
    (tmp_path / "val.jsonl").unlink()
    paths = [
        str(write(tmp_path / f"{name}.jsonl", numbers)) for name, numbers in (("a", range(99)), ("b", range(50, 150)))
    ]
    loaded = configure(tmp_path, datasets=[{"path": path} for path in paths])
    readings: Counter[str] = Counter()
    digests: Counter[str] = Counter()
    blocks, digest = ConversationReader.blocks, contents.shared_digest

    def counted(self: ConversationReader, *given: Any, **further: Any) -> Iterator[Block]:
        readings.update(self.files)
        return blocks(self, *given, **further)

    def taken(path: Path) -> str:
        digests[str(path)] += 1
        return digest(path)

    monkeypatch.setattr(ConversationReader, "blocks", counted)
    monkeypatch.setattr(contents, "shared_digest", taken)
    monkeypatch.setattr(contents, "_SETTLED", -(10**18))  # no file counts as just written
    first = open_inputs(loaded)
    assert readings == dict.fromkeys(paths, 3), "to divide them, for training and for validation"
    assert digests == dict.fromkeys(paths, 1 + 3), "to know them, and behind each reading"
    held_out._found.cache_clear()
    contents._taken.cache_clear()
    readings.clear()
    digests.clear()
    second = open_inputs(loaded)
    assert second.train.fingerprint == first.train.fingerprint
    assert not readings
    assert digests == dict.fromkeys(paths, 1)


def test_a_digest_is_taken_again_of_a_file_in_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its date; and of one that was just written, whose date may stay when it is written once more."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("one")
    other.write_text("two")
    for each in (path, other):
        os.utime(each, (1, 1))
    before = content(path)
    path.write_text("six")
    os.utime(path, (1, 1))
    assert content(path) != before, "just written"
    monkeypatch.setattr(contents, "_SETTLED", 0)
    time.sleep(0.05)
    before = content(path)
    assert content(path) == before
    other.replace(path)
    assert path.stat().st_mtime == 1
    assert content(path) != before
    with pytest.raises(DataError, match="no: the file cannot be read: No such file"):
        content(tmp_path / "no")
