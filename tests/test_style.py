"""A style goes into the files that training reads and out again without a trace, whatever interrupts it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from weft.cli import main
from weft.config.schema import Config
from weft.data.conversations import read_conversations
from weft.data.places import find_parts
from weft.data.prepare import prepare
from weft.data.style import active_style, apply_style, effective_system_prompt, remove_style
from weft.errors import ConfigError, DataError
from weft.types import Setting

SPLITS = ("train", "val", "test")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Working in a new directory with prepared files; a configuration of them."""
    monkeypatch.chdir(tmp_path)

    def make(*, datasets: Any = (), **data: Any) -> Config:
        paths = {f"{name}_path": f"out/{name}.jsonl" for name in SPLITS}
        return Config.model_validate({"datasets": list(datasets), "data": {"raw_path": "raw.jsonl", **paths, **data}})

    rows = [{"user": f"q{n}", "assistant": f"a{n}", **({"system": f"s{n}"} if n % 2 else {})} for n in range(9)]
    Path("raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(make())
    return make


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path("out").iterdir())}


def systems() -> dict[str, str | None]:
    """The system message of every question in the prepared files."""
    found = {}
    for name in SPLITS:
        for each in read_conversations(Path(f"out/{name}.jsonl"), on_bad_row="error").conversations:
            first = each.messages[0]
            found[each.messages[-2].content] = first.content if first.role == "system" else None
    return found


def test_the_style_follows_or_becomes_the_system_message(config: Callable[..., Config]) -> None:
    report = apply_style(config(), "Be brief.")
    assert (report.changed, report.files) == (True, tuple(f"out/{name}.jsonl" for name in SPLITS))
    assert systems() == {f"q{n}": f"s{n}\n\nBe brief." if n % 2 else "Be brief." for n in range(9)}


def test_the_default_system_prompt_comes_before_the_style(config: Callable[..., Config]) -> None:
    apply_style(config(system_prompt="Default."), "Be brief.")
    assert systems()["q0"] == "Default.\n\nBe brief."
    assert systems()["q1"] == "s1\n\nBe brief."


MODES = {"append": ("s1\n\nA", "S\n\nA"), "prepend": ("A\n\ns1", "A\n\nS"), "replace": ("A", "A")}


@pytest.mark.parametrize("mode", MODES)
def test_a_style_goes_behind_before_or_in_place_of_the_system_message(config: Callable[..., Config], mode: str) -> None:
    own, default = MODES[mode]
    before = files()
    asking = config(style_mode=mode, system_prompt="S")
    apply_style(asking, "A")
    assert (systems()["q1"], systems()["q0"]) == (own, default)
    assert effective_system_prompt(asking) == default
    assert effective_system_prompt(config(system_prompt="S")) == default, "as the files hold it"
    assert effective_system_prompt(config(style_mode=mode)) == "A"
    assert not apply_style(asking, "A").changed
    other = next(name for name in MODES if name != mode)
    assert apply_style(config(style_mode=other, system_prompt="S"), "A").changed
    assert systems()["q1"] == MODES[other][0]
    with pytest.raises(
        DataError, match=rf"holds this style as data\.style_mode: {other}; data\.style asks for 'A' as {mode}"
    ):
        effective_system_prompt(config(style="A", style_mode=mode))
    remove_style(config())
    assert files() == before


def test_preparing_follows_a_change_of_the_mode(config: Callable[..., Config]) -> None:
    for mode, (own, _) in MODES.items():
        prepare(config(style="A", style_mode=mode))
        assert systems()["q1"] == own
        assert json.loads(Path("out/train.style.json").read_bytes())["mode"] == mode


def test_a_record_from_before_there_were_modes_appends(config: Callable[..., Config]) -> None:
    apply_style(config(), "A")
    record = Path("out/train.style.json")
    content = json.loads(record.read_bytes())
    del content["mode"]
    record.write_text(json.dumps(content))
    assert not apply_style(config(), "A").changed
    record.write_text(json.dumps({**content, "mode": "sideways"}))
    with pytest.raises(DataError, match="the record of the style cannot be read"):
        remove_style(config())


