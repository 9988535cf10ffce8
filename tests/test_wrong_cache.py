"""Ids by the chunk that are wrong after all: what is encoded again, and what is forgotten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from byte_level_zoo import byte_level, encoder
from chatml_by_hand import Chatml
from store_files import open_store
from weft.data.chunk_cache import ChunkCache
from weft.data.encoding import Encoder, Parts, Run
from weft.data.flat_ids import FlatIds
from weft.data.render import Renderer
from weft.data.store import SourceFile
from weft.data.tokenizer import load_tokenizer


def test_a_sample_that_differs_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = encoder(byte_level())
    runs = [Run.of("of the box"), Run.of("Paris")]
    expected = [ids.tolist() for ids in subject.encode(runs)]
    right = ChunkCache.encode

    def without_their_last_ids(self: ChunkCache, runs: Sequence[Sequence[str]]) -> FlatIds:
        return FlatIds.of([ids[:-1].tolist() for ids in right(self, runs).each()])

    monkeypatch.setattr(ChunkCache, "encode", without_their_last_ids)
    assert [ids.tolist() for ids in subject.encode(runs)] == expected
    assert subject.disproved == subject.whole_because
    assert subject.disproved in {f"by the chunk, {run.text!r} has other ids" for run in runs}
    assert subject._chunks is None


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_store_encodes_again_what_a_wrong_cache_made(
    jobs: int, tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = tmp_path / "records.jsonl"
    rows = [{"prompt": f"What is {number}?", "response": f"It is wrong {number}."} for number in range(2000)]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def build(cache: str) -> Any:
        renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), 256)  # type: ignore[arg-type]
        file = SourceFile(path=records, name="records")
        return open_store([file], renderer, tmp_path / cache, on_bad_row="error", system_prompt=None, jobs=jobs)

    expected = build("right")
    right = ChunkCache.encode

    def wrong_at_last(self: ChunkCache, texts: Sequence[Sequence[str]]) -> FlatIds:
        ids = right(self, texts)
        if any("777" in str(part) for text in texts for part in text):  # long after the first blocks are made
            ids = FlatIds.of([each[::-1].tolist() for each in ids.each()])
        return ids

    monkeypatch.setattr(ChunkCache, "encode", wrong_at_last)
    store = build("wrong")
    assert store.fingerprint == expected.fingerprint
    (note,) = (note for note in store.report.notes if note != "noted")
    assert note.startswith("everything was encoded again, because by the chunk, ")
    assert store.report.notes["noted"] == 2000
    (entry,) = (tmp_path / "wrong").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["examples.arrow", "report.json"]


def test_entries_that_relied_on_a_wrong_cache_are_made_again(
    tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": f"the {name}?", "response": "It is."}) + "\n")
    files = [SourceFile(path=tmp_path / f"{name}.jsonl", name=name) for name in ("first", "second")]

    def build(cache: str) -> Any:
        renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), 256)  # type: ignore[arg-type]
        return open_store(files, renderer, tmp_path / cache, on_bad_row="error", system_prompt=None)

    expected = build("right")
    right = Encoder._agrees_in_a_sample

    def later(self: Encoder, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
        """The first source is wrong, which shows with the second."""
        text = "".join(part for parts in runs for part in parts)
        if "first" in text:
            ids.ids[:] = 7
            return True
        if "second" in text:
            self.encode_whole("it is wrong")
        return self.disproved is None and right(self, runs, continues, ids)

    monkeypatch.setattr(Encoder, "_agrees_in_a_sample", later)
    store = build("wrong")
    assert store.fingerprint == expected.fingerprint
    assert store.report.notes == {"everything was encoded again, because it is wrong": 2, "noted": 2}
    assert len(list((tmp_path / "wrong").iterdir())) == 2
    assert build("wrong").fingerprint == expected.fingerprint


@pytest.mark.parametrize("together", [True, False], ids=["with the one", "without the one"])
def test_entries_of_earlier_runs_that_relied_on_a_wrong_cache_are_forgotten(
    together: bool, tiny_tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": f"the {name}?", "response": "It is."}) + "\n")

    def build(*names: str, length: int = 256) -> Any:
        renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), length)  # type: ignore[arg-type]
        files = [SourceFile(path=tmp_path / f"{name}.jsonl", name=name) for name in names]
        return open_store(files, renderer, tmp_path / "cache", on_bad_row="error", system_prompt=None)

    with monkeypatch.context() as patched:

        def unnoticed(self: Encoder, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
            ids.ids[:] = 7
            return True

        patched.setattr(Encoder, "_agrees_in_a_sample", unnoticed)
        build("first")
        build("first", length=255)
    with monkeypatch.context() as patched:

        def noticed(self: Encoder, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
            self.encode_whole("it is wrong")
            return False

        patched.setattr(Encoder, "_agrees_in_a_sample", noticed)
        store = build("first", "second") if together else build("second")
    assert store.report.examples == 1 + together
    again = build("first")
    assert again.report.cached == together
    assert 7 not in again[0].ids[: len(again[0].ids) // 2]
    assert build("first", length=255).report.cached, "another renderer's entries stay"
