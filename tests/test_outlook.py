"""What `weft check` says of the run: batches, steps, memory, cards, warnings by name, and models that cannot be read."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from store_files import open_store
from weft.cli import main
from weft.config.load import load_config
from weft.data.inputs import load_renderer, training_files
from weft.data.packing import packing_of
from weft.data.warn import Harm, Warn, ranked
from weft.training.outlook import RunCheck, check_run
from weft.training.plan import make_plan


def qa(question: str, answer: str) -> str:
    return json.dumps({"prompt": question, "response": answer}) + "\n"


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path) -> Path:
    """A directory with a configuration, its own copy of a model, and forty records."""
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    (tmp_path / "train.jsonl").write_text("".join(qa(f"Question {n}?", f"Answer {n}. " * n) for n in range(1, 41)))
    (tmp_path / "c.yaml").write_text(
        f"model: {{name: {tmp_path}/model, max_seq_len: 512}}\n"
        f"data: {{train_path: {tmp_path}/train.jsonl, val_path: {tmp_path}/val.jsonl,"
        f" test_path: {tmp_path}/test.jsonl, cache_dir: {tmp_path}/cache}}\n",
    )
    return tmp_path


@pytest.fixture
def checked(project: Path) -> Callable[..., RunCheck]:
    def run(*overrides: str) -> RunCheck:
        return check_run(load_config(project / "c.yaml", overrides).config)

    return run


@pytest.mark.parametrize("batch", [[], ["train.batch_size=3"], ["train.grad_accum=2"], ["train.max_steps=7"]])
@pytest.mark.parametrize("packing", ["none", "bfd", "wrapped"])
def test_the_steps_are_those_of_the_plan_that_training_makes(
    packing: str, batch: list[str], project: Path, checked: Callable[..., RunCheck]
) -> None:
    overrides = [f"train.packing={packing}", *batch]
    config = load_config(project / "c.yaml", overrides).config
    files = training_files(config)
    store = open_store(
        files, load_renderer(config), Path(config.data.cache_dir), on_bad_row="error", system_prompt=None
    )
    plan = make_plan(config.train, packing_of(config, store, files))
    run = checked(*overrides).run
    assert run is not None
    assert (run.batch_size, run.grad_accum, run.steps_per_epoch, run.steps) == (
        plan.batch_size,
        plan.grad_accum,
        plan.steps_in(0),
        plan.total_steps,
    )
    largest = max(
        sum(piece.stop - piece.start for row in rows for piece in row)
        for step in range(1, plan.steps_in(0) + 1)
        for rows in plan.micro_batches(plan.rows(step), 0)
    )
    assert largest <= run.micro_batch_tokens <= plan.batch_size * 512
    if packing == "none":
        assert run.micro_batch_tokens == sum(sorted(store.lengths.tolist())[-plan.batch_size :])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            [],
            "auto: {fits} examples as long as the longest, {longest} tokens each, fit into 4,096, "
            "and 16 examples a step are aimed at",
        ),
        (["train.packing=bfd"], "auto: 8 rows, 512 tokens each, fit into 4,096, and 16 examples a step are aimed at"),
        (["train.batch_size=2"], "as train.batch_size says; auto: 16 examples a step are aimed at"),
        (["train.batch_size=2", "train.grad_accum=3"], "as train.batch_size and train.grad_accum say"),
        (
            ["train.packing=bfd", "model.max_seq_len=8192", "train.grad_accum=1"],
            "as train.grad_accum says; auto: one of 8,192 tokens is more than 4,096 already, and 16 examples a step are aimed at",
        ),
    ],
)
def test_the_choice_of_the_batch_is_explained(
    overrides: list[str], reason: str, checked: Callable[..., RunCheck]
) -> None:
    report = checked(*overrides)
    assert report.run is not None
    assert report.sets[0].encoded is not None
    longest = report.sets[0].encoded.longest
    assert report.run.batch_reason == reason.format(longest=longest, fits=4096 // longest)


def test_memory_and_cards_are_on_the_page_and_in_the_json(
    project: Path, checked: Callable[..., RunCheck], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(project / "c.yaml"), "--strict"]) == 0
    page = capsys.readouterr().out
    assert re.search(r"\nmemory     about 8\d\d MB on a GPU with bfloat16: weights \d MB, gradients", page)
    assert "\ncards      8 GB fits, 16 GB fits, 24 GB fits, 80 GB fits\n" in page
    assert main(["check", str(project / "c.yaml"), "--json", "--strict"]) == 0
    found = json.loads(capsys.readouterr().out)
    run = found["run"]
    assert set(run) == {
        "batch_size",
        "grad_accum",
        "batch_reason",
        "steps_per_epoch",
        "steps",
        "micro_batch_tokens",
        "memory",
        "cards",
        "unknown",
    }
    parts = {"weights", "gradients", "optimizer", "activations", "head", "beside"}
    for memory in run["memory"].values():
        assert set(memory) == parts | {"total"}
        assert memory["total"] == sum(memory[part] for part in parts)
    assert run["cards"] == {"8": "fits", "16": "fits", "24": "fits", "80": "fits"}
    assert set(found) == {"sets", "model", "mixture", "packing", "leaks", "warnings", "notices", "run"}


@pytest.mark.parametrize("layers", [2, 10_000, 20_000, 40_000, 300_000])
def test_cards_are_judged_and_a_run_that_none_can_hold_is_warned_of(
    layers: int, project: Path, checked: Callable[..., RunCheck]
) -> None:
    path = project / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": layers}))
    report = checked("train.packing=bfd", "model.max_seq_len=2048", "train.batch_size=1", "tuning.mode=full")
    assert report.run is not None
    assert report.run.memory is not None
    size = report.run.memory["cuda"].total / 1e9
    verdicts = {gb: "too small" if size > gb else "tight" if size * 1.25 > gb else "fits" for gb in (8, 16, 24, 80)}
    assert report.run.cards == verdicts
    if size < 80:
        assert report.warnings == ()
    else:
        (warning,) = report.warnings
        assert (warning.name, warning.what) == (
            "memory",
            f"training needs about {size:,.0f} GB, more than a GPU of 80 GB has",
        )
        assert "train.gradient_checkpointing=true; " in warning.fix
        assert warning.fix.endswith("tuning.mode=lora")


def test_a_row_holds_no_more_than_there_is(checked: Callable[..., RunCheck]) -> None:
    report = checked("train.packing=bfd", "model.max_seq_len=1000000", "train.batch_size=40")
    assert report.run is not None
    assert report.sets[0].encoded is not None
    assert report.run.micro_batch_tokens == report.sets[0].encoded.tokens


def damaged(model: Path, what: str) -> None:
    match what:
        case "no config":
            (model / "config.json").unlink()
        case "no json":
            (model / "config.json").write_text("{")
        case "a list":
            (model / "config.json").write_text("[]")
        case "no type":
            (model / "config.json").write_text('{"hidden_size": 64}')
        case "no weights":
            (model / "model.safetensors").unlink()
        case "cut weights":
            (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-5])
        case "no shard":
            (model / "model.safetensors").rename(model / "model-1.safetensors")
            index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
            (model / "model.safetensors.index.json").write_text(json.dumps(index))
        case "outside":
            (model / "model.safetensors").unlink()
            (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no config", "model: has no config.json"),
        ("no json", "config.json: cannot be read: "),
        ("a list", "config.json: is not a JSON object"),
        ("no type", "config.json: has no `model_type`"),
        ("no weights", "model: has no weights: model.safetensors is missing"),
        ("cut weights", "model.safetensors: is no sound safetensors file: "),
        ("no shard", "model: lacks its shard model-2.safetensors"),
        ("outside", "index.json: names weights that are no safetensors file of this directory: '../x.safetensors'"),
    ],
)
def test_a_model_that_training_would_refuse_is_the_first_warning(
    what: str, said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(project / "model", what)
    with (project / "train.jsonl").open("a") as file:
        file.write(qa("Question 1?", "Answer 1. "))
    assert main(["check", str(project / "c.yaml")]) == 0
    page = capsys.readouterr()
    assert f"  1. training will refuse the model: {project}/model" in page.out
    assert said in page.out
    assert "  2. 1 of 41 training records repeat an earlier one\n" in page.out
    assert "unknown    memory: " in page.out
    assert "\ncards" not in page.out
    assert "Traceback" not in page.out + page.err
    assert main(["check", str(project / "c.yaml"), "--strict", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [warning["name"] for warning in found["warnings"]] == ["cannot-train", "repeated"]
    assert all(warning["fix"] for warning in found["warnings"])
    assert found["run"]["memory"] is None
    assert set(found["run"]["cards"].values()) == {"unknown"}
    assert main(["train", str(project / "c.yaml")]) == 2


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_the_first_warning(
    project: Path, checked: Callable[..., RunCheck]
) -> None:
    rows = json.loads((project / "model/config.json").read_text())["vocab_size"]
    assert checked().warnings == ()
    added = {"<new>": rows + 9}
    (project / "model/added_tokens.json").write_text(json.dumps(added))
    (warning,) = checked().warnings
    assert warning.name == "cannot-train"
    assert warning.what == (
        f"training will refuse the model: model.name: the tokenizer has ids up to {rows + 9}, but the model's embedding has "
        f"{rows} rows"
    )
    assert main(["train", str(project / "c.yaml")]) == 2


@pytest.mark.parametrize("place", ["models/none", "./none"])
def test_records_are_checked_with_a_tokenizer_before_there_is_a_model(
    place: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(project / "c.yaml")
    words = ["check", config, f"model.name={place}", f"model.tokenizer={project}/model"]
    assert main(words) == 0
    page = capsys.readouterr().out
    assert "40 examples, " in page
    assert "\nsteps      " in page
    problem = f"model.name: {place}: there is no such model directory"
    assert f"\nunknown    memory: {problem}\n" in page
    assert f"\n  1. training will refuse the model: {problem}\n     fix: " in page
    assert main([*words, "--strict"]) == 1
    capsys.readouterr()
    assert main(["check", config, f"model.name={place}"]) == 2  # whose tokenizer is meant then
    assert capsys.readouterr().err.startswith(f"weft: {problem}\n  fix: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tuning.mode=full", "model.dtype=float16"], "model.dtype: float16 for weights that are trained"),
        (
            ["tuning.lora.target_modules=[q_proj, nothing]"],
            "tuning.lora.target_modules: 'nothing' is no module of this model",
        ),
    ],
)
def test_settings_that_training_would_refuse_are_warned_of(
    words: list[str], said: str, project: Path, checked: Callable[..., RunCheck]
) -> None:
    (warning,) = checked(*words).warnings
    assert (warning.name, warning.what) == ("cannot-train", f"training will refuse {said}")
    assert main(["train", str(project / "c.yaml"), *words]) == 2
    words = ["tuning.lora.target_modules=[self_attn.q_proj, embed_tokens]"]
    assert checked(*words).warnings == ()


def test_a_head_that_shares_the_weights_of_the_embedding_can_be_named(checked: Callable[..., RunCheck]) -> None:
    assert checked("tuning.lora.target_modules=[lm_head]").warnings == ()


def test_of_a_model_of_the_hub_whose_weights_are_not_here_memory_is_unknown(
    project: Path, checked: Callable[..., RunCheck], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokenizer and configuration are in the cache, as an earlier `weft check` left them."""
    snapshot = project / "hub/models--org--name/snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(project / "model", snapshot)
    (snapshot / "model.safetensors").unlink()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text(snapshot.name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(project / "hub"))
    report = checked("model.name=org/name")
    assert report.warnings == ()
    assert report.run is not None
    assert report.run.memory is None
    assert str(report.run.unknown).startswith("the weights of org/name are not on this machine (")
    assert str(report.run.unknown).endswith("; `weft train` fetches them")
    assert report.run.steps == 9
    shutil.copy(project / "model/model.safetensors", snapshot)
    known = checked("model.name=org/name").run
    assert known is not None
    assert known.memory is not None