def test_prepare_takes_a_style_as_it_stands(config: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data.raw_path=raw.jsonl", *(f"data.{name}_path=out/{name}.jsonl" for name in SPLITS)]
    assert main(["prepare", "--style", "Be kind: [yes], # always", *words]) == 0
    assert "style, in every system message: Be kind: [yes], # always\n" in capsys.readouterr().out
    assert systems()["q0"] == "Be kind: [yes], # always"


def test_tools_stay_with_the_conversation(config: Callable[..., Config]) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    row = {"user": "q", "assistant": "a", "tools": [tool]}
    Path("raw.jsonl").write_text("".join(json.dumps({**row, "user": str(n)}) + "\n" for n in range(3)))
    prepare(config())
    before = Path("out/train.jsonl").read_bytes()
    apply_style(config(), "Be brief.")
    for name in SPLITS:
        (talk,) = read_conversations(Path(f"out/{name}.jsonl"), on_bad_row="error").conversations
        assert [message.role for message in talk.messages] == ["system", "user", "assistant"]
        assert [message.setting for message in talk.messages] == [Setting(tools=(tool,)), None, None]
    prepare(config())
    assert Path("out/train.jsonl").read_bytes() == before, "a prepared file with tools is known as one, and replaced"


def test_twice_is_once_and_another_replaces(config: Callable[..., Config]) -> None:
    apply_style(config(), "A")
    once = files()
    assert not apply_style(config(), "A").changed
    assert files() == once
    apply_style(config(), "B")
    assert systems()["q1"] == "s1\n\nB"
    apply_style(config(), "A")
    assert files() == once


def test_undo_restores_every_byte(config: Callable[..., Config]) -> None:
    before = files()
    assert not remove_style(config()).changed
    apply_style(config(), "A")
    assert files()["train.unstyled.jsonl"] == before["train.jsonl"]
    apply_style(config(), "B")
    assert remove_style(config()).changed
    assert files() == before


def test_own_files_in_another_format_are_styled_and_restored(config: Callable[..., Config]) -> None:
    own = b'{"input": "q",   "target": "a"}\r\n\r\n'
    Path("out/train.jsonl").write_bytes(own)
    apply_style(config(), "A")
    assert json.loads(Path("out/train.jsonl").read_bytes())["messages"][0] == {"role": "system", "content": "A"}
    remove_style(config())
    assert Path("out/train.jsonl").read_bytes() == own


# --- what inference uses ---


@pytest.mark.parametrize("linked", [False, True])
def test_restored_files_are_named_as_they_are_configured(config: Callable[..., Config], linked: bool) -> None:
    if linked:  # whose ".." is another folder
        Path("far/away").mkdir(parents=True)
        Path("out").rename("far/away/out")
        Path("out").symlink_to("far/away/out")
    Path("held").mkdir()
    Path("out/val.jsonl").rename("held/val.jsonl")
    own = config(val_path="held/val.jsonl")
    before = Path("held/val.jsonl").read_bytes()
    styled = apply_style(own, "Be brief.").files
    assert Path("held/val.jsonl").read_bytes() != before
    assert remove_style(own).files == styled == ("out/train.jsonl", "held/val.jsonl", "out/test.jsonl")
    assert Path("held/val.jsonl").read_bytes() == before


def test_inference_uses_what_the_files_hold(config: Callable[..., Config]) -> None:
    assert effective_system_prompt(config()) is None
    assert effective_system_prompt(config(system_prompt="S")) == "S"
    apply_style(config(), "A")
    assert effective_system_prompt(config()) == "A"
    assert effective_system_prompt(config(system_prompt="S")) == "S\n\nA"
    assert effective_system_prompt(config(style="A")) == "A"
    with pytest.raises(DataError, match=r"holds another style; data\.style asks for 'B'"):
        effective_system_prompt(config(style="B"))
    remove_style(config())
    with pytest.raises(DataError, match=r"holds no style; data\.style asks for 'B'"):
        active_style(config(style="B"))


def test_without_prepared_files_the_configured_style_counts(config: Callable[..., Config]) -> None:
    elsewhere = config(style="B", train_path="elsewhere/train.jsonl")
    assert effective_system_prompt(elsewhere) == "B"


# --- together with prepare ---


def test_preparing_resets_the_style_or_applies_the_configured_one(config: Callable[..., Config]) -> None:
    plain = files()
    apply_style(config(), "A")
    assert prepare(config()).notes == ("the files are without the style that they had: run `weft style` again for 'A'",)
    assert files() == plain
    prepare(config(style="B"))
    assert systems()["q0"] == "B"
    assert effective_system_prompt(config()) == "B"
    remove_style(config())
    assert files().keys() == plain.keys()
    assert [files()[f"{name}.jsonl"] for name in SPLITS] == [plain[f"{name}.jsonl"] for name in SPLITS]


def test_preparing_puts_back_styled_files_that_it_does_not_write(config: Callable[..., Config]) -> None:
    own = b'{"input": "q", "target": "a"}\n'
    Path("mine.jsonl").write_bytes(own)
    mine = {"val_path": "mine.jsonl", "split": {"train_ratio": 0.9, "val_ratio": 0, "test_ratio": 0.1}}
    apply_style(config(**mine), "A")
    assert Path("mine.jsonl").read_bytes() != own
    prepare(config(**mine))
    assert Path("mine.jsonl").read_bytes() == own
    prepare(config(**mine, style="A"))
    Path("mine.jsonl").write_bytes(b"changed")
    prepare(config(**mine))
    assert (Path("mine.jsonl").read_bytes(), Path("mine.unstyled.jsonl").read_bytes()) == (b"changed", own)


def test_preparing_does_not_replace_an_own_file_that_was_styled(config: Callable[..., Config]) -> None:
    own = b'{"input": "q", "target": "a"}\n'
    Path("mine.jsonl").write_bytes(own)
    apply_style(config(train_path="mine.jsonl"), "A")
    with pytest.raises(
        DataError, match=r"mine\.unstyled\.jsonl: the file exists and was not written by `weft prepare`"
    ):
        prepare(config(train_path="mine.jsonl"))
    remove_style(config(train_path="mine.jsonl"))
    assert Path("mine.jsonl").read_bytes() == own


# --- among files that are read ---


def read_at(paths: str | list[str]) -> tuple[list[str], list[str]]:
    """The names of the files that are read at ``paths``, and of those that are not."""
    parts = find_parts(paths)
    return [path.name for part in parts for path in part.files], [path.name for part in parts for path in part.skipped]


ORIGINALS = [f"{name}.unstyled.jsonl" for name in sorted(SPLITS)]


@pytest.mark.parametrize(
    ("paths", "read", "skipped"),
    [
        ("out/*.jsonl", ["test.jsonl", "train.jsonl", "val.jsonl"], ORIGINALS),
        ("linked/*.jsonl", ["test.jsonl", "train.jsonl", "val.jsonl"], ORIGINALS),
        ("out", ["test.jsonl", "train.jsonl", "val.jsonl"], [*ORIGINALS, "train.style.json"]),
        ("out/t*", ["test.jsonl", "train.jsonl"], [*ORIGINALS[:2], "train.style.json"]),
        ("out/*.unstyled.jsonl", ORIGINALS, []),
        ("out/v*[!n].unstyled.jsonl", ["val.unstyled.jsonl"], []),
        ("out/train.unstyled.jsonl", ["train.unstyled.jsonl"], []),
        ("out/train.style.json", ["train.style.json"], []),
        (["out/test.jsonl", "out/*rain*.jsonl"], ["test.jsonl", "train.jsonl"], ["train.unstyled.jsonl"]),
    ],
)
def test_what_is_kept_beside_styled_files_is_not_read_with_them(
    config: Callable[..., Config], paths: str | list[str], read: list[str], skipped: list[str]
) -> None:
    apply_style(config(), "A")
    Path("out/prepare_report.json").unlink()
    Path("linked").symlink_to("out")
    found, passed_over = read_at(paths)
    assert (found, sorted(passed_over)) == (read, sorted(skipped))


def test_originals_in_another_folder_than_the_record_are_known_by_it(config: Callable[..., Config]) -> None:
    Path("held").mkdir()
    Path("out/val.jsonl").rename("held/val.jsonl")
    apply_style(config(val_path="held/val.jsonl"), "A")
    assert read_at("**/*al*.jsonl") == (["val.jsonl", "val.unstyled.jsonl"], [])
    assert read_at("*/*.jsonl") == (["val.jsonl", "test.jsonl", "train.jsonl"], [ORIGINALS[2], *ORIGINALS[:2]])


@pytest.mark.parametrize(
    "change",
    [
        lambda: Path("out/train.style.json").write_text('{"style": "A"}'),
        lambda: Path("out/train.style.json").write_text("[" * 100_000),
        lambda: Path("out/train.style.json").write_text(
            Path("out/train.style.json").read_text().replace("train.jsonl", "other.jsonl")
        ),
        lambda: (Path("out/train.style.json").unlink(), Path("out/train.style.json").mkdir()),
        lambda: Path("out/train.jsonl").unlink(),
    ],
)
def test_a_file_that_no_record_vouches_for_is_read(config: Callable[..., Config], change: Callable[[], Any]) -> None:
    apply_style(config(), "A")
    change()
    assert "train.unstyled.jsonl" in read_at("out/*.jsonl")[0]


OF_TRAIN = '{"style": "A", "complete": true, "files": {"train.jsonl": {"unstyled": "0", "styled": "1"}}}'


@pytest.mark.parametrize(
    "content",
    [
        '{"style": "formal", "question": "q", "answer": "a"}',
        "[]",
        OF_TRAIN.replace("train", "none"),
        pytest.param(" " * 2**20 + OF_TRAIN, id="large"),
    ],
)
def test_records_of_such_a_name_are_read(config: Callable[..., Config], content: str) -> None:
    Path("out/mine.style.json").write_text(content)
    assert read_at("out/*.style.json") == read_at("out/mine.style.json") == (["mine.style.json"], [])
    Path("out/prepare_report.json").unlink()  # a directory with one is read by its files alone
    assert "mine.style.json" in read_at("out")[0]


def test_a_pattern_that_only_a_record_of_a_style_matches_says_so(config: Callable[..., Config]) -> None:
    apply_style(config(), "A")
    with pytest.raises(DataError, match=r"1 paths match the pattern, but none is a .* file with records"):
        find_parts("out/*.style.json")


def test_reports_name_what_is_not_read(config: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    apply_style(config(), "A")
    paths = [f"data.{name}_path=again/{name}.jsonl" for name in SPLITS]
    assert main(["prepare", "data.raw_path=out/t*.jsonl", *paths]) == 0
    said = capsys.readouterr().out
    assert "note: not read (another kind of file, notes, what `weft style` keeps, or a folder): " in said
    assert f"{ORIGINALS[0]}, {ORIGINALS[1]}\n" in said
    assert "8 records in 2 file(s) of out/t*.jsonl; formats: messages 8\n" in said


# --- refusals ---


def test_a_file_that_was_changed_since_is_not_overwritten(config: Callable[..., Config]) -> None:
    apply_style(config(), "A")
    with Path("out/val.jsonl").open("a") as file:
        file.write('{"user": "new", "assistant": "row"}\n')
    before = files()
    for call in (
        lambda: remove_style(config()),
        lambda: apply_style(config(), "A"),
        lambda: apply_style(config(), "B"),
    ):
        with pytest.raises(DataError, match=r"val\.jsonl: the file was changed after its style was applied"):
            call()
    assert files() == before
    prepare(config())
    assert "train.style.json" not in files()
    assert not any("unstyled" in name for name in files())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda: Path("out/train.unstyled.jsonl").unlink(),
            r"train\.unstyled\.jsonl: the original that was kept here is gone",
        ),
        (
            lambda: Path("out/train.unstyled.jsonl").write_bytes(Path("out/val.jsonl").read_bytes()),
            "the original that was kept here was changed",
        ),
        (
            lambda: Path("out/train.style.json").write_text("{"),
            r"train\.style\.json: the record of the style cannot be read",
        ),
        (lambda: Path("out/train.style.json").write_text('{"style": 1}'), "the record of the style cannot be read"),
        (
            lambda: Path("out/train.style.json").unlink(),
            "an original is kept here, but the record of its style is gone",
        ),
    ],
)
def test_damage_is_named_and_preparing_mends_it(
    config: Callable[..., Config], damage: Callable[[], None], message: str
) -> None:
    plain = files()
    apply_style(config(), "A")
    damage()
    with pytest.raises(DataError, match=message):
        apply_style(config(), "B")
    prepare(config())
    assert files() == plain


