"""`weft check`: what it finds, what it prints, and what it does not load."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small_project import qa, write_project
from weft.cli import main
from weft.config.load import load_config
from weft.errors import ConfigError, DataError, Problems
from weft.training.outlook import RunCheck, check_run

Overrides = dict[str, Any]


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path) -> Path:
    return write_project(tmp_path, tiny_model_dir)


@pytest.fixture
def checked(project: Path) -> Callable[..., RunCheck]:
    def run(*overrides: str) -> RunCheck:
        return check_run(load_config(project / "c.yaml", overrides).config)

    return run


def test_a_clean_project(checked: Callable[..., RunCheck], project: Path) -> None:
    report = checked()
    train, val = report.sets
    assert (train.name, train.records, train.formats, train.dropped, train.repeated) == (
        "train",
        10,
        {"prompt": 10},
        {},
        0,
    )
    assert (val.name, val.records, val.leaked) == ("val", 2, 0)
    assert train.encoded is not None
    assert (train.encoded.examples, train.encoded.turns, train.encoded.closed_turns) == (10, 10, 10)
    assert report.model is not None
    assert report.model.special["stops"] == {"<|eos|>": 3, "<|im_end|>": 5}
    assert report.warnings == ()
    missing = f"there is no test file, {project}/test.jsonl (data.test_path), so nothing is evaluated on it"
    assert report.notices == (missing,)
    assert checked().sets[0].encoded.cached  # type: ignore[union-attr]
    json.dumps(report.as_dict())


def test_warnings_name_what_is_wrong_the_worst_first(checked: Callable[..., RunCheck], project: Path) -> None:
    with (project / "val.jsonl").open("a", encoding="utf-8") as val:
        leak = {
            "messages": [
                {"role": role, "content": text}
                for role, text in [("system", "Other."), ("user", "Question 3?"), ("assistant", "Answer 3")]
            ]
        }
        val.write("\n" + json.dumps(leak) + "\n" + qa("Question 5?", "Another answer"))
    with (project / "train.jsonl").open("a", encoding="utf-8") as train:
        train.write(
            "\n" + "\n".join([qa("Question 1?", "Answer 1"), qa("long", "x" * 200), "{broken", qa("Question 4?", "")])
        )
    report = checked("on_bad_row=drop")
    found = [warning.what for warning in report.warnings]
    assert found[0] == "1 of 4 val records say the same as training records: scores on them mislead"
    assert found[1].startswith("1 of 4 val records ask what training records ask, and answer otherwise: ")
    lines = {
        warning.what.partition("left out: ")[2]: [place.line for place in warning.where]
        for warning in report.warnings[2:-1]
    }
    assert lines.pop("longer than model.max_seq_len, 64 tokens") == [12]
    assert sorted(lines.values()) == [[13], [14]]
    assert found[-1] == "1 of 14 training records repeat an earlier one"


def test_bad_records_stop_it_by_default(checked: Callable[..., RunCheck], project: Path) -> None:
    (project / "train.jsonl").write_text(qa("a", "b") + "\n{broken\n", encoding="utf-8")
    with pytest.raises(Problems, match=r"train.jsonl:2"):
        checked()


def test_a_missing_training_file_names_the_command_that_writes_it(
    checked: Callable[..., RunCheck], project: Path
) -> None:
    (project / "train.jsonl").unlink()
    with pytest.raises(
        DataError, match=r"train.jsonl: there is no such file of training records\n  fix: run `weft prepare`"
    ):
        checked()


def test_several_datasets_are_one_training_set(checked: Callable[..., RunCheck], project: Path) -> None:
    more = project / "more.jsonl"
    more.write_text(qa("Another?", "One"), encoding="utf-8")
    report = checked(f"datasets=[{{path: {project}/train.jsonl}}, {{path: {more}, weight: 2}}]")
    assert report.sets[0].paths == (f"{project}/train.jsonl", str(more))
    assert report.sets[0].records == 11


def test_a_share_to_hold_out_that_a_validation_file_forestalls_is_named(
    checked: Callable[..., RunCheck], project: Path
) -> None:
    sets = f"datasets=[{{path: {project}/train.jsonl}}]"
    assert (project / "val.jsonl").is_file()
    unused = f"data.val_split_ratio is not used: there is {project}/val.jsonl"
    assert checked(sets, "data.val_split_ratio=0.1").notices[0].startswith(unused)
    for asked in ([], ["data.val_split_ratio=0"]):
        assert not any("val_split_ratio" in notice for notice in checked(sets, *asked).notices)
    assert (
        "data.val_split_ratio is not used: it is about datasets, and none are listed; `weft prepare` divides records by"
        in (checked("data.val_split_ratio=0.1").notices[0])
    )


def test_without_a_validation_file_a_part_of_each_dataset_is_held_out(
    checked: Callable[..., RunCheck], project: Path
) -> None:
    (project / "val.jsonl").unlink()
    (project / "more.jsonl").write_text("\n".join(qa(f"Another {i}?", "One") for i in range(40)), encoding="utf-8")
    (project / "idle.jsonl").write_text("\n".join(qa(f"Unused {i}?", "No") for i in range(40)), encoding="utf-8")
    names = {"train": 1, "more": 1, "idle": 0}
    sets = "datasets=[" + ", ".join(f"{{path: {project}/{name}.jsonl, weight: {names[name]}}}" for name in names) + "]"
    report = checked(sets, "data.val_split_ratio=0.1")
    train, val = report.sets
    assert (train.records, val.records) == (9 + 36 + 40, 1 + 4)
    assert train.formats == {"prompt": 85}
    assert val.paths == (f"{project}/train.jsonl", f"{project}/more.jsonl")
    assert val.leaked == 0
    assert report.notices[0] == (
        f"10.00% of each dataset is held out for validation (data.val_split_ratio), because there is no {project}/val.jsonl"
    )
    assert "nothing of idle is trained, because its weight is 0; it is counted all the same" in report.notices
    assert checked(sets, "data.val_split_ratio=0").sets[0].records == 90
    assert [one.name for one in checked(sets, "data.val_split_ratio=0").sets] == ["train"]
    # by default, two of a hundred, but at least one of each
    assert [one.records for one in checked(sets).sets] == [9 + 39 + 40, 2]
    # training needs it as little as a file of its own
    assert checked(sets, "train.load_best_model_at_end=true").sets[1].name == "val"
    with pytest.raises(ConfigError, match=r"the validation set .* is missing"):
        checked(sets, "train.load_best_model_at_end=true", "data.val_split_ratio=0")


def test_too_little_to_hold_out_is_no_error_unless_something_needs_it(
    checked: Callable[..., RunCheck], project: Path
) -> None:
    (project / "val.jsonl").unlink()
    (project / "one.jsonl").write_text(qa("Why?", "So."), encoding="utf-8")
    report = checked(f"datasets=[{{path: {project}/one.jsonl}}]")
    assert [(one.name, one.records) for one in report.sets] == [("train", 1), ("val", 0)]
    assert report.notices[-1] == (
        "nothing is evaluated while training: of what is held out, there are too few records to hold one out for validation"
    )
    with pytest.raises(DataError, match=r"one.jsonl: there are too few records .*\n  fix: set data.val_split_ratio=0"):
        checked(f"datasets=[{{path: {project}/one.jsonl}}]", "train.load_best_model_at_end=true")


def test_what_there_is_to_say_of_a_divided_set_is_said_once(checked: Callable[..., RunCheck], project: Path) -> None:
    (project / "val.jsonl").unlink()
    few = f"{project}/train.jsonl#500 asks for a sample of 500 records, and there are 10: all of them are taken"
    report = checked(f"datasets=[{{path: '{project}/train.jsonl#500'}}]")
    assert [one.records for one in report.sets] == [9, 1]
    assert report.notices.count(few) == 1
    assert [notice for one in report.sets if one.encoded for notice in one.encoded.notices] == [few]


def test_what_is_held_out_and_too_long_is_counted_and_listed(
    checked: Callable[..., RunCheck], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "val.jsonl").unlink()
    (project / "long.jsonl").write_text("\n".join(qa(f"Why {i}?", "So " * 99) for i in range(9)), encoding="utf-8")
    (project / "short.jsonl").write_text(qa("Why?", "So."), encoding="utf-8")
    sets = f"datasets=[{{path: {project}/long.jsonl}}, {{path: {project}/short.jsonl}}]"
    words = [sets, "model.max_seq_len=64", "data.overlong=drop"]
    report = checked(*words)
    train, val = report.sets
    (reason,) = val.dropped
    assert reason.startswith("longer than model.max_seq_len")
    assert [len(one.dropped[reason]) for one in (train, val)] == [8, 1]
    assert (val.records, val.encoded, val.sources["long"].left_out) == (1, None, 1)
    assert f"1 of 1 val records are left out: {reason}" in [warning.what for warning in report.warnings]

    rejects = project / "left.jsonl"
    assert main(["check", str(project / "c.yaml"), *words, "--rejects", str(rejects)]) == 0
    listed = [(row["set"], row["location"]) for row in map(json.loads, rejects.read_text().splitlines())]
    assert sorted(place for _, place in listed) == [f"{project}/long.jsonl:{number}" for number in range(1, 10)]
    assert [name for name, _ in listed] == ["train"] * 8 + ["val"]


def test_the_mixture_is_told_as_it_was_meant_and_as_it_is(
    checked: Callable[..., RunCheck], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "more.jsonl").write_text("\n".join(qa(f"Another {i}?", "One") for i in range(4)), encoding="utf-8")
    sets = f"datasets=[{{path: {project}/train.jsonl}}, {{path: {project}/more.jsonl, weight: 3}}]"
    report = checked(sets, "data.mix.epoch=longest")
    assert report.mixture
    assert [(share.name, share.target, share.realised, share.passes) for share in report.mixture.shares] == [
        ("train", 10.0, 10, 1.0),
        ("more", 30.0, 30, 7.5),
    ]
    assert report.packing
    assert report.packing.rows == 40
    assert report.sets[1].encoded
    assert report.sets[1].encoded.examples == 2  # those of validation are what they are
    for change in ("data.mix.by=tokens", "datasets[1].weight=9", "datasets[0].loss_weight=0.5"):
        assert all(one.encoded and one.encoded.cached for one in checked(sets, change).sets)
    assert not any(one.encoded and one.encoded.cached for one in checked(sets, "data.overlong=truncate").sets)
    assert main(["check", str(project / "c.yaml"), sets, "data.mix={by: tokens, epoch: 1000}"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mixture")]
    assert re.fullmatch(
        r"mixture    by tokens: train 2\d\.\d\d% \(target 25\.00%\), 2\d\d tokens in \d\.\d\d passes; "
        r"more 7\d\.\d\d% \(target 75\.00%\), 7\d\d tokens in \d\.\d\d passes",
        line,
    )
    assert main(["check", str(project / "c.yaml")]) == 0
    assert "\nmixture" not in capsys.readouterr().out


@pytest.mark.parametrize(("weight", "is_drawn"), [(0.01, False), (0.2, True), (0, True)])
def test_a_set_of_which_no_epoch_holds_an_example_is_a_warning(
    checked: Callable[..., RunCheck], project: Path, weight: float, is_drawn: bool
) -> None:
    (project / "more.jsonl").write_text("\n".join(qa(f"Another {i}?", "One") for i in range(4)), encoding="utf-8")
    report = checked(f"datasets=[{{path: {project}/train.jsonl}}, {{path: {project}/more.jsonl, weight: {weight}}}]")
    what = "nothing of more is trained: its weight asks for less than one example an epoch"
    assert [one.what for one in report.warnings if one.name == "nothing-drawn"] == ([] if is_drawn else [what])


def test_without_a_model_records_are_checked_all_the_same(
    checked: Callable[..., RunCheck], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    report = checked("model.name=models/nano")
    assert report.sets[0].records == 10
    assert report.sets[0].encoded is None
    assert report.model is None
    (warning,) = report.warnings
    assert "tokens were not counted" in warning.what
    assert "weft init-model nano" in warning.fix


def test_turns_without_a_stop_are_warned_of(checked: Callable[..., RunCheck], project: Path) -> None:
    """A template whose tag leaves out the end of an answer."""
    template = project / "open.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content[:1] }}{% endgeneration %}"
        "{{ m.content[1:] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        encoding="utf-8",
    )
    report = checked(f"data.template_path={template}")
    assert report.sets[0].encoded is not None
    assert (report.sets[0].encoded.turns, report.sets[0].encoded.closed_turns) == (10, 0)
    assert report.warnings[0].what.startswith("10 of 10 trained turns do not end with a stop token")
    assert "<|eos|> or <|im_end|>" in report.warnings[0].fix


def test_a_token_that_closes_the_template_s_turns_is_a_stop(checked: Callable[..., RunCheck], project: Path) -> None:
    """Whatever the tokenizer says: inference stops at it, and so do servers that read what weft exports."""
    template = project / "closed.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|bos|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        encoding="utf-8",
    )
    report = checked(f"data.template_path={template}")
    assert report.sets[0].encoded is not None
    assert (report.sets[0].encoded.turns, report.sets[0].encoded.closed_turns) == (10, 10)


def test_the_page(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(project / "c.yaml"), "--strict"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"train  {project}/train.jsonl\n       10 records (prompt 10), 0 left out, 0 repeated\n")
    assert "\n         prompt: prompt → user, response → assistant\n" in page
    assert "100.0% of the trained turns end with a stop token" in page
    assert page.endswith("no warnings\n")
    (project / "val.jsonl").write_bytes((project / "train.jsonl").read_bytes())
    assert main(["check", str(project / "c.yaml")]) == 0
    assert main(["check", str(project / "c.yaml"), "--strict"]) == 1
    assert "10 of 10 val records say the same" in capsys.readouterr().out
    assert main(["check", str(project / "c.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sets"][1]["leaked"] == 10


def test_message_trees_are_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"message_id": "1", "parent_id": None, "role": "prompter", "text": "q"},
        {"message_id": "2", "parent_id": "1", "role": "assistant", "text": "a"},
        {"message_id": "3", "parent_id": "1", "role": "assistant", "text": "b"},
    ]
    (project / "trees.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["check", str(project / "c.yaml"), f"data.train_path={project}/trees.jsonl"]) == 0
    page = capsys.readouterr().out
    assert "1 records (oasst 1), 0 left out" in page
    assert "message_id, parent_id → order, role → role, text → messages\n" in page
    assert "left out of message trees: 1 × not on the best-ranked path (data.oasst_paths: best)\n" in page


def test_the_packing_is_told(
    checked: Callable[..., RunCheck], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded = checked().sets[0].encoded
    assert encoded is not None
    length = encoded.longest
    assert encoded.tokens == 10 * length  # each record has as many
    capacity = 3 * length + 2
    words = ["check", str(project / "c.yaml"), "--strict", f"model.max_seq_len={capacity}"]
    assert main([*words, "train.packing=bfd"]) == 0
    share = 10 * length / (4 * capacity)
    assert f"packing    bfd, 4 rows of {capacity} tokens, {share:.1%} full\n" in capsys.readouterr().out
    assert main([*words, "train.packing=none"]) == 0
    assert "packing    none, each example is a row of its own\n" in capsys.readouterr().out
    report = checked(words[-1], "train.packing=wrapped")
    assert report.packing is not None
    assert (report.packing.how, report.packing.rows, report.packing.capacity) == ("wrapped", 4, capacity)
    (warning,) = (
        report.warnings
    )  # the fourth example leaves 2 tokens in the first row, the seventh 3 in the second, ...
    assert warning.what.startswith("3 of 10 training examples are cut by train.packing: wrapped")
    assert warning.fix == "set train.packing=bfd, which keeps every example whole"


def test_every_example_too_long_is_an_error_with_the_way_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(project / "c.yaml"), "model.max_seq_len=8"]) == 2
    error = capsys.readouterr().err
    assert "every example is longer than model.max_seq_len, 8 tokens: the shortest has" in error
    assert "fix: set model.max_seq_len=" in error
    assert "Traceback" not in error


def test_a_thousand_records_in_seconds_without_torch(project: Path) -> None:
    rows = (qa(f"What is number {i}, and why?", "Because. " * (i % 40 + 1)) for i in range(1000))
    (project / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    program = (
        "import sys, time; start = time.process_time()\n"
        "from weft.cli import main\n"
        f"code = main(['check', {str(project / 'c.yaml')!r}, 'model.max_seq_len=1024'])\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'peft'} & set(sys.modules)\n"
        "print(code, sorted(heavy), time.process_time() - start, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, heavy, seconds = done.stderr.split()
    assert (code, heavy) == ("0", "[]")
    assert "1,000 records" in done.stdout
    assert float(seconds) < 3


def test_the_real_records(project: Path, shared_data: Path) -> None:
    report = check_run(
        load_config(
            project / "c.yaml",
            [
                f"data.train_path={shared_data / 'alpaca_en.json'}",
                f"data.val_path={shared_data / 'course' / 'style_sft.jsonl'}",
                f"data.test_path={shared_data / 'course' / 'style_benchmark.jsonl'}",
                "model.max_seq_len=4096",
            ],
        ).config
    )
    train, val, test = report.sets
    assert (train.records, train.formats) == (999, {"alpaca": 999})
    assert (val.formats, test.formats) == ({"messages": val.records}, {"messages": test.records})
    for one in report.sets:
        assert one.encoded is not None
        assert one.encoded.examples == one.records
        assert one.encoded.closed_turns == one.encoded.turns == one.records
        assert one.encoded.notes == {}


def test_the_working_directory_may_be_the_training_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "Q", "response": "A"}))
    monkeypatch.chdir(tmp_path)
    assert main(["check", "data.train_path=.", "data.val_path=none", "data.test_path=none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sets"][0]["records"] == 1
