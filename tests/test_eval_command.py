"""`weft eval` from end to end on a tiny model: sets, samples, models, reports, and a loss computed the long way."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from weft.cli import main
from weft.config.load import load_config
from weft.config.schema import Config
from weft.data.conversations import read_conversations
from weft.data.encoding import Encoder, Parts
from weft.data.flat_ids import FlatIds
from weft.data.inputs import load_renderer
from weft.errors import ConfigError, Problems
from weft.evaluation.sets import EvalSet, find_sets, read_sets, sample
from weft.models.isolation import Isolation, isolate
from weft.types import Conversation, Location, Message

QUESTIONS = ["What is the capital of France?", "Hello", "How are you?", "Who?", "What is Paris?"]


@pytest.fixture
def config(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny model, a validation set of five records, another set of two, nothing trained."""
    monkeypatch.chdir(tmp_path)
    _records("val.jsonl", QUESTIONS)
    _records("other.jsonl", QUESTIONS[:2])
    Path("c.yaml").write_text(
        f"model: {{name: {tiny_model_dir}}}\n"
        "gen: {max_new_tokens: 3}\n"
        "data: {val_path: val.jsonl, test_path: missing.jsonl, cache_dir: cache}\n"
        "eval: {sets: {unseen_ones: other.jsonl}, quick_samples: 3}\n"
        "train: {output_dir: run}\n"
    )
    return "c.yaml"


