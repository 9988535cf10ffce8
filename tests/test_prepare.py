"""Preparation: every record accounted for, splits that depend on content alone, and files that are never lost."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.commands.arguments import mapping_lines
from weft.config.schema import Config
from weft.data.files import StagedFiles
from weft.data.prepare import prepare
from weft.data.reading import Reading
from weft.data.reread import as_they_stand
from weft.data.split import assign_splits, split_sizes
from weft.errors import ConfigError, DataError, Problems
from weft.types import Conversation, Location, Message

RATIOS = {"train": 0.7, "val": 0.1, "test": 0.2}


def conversation(text: str, system: str | None = None) -> Conversation:
    messages = [Message(role="user", content=text), Message(role="assistant", content="a")]
    if system is not None:
        messages.insert(0, Message(role="system", content=system))
    return Conversation(messages=tuple(messages), location=Location(path="x"))


def records(count: int) -> list[dict[str, str]]:
    return [{"user": f"q{n}", "assistant": f"a{n}"} for n in range(count)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Working in a new directory; a configuration of small paths, whose raw file holds the given rows."""
    monkeypatch.chdir(tmp_path)

    def make(rows: list[Any] | None = None, *, on_bad_row: str = "error", **data: Any) -> Config:
        if rows is not None:
            lines = ((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
            Path("raw").mkdir(exist_ok=True)
            Path("raw/a.jsonl").write_text("".join(lines))
        paths = {f"{name}_path": f"out/{name}.jsonl" for name in RATIOS}
        return Config.model_validate({"on_bad_row": on_bad_row, "data": {"raw_path": "raw", **paths, **data}})

    return make


def out() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("out").iterdir())}


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"out/{name}.jsonl").read_bytes().splitlines()]


# --- split ---


@pytest.mark.parametrize(
    ("count", "ratios", "sizes"),
    [
        (0, (0.7, 0.1, 0.2), (0, 0, 0)),
        (1, (0.7, 0.1, 0.2), (1, 0, 0)),
        (2, (0.7, 0.1, 0.2), (1, 1, 0)),
        (3, (0.7, 0.1, 0.2), (1, 1, 1)),
        (5, (0.7, 0.1, 0.2), (3, 1, 1)),
        (10, (0.7, 0.1, 0.2), (7, 1, 2)),
        (999, (0.7, 0.1, 0.2), (699, 100, 200)),
        (2, (0.9, 0.0, 0.1), (1, 0, 1)),
        (5, (1.0, 0.0, 0.0), (5, 0, 0)),
        (3, (0.98, 0.01, 0.01), (1, 1, 1)),
        (100, (0.29, 0.71, 0.0), (29, 71, 0)),
    ],
)
def test_split_sizes(count: int, ratios: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    assert tuple(split_sizes(count, dict(zip(RATIOS, ratios, strict=True))).values()) == sizes


@given(st.integers(0, 3000), st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any))
def test_split_sizes_keep_their_promises(count: int, parts: list[int]) -> None:
    ratios = {name: part / sum(parts) for name, part in zip(RATIOS, parts, strict=True)}
    sizes = split_sizes(count, ratios)
    assert sum(sizes.values()) == count
    wanted = {name for name, ratio in ratios.items() if ratio > 0}
    if count >= len(wanted):
        assert {name for name, size in sizes.items() if size > 0} == wanted
    if all(ratios[name] * count >= 1 for name in wanted):
        assert all(abs(sizes[name] - ratios[name] * count) < 1 + 1e-9 for name in ratios)