def test_what_cannot_be_styled_is_refused(config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="the style is empty"):
        apply_style(config(), " ")
    with pytest.raises(ConfigError, match=r"data\.style: this is not the style that is configured"):
        apply_style(config(style="A"), "B")
    with pytest.raises(ConfigError, match=r"data\.style: the configuration still asks for a style"):
        remove_style(config(style="A"))
    nowhere = {f"{name}_path": f"none/{name}.jsonl" for name in SPLITS}
    with pytest.raises(
        DataError, match=r"none/train\.jsonl: there are no prepared files yet\n  fix: run `weft prepare` first"
    ):
        apply_style(config(**nowhere), "A")
    Path("own.csv").write_text("input,target\nq,a\n")
    with pytest.raises(DataError, match=r"own\.csv: a style can only be put into \.jsonl files"):
        apply_style(config(train_path="own.csv"), "A")


@pytest.mark.parametrize("words", [["style"], ["prepare"], ["style", "data.style=A"]])
def test_a_style_is_refused_where_training_keeps_no_system_message(
    config: Callable[..., Config], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = files()
    style = [] if "data.style=A" in words else ["--style", "A"]
    paths = ["data.raw_path=raw.jsonl", *(f"data.{name}_path=out/{name}.jsonl" for name in SPLITS)]
    assert main([*words, *style, *paths, "data.include_system_prompt=false"]) == 2
    assert capsys.readouterr().err.removeprefix("weft: ").removeprefix("command line: ") == (
        "data.include_system_prompt: false leaves every system message out, but data.style adds to it\n"
        "  fix: set one of the two only\n"
    )
    assert files() == before


def test_a_style_that_training_leaves_out_can_still_be_taken_out(config: Callable[..., Config]) -> None:
    before = files()
    apply_style(config(), "A")
    assert remove_style(config(include_system_prompt=False)).changed
    assert files() == before


def test_datasets_are_left_alone_and_named(config: Callable[..., Config]) -> None:
    report = apply_style(config(datasets=[{"path": "big.jsonl"}]), "A")
    assert report.notes == ("the files under `datasets` are not changed: big.jsonl",)


# --- interruptions ---


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[], Any]], bool]]:
    """Run a call and kill it at its n-th change of the disk, after which nothing more happens; False if it came through."""

    def run(n: int, call: Callable[[], Any]) -> bool:
        left = n

        def counted(original: Callable[..., Any]) -> Callable[..., Any]:
            def change(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left <= 0:
                    raise Killed
                return original(*args, **kwargs)

            return change

        with monkeypatch.context() as patch:
            for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                call()
            except Killed:
                return True
        return False

    return run


def start_from(content: dict[str, bytes]) -> None:
    for path in Path("out").iterdir():
        path.unlink()
    for name, data in content.items():
        Path("out", name).write_bytes(data)


def held_style_or_error(config: Config) -> str | DataError | None:
    try:
        return active_style(config)
    except DataError as error:
        return error


def without_leftovers() -> dict[str, bytes]:
    return {name: content for name, content in files().items() if not name.endswith(".tmp")}


@pytest.mark.parametrize("action", ["apply", "replace", "undo", "prepare"])
def test_an_interruption_at_any_moment_loses_nothing(
    config: Callable[..., Config], killed_at: Callable[[int, Callable[[], Any]], bool], action: str
) -> None:
    plain = files()
    apply_style(config(), "B")
    styled = files()
    apply_style(config(), "A")
    start = plain if action == "apply" else files()
    calls: dict[str, Callable[[], Any]] = {
        "apply": lambda: apply_style(config(), "B"),
        "replace": lambda: apply_style(config(), "B"),
        "undo": lambda: remove_style(config()),
        "prepare": lambda: prepare(config()),
    }
    moments = 0
    for moment in range(1, 100):
        start_from(start)
        if not killed_at(moment, calls[action]):
            break
        moments += 1
        held = held_style_or_error(config())
        if isinstance(held, DataError):
            assert "interrupted" in held.what
        else:
            expected = {f"s{n}" + (f"\n\n{held}" if held else "") for n in (1, 3, 5, 7)}
            assert set(systems().values()) == expected | {held}
        if action == "prepare":
            prepare(config())
            assert without_leftovers() == plain
            continue
        apply_style(config(), "B")
        assert without_leftovers() == styled
        remove_style(config())
        assert without_leftovers() == plain
    assert moments >= 10