@pytest.fixture
def tuned(config: str, tiny_model_dir: Path) -> str:
    """The same with an adapter in the run directory, whose random weights change every answer."""
    from transformers import AutoModelForCausalLM

    from weft.config.schema import LoraConfig
    from weft.models.adapters import add_lora, save_model, trainable_parameters

    model = add_lora(AutoModelForCausalLM.from_pretrained(tiny_model_dir), LoraConfig(r=4), seed=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.normal_(std=0.2)
    Path("run").mkdir()
    save_model(model, Path("run"))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(tiny_model_dir / name, "run")
    template = json.loads((tiny_model_dir / "tokenizer_config.json").read_text())["chat_template"]
    Path("run/chat_template.jinja").write_text(template)
    return config


def _records(path: str, questions: list[str]) -> None:
    rows = [{"id": f"q{index}", "prompt": text, "response": f"{text} Paris."} for index, text in enumerate(questions)]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def _append(path: str, row: str) -> None:
    Path(path).write_text(Path(path).read_text() + row + "\n")


def _report(name: str) -> dict:
    return json.loads(Path(f"run/eval_report_{name}.json").read_text())


def test_the_base_model_while_nothing_is_trained(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", config]) == 0
    out, err = capsys.readouterr()
    assert "nothing is trained yet in run: this is the base model" in err
    assert "val, untuned model: 5 of 5 answers" in err
    assert [line.split()[:3] for line in out.splitlines()[2:3]] == [["validation", "untuned", "5"]]
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "eval_report_val_untuned.json",
        "eval_report_val_untuned.md",
        "predictions_val_untuned.jsonl",
    ]
    rows = [json.loads(line) for line in Path("run/predictions_val_untuned.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["q0", "q1", "q2", "q3", "q4"]
    assert [row["source"] for row in rows] == [f"val.jsonl:{line}" for line in range(1, 6)]
    assert rows[1]["prompt"] == [{"role": "user", "content": "Hello"}]
    assert rows[1]["reference"] == "Hello Paris."
    assert _report("val_untuned")["at_limit"] == sum(row["finish"] == "length" for row in rows)


def test_the_loss_is_that_of_transformers_over_all_trained_tokens(config: str, tiny_model_dir: Path) -> None:
    """One sum over the set divided once: the reference walks through the answers token by token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert main(["eval", config, "eval.metrics=[loss]"]) == 0
    assert not Path("run/predictions_val_untuned.jsonl").exists()
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_model_dir),
        AutoTokenizer.from_pretrained(tiny_model_dir),
    )
    total, count = 0.0, 0
    for question in QUESTIONS:
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        context, answer = (tokenizer(text)["input_ids"] for text in (prompt, f"{question} Paris.<|im_end|>"))
        with torch.no_grad():
            logits = model(torch.tensor([context + answer])).logits[0].log_softmax(-1)
        total -= sum(logits[len(context) + index - 1, token].item() for index, token in enumerate(answer))
        count += len(answer)
    report = _report("val_untuned")
    assert report["loss"] == pytest.approx(total / count, rel=1e-5)
    assert report["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    assert (report["loss_tokens"], report["loss_examples"], report["n"]) == (count, 5, 5)


def test_compare_shows_both_models_set_by_set(tuned: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", tuned, "--compare", "--set", "val", "--set", "unseen_ones", "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)["reports"]
    rows = [(report["set"], report["tuned"], report["n"]) for report in reports]
    assert rows == [("val", False, 5), ("val", True, 5), ("unseen_ones", False, 2), ("unseen_ones", True, 2)]
    assert reports[0]["loss"] != reports[1]["loss"]
    assert reports[0] == _report("val_untuned")
    assert reports[3] == _report("unseen_ones")
    assert reports[1]["model"]["weights"] == "run"


def test_sets_that_relied_on_a_wrong_cache_are_encoded_again(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["eval", config, "--set", "val", "--set", "unseen_ones", "eval.metrics=[loss]"]
    _records("other.jsonl", ["Which one?"])
    assert main(command) == 0
    expected = [_report(f"{name}_untuned")["loss"] for name in ("val", "unseen_ones")]

    def later(self: Encoder, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
        """The first set is wrong, which shows with the second."""
        if "Which one?" in "".join(part for parts in runs for part in parts):
            self.encode_whole("it is wrong")
            return False
        ids.ids[:] = 7
        return True

    monkeypatch.setattr(Encoder, "_agrees_in_a_sample", later)
    assert main(command) == 0
    assert [_report(f"{name}_untuned")["loss"] for name in ("val", "unseen_ones")] == expected


def test_a_model_is_proven_once_and_for_the_longest_example_of_all_sets(
    tuned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = []

    def watched(*args: object, **bounds: int) -> Isolation:
        proven.append((bounds["longest_document"], bounds["longest_row"]))
        return isolate(*args, **bounds)

    monkeypatch.setattr("weft.objectives.causal.isolate", watched)
    assert main(["eval", tuned, "--set", "other.jsonl", "eval.metrics=[loss]"]) == 0
    ((longest_of_two, _),) = proven
    proven.clear()
    _append("val.jsonl", json.dumps({"prompt": "longer than all others " * 5, "response": "Yes."}))
    assert main(["eval", tuned, "--compare", "--set", "unseen_ones", "--set", "val"]) == 0
    longest = proven[0][0]
    assert proven == [(longest, 8 * longest)] * 2  # two models, two sets
    assert longest > longest_of_two


def test_another_template_than_that_of_training_is_told(tuned: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained = Path("run/chat_template.jinja").read_text()
    Path("t.jinja").write_text(trained)
    assert main(["eval", tuned, "data.template_path=t.jinja", "eval.metrics=[loss]"]) == 0
    assert "template" not in capsys.readouterr().err
    Path("t.jinja").write_text(trained + "\n")
    assert main(["eval", tuned, "data.template_path=t.jinja", "eval.metrics=[loss]"]) == 0
    told = "(answers use the template of training, run/chat_template.jinja, not t.jinja)"
    assert told in capsys.readouterr().err


def test_a_kernel_without_a_backward_pass_is_no_obstacle(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss needs none: what cannot be trained can be evaluated."""

    def fails(*given: object) -> None:
        raise RuntimeError("no backward pass")

    monkeypatch.setattr("weft.models.isolation.pass_backwards", fails)
    assert main(["eval", config, "eval.metrics=[loss]"]) == 0


def test_compare_needs_a_tuned_model(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", config, "--compare"]) == 2
    assert "there is no tuned model to compare" in capsys.readouterr().err


def test_a_run_that_has_not_ended_is_evaluated_at_its_newest_checkpoint(
    tuned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = list(Path("run").iterdir())
    for step in (9, 10):
        Path(f"run/checkpoint-{step}").mkdir()
    Path("run/.tmp-checkpoint-11").mkdir()
    for path in files:
        path.rename(Path("run/checkpoint-10") / path.name)
    assert main(["eval", tuned, "eval.metrics=[exact_match]"]) == 0
    assert "the training in run has not ended: this is its checkpoint-10" in capsys.readouterr().err
    assert _report("val")["model"]["weights"] == "run/checkpoint-10"
    assert list(_report("val")["metrics"]) == ["exact_match"]
    assert "loss" not in _report("val")


def test_quick_is_a_sample_with_reports_of_its_own(config: str) -> None:
    assert main(["eval", config, "--quick", "eval.metrics=[loss]"]) == 0
    assert (_report("val_quick_untuned")["n"], _report("val_quick_untuned")["quick"]) == (3, True)
    assert not Path("run/eval_report_val_untuned.json").exists()


def test_records_too_long_for_training_are_dropped_and_counted(config: str) -> None:
    _append("val.jsonl", json.dumps({"prompt": "word " * 100, "response": "x"}))
    assert main(["eval", config, "model.max_seq_len=60", "eval.metrics=[loss]"]) == 0
    assert (_report("val_untuned")["n"], _report("val_untuned")["dropped"]) == (5, {"longer than model.max_seq_len": 1})


@pytest.mark.parametrize(
    "words",
    [
        ["data.train_on=last_turn"],
        ["data.train_on=all"],
        ["data.overlong=truncate", "model.max_seq_len=60"],
        ["data.overlong=split_turns", "model.max_seq_len=60"],
    ],
)
def test_the_loss_is_that_of_what_training_would_take(config: str, tiny_model_dir: Path, words: list[str]) -> None:
    """The examples of the store that validation reads while training, with their weights."""
    from transformers import AutoModelForCausalLM

    said = ["Hello", "One", "What is the capital of France?", "Paris is it, and has been for very long"]
    talk = [{"role": role, "content": content} for role, content in zip(("user", "assistant") * 2, said, strict=True)]
    talk[1]["weight"] = 0.5  # type: ignore[assignment]
    _append("val.jsonl", json.dumps({"messages": talk}))
    assert main(["eval", config, "eval.metrics=[loss]", *words]) == 0
    report = _report("val_untuned")
    loaded = load_config(Path(config), words).config
    examples = [
        example
        for rendering in load_renderer(loaded).render_batch(
            read_conversations("val.jsonl", on_bad_row="error").conversations
        )
        for example in rendering.examples
    ]
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    total = weight = 0.0
    for example in examples:
        ids = torch.tensor(example.ids.astype(np.int64))[None]
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        losses = -scores.gather(1, ids[0, 1:, None])[:, 0]
        total += float((losses * torch.tensor(example.loss_weights[1:])).sum())
        weight += float(example.loss_weights[1:].sum())
    assert report["loss"] == pytest.approx(total / weight, rel=1e-4)
    assert report["loss_examples"] == len(examples)
    assert report["loss_tokens"] == sum(int((example.loss_weights[1:] > 0).sum()) for example in examples)
    too_long = any("overlong" in word for word in words)
    assert (report["n"], report["dropped"]) == (6 - too_long, {"longer than model.max_seq_len": 1} if too_long else {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.val_path=no.jsonl"], "run `weft prepare`, which writes it, or set data.val_path"),
        (["--full"], "missing.jsonl: there is no such file"),
        (["--set", ""], "there is no evaluation set ''"),
        (["train.output_dir=c.yaml/run"], "c.yaml/run: nothing can be written into it: c.yaml is a file"),
        (["--set", "vall"], "there is no evaluation set 'vall'"),
        (["model.max_seq_len=8"], "no record of the set 'val' can be evaluated: 5 × longer than model.max_seq_len"),
    ],
)
def test_what_cannot_be_evaluated_is_one_message(
    config: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["eval", config, *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


def test_bad_records_stop_or_are_counted(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    _append("val.jsonl", '{"prompt": "a", "response": ""}')
    assert main(["eval", config]) == 2
    assert "val.jsonl:6: an assistant message is empty" in capsys.readouterr().err
    assert main(["eval", config, "on_bad_row=drop", "eval.metrics=[loss]"]) == 0
    assert _report("val_untuned")["dropped"] == {"an assistant message is empty": 1}


def test_which_files_a_set_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(
        data={"format": "alpaca", "test_path": "t.jsonl", "val_split_ratio": 0.0},
        eval={"sets": {"hard": "h.jsonl"}},
        datasets=[{"path": "a.jsonl"}, {"path": "b.jsonl", "format": "qa"}],
    )

    def files(*names: str, **options: bool) -> dict[str, list[tuple[str, str]]]:
        return {
            name: [(file.path, file.format) for file in of] for name, of in find_sets(config, names, **options).items()
        }

    assert files() == {"val": [("data/processed/val.jsonl", "alpaca")]}
    assert files("hard", "train", "hard") == {
        "hard": [("h.jsonl", "auto")],
        "train": [("a.jsonl", None), ("b.jsonl", "qa")],  # None: the format of the section data
    }
    assert list(files(full=True)) == ["val", "test", "hard"]
    config = config.model_copy(
        update={
            "data": config.data.model_copy(update={"split": config.data.split.model_copy(update={"test_ratio": 0.0})})
        }
    )
    assert list(files(full=True)) == ["val", "hard"]
    config = Config(eval={"sets": {"hard": "h.jsonl"}})
    assert list(files(full=True)) == ["val", "hard"], "nobody named a test file, and there is none"
    Path("data/processed").mkdir(parents=True)
    Path("data/processed/test.jsonl").touch()
    assert list(files(full=True)) == ["val", "test", "hard"]
    Path("mine.jsonl").touch()
    assert files("mine.jsonl") == {"mine": [("mine.jsonl", "auto")]}
    Path("hard.jsonl").touch()
    with pytest.raises(ConfigError, match="would both be named 'hard'"):
        files("hard.jsonl")


def test_other_sets_are_read_in_the_custom_format_where_they_have_its_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"q": "1", "a": "one"}, {"prompt": "2", "response": "two"}, {"q": "3", "prompt": "3", "response": "three"}]
    Path("h.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("val.jsonl").write_text(json.dumps(rows[1]))
    custom = {"format": "custom", "instruction_field": "q", "response_field": "a", "val_path": "val.jsonl"}
    config = Config(data=custom, eval={"sets": {"hard": "h.jsonl"}})
    for name in ("hard", "h.jsonl"):
        (found,) = read_sets(config, find_sets(config, [name]))
        assert [[message.content for message in one.messages] for one in found.conversations] == [
            ["1", "one"],
            ["2", "two"],
            ["3", "three"],
        ]
    with pytest.raises(Problems, match=r'the record has no field "q", which data\.instruction_field names'):
        read_sets(config, find_sets(config, ["val"]))


def test_a_sample_is_deterministic_in_order_and_not_the_head() -> None:
    message = (Message(role="user", content="q"), Message(role="assistant", content="a"))
    conversations = tuple(Conversation(messages=message, location=Location(path="f", line=line)) for line in range(500))
    whole = EvalSet(name="s", sources=("f",), conversations=conversations, dropped={})
    lines = [conversation.location.line for conversation in sample(whole, 50, seed=1).conversations]
    assert len(set(lines)) == 50
    assert lines == sorted(lines)
    assert lines == [conversation.location.line for conversation in sample(whole, 50, seed=1).conversations]
    assert lines != [conversation.location.line for conversation in sample(whole, 50, seed=2).conversations]
    assert np.mean(lines) == pytest.approx(249.5, abs=80)
    assert sample(whole, 500, seed=1) is whole
