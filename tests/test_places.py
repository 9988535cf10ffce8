"""What a path means: directories, patterns, lists and samples, in an order that no machine changes."""

from __future__ import annotations

import glob
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatml_by_hand import Chatml
from store_files import open_store
from weft.cli import main
from weft.config.data_schema import DatasetConfig
from weft.data.conversations import read_conversations
from weft.data.places import as_list, exists, find_parts, reads
from weft.data.render import Renderer
from weft.data.rows import BadRow
from weft.data.sample import sample_rows
from weft.data.sources import read_records
from weft.data.store import ExampleStore, SourceFile
from weft.data.tokenizer import load_tokenizer
from weft.errors import DataError
from weft.types import Location, Record


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files of one record each, made in an order that is not that of their names."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "d/b.jsonl",
        "d/a.jsonl.gz",
        "d/in/c.jsonl",
        "d/README.md",
        "d/.hidden.jsonl",
        "e.csv",
        "odd[1]#2.jsonl",
    ):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = json.dumps({"input": name, "target": "x"}).encode()
        if name == "d/a.jsonl.gz":
            import gzip

            record = gzip.compress(record)
        path.write_bytes(b"input,target\ne.csv,x\n" if name == "e.csv" else record)
    return tmp_path


def names(paths: str | list[str]) -> list[str]:
    return [file.as_posix() for part in find_parts(paths) for file in part.files]


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ("d", ["d/a.jsonl.gz", "d/b.jsonl"]),
        ("d/", ["d/a.jsonl.gz", "d/b.jsonl"]),
        ("d/*.jsonl", ["d/b.jsonl"]),
        ("d/*", ["d/README.md", "d/a.jsonl.gz", "d/b.jsonl"]),
        ("**/*.jsonl", ["d/b.jsonl", "d/in/c.jsonl", "odd[1]#2.jsonl"]),
        ("d/[ab].jsonl*", ["d/a.jsonl.gz", "d/b.jsonl"]),
        ("odd[1]#2.jsonl", ["odd[1]#2.jsonl"]),
        ("d#1", ["d/a.jsonl.gz", "d/b.jsonl"]),
        ("d/*.jsonl#1", ["d/b.jsonl"]),
        (["e.csv", "d"], ["e.csv", "d/a.jsonl.gz", "d/b.jsonl"]),
        (["d/README.md"], ["d/README.md"]),
    ],
)
def test_what_paths_mean(folder: Path, paths: str | list[str], found: list[str]) -> None:
    assert names(paths) == found
    assert exists(paths)


def test_documents_beside_records_are_notes_and_alone_are_documents(folder: Path) -> None:
    (part,) = find_parts("d")
    assert [path.name for path in part.skipped] == ["README.md", "in"]
    Path("docs").mkdir()
    for name in ("b.txt", "a.md"):
        Path("docs", name).write_text(name)
    assert [row.data for row in read_records("docs") if isinstance(row, Record)] == [
        {"text": "a.md"},
        {"text": "b.txt"},
    ]


def test_notes_beside_a_folder_of_records_are_not_taken_for_the_records(folder: Path) -> None:
    """As in a clone of a dataset: a card, and the records in data/."""
    Path("clone/data").mkdir(parents=True)
    Path("clone/README.md").write_text("a card")
    Path("clone/data/notes.txt").write_text("notes")
    assert names("clone") == ["clone/README.md"]
    Path("clone/data/train.jsonl").write_text('{"input": "a", "target": "b"}')
    with pytest.raises(DataError) as error:
        find_parts("clone")
    assert str(error.value) == (
        "clone: only README.md and the like lie here, and records in data/\n"
        "  fix: to read the records, write clone/**/*.jsonl; to read what lies here, clone/README.md"
    )
    assert names("clone/**/*.jsonl") == ["clone/data/train.jsonl"]