def test_activations_that_are_not_known_make_a_lower_bound(
    project: Path, checked: Callable[..., RunCheck], capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_local_experts": 8}))
    assert main(["check", str(project / "c.yaml")]) == 0
    page = capsys.readouterr().out
    assert "\nmemory     at least 801 MB on a GPU" in page
    assert "\ncards      8 GB unknown, 16 GB unknown, 24 GB unknown, 80 GB unknown\n" in page
    assert "\nunknown    activations: a mixture of experts: how many tokens go to each is not known\n" in page


def test_a_low_trained_share_is_warned_of(project: Path, checked: Callable[..., RunCheck]) -> None:
    assert checked().warnings == ()
    (project / "train.jsonl").write_text("".join(qa(f"Read {n} " + "this " * 99, "A") for n in range(9)))
    (warning,) = checked().warnings
    assert warning.name == "low-trained-share"
    assert warning.what.startswith("only ")


def test_repetitions_and_leaks_are_counted_by_source(
    project: Path, checked: Callable[..., RunCheck], capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "one.jsonl").write_text(qa("a?", "A") + qa("b?", "B") + qa("a?", "A"))
    (project / "two.jsonl").write_text(qa("b?", "B") + qa("c?", "C"))
    (project / "val.jsonl").write_text(qa("c?", "C") + qa("b?", "another") + qa("new?", "N"))
    sets = f"datasets=[{{path: {project}/one.jsonl}}, {{path: {project}/two.jsonl}}]"
    train, val = checked(sets).sets
    assert {name: one.repeated for name, one in train.sources.items()} == {"one": 1, "two": 1}
    assert (train.repeated, val.leaked, val.asked) == (2, 1, 1)
    assert {name: (one.leaked, one.asked) for name, one in val.sources.items()} == {"val": (1, 1)}
    assert (train.files, train.printed) == ({f"{project}/one.jsonl": 3, f"{project}/two.jsonl": 2}, 5)
    main(["check", str(project / "c.yaml"), sets])
    page = capsys.readouterr().out
    assert f"\n         {project}/one.jsonl: 3 records\n         {project}/two.jsonl: 2 records\n" in page
    assert ", 0 shortened, 0 too long, 0 left out, 1 repeated\n" in page
    assert "the template prints 5 of 5 conversations\n" in page


def test_what_is_left_out_is_counted_by_source(project: Path, checked: Callable[..., RunCheck]) -> None:
    (project / "one.jsonl").write_text(qa("a?", "A") + "{\n" + qa("b?", "") + qa("c?", "C " * 600))
    (project / "two.jsonl").write_text(qa("b?", "B") + "7\n")
    (project / "three.jsonl").write_text(qa("c?", "C"))
    sets = ", ".join(f"{{path: {project}/{name}.jsonl}}" for name in ("one", "two", "three"))
    train = checked(f"datasets=[{sets}]", "on_bad_row=drop", "data.val_split_ratio=0").sets[0]
    assert {name: one.left_out for name, one in train.sources.items()} == {"one": 3, "two": 1, "three": 0}
    assert sum(map(len, train.dropped.values())) == 4
    assert train.printed == 4


def test_a_record_of_which_a_part_is_too_long_is_not_left_out(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [("user", "a?"), ("assistant", "A"), *[("user", "b?"), ("assistant", "B " * 600)] * 2]
    talk = {"messages": [{"role": role, "content": text} for role, text in turns]}
    (project / "train.jsonl").write_text(json.dumps(talk) + "\n" + qa("c?", "C " * 600))
    words = ["check", str(project / "c.yaml"), "data.overlong=split_turns", "data.val_split_ratio=0", "--strict"]
    assert main([*words, "--rejects", str(project / "rejects.jsonl")]) == 1
    page = capsys.readouterr().out
    assert " 2 records (messages 1, prompt 1), 1 left out, 0 repeated\n" in page
    reason = "a part is longer than model.max_seq_len, 512 tokens"
    assert f" left out in part: 1 × {reason}\n" in page
    first = f"     first: {project}/train.jsonl:1\n"
    assert f"1 of 2 train records are left out in part: {reason}\n{first}" in page
    rejects = [json.loads(line) for line in (project / "rejects.jsonl").read_text().splitlines()]
    assert [one["reason"].partition(",")[0] for one in rejects] == [
        "a part is longer than model.max_seq_len",
        "longer than model.max_seq_len",
    ]


def test_of_many_files_the_first_are_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "many").mkdir()
    for number in range(15):
        (project / f"many/{number:02}.jsonl").write_text(qa(f"{number}?", "A"))
    assert main(["check", str(project / "c.yaml"), f"data.train_path={project}/many"]) == 0
    page = capsys.readouterr().out
    assert page.count(": 1 records\n") == 12
    assert "/many/11.jsonl: 1 records\n         … and 3 more files\n" in page


def test_the_names_of_a_set_in_the_json_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(project / "c.yaml"), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["sets"]
    assert set(one) == {
        *("name", "paths", "files", "skipped", "records", "formats", "mappings", "left_out", "dropped"),
        *("repeated", "leaked", "asked", "sources", "printed", "encoded"),
    }
    assert set(one["sources"]["train"]) == {"left_out", "repeated", "leaked", "asked"}


def test_what_lies_in_a_directory_and_is_not_read_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "records").mkdir()
    shutil.copy(project / "train.jsonl", project / "records")
    (project / "records/notes.md").write_text("notes")
    assert main(["check", str(project / "c.yaml"), f"data.train_path={project}/records"]) == 0
    assert (
        f"not read (another kind of file, notes, what `weft style` keeps, or a folder): {project}/records/notes.md\n"
        in capsys.readouterr().out
    )


def test_warnings_are_ranked_by_their_names_alone() -> None:
    names: list[Any] = list(get_args(Harm))
    shuffled = [Warn(name=name, what=name, fix="") for name in names]
    random.Random(1).shuffle(shuffled)
    assert [warning.name for warning in ranked(shuffled)] == names
    assert names.index("unclosed-turns") < names.index("leaked") < names.index("records-dropped")
    assert names.index("records-dropped") < names.index("low-trained-share") < names.index("repeated")
