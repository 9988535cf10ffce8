"""What a person reads: every problem at once, each with its place, what is wrong and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.config.foreign import ELSEWHERE, LATER, NAMES, NEEDLESS
from weft.config.keys import ALIASES, KEYS, SECTIONS, canonical, find_key
from weft.config.load import load_config
from weft.config.suggest import nearest
from weft.errors import ConfigError, Problems

NOT_A_SECTION = "holds keys of its own, so it cannot be set to a value"
OR_REMOVE_IT = "give such a value, or remove it"
DEFAULT = f"{OR_REMOVE_IT} to use the default, "
FILES_ONLY = ("include has a meaning in files only", "write include: into a configuration file")


def problems(text: str = "", *overrides: str, tmp_path: Path, **environ: str) -> list[tuple[str, str, str | None]]:
    """(line or place, what, fix) of everything that is wrong."""
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Problems) as caught:
        load_config(path, overrides, environ)
    assert all(isinstance(problem, ConfigError) for problem in caught.value.problems)
    return [(str(p.where).removeprefix(f"{path}:"), p.what, p.fix) for p in caught.value.problems]


def test_everything_is_reported_at_once_in_reading_order(tmp_path: Path) -> None:
    text = """\
train:
  epoch: 3
  learning_rate: fast
  evaluation_strategy: no
  load_best_model_at_end: true
  dataloader_num_workers: 2
datasets:
- weight: -1
data:
  split: {train_ratio: 0.9}