@pytest.mark.parametrize(
    ("paths", "where", "said"),
    [
        ("d/*.csv", "d/*.csv", "no file matches the pattern\n  fix: patterns are matched from"),
        (
            "d/a*.gz,d/*.csv,d/b.jsonl",
            "d/a*.gz,d/*.csv,d/b.jsonl",
            "no file matches the pattern\n  fix: patterns are matched from",
        ),
        (
            "d/a*.gz, d/b.jsonl",
            "d/a*.gz, d/b.jsonl",
            "no file matches the pattern\n  fix: write several paths as a list: [d/a*.gz, d/b.jsonl]",
        ),
        ("d/i*", "d/i*", "1 paths match the pattern, but none is a .jsonl, "),
        (
            ".",
            ".",
            "the directory holds no .jsonl, .ndjson, .json, .csv, .tsv, .txt, .md, .parquet, .arrow file\n  fix: its folders",
        ),
        ("nope#5", "nope", "there is no such file or directory"),
        ("d/bb.jsonl#5", "d/bb.jsonl", "there is no such file or directory\n  fix: did you mean d/b.jsonl?"),
        ("#3", "#3", "a sample of nothing is asked for"),
        ("d#0", "d#0", "a sample of no records is asked for"),
        ("d#-1", "d#-1", "a sample has a whole number of records, not '-1'"),
        ("d/b.jsonl#x.jsonl", "d/b.jsonl#x.jsonl", "there is no such file or directory"),
        ("d/b.json*#10%", "d/b.json*#10%", "a sample has a whole number of records, not '10%'"),
        (["d", "d/b.jsonl"], "d/b.jsonl", "the file is named twice, by d and by d/b.jsonl"),
        (["d/b.jsonl", "d/b.jsonl"], "d/b.jsonl", "the file is named twice"),
        (["d/b.jsonl#1", "d/b.jsonl#1"], "d/b.jsonl", "the file is named twice"),
        (["d", "nope"], "nope", "there is no such file or directory"),
    ],
)
def test_paths_that_mean_nothing(folder: Path, paths: str | list[str], where: str, said: str) -> None:
    Path("e.csv").rename("d/in/e.yaml")
    Path("odd[1]#2.jsonl").unlink()
    with pytest.raises(DataError) as error:
        find_parts(paths)
    assert str(error.value).startswith(f"{where}: {said}")


def test_what_never_ends_and_links_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jsonl")
    Path("zero.jsonl").symlink_to("/dev/zero")
    Path("gone.jsonl").symlink_to("away.jsonl")
    Path("loop.jsonl").symlink_to("loop.jsonl")
    for name in ("pipe.jsonl", "zero.jsonl"):
        with pytest.raises(
            DataError, match=f"^{name}: this is neither a file nor a directory\n  fix: write the records"
        ):
            find_parts(name)
    for name, target in (("gone.jsonl", "away.jsonl"), ("loop.jsonl", "loop.jsonl")):
        with pytest.raises(DataError, match=f"^{name}: the link leads nowhere\n  fix: it should lead to {target}"):
            find_parts(name)
    (tmp_path / "folder").mkdir()
    Path("folder/a.jsonl").write_text("{}")
    Path("folder/notes").symlink_to("away")
    Path("folder/README.md").symlink_to("away.md")
    assert find_parts("folder")[0].files == (Path("folder/a.jsonl"),)
    Path("folder/b.jsonl").symlink_to("away.jsonl")
    for name in ("folder", "folder/*.jsonl"):
        with pytest.raises(
            DataError, match=r"^folder/b\.jsonl: the link leads nowhere\n  fix: it should lead to away\.jsonl"
        ):
            find_parts(name)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("d/a.jsonl", "a"),
        ("d/a.jsonl.gz#500", "a"),
        ("d/", "d"),
        ("d/*.jsonl", "d"),
        ("d/train-*.parquet", "train-*"),
        (["d/x.csv", "d/y.csv"], "x"),
    ],
)
def test_the_name_of_a_data_set(path: str | list[str], name: str) -> None:
    assert DatasetConfig(path=path).called == name
    assert DatasetConfig(path=path, name="mine").called == "mine"


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        ("d/a.jsonl.gz,d/b.jsonl", "[d/a.jsonl.gz, d/b.jsonl]"),
        ("d/a.jsonl.gz, d/*.jsonl#5", "[d/a.jsonl.gz, d/*.jsonl#5]"),
        ("d/a.jsonl.gz,d/none.jsonl", None),
        ("d/a.jsonl.gz,", None),
        ("d/a.jsonl.gz", None),
        (["d/a.jsonl.gz", "d/b.jsonl"], None),
    ],
)
def test_a_list_that_was_written_with_commas(folder: Path, paths: str | list[str], meant: str | None) -> None:
    assert as_list(paths) == (meant and f"write several paths as a list: {meant}")


def test_the_splits_of_a_preparation_are_not_read_as_one(folder: Path) -> None:
    Path("d/prepare_report.json").write_text(json.dumps({"raw_path": "e.csv", "train_path": "d/b.jsonl", "splits": {}}))
    with pytest.raises(DataError, match="`weft prepare` wrote into this directory") as error:
        find_parts("d")
    assert error.value.fix == "name the file that is meant, such as d/b.jsonl"
    assert names("d/*.jsonl") == ["d/b.jsonl"]
    Path("d/prepare_report.json").write_text(json.dumps({"input": "somebody's own", "target": "x"}))
    assert names("d") == ["d/a.jsonl.gz", "d/b.jsonl", "d/prepare_report.json"]