@given(st.sets(st.text(max_size=8), min_size=1, max_size=40), st.integers(0, 99), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_input_moves_nothing(texts: set[str], seed: int, rng: random.Random) -> None:
    items = [conversation(text) for text in sorted(texts)]
    expected = dict(zip(sorted(texts), assign_splits(items, RATIOS, seed), strict=True))
    rng.shuffle(items)
    found = zip((item.messages[0].content for item in items), assign_splits(items, RATIOS, seed), strict=True)
    assert dict(found) == expected


def test_the_split_depends_on_seed_and_turns_but_not_on_the_system_message() -> None:
    plain = [conversation(str(n)) for n in range(200)]
    told = [conversation(str(n), system="Be kind.") for n in range(200)]
    first = assign_splits(plain, RATIOS, 1)
    assert first == assign_splits(told, RATIOS, 1)
    other = assign_splits(plain, RATIOS, 2)
    agreeing = sum(one == two for one, two in zip(first, other, strict=True)) / 200
    assert 0.40 < agreeing < 0.68, "independent splits agree by chance on .7² + .1² + .2² = .54"


def test_a_further_record_moves_few_others() -> None:
    items = [conversation(str(n)) for n in range(301)]
    before, after = assign_splits(items[:300], RATIOS, 0), assign_splits(items, RATIOS, 0)
    assert sum(one != two for one, two in zip(before, after, strict=False)) <= 2


# --- prepare ---


def test_five_records_become_canonical_files(project: Callable[..., Config]) -> None:
    report = prepare(project([{**row, "id": f"r{n}", "mode": "tutor"} for n, row in enumerate(records(5))]))
    assert {name: split.records for name, split in report.splits.items()} == {"train": 3, "val": 1, "test": 1}
    assert [*out()] == ["prepare_report.json", "test.jsonl", "train.jsonl", "val.jsonl"]
    rows = [row for name in RATIOS for row in rows_of(name)]
    assert {row["id"] for row in rows} == {f"r{n}" for n in range(5)}
    assert all([*row] == ["id", "source", "messages", "meta"] for row in rows)
    first = next(row for row in rows if row["id"] == "r0")
    turns = [{"role": "user", "content": "q0"}, {"role": "assistant", "content": "a0"}]
    assert first == {"id": "r0", "source": "a", "messages": turns, "meta": {"mode": "tutor"}}
    assert report.fields_beside == {"mode": 5}
    assert [row["id"] for row in rows_of("train")] == sorted(row["id"] for row in rows_of("train")), "in input order"


def test_the_report_accounts_for_every_record(project: Callable[..., Config]) -> None:
    rows = records(20)
    bad = [{"user": "q", "assistant": ""}, "{oops", {"user": "", "assistant": "a"}, "[1"]
    config = project([*rows[:10], rows[3], *bad, "", *rows[10:], {**rows[3], "id": "copy"}], on_bad_row="drop")
    report = prepare(config)
    assert report.records == 26 == report.kept + sum(report.rejected.values()) + len(report.duplicates)
    assert report.kept == 20 == sum(split.records for split in report.splits.values())
    assert report.rejected == {"broken JSON": 2, "an assistant message is empty": 1, "a user message is empty": 1}
    assert [(each.location, each.first) for each in report.duplicates] == [
        ("raw/a.jsonl:11", "raw/a.jsonl:4"),
        ("raw/a.jsonl:27", "raw/a.jsonl:4"),
    ]
    rejects = rows_of("rejects")
    assert [row["location"] for row in rejects] == [f"raw/a.jsonl:{line}" for line in (12, 13, 14, 15, 11, 27)]
    assert rejects[1]["raw"] == "{oops"
    assert [(row["reason"], row["detail"]) for row in rejects[4:]] == [
        ("the same as an earlier record", "raw/a.jsonl:4"),
        ("the same as an earlier record", "raw/a.jsonl:4"),
    ]
    assert [json.loads(row["raw"]) for row in rejects[4:]] == [rows[3], {**rows[3], "id": "copy"}]
    assert json.loads(Path("out/prepare_report.json").read_bytes()) == json.loads(json.dumps(report.as_dict()))
    contents = [json.dumps(row["messages"]) for name in RATIOS for row in rows_of(name)]
    assert len(set(contents)) == 20


def test_where_nothing_is_left_out_nothing_is_read_again() -> None:
    assert as_they_stand([], "none.jsonl", Reading(), 0) == []


def test_preparing_again_gives_the_same_bytes(project: Callable[..., Config]) -> None:
    config = project([*records(9), "{oops"], on_bad_row="drop", style="Be brief.", system_prompt="Be kind.")
    prepare(config)
    before = out()
    prepare(config)
    assert out() == before
    assert "rejects.jsonl" in before


def stamps() -> dict[str, tuple[int, int]]:
    """What tells that a file was written anew, whatever it holds."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in Path("out").iterdir()}


@pytest.mark.parametrize("style", [None, "Be brief."])
def test_preparing_again_touches_nothing_that_does_not_change(
    project: Callable[..., Config], style: str | None
) -> None:
    rows = [*records(9), "{oops", {"user": "Q0", "assistant": "a0"}]
    config = project(rows, on_bad_row="drop", style=style, system_prompt="Be kind.", near_duplicates=0.9)
    prepare(config)
    before = stamps()
    assert "rejects.jsonl" in before
    prepare(config)
    assert stamps() == before
    written, contents = stamps(), out()
    prepare(
        project([*rows[:-1], {"user": "Q0", "assistant": "a0!"}], on_bad_row="drop", style=style, near_duplicates=0.9)
    )
    for name, content in out().items():
        assert style or (stamps()[name] == written[name]) == (content == contents[name])
    assert out()["train.jsonl"] != contents["train.jsonl"], "the system prompt is gone"


def test_a_style_is_made_anew_where_anything_about_it_changed(project: Callable[..., Config]) -> None:
    config = project(records(9), style="Be brief.")
    prepare(config)
    expected = out()
    for name in ("train.jsonl", "train.unstyled.jsonl", "train.style.json"):
        Path("out", name).unlink()
        prepare(config)
        assert out() == expected
    Path("out/val.jsonl").write_bytes(expected["val.unstyled.jsonl"])
    prepare(config)
    assert out() == expected
    prepare(project(records(9), style="Be long."))
    assert out()["val.unstyled.jsonl"] == expected["val.unstyled.jsonl"]
    assert b"Be long." in out()["val.jsonl"]
    assert b"Be brief." not in out()["val.jsonl"]


def test_the_rejects_of_an_earlier_preparation_do_not_linger(project: Callable[..., Config]) -> None:
    prepare(project([*records(3), "{oops"], on_bad_row="drop"))
    prepare(project(records(3)))
    assert "rejects.jsonl" not in out()


def test_bad_rows_stop_it_before_anything_is_written(project: Callable[..., Config]) -> None:
    prepare(project(records(4)))
    before = out()
    with pytest.raises(Problems, match=r"raw/a\.jsonl:2: broken JSON"):
        prepare(project([records(1)[0], "{oops"]))
    assert out() == before


def test_the_report_says_what_was_read_as_what_and_what_was_left_of_trees(project: Callable[..., Config]) -> None:
    tree: list[dict[str, Any]] = [
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "q"},
        {"message_id": "2", "parent_id": "1", "role": "assistant", "text": "a", "rank": 1},
        {"message_id": "3", "parent_id": "1", "role": "assistant", "text": "b", "rank": 0},
    ]
    pair = {"instruction": "i", "input": "x", "output": "o"}
    report = prepare(project([*tree, pair, {**pair, "input": ""}]))
    assert report.mappings == {
        "alpaca": {"instruction → user": 2, "output → assistant": 2, "input → user": 1},
        "oasst": {"message_id, parent_id → order": 1, "role → role": 1, "text → messages": 1},
    }
    assert report.notes == ("left out of message trees: 1 × not on the best-ranked path (data.oasst_paths: best)",)
    assert list(mapping_lines(report.mappings)) == [
        "  alpaca: instruction → user, output → assistant, input → user (1)",
        "  oasst: message_id, parent_id → order, role → role, text → messages",
    ]
    assert {row["messages"][1]["content"] for name in RATIOS for row in rows_of(name)} == {"o", "b"}


def test_system_prompt_and_ids_are_filled_in(project: Callable[..., Config]) -> None:
    rows = [{"user": "q", "assistant": "a"}, {"system": "Own.", "user": "r", "assistant": "a"}, records(1)[0]]
    report = prepare(project(rows, system_prompt="Default."))
    assert report.system_prompt_added == 2
    found = {row["messages"][1]["content"]: row for name in RATIOS for row in rows_of(name)}
    assert found["q"]["messages"][0] == {"role": "system", "content": "Default."}
    assert found["r"]["messages"][0] == {"role": "system", "content": "Own."}
    ids = [row["id"] for row in found.values()]
    assert len(set(ids)) == 3
    assert all(len(each) == 12 for each in ids)


def test_a_split_without_records_leaves_no_old_file_behind(project: Callable[..., Config]) -> None:
    prepare(project(records(10)))
    ratios = {"train_ratio": 0.9, "val_ratio": 0.1, "test_ratio": 0}
    report = prepare(project(records(10), split=ratios))
    assert [*out()] == ["prepare_report.json", "train.jsonl", "val.jsonl"]
    assert report.notes == ("removed out/test.jsonl, which an earlier preparation wrote: its split is empty now",)


@pytest.mark.parametrize("content", ['{"input": "q", "target": "a"}\n', None])
def test_a_file_that_this_preparation_did_not_write_stays(project: Callable[..., Config], content: str | None) -> None:
    prepare(project(records(10)))
    Path("mine.jsonl").write_text(content or Path("out/test.jsonl").read_text())
    mine = Path("mine.jsonl").read_bytes()
    split = {"train_ratio": 0.9, "val_ratio": 0.1, "test_ratio": 0}
    report = prepare(project(test_path="mine.jsonl", split=split))
    assert Path("mine.jsonl").read_bytes() == mine
    assert report.notes == ("left mine.jsonl as it is: its split is empty, and this preparation did not write it",)


def test_too_few_records_go_to_training_first(project: Callable[..., Config]) -> None:
    report = prepare(project(records(2)))
    assert {name: split.records for name, split in report.splits.items()} == {"train": 1, "val": 1}
    assert report.notes == (
        "too few records, or groups of them (data.split.group_by), for every split: none is left for test",
    )


def test_notes_name_unread_files_and_shared_ids(project: Callable[..., Config]) -> None:
    config = project([{**row, "id": "same"} for row in records(2)])
    Path("raw/notes.txt").write_text("x")
    assert prepare(config).notes == (
        "not read (another kind of file, notes, what `weft style` keeps, or a folder): notes.txt",
        "too few records, or groups of them (data.split.group_by), for every split: none is left for test",
        "2 records share their id with another one",
    )


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"raw_path": "none"}, DataError, r"^none: there is no such file or directory\n  fix: set data\.raw_path"),
        ({"raw_path": "raw/a.jsonl,raw"}, DataError, r"\n  fix: write several paths as a list: \[raw/a\.jsonl, raw\]$"),
        (
            {"benchmarks": "raw/a.jsonl,raw"},
            DataError,
            r"\n  fix: write several paths as a list: \[raw/a\.jsonl, raw\]$",
        ),
        ({"train_path": "raw/train.jsonl"}, ConfigError, r"data\.train_path: raw/train\.jsonl would lie among the raw"),
        ({"raw_path": "raw/a.jsonl", "val_path": "raw/../raw/a.jsonl"}, ConfigError, "would lie among the raw"),
        ({"val_path": "out/train.jsonl"}, ConfigError, "must be different files"),
        (
            {"test_path": "out/test.csv"},
            ConfigError,
            r"data\.test_path: prepared files are \.jsonl files, not 'test\.csv'",
        ),
        (
            {"train_path": "raw/a.jsonl/train.jsonl"},
            DataError,
            "cannot be written: a file stands where its directory should be",
        ),
        ({"train_path": "own.jsonl"}, DataError, r"^own\.jsonl: the file exists and was not written by `weft prepare`"),
    ],
)
def test_paths_that_cannot_be_used(
    project: Callable[..., Config], data: dict[str, str], error: type[Exception], message: str
) -> None:
    config = project(records(4), **data)
    Path("own.jsonl").write_text('{"user": "q", "assistant": "a"}\n')
    raw = Path("raw/a.jsonl").read_bytes()
    with pytest.raises(error, match=message):
        prepare(config)
    assert Path("raw/a.jsonl").read_bytes() == raw
    assert Path("own.jsonl").read_text() == '{"user": "q", "assistant": "a"}\n'


@pytest.mark.parametrize("name", ["rejects.jsonl", "prepare_report.json"])
@pytest.mark.parametrize("content", ["my own notes", "[]", '{"a": 1}'])
def test_files_of_the_reports_names_that_weft_did_not_write(
    project: Callable[..., Config], name: str, content: str
) -> None:
    config = project(records(4))
    theirs = Path("out", name)
    theirs.parent.mkdir()
    theirs.write_text(content)
    with pytest.raises(DataError, match=f"^out/{name}: the file exists and was not written by `weft prepare`"):
        prepare(config)
    assert (theirs.read_text(), [*theirs.parent.iterdir()]) == (content, [theirs])


def test_staged_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    old = tmp_path / "a"
    old.write_text("old")

    def breaking() -> Any:
        yield b"new"
        raise ZeroDivisionError

    def write_both() -> None:
        with StagedFiles() as staged:
            staged.write(old, [b"new"])
            staged.write(tmp_path / "b", breaking())
            staged.commit()

    with pytest.raises(ZeroDivisionError):
        write_both()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}


def test_a_disk_that_refuses_everything_is_an_error_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(DataError, match="cannot be written: Read-only file system"), StagedFiles() as staged:
        staged.write(tmp_path / "a", [b"new"])


@pytest.mark.shared
def test_real_data(shared_data: Path, project: Callable[..., Config]) -> None:
    report = prepare(project(raw_path=str(shared_data / "alpaca_en.json")))
    assert (report.records, report.kept, len(report.duplicates)) == (999, 985, 14)
    assert {name: split.records for name, split in report.splits.items()} == {"train": 690, "val": 98, "test": 197}
    report = prepare(project(raw_path=str(shared_data / "course" / "style_sft.jsonl")))
    assert (report.kept, report.fields_beside["mode"], report.formats) == (25, 25, {"messages": 25})
