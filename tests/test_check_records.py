"""What `weft check` keeps of what records say: the same as it finds by reading them, for as long as they stay the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from small_project import qa, write_project
from weft.config.load import load_config
from weft.data import check_records as module
from weft.data.check_records import CheckedRecords, check_records
from weft.data.inputs import HELD_OUT, held_out_files, training_files
from weft.errors import DataError

Checked = Callable[..., CheckedRecords]


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path) -> Path:
    project = write_project(tmp_path, tiny_model_dir)
    with (project / "train.jsonl").open("a", encoding="utf-8") as train:
        train.write("\n" + "\n".join([qa("Question 1?", "Answer 1"), "{broken", qa("Question 4?", "")]))
    with (project / "val.jsonl").open("a", encoding="utf-8") as val:
        val.write("\n" + "\n".join([qa("Question 3?", "Answer 3"), qa("Question 5?", "Another answer")]))
    (project / "bench.jsonl").write_text(json.dumps({"question": "Question 2?"}) + "\n{}\n", encoding="utf-8")
    return project


@pytest.fixture
def checked(project: Path) -> Checked:
    def run(*overrides: str) -> CheckedRecords:
        given = ["on_bad_row=drop", f"data.benchmarks={project}/bench.jsonl", *overrides]
        config = load_config(project / "c.yaml", given).config
        return check_records(
            config,
            {"train": training_files(config), **{name: held_out_files(config, name) for name in HELD_OUT}},
        )

    return run


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that are read."""
    names: list[str] = []
    read_source = module.read_source
    monkeypatch.setattr(module, "read_source", lambda file, **how: names.append(file.name) or read_source(file, **how))  # type: ignore[func-returns-value]
    return names


def test_what_is_kept_is_what_was_found(checked: Checked, reads: list[str], project: Path) -> None:
    found = checked()
    (train,) = found.sets["train"]
    assert (train.conversations, train.repeated, train.leaked, train.asked) == (11, 1, 0, 0)
    assert {reason: [place.line for place in places] for reason, places in train.bad.items()} == {
        "broken JSON": [12],
        "an assistant message is empty": [13],
    }
    (val,) = found.sets["val"]
    assert (val.conversations, val.repeated, val.leaked, val.asked) == (4, 0, 1, 1)
    assert [(leaks.name, leaks.asked) for leaks in (*found.held_out, *found.benchmarks)] == [
        ("val", 2),
        (f"{project}/bench.jsonl", 1),
    ]
    (notice,) = found.notices
    assert notice.startswith("1 rows of the benchmark")
    assert reads == ["train", "val"]
    assert checked() == CheckedRecords.from_json(json.loads(json.dumps(module.asdict(found))))
    assert reads == ["train", "val"], "nothing is read again"


def test_a_repetition_is_what_prepare_leaves_out(checked: Checked, project: Path) -> None:
    """Not what differs in its system message or its tools."""
    rows = [
        {"user": "Why?", "assistant": "So.", **beside}
        for beside in ({}, {"system": "S"}, {"tools": [{"name": "f"}]}, {"system": "S"})
    ]
    (project / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (train,) = checked().sets["train"]
    assert (train.conversations, train.repeated) == (4, 1)


@pytest.mark.parametrize("name", ["train.jsonl", "val.jsonl", "bench.jsonl"])
def test_a_changed_byte_is_read(checked: Checked, reads: list[str], project: Path, name: str) -> None:
    checked()
    path = project / name
    path.write_bytes(path.read_bytes().replace(b"?", b"!", 1))
    checked()
    assert reads == ["train", "val"] * 2


@pytest.mark.parametrize("override", ["data.system_prompt=Hi.", "data.format=prompt", "mode=cpt_mixed"])
def test_what_is_read_otherwise_is_read_again(checked: Checked, reads: list[str], override: str) -> None:
    checked()
    checked("train.learning_rate=0.5")
    assert reads == ["train", "val"]
    checked(override)
    assert reads == ["train", "val"] * 2


def test_a_file_of_another_name_is_named_so(checked: Checked, reads: list[str], project: Path) -> None:
    checked()
    (project / "train.jsonl").rename(project / "other.jsonl")
    (train,) = checked(f"data.train_path={project}/other.jsonl").sets["train"]
    assert train.files == {f"{project}/other.jsonl": 13}


def test_what_is_damaged_is_found_anew(checked: Checked, reads: list[str], project: Path) -> None:
    true = checked()
    (kept,) = project.rglob("records.json")
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b'"repeated": 1', b'"repeated": 0'), b"[]", b"[" * 100_000):
        kept.write_bytes(damaged)
        assert checked() == true
        assert kept.read_bytes() == whole
    assert len(reads) == 12


def test_a_file_that_changes_meanwhile_is_an_error(
    checked: Checked, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_benchmarks = module.read_benchmarks

    def changing(*arguments: object) -> object:
        (project / "val.jsonl").write_text(qa("Else?", "Yes"), encoding="utf-8")
        return read_benchmarks(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_benchmarks", changing)
    with pytest.raises(DataError, match=r"val.jsonl: the file changed while it was being read"):
        checked()
    assert not list(project.rglob("records.json"))