@pytest.mark.parametrize("paths", ["d", "d/*.jsonl", "**/b*.jsonl"])
def test_a_link_beside_its_file_is_named(folder: Path, paths: str) -> None:
    Path("d/bb.jsonl").symlink_to("b.jsonl")
    with pytest.raises(DataError) as error:
        find_parts(paths)
    said = f"d/bb.jsonl: it is the same file as d/b.jsonl, by a link, and {paths} means both\n  fix: remove the link"
    assert str(error.value).startswith(said)


# --- samples ---


def rows(values: list[Any]) -> list[Record]:
    return [Record(data=value, location=Location(path="a", line=line)) for line, value in enumerate(values, 1)]


def taken(values: list[Any], count: int, seed: int = 1) -> list[Any]:
    return [row.data for row in sample_rows(rows(values), count, seed, name="a", notices=[]) if isinstance(row, Record)]


@given(st.lists(st.integers(0, 9)), st.integers(1, 12), st.randoms(use_true_random=False))
def test_a_sample_is_the_same_in_any_order(values: list[int], count: int, shuffler: random.Random) -> None:
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    sample = taken(values, count)
    assert len(sample) == min(count, len(values))
    assert sorted(sample) == sorted(taken(shuffled, count))
    positions = iter(values)
    assert all(value in positions for value in sample), "the order of the file is kept"


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(1, 12), st.integers(0, 9))
def test_a_further_record_moves_at_most_one(values: list[int], count: int, further: int) -> None:
    before, after = taken(values, count), taken([*values, further], count)
    for value in before:
        if value in after:
            after.remove(value)
    assert len(after) <= 1


def test_a_sample_is_fair_also_to_equal_records() -> None:
    values = ["same"] * 1000 + [f"other {n}" for n in range(1000)]
    shares = [taken(values, 500, seed).count("same") for seed in range(20)]
    assert all(190 < share < 310 for share in shares), "hypergeometric: 250 ± 10"
    assert len({tuple(taken(values, 500, seed)) for seed in range(20)}) == 20


def test_a_sample_of_more_than_there_is_says_so() -> None:
    notices: list[str] = []
    assert len(list(sample_rows(rows([1, 2, 3]), 500, 1, name="a.jsonl#500", notices=notices))) == 3
    assert notices == ["a.jsonl#500 asks for a sample of 500 records, and there are 3: all of them are taken"]
    notices.clear()
    assert len(list(sample_rows(rows([1, 2, 3]), 3, 1, name="a.jsonl#3", notices=notices))) == 3
    assert notices == []


def test_bad_rows_are_sampled_like_others() -> None:
    bad = [BadRow(location=Location(path="a", line=n), reason="broken", raw=f"{n}") for n in range(500)]
    mixed = [row for pair in zip(rows(list(range(500))), bad, strict=True) for row in pair]
    sample = list(sample_rows(mixed, 200, 3, name="a", notices=[]))
    assert len(sample) == 200
    assert 60 < sum(isinstance(row, BadRow) for row in sample) < 140


