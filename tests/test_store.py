"""The examples on disk: encoded once, found again by content, never half there, never silently damaged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatml_by_hand import Chatml
from store_files import open_store
from weft.data import cache_upkeep, store_entry
from weft.data.columns import Columns
from weft.data.conversations import read_conversations
from weft.data.example_file import ExampleFile, ExampleWriter
from weft.data.render import Renderer
from weft.data.store import ExampleStore, SourceFile
from weft.data.tokenizer import load_tokenizer
from weft.errors import DataError, Problems
from weft.types import Example, Location

Open = Callable[..., ExampleStore]


@pytest.fixture
def renderer(tiny_tokenizer_dir: Path) -> Renderer:
    return Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), 256)  # type: ignore[arg-type]


@pytest.fixture
def opened(tmp_path: Path, renderer: Renderer) -> Open:
    """Opens the store of some files with this test's cache."""

    def open_files(*paths: Path, renderer: Renderer = renderer, **options: Any) -> ExampleStore:
        files = [SourceFile(path=path, name=path.stem) for path in paths]
        return open_store(
            files, renderer, tmp_path / "cache", **{"on_bad_row": "error", "system_prompt": None, **options}
        )

    return open_files


def write(path: Path, *rows: dict[str, str] | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def qa(question: str, answer: str) -> dict[str, str]:
    return {"prompt": question, "response": answer}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", *(qa(f"Question {i}?", f"Answer {i} " + "x" * i) for i in range(20)))


def test_examples_equal_rendering_them_one_by_one(opened: Open, records: Path, renderer: Renderer) -> None:
    store = opened(records)
    expected = [
        example
        for talk in read_conversations(records, on_bad_row="error").conversations
        for example in renderer.render(talk)
    ]
    assert len(store) == len(expected) == 20
    for i, example in enumerate(expected):
        assert store[i].ids.tolist() == example.ids.tolist()
        assert store[i].loss_weights.tolist() == example.loss_weights.tolist()
        assert store[i].location == example.location == Location(path=str(records), line=i + 1)
    assert (store[0].ids.dtype, store[0].loss_weights.dtype) == (np.int32, np.float32)
    assert store.lengths.tolist() == [len(example.ids) for example in expected]
    assert store.targets.tolist() == [example.loss_weights.sum() for example in expected]
    assert (store.lengths.dtype, store.targets.dtype) == (np.int32, np.float64)
    assert store.report.tokens == store.lengths.sum()
    assert store.report.trained_tokens == store.targets.sum()
    assert store.report.longest == store.lengths.max()
    assert store.report.notes == {"noted": 20}
    with pytest.raises(IndexError):
        store[20]


def test_the_second_opening_finds_the_first(opened: Open, records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(records)
    monkeypatch.setattr(Renderer, "render_batch", None)  # nothing may be encoded again
    second = opened(records)
    assert (first.report.cached, second.report.cached) == (False, True)
    assert {**vars(first.report), "cached": None} == {**vars(second.report), "cached": None}
    assert first.fingerprint == second.fingerprint
    assert second[7].ids.tolist() == first[7].ids.tolist()


def test_the_same_content_under_another_name_is_found(opened: Open, records: Path, tmp_path: Path) -> None:
    opened(records)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(records.read_bytes())
    store = opened(copy)
    assert store.report.cached
    assert store[3].location == Location(path=str(copy), line=4)
    assert store.source_slices == {"copy": range(20)}


def test_whatever_decides_on_ids_makes_another_entry(opened: Open, records: Path, renderer: Renderer) -> None:
    opened(records)
    assert not opened(records, system_prompt="Be brief.").report.cached
    assert not opened(records, on_bad_row="drop").report.cached
    longer = Renderer(renderer.tokenizer, renderer.template, 255)
    assert not opened(records, renderer=longer).report.cached
    other = Renderer(renderer.tokenizer, Chatml(source="other"), 256)  # type: ignore[arg-type]
    assert not opened(records, renderer=other).report.cached
    write(records, qa("Another", "one"))
    assert not opened(records).report.cached
    assert opened(records).report.cached


def test_fingerprint_is_that_of_the_examples(opened: Open, records: Path, tmp_path: Path, renderer: Renderer) -> None:
    store = opened(records)
    spaced = write(tmp_path / "spaced.jsonl", *(f" {line} " for line in records.read_text().splitlines()))
    assert opened(spaced).fingerprint == store.fingerprint
    assert (
        opened(records, renderer=Renderer(renderer.tokenizer, renderer.template, 250)).fingerprint == store.fingerprint
    )
    swapped = write(tmp_path / "swapped.jsonl", *reversed(records.read_text().splitlines()))
    assert opened(swapped).fingerprint != store.fingerprint


def test_several_sources_keep_their_names_and_order(opened: Open, records: Path, tmp_path: Path) -> None:
    second = write(tmp_path / "second.jsonl", qa("a", "b"), qa("c", "d"))
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.jsonl", qa("e", "f"))
    write(folder / "a.jsonl", qa("g", "h"))
    store = opened(records, second, folder)
    assert store.source_slices == {"train": range(20), "second": range(20, 22), "folder": range(22, 24)}
    assert [store[i].location.path for i in (19, 20, 22, 23)] == [
        *(str(records), str(second), str(folder / "a.jsonl"), str(folder / "b.jsonl"))
    ]


def test_what_is_left_out_is_listed(opened: Open, tmp_path: Path) -> None:
    path = write(
        tmp_path / "mixed.jsonl",
        qa("ok", "fine"),
        "{broken",
        qa("long", "x" * 999),
        qa("unprintable", "y"),
        qa("ok", "too"),
    )
    for cached in (False, True):
        report = opened(path, on_bad_row="drop").report
        assert (report.records, report.examples, report.cached) == (5, 2, cached)
        lines = {reason: [place.line for place in places] for reason, places in report.dropped.items()}
        assert list(lines.values()) == [[2], [3], [4]]
        assert "JSON" in next(iter(lines))
        assert lines["longer than model.max_seq_len, 256 tokens"] == [3]
        assert lines["it cannot be printed"] == [4]
        assert report.dropped["it cannot be printed"][0].path == str(path)


def test_records_that_cannot_be_rendered_stop_it_unless_dropped(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", qa("ok", "fine"), *[qa("unprintable", "y")] * 30)
    with pytest.raises(Problems) as caught:
        opened(path)
    assert len(caught.value.problems) == 21
    assert str(caught.value).startswith(f"{path}:2: it cannot be printed")
    assert "30 of 31 records cannot be rendered (10 more than are shown)" in str(caught.value)
    with pytest.raises(Problems):
        opened(write(tmp_path / "all.jsonl", qa("unprintable", "y")), on_bad_row="drop")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_limit_below_every_example_says_which_would_do(opened: Open, tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "long.jsonl", qa("a", "x" * 300), qa("b", "x" * 400))
    lengths = [
        len(Renderer(renderer.tokenizer, renderer.template, 9999).render(talk)[0].ids)
        for talk in read_conversations(path, on_bad_row="error").conversations
    ]
    with pytest.raises(DataError, match=rf"the shortest has {lengths[0]}\n.*max_seq_len={lengths[1]} to keep all"):
        opened(path)


@pytest.mark.parametrize("name", ["examples.arrow", "report.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_damaged_entry_is_replaced_and_said(
    opened: Open, records: Path, tmp_path: Path, name: str, harm: str
) -> None:
    fingerprint = opened(records).fingerprint
    (entry,) = (tmp_path / "cache").iterdir()
    raw = bytearray((entry / name).read_bytes())
    if harm == "flip":
        raw[len(raw) // 2] ^= 1
    if harm == "remove":
        (entry / name).unlink()
    else:
        (entry / name).write_bytes({"cut": raw[:-9], "empty": b""}.get(harm, bytes(raw)))
    store = opened(records)
    assert not store.report.cached
    assert any(note.startswith("a damaged entry of the cache was replaced") for note in store.report.notes)
    assert store.fingerprint == fingerprint
    again = opened(records)
    assert again.report.cached
    assert again.report.notes == {"noted": 20}
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [entry.name]


def test_builders_at_the_same_time_do_not_disturb_each_other(
    opened: Open, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier, publish = threading.Barrier(4), store_entry._publish

    def publish_together(*args: Any, **kwargs: Any) -> None:
        barrier.wait(timeout=20)  # every builder is done before any moves its entry into place
        publish(*args, **kwargs)

    monkeypatch.setattr(store_entry, "_publish", publish_together)
    stores: list[ExampleStore] = []
    threads = [threading.Thread(target=lambda: stores.append(opened(records))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.fingerprint for store in stores}) == 1
    assert [store[5].ids.tolist() for store in stores] == [stores[0][5].ids.tolist()] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert opened(records).report.cached


def test_an_interrupted_build_leaves_nothing(opened: Open, records: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert (done, total) == (20, 20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(records, progress=interrupt)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("renamed", ["", ".damaged"])
def test_what_a_killed_process_left_is_removed_by_the_next_one(
    renamed: str, opened: Open, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    left, mine = cache / f".{'0' * 64}.1.abcdef01{renamed}", cache / ".notes"
    for directory in (left, mine):
        directory.mkdir(parents=True)
        (directory / "examples.arrow").touch()
    opened(records)
    assert left.is_dir(), "it is new, so that somebody may be about to hold it"
    monkeypatch.setattr(cache_upkeep, "_FRESH", -1.0)
    opened(write(tmp_path / "other.jsonl", qa("a", "b")))
    assert not left.exists()
    assert mine.is_dir()


def test_what_a_living_process_builds_stays(
    opened: Open, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_upkeep, "_FRESH", -1.0)
    aside = tmp_path / "cache" / f".{'0' * 64}.1.abcdef01"
    code = (
        "import sys; from pathlib import Path; from weft.data.cache_upkeep import held\n"
        "place = Path(sys.argv[1]); place.mkdir(parents=True)\n"
        "with held(place): print('held', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(aside)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        opened(records)
        assert aside.is_dir()
        process.kill()
    opened(write(tmp_path / "other.jsonl", qa("a", "b")))
    assert not aside.exists()


def test_a_file_that_changes_underneath_is_noticed(opened: Open, records: Path) -> None:
    def change(done: int, total: int) -> None:
        write(records, qa("changed", "now"))

    with pytest.raises(DataError, match="changed while it was being read"):
        opened(records, progress=change)


def test_a_cache_that_cannot_be_written_is_an_error_for_people(
    records: Path, renderer: Renderer, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        open_store(
            [SourceFile(path=records, name="a")], renderer, tmp_path / "file", on_bad_row="error", system_prompt=None
        )


Weights = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.floats(0, 1, width=32)), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(Weights, max_size=4), max_size=4))
def test_any_examples_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, batches: list[Any]) -> None:
    path = tmp_path_factory.mktemp("examples") / "examples.arrow"
    written = []
    with ExampleWriter(path, ["a", "b"]) as writer:
        for number, batch in enumerate(batches):
            examples = [
                Example(
                    ids=np.array([index for index, _ in tokens], np.int32),
                    loss_weights=np.array([weight for _, weight in tokens], np.float32),
                    location=Location(path="ab"[number % 2], line=number or None, record=len(tokens)),
                )
                for tokens in batch
            ]
            if examples:
                writer.write(Columns.of(examples))
            written += examples
    read = ExampleFile(path, ["a", "b"])
    assert len(read) == len(written)
    for i, example in enumerate(written):
        assert read[i].ids.tolist() == example.ids.tolist()
        assert read[i].loss_weights.tolist() == example.loss_weights.tolist()
        assert read[i].location == example.location
    assert read.targets == pytest.approx([math.fsum(example.loss_weights) for example in written], abs=0, rel=1e-15)