lora_r: 8
"""
    found = problems(text, "gen.top_p=2", tmp_path=tmp_path, WEFT_TRAIN__EPOCHSS="5")
    assert found == [
        ("environment WEFT_TRAIN__EPOCHSS", "train.epochss is not a configuration key", "did you mean train.epochs?"),
        ("command line", "gen.top_p must be a number above 0 and at most 1, not 2", DEFAULT + "1"),
        ("2", "train.epoch is not a configuration key", "did you mean train.epochs?"),
        ("3", "train.learning_rate must be a number above 0, not 'fast'", DEFAULT + "0.0002"),
        (
            "5",
            "train.load_best_model_at_end compares evaluations, but train.evaluation_strategy: no makes none",
            "set train.evaluation_strategy to epoch or steps",
        ),
        (
            "6",
            "train.dataloader_num_workers: 2 is part of the configuration language but not acted on yet",
            "remove it",
        ),
        ("8", "datasets[0] has no path, which every entry needs", "add path: to this entry"),
        ("8", "datasets[0].weight must be a number of at least 0 or null, not -1", "give such a value, or remove it"),
        (
            "10",
            "data.split: train_ratio + val_ratio + test_ratio must be 1, but 0.9 + 0.1 + 0.2 = 1.2",
            "set all three, so that they sum to 1",
        ),
        ("11", "lora_r is not a configuration key", "did you mean tuning.lora.r?"),
    ]


@pytest.mark.parametrize(
    ("setting", "what", "fix"),
    [
        ('train.epochs: "5"', "train.epochs must be a number above 0, not '5'", "remove the quotes"),
        ("train.epochs: true", "train.epochs must be a number above 0, not true", DEFAULT + "3"),
        ("train.epochs: 0", "train.epochs must be a number above 0, not 0", DEFAULT + "3"),
        ("train.epochs: .inf", "train.epochs must be a number above 0, not .inf", DEFAULT + "3"),
        ("train.epochs: .nan", "train.epochs must be a number above 0, not .nan", DEFAULT + "3"),
        ("train.epochs: 1e999", "train.epochs must be a number above 0, not 1e999", DEFAULT + "3"),
        ("train.epochs:", "train.epochs must be a number above 0, not empty", "remove it to use the default, 3"),
        ("train.epochs: [1]", "train.epochs must be a number above 0, not [1]", "write a single value"),
        ("train.epochs: {a: 1}", "train.epochs must be a number above 0, not a mapping", DEFAULT + "3"),
        (
            "train.max_steps: 1e3",
            "train.max_steps must be a whole number of at least 1 or null, not 1e3",
            "write 1000",
        ),
        (
            "train.max_steps: 1_000",
            "train.max_steps must be a whole number of at least 1 or null, not '1_000'",
            "write 1000",
        ),
        ("train.steps: 1.5", "train.steps (train.max_steps) must be a whole number of at least 1 or null, not 1.5", OR_REMOVE_IT),
        ("train.max_steps: true", "train.max_steps must be a whole number of at least 1 or null, not true", OR_REMOVE_IT),
        (
            "train.batch_size: big",
            "train.batch_size must be auto or a whole number of at least 1, not 'big'",
            DEFAULT + "auto",
        ),
        ("train.grad_accum: 0", "train.grad_accum must be auto or a whole number of at least 1, not 0", DEFAULT + "auto"),
        (
            "train.fp16: no",
            "train.fp16 must be true or false, not 'no'",
            "write false: YAML 1.2 knows no other words for it",
        ),
        ("train.fp16: 1", "train.fp16 must be true or false, not 1", DEFAULT + "false"),
        (
            "train.evaluation_strategy: false",
            "train.evaluation_strategy must be no, steps or epoch, not false",
            "write no",
        ),
        ("train.report_to: false", "train.report_to must be none or tensorboard, not false", "write none"),
        ("train.optim: adam", "train.optim must be adamw or sgd, not 'adam'", "did you mean adamw?"),
        (
            "train.lr_scheduler_type: Cosine",
            "train.lr_scheduler_type must be cosine, linear or constant, not 'Cosine'",
            "did you mean cosine?",
        ),
        ("tuning.lora.dropout: 1", "tuning.lora.dropout must be a number from 0 to below 1, not 1", DEFAULT + "0.05"),
        (
            "tuning.lora.target_modules: q_proj",
            "tuning.lora.target_modules must be auto or a list of names, not 'q_proj'",
            "write a list: [q_proj]",
        ),
        (
            "eval.metrics: [bleu]",
            "eval.metrics must be a list of rouge_l, exact_match or loss, not ['bleu']",
            DEFAULT + "[rouge_l, exact_match, loss]",
        ),
        ("data.cache_dir:", "data.cache_dir must be text, not empty", "remove it to use the default, data/cache"),
        (
            "seed: 9223372036854775808",
            "seed must be a whole number from 0 to 9223372036854775807, not 9223372036854775808",
            DEFAULT + "42",
        ),
        (
            "data.train_path: ''",
            "data.train_path must be text or a list of names, not ''",
            DEFAULT + "data/processed/train.jsonl",
        ),
        ("model.local_dir: ''", "model.local_dir must be text or null, not ''", OR_REMOVE_IT),
        ("eval.sets: {hard: ''}", "eval.sets.hard must be text, not ''", OR_REMOVE_IT),
        ("datasets: [{path: ''}]", "datasets[0].path must be text or a list of names, not ''", "give such a value"),
        (
            "tuning.lora.target_modules: []",
            "tuning.lora.target_modules must be auto or a list of names, not []",
            DEFAULT + "auto",
        ),
        ("train.learning_rate: 0,5", "train.learning_rate must be a number above 0, not '0,5'", "write 0.5"),
        ("train.max_steps: '1,000'", "train.max_steps must be a whole number of at least 1 or null, not '1,000'", "write 1000"),
        ("train: 5", f"train {NOT_A_SECTION}", "write train: {output_dir: …}"),
        ("tuning: {lora: on}", f"tuning.lora {NOT_A_SECTION}", "write lora: {r: …}"),
        ("eval: {sets: [a]}", f"eval.sets {NOT_A_SECTION}", "write sets: {some_name: …}"),
        ("datasets: a.jsonl", "datasets must be a list, with one entry for each", "write datasets: [{path: …}]"),
        ("datasets: [a.jsonl]", f"datasets[0] {NOT_A_SECTION}", "write datasets: [{path: …}]"),
        (
            "datasets: [{path: a}]\ndatasets[1].path: b",
            "datasets[1].path sets an entry that does not exist: datasets has 1 entry, counted from 0",
            "add the entry to datasets: in the configuration file",
        ),
        ("include: ~\nincludes: a.yaml", "includes is not a configuration key", "did you mean include?"),
    ],
)  # fmt: skip
def test_one_problem(setting: str, what: str, fix: str | None, tmp_path: Path) -> None:
    ((_, found_what, found_fix),) = problems(setting, tmp_path=tmp_path)
    assert (found_what, found_fix) == (what, fix)


@pytest.mark.parametrize(
    ("word", "what", "fix"),
    [
        ("epochs", "epochs is not a setting", "write overrides as key=value, such as train.epochs=5"),
        ("--epochs=3", "--epochs is not a configuration key", "did you mean train.epochs?"),
        ("datasets[].path=a", "datasets[].path is not a configuration key", "did you mean datasets[0].path?"),
        ("=3", "'' is not a configuration key", "docs/config.md lists all keys"),
        ("include=a.yaml", *FILES_ONLY),
        (
            "seed={a: 1, a: 2}",
            "seed must be a whole number from 0 to 9223372036854775807, not '{a: 1, a: 2}'",
            DEFAULT + "42",
        ),
        (
            "data.style=\udcff",
            "the text holds half of a character or a byte that is not UTF-8",
            "write the text in UTF-8",
        ),
    ],
)
def test_one_problem_on_the_command_line(word: str, what: str, fix: str | None, tmp_path: Path) -> None:
    assert problems("", word, tmp_path=tmp_path) == [("command line", what, fix)]


@pytest.mark.parametrize(
    ("variable", "what", "fix"),
    [
        ("WEFT_TRAIN_EPOCHS", "the variable is not a configuration key", "did you mean WEFT_TRAIN__EPOCHS?"),
        ("WEFT_EPOCHS", "the variable is not a configuration key", "did you mean WEFT_TRAIN__EPOCHS?"),
        ("WEFT_MIX_BY", "the variable is not a configuration key", "did you mean WEFT_DATA__MIX__BY?"),
        ("WEFT_DATASETS_3_WEIGHT", "the variable is not a configuration key", "did you mean WEFT_DATASETS__3__WEIGHT?"),
        ("WEFT_DATA_DATASET_NAME", "the variable is not a configuration key", "did you mean WEFT_DATA__TRAIN_PATH?"),
        ("WEFT_NUM_TRAIN_EPOCHS", "the variable is not a configuration key", "did you mean WEFT_TRAIN__EPOCHS?"),
        ("WEFT_MOED", "the variable is not a configuration key", "did you mean WEFT_MODE?"),
        ("WEFT_SEEDS", "the variable is not a configuration key", "did you mean WEFT_SEED?"),
        ("WEFT_TRAINS__EPOCHS", "trains.epochs is not a configuration key", "did you mean train.epochs?"),
        ("WEFT_TRAIN", f"train {NOT_A_SECTION}", "write train: {output_dir: …}"),
        ("WEFT_INCLUDE", *FILES_ONLY),
    ],
)
def test_one_problem_in_the_environment(variable: str, what: str, fix: str, tmp_path: Path) -> None:
    assert problems("", tmp_path=tmp_path, **{variable: "5"}) == [(f"environment {variable}", what, fix)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("train.epoch", "train.epochs"),
        ("train.Epochs", "train.epochs"),
        ("train.learning-rate", "train.learning_rate"),
        ("epochs", "train.epochs"),
        ("logging_steps", "train.logging_steps"),
        ("model.path", "model.name"),
        ("gen.temp", "gen.temperature"),
        ("lora.r", "tuning.lora.r"),
        ("tuning.r", "tuning.lora.r"),
        ("num_train_epochs", "train.epochs"),
        ("per_device_train_batch_size", "train.batch_size"),
        ("train.per_device_train_batch_size", "train.batch_size"),
        ("gradient_accumulation_steps", "train.grad_accum"),
        ("base_model", "model.name"),
        ("model_name_or_path", "model.name"),
        ("cutoff_len", "model.max_seq_len"),
        ("sequence_len", "model.max_seq_len"),
        ("micro_batch_size", "train.batch_size"),
        ("val_set_size", "data.split.val_ratio"),
        ("finetuning_type", "tuning.mode"),
        ("adapter", "tuning.mode"),
        ("lora_rank", "tuning.lora.r"),
        ("lora_alpha", "tuning.lora.alpha"),
        ("train.lr", "train.learning_rate"),
        ("output_dir", "train.output_dir"),
        ("num_epochs", "train.epochs"),
        ("template", "data.template_path"),
        ("chat_template", "data.template_path"),
        ("dataset", "datasets"),
        ("eval_strategy", "train.evaluation_strategy"),
        ("use_lora", "tuning.mode"),
        ("data.prompt_field", "data.instruction_field"),
        ("data.sft.custom_format.output_field", "data.response_field"),
        ("datasets[2].type", "datasets[2].format"),
        ("datasets[2].subset", "datasets[2].config"),
        ("datasets[1].prompt_field", "datasets[1].instruction_field"),
        ("datasets[1].custom_format.prompt_field", "datasets[1].instruction_field"),
        ("data.hf_datasets[1].subset", "datasets[1].config"),
        ("data.hf_datasets[0].foo", "datasets[0].format"),
        ("hf_datasets[1].subset", "datasets[1].config"),
        ("datasets[1].wieght", "datasets[1].weight"),
        ("model.train_path", "data.train_path"),
        ("training", "train"),
        ("zzzz", None),
        ("", None),
    ],
)
def test_nearest(name: str, meant: str | None, tmp_path: Path) -> None:
    entries = "datasets: [{path: a}, {path: b}, {path: c}]" if "[" in name else ""
    ((_, what, fix),) = problems(entries, f"{name}=1", tmp_path=tmp_path)
    assert what == f"{name or repr(name)} is not a configuration key"
    assert fix == (f"did you mean {meant}?" if meant else "docs/config.md lists all keys")


def test_the_tables_of_other_tools_lead_to_keys_and_never_shadow_one() -> None:
    for there, here in NAMES.items():
        assert find_key(here) is not None or here in SECTIONS or here == "include", here
        assert nearest(there) == here.replace("[]", "[0]")
    for table in (NAMES, ELSEWHERE, LATER, NEEDLESS):
        assert not {name for name in table if find_key(canonical(name)) is not None or name in SECTIONS}


@pytest.mark.parametrize("name", sorted(LATER))
def test_keys_of_a_later_version(name: str, tmp_path: Path) -> None:
    name = name.replace("[]", "[0]")
    found = problems("datasets: [{path: a}]", f"{name}=1", tmp_path=tmp_path)
    assert [what.startswith(f"{name} belongs to a later version of weft: ") for _, what, _ in found] == [True]
    assert "belongs to a later version" in problems("", f"{name}.deeper=1", tmp_path=tmp_path)[0][1]


@pytest.mark.parametrize("name", [*sorted(ELSEWHERE), "data.hf_datasets[].split", "hf_datasets[].split"])
def test_keys_whose_values_are_parts_of_others(name: str, tmp_path: Path) -> None:
    place = "data.train_path" if "dataset_" in name else "the path"
    name = name.replace("[]", "[0]")
    found = problems("datasets: [{path: a}]", f"{name}=test", tmp_path=tmp_path)
    fix = f"write it into {place}: org/name:config@split"
    assert found == [("command line", f"{name} is not a configuration key", fix)]


@pytest.mark.parametrize("name", sorted(NEEDLESS))
def test_names_that_need_no_key(name: str, tmp_path: Path) -> None:
    ((_, what, fix),) = problems(f"train:\n  {name}: true", tmp_path=tmp_path)
    assert NEEDLESS[name] in what
    assert fix == "remove it"


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        *[
            (key.name, value, None)
            for key in KEYS.values()
            if key.pending != "any"
            for value in key.pending
            if isinstance(value, str)
        ],
        ("model.trust_remote_code", "true", "remove it"),
        ("train.dataloader_num_workers", "2", "remove it"),
        ("tuning.mode", "qlora", "set it to full or lora"),
    ],
)
def test_values_not_acted_on_yet(name: str, value: str, fix: str | None, tmp_path: Path) -> None:
    ((place, what, found_fix),) = problems("", f"{name}={value}", tmp_path=tmp_path)
    assert place == "command line"
    assert what == f"{name}: {value} is part of the configuration language but not acted on yet"
    assert fix in (None, found_fix)


def test_defaults_of_values_not_acted_on_yet_may_be_written(tmp_path: Path) -> None:
    overrides = ["block_size=", "train.dataloader_num_workers=0", "train.packing=none", "model.trust_remote_code=false"]
    load_config(None, overrides, {})


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("data.split: {val_ratio: 0.3, train_ratio: 0.7}", "1", "0.7 + 0.3 + 0.2 = 1.2"),
        ("train: {fp16: true, bf16: true}", "1", "train.bf16 and train.fp16 cannot both be true"),
        (
            "train: {eval_strategy: no, early_stopping_patience: 2}",
            "1",
            "train.early_stopping_patience compares evaluations",
        ),
        (
            "datasets:\n- {path: a, weight: 0}\n- {path: b, weight: 0}",
            "2",
            "the weight of every entry of datasets is 0",
        ),
        (
            "datasets:\n- {path: x/a.jsonl, name: a}\n- {path: b.jsonl}\n- {path: y/c.json, name: a}",
            "4",
            "2 entries of datasets are named 'a'",
        ),
        ("run_name: ../x", "1", "run_name names files, so '../x' cannot be used"),
        ("run_name: .hidden", "1", "cannot be used"),
        ('run_name: "a\\nb"', "1", "cannot be used"),
        ("eval:\n  sets:\n    a/b: c", "3", "eval.sets names files, so 'a/b' cannot be used"),
        ("eval:\n  sets:\n    val: c", "3", "the evaluation set val is data.val_path already"),
        (
            "data:\n  format: custom\n  response_field: instruction",
            "3",
            "data.instruction_field and data.response_field both name the field 'instruction'",
        ),
        (
            "data:\n  instruction_field: q\n  context_field: q\ndatasets: [{path: a, format: custom}]",
            "3",
            "data.instruction_field and data.context_field both name the field 'q'",
        ),
    ],
)
def test_rules_between_keys(text: str, line: str, what: str, tmp_path: Path) -> None:
    ((place, found, _),) = problems(text, tmp_path=tmp_path)
    assert place == line
    assert what in found


def test_a_rule_blames_the_line_that_changed_something(tmp_path: Path) -> None:
    text = "data:\n  split:\n    train_ratio: 0.7\n    val_ratio: 0.5\n    test_ratio: 0.2"
    assert [place for place, _, _ in problems(text, tmp_path=tmp_path)] == ["4"]


def test_a_rule_is_silent_where_one_of_its_keys_is_broken(tmp_path: Path) -> None:
    assert len(problems("data: {split: {train_ratio: much, val_ratio: 0.5}}", tmp_path=tmp_path)) == 1


def test_ratios_may_be_rounded() -> None:
    thirds = [f"data.split.{name}_ratio=0.3333333" for name in ("train", "val", "test")]
    load_config(None, thirds, {})


def test_names_from_files_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    text = '"\\e[2Jevil": 1\ntrain: {epochs: "\\e[31m", "\\u202e": 1}'
    shown = str([what for _, what, _ in problems(text, tmp_path=tmp_path)])
    assert shown.isprintable()


def test_no_word_of_the_library_leaks(tmp_path: Path) -> None:
    text = "train: {epochs: x, batch_size: x, bf16: x}\ntuning.lora.target_modules: {a: 1}\neval.metrics: 5\nseed: -1"
    messages = str(problems(text, tmp_path=tmp_path)).lower()
    assert len(messages) > 100
    for word in ("pydantic", "http", "input should", "constrained", "literal"):
        assert word not in messages


def test_every_alias_leads_to_a_key() -> None:
    assert all(name in KEYS for name in ALIASES.values())
    assert not set(ALIASES) & set(KEYS)