def test_conversations_of_a_sample_are_counted_as_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = (json.dumps({"input": f"{name}{n}", "target": "x"}) for n in range(50))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    found = read_conversations(f"{tmp_path}#30", on_bad_row="error", seed=5)
    assert sum(found.files.values()) == len(found.conversations) == 30
    assert set(found.files) == {str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")}
    assert {talk.source for talk in found.conversations} == {"a", "b"}
    assert read_conversations(f"{tmp_path}#30", on_bad_row="error", seed=5) == found
    assert read_conversations(f"{tmp_path}#30", on_bad_row="error", seed=6) != found
    both = read_conversations([f"{tmp_path}/a.jsonl#7", f"{tmp_path}/b.jsonl#900"], on_bad_row="error")
    assert list(both.files.values()) == [7, 50]
    assert both.notices == (
        f"{tmp_path}/b.jsonl#900 asks for a sample of 900 records, and there are 50: all of them are taken",
    )


# --- the cache ---


@pytest.fixture
def opened(tmp_path: Path, tiny_tokenizer_dir: Path) -> Callable[..., ExampleStore]:
    renderer = Renderer(load_tokenizer(tiny_tokenizer_dir), Chatml(), 256)  # type: ignore[arg-type]

    def open_paths(path: Any, seed: int = 1, on_bad_row: Any = "error") -> ExampleStore:
        files = [SourceFile(path=path, name="train", seed=seed)]
        return open_store(files, renderer, tmp_path / "cache", on_bad_row=on_bad_row, system_prompt=None)

    return open_paths


def test_the_cache_knows_directories_patterns_and_samples_by_their_content(
    folder: Path, opened: Callable[..., ExampleStore]
) -> None:
    lines = [json.dumps({"input": f"q{n}", "target": f"a{n}"}) for n in range(40)]
    Path("d/b.jsonl").write_text("\n".join(lines))
    for path in ("d", "d/b.jsonl#10", ["e.csv", "d/*.jsonl#5"]):
        first = opened(path)
        assert (first.report.cached, opened(path).report.cached) == (False, True)
        assert opened(path).fingerprint == first.fingerprint
    assert opened("d/b.jsonl#10", seed=2).fingerprint != opened("d/b.jsonl#10").fingerprint
    assert opened("d", seed=2).report.cached, "without a sample the seed decides nothing"
    assert not opened("d/b.jsonl#11").report.cached
    before = opened("d").fingerprint
    Path("d/b.jsonl").write_text("\n".join(lines).replace("q7", "Q7"))
    assert opened("d").fingerprint != before
    before = opened("d").fingerprint
    Path("d/z.jsonl").write_text(json.dumps({"input": "new", "target": "new"}))
    assert opened("d").fingerprint != before


def test_the_cache_knows_how_a_file_is_read(folder: Path, opened: Callable[..., ExampleStore]) -> None:
    content = "prompt,response\na\tb,c\n"
    Path("x.csv").write_text(content)
    Path("x.tsv").write_text(content)
    assert len(opened("x.csv")) == 1
    with pytest.raises(DataError, match="not separated by tabs"):
        opened("x.tsv")


def test_the_cache_repeats_what_is_to_be_said_about_a_sample(folder: Path, opened: Callable[..., ExampleStore]) -> None:
    said = ("d/b.jsonl#9 asks for a sample of 9 records, and there are 1: all of them are taken",)
    assert opened("d/b.jsonl#9").report.notices == opened("d/b.jsonl#9").report.notices == said


# --- commands ---


@pytest.fixture
def project(folder: Path, tiny_tokenizer_dir: Path) -> Path:
    Path("c.yaml").write_text(f"model: {{name: {tiny_tokenizer_dir}}}\ndata: {{val_path: none.jsonl}}\n")
    for name in ("p", "q"):
        lines = (json.dumps({"input": f"{name}{n}?", "target": f"{n}!"}) for n in range(20))
        Path(f"{name}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(
    ("value", "records"),
    [("[pq].jsonl", 40), ("p.jsonl#5", 5), ("['p.jsonl#5', q.jsonl]", 25), ("d", 2), ("p.jsonl#900", 20)],
)
def test_commands_take_such_paths(project: Path, value: str, records: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "c.yaml", f"data.train_path={value}", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sets"][0]["records"] == records
    assert ("p.jsonl#900 asks for" in str(report["notices"])) == (value == "p.jsonl#900")
    assert main(["show", "c.yaml", f"data.train_path={value}"]) == 0
    assert main(["prepare", "c.yaml", f"data.raw_path={value}"]) == 0
    report = json.loads(Path("data/processed/prepare_report.json").read_text())
    assert report["records"] == records
    assert ("p.jsonl#900 asks for" in str(report["notes"])) == (value == "p.jsonl#900")


def test_datasets_take_such_paths(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    datasets = "datasets: [{path: 'p.jsonl#5'}, {path: [q.jsonl, e.csv], weight: 0.5}]\n"
    Path("c.yaml").write_text(Path("c.yaml").read_text() + datasets)
    assert main(["check", "c.yaml", "data.val_split_ratio=0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sets"][0]["records"] == 5 + 20 + 1


@pytest.mark.parametrize("value", ["[pq].jsonl", "p.jsonl#5", "[p.jsonl, q.jsonl]"])
@pytest.mark.parametrize("words", [["prepare"], ["prepare", "--clean"], ["style", "--style", "Be kind"]])
def test_what_is_written_is_one_file(
    project: Path, words: list[str], value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main([*words, "c.yaml", "data.raw_path=e.csv", f"data.train_path={value}"]) == 2
    assert "data.train_path names files to read, but prepared records go into one" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("raw", ["*.jsonl", "train.jsonl#5", "[train.jsonl, e.csv]", ".#5"])
def test_prepared_files_do_not_lie_among_the_raw_ones(
    project: Path, raw: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train.jsonl").write_bytes(b"")
    assert main(["prepare", "c.yaml", f"data.raw_path={raw}", "data.train_path=train.jsonl"]) == 2
    assert "would lie among the raw records" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["t.jsonl", "d/t.jsonl", "d/in/t.jsonl", "new/t.jsonl", "d/../t.jsonl"])
@pytest.mark.parametrize(
    "pattern", ["*.jsonl", "./*.jsonl", "d/*", "**/*.jsonl", "d/**", "d/**/t.*", "**/in/*", "*.csv"]
)
def test_a_file_that_is_yet_to_be_written_is_among_those_that_a_pattern_will_match(
    folder: Path, pattern: str, path: str
) -> None:
    foreseen = {reads(name, Path(path)) for name in (pattern, f"{pattern}#5", f"{glob.escape(str(folder))}/{pattern}")}
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).touch()
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - as the readers match
    assert foreseen == {any(Path(match).samefile(path) for match in found)}
