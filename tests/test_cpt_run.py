"""Continued pretraining as a user runs it: check, show, train, resume, evaluate; and what is refused before any weights load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import EOS
from small_run import Quiet, configure, make_project, result_of
from weft.cli import main
from weft.config.load import Loaded
from weft.errors import Interrupted
from weft.training.preflight import open_inputs
from weft.training.train import train

torch.set_num_threads(1)

SENTENCES = ["The capital of France is Paris. ", "Hello, how are you? ", "What is it? It is a document. "]


def write_documents(path: Path, count: int, *, first: int = 0) -> None:
    rows = [
        {"text": f"Document {number}. " + SENTENCES[number % 3] * (1 + number % 4)}
        for number in range(first, first + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven conversations, nine documents, two of them for validation, and a model of 512 positions."""
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, tiny_model_dir, dropout=0.2)
    write_documents(tmp_path / "docs.jsonl", 7)
    write_documents(tmp_path / "val_docs.jsonl", 2, first=7)
    (tmp_path / "c.yaml").write_text(
        "mode: cpt\n"
        "model: {name: model, max_seq_len: 64}\n"
        "data: {train_path: docs.jsonl, val_path: val_docs.jsonl, test_path: none.jsonl, cache_dir: cache}\n"
        "train: {output_dir: run, epochs: 1, learning_rate: 1e-2, batch_size: 2, grad_accum: 1}\n"
        "tuning: {lora: {r: 4}}\n"
    )
    return tmp_path


@pytest.fixture
def weft(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command and return what it prints; a refused one its message."""

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main([words[0], "c.yaml", *words[1:]]) == code
        out, err = capsys.readouterr()
        if code == 2:
            assert "bug in weft" not in err
            assert "\n  fix: " in err
        return err if code else out

    return run


def of_mode(loaded: Loaded, mode: str, **keys: Any) -> Loaded:
    return replace(loaded, config=loaded.config.model_copy(update={"mode": mode, **keys}))


# --- a run ---


@pytest.mark.parametrize("how", ["none", "bfd", "wrapped"])
def test_a_stop_changes_nothing(project: Path, how: str) -> None:
    def run(name: str) -> Loaded:
        keys = {"packing": how, "batch_size": 2, "grad_accum": 1, "epochs": 1.0, "max_seq_len": 48}
        loaded = of_mode(configure(project, name, **keys), "cpt", block_size=32)  # type: ignore[arg-type]
        paths = {"train_path": str(project / "docs.jsonl"), "val_path": str(project / "val_docs.jsonl")}
        return of_mode(loaded, "cpt", data=loaded.config.data.model_copy(update=paths))

    inputs = open_inputs(run("whole"))
    assert inputs.plan.packing.capacity == 32
    assert inputs.train.lengths.max() == 32
    assert inputs.train.report.documents == 7
    whole = train(run("whole"), display=Quiet())
    # Every token but the first of each document is a target, and once, whatever the rows.
    assert whole.summary["targets"] == inputs.train.report.block_tokens - inputs.train.report.blocks
    assert whole.summary["eval_loss"]["last"] > 0
    with pytest.raises(Interrupted):
        train(run("stopped"), display=Quiet(interrupt_at=2))
    train(run("stopped"), display=Quiet())
    assert result_of(project / "stopped") == result_of(project / "whole")


def mixed(project: Path, *, weights: tuple[float, float] = (0.7, 0.3), **keys: Any) -> Loaded:
    names = ("docs", "train")
    datasets = [
        {"path": str(project / f"{name}.jsonl"), "weight": weight} for name, weight in zip(names, weights, strict=True)
    ]
    return of_mode(configure(project, datasets=datasets, max_seq_len=128, **keys), "cpt_mixed", block_size=48)


@pytest.mark.parametrize("how", ["none", "bfd", "wrapped"])
def test_documents_and_conversations_are_mixed_by_tokens(project: Path, how: str) -> None:
    inputs = open_inputs(mixed(project, packing=how))
    store, mixture = inputs.train, inputs.plan.packing.mixture
    assert mixture.by == "tokens"
    for epoch in range(3):
        for share, part in zip(mixture.shares(epoch), (0.7, 0.3), strict=True):
            assert share.target == pytest.approx(part * store.report.tokens)
            source = store.source_slices[share.name]
            assert abs(share.realised - share.target) <= store.lengths[source.start : source.stop].max()
    documents, talks = (store.source_slices[name] for name in ("docs", "train"))
    assert max(store.lengths[documents.start : documents.stop]) == 48
    assert all(store[index].loss_weights.tolist() == [0, *[1] * (len(store[index].ids) - 1)] for index in documents)
    assert all(0 < store[index].loss_weights.sum() < len(store[index].ids) / 2 + 40 for index in talks)
    plain = open_inputs(configure(project, max_seq_len=128)).train
    for index, expected in zip(talks, plain, strict=True):  # conversations have the mask that they have alone
        assert store[index].ids.tolist() == expected.ids.tolist()
        assert store[index].loss_weights.tolist() == expected.loss_weights.tolist()
    display = Quiet()
    train(mixed(project, packing=how, output="mixed"), display=display)
    header = next(text for event, _, text in display.events if event == "header")
    assert (
        f"{store.report.documents} in {store.report.blocks} blocks of at most 48 tokens, each ends with <|eos|>"
        in header
    )
    assert "mixture    by tokens: docs " in header
    assert "(target 70.00%)" in header


def test_only_cut_conversations_are_worth_a_warning(project: Path) -> None:
    inputs = open_inputs(mixed(project, packing="wrapped"))
    rows, talks = inputs.plan.packing.rows(0), inputs.train.source_slices["train"]
    cut = {int(example) for example in rows.examples[rows.starts > 0]}
    assert cut - set(talks)
    said = [notice for notice in inputs.notices if "are cut by train.packing: wrapped" in notice]
    assert [notice.split(" of ")[0] for notice in said] == [str(len(cut & set(talks)))]


def test_a_model_without_a_chat_template(project: Path, weft: Callable[..., str]) -> None:
    """As base models come: documents need no template, conversations do."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = project / "model" / name
        path.write_text(path.read_text().replace("<|im_start|>", "<|x|>"))
    settings = json.loads((project / "model/tokenizer_config.json").read_text())
    del settings["chat_template"]
    (project / "model/tokenizer_config.json").write_text(json.dumps(settings))
    page = weft("check")
    assert "\ntemplate " not in page
    assert "documents  end with <|eos|>; blocks have at most 64 tokens" in page
    assert "step " in weft("train")
    assert not (project / "run/chat_template.jinja").exists()
    assert EOS in json.loads((project / "run/generation_config.json").read_text())["eos_token_id"]
    assert "perplexity" in weft("eval")
    weft("merge")
    assert "no chat template" in weft("infer", "--prompt", "Hello?", code=2)
    assert "no chat template" in weft("check", "mode=cpt_mixed", code=2)


# --- scores ---


def test_the_loss_of_documents_is_that_of_transformers(project: Path, weft: Callable[..., str]) -> None:
    from transformers import AutoModelForCausalLM

    from weft.data.tokenizer import load_tokenizer

    table = weft("eval", "--untuned", "block_size=32")
    assert "ROUGE" not in table
    report = json.loads((project / "run/eval_report_val_untuned.json").read_text())
    model, tokenizer = AutoModelForCausalLM.from_pretrained("model"), load_tokenizer(Path("model"))
    losses: list[float] = []
    for line in (project / "val_docs.jsonl").read_text().splitlines():
        ids = [*tokenizer.encode(json.loads(line)["text"]), EOS]
        for start in range(0, len(ids) - 1, 31):
            block = torch.tensor([ids[start : start + 32]])
            with torch.no_grad():
                logits = model(block).logits[0, :-1]
            losses += torch.nn.functional.cross_entropy(logits, block[0, 1:], reduction="none").tolist()
    assert report["loss_tokens"] == len(losses)
    assert report["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert (report["n"], report["documents"], report["loss_examples"]) == (2, 2, len(losses) // 31 + 2)
    assert report["evaluated"].startswith("every token of each document")
    assert not (project / "run/predictions_val_untuned.jsonl").exists()


def test_a_set_of_both_kinds_has_answers_and_a_loss(project: Path, weft: Callable[..., str]) -> None:
    (project / "both.jsonl").write_text((project / "val_docs.jsonl").read_text() + (project / "val.jsonl").read_text())
    both = ("mode=cpt_mixed", "gen.max_new_tokens=2", "--untuned", "--set", "both.jsonl", "model.max_seq_len=128")
    assert "ROUGE-L mean" in weft("eval", *both)
    report = json.loads((project / "run/eval_report_both_untuned.json").read_text())
    assert (report["n"], report["documents"], report["metrics"].keys()) == (5, 2, {"rouge_l", "exact_match"})
    assert len((project / "run/predictions_both_untuned.jsonl").read_text().splitlines()) == 3
    weft("eval", *both, "eval.metrics=[exact_match]")
    report = json.loads((project / "run/eval_report_both_untuned.json").read_text())
    assert report["dropped"]["documents have no answers, only a loss: eval.metrics lacks it"] == 2
    assert "2 × documents have no answers" in weft("eval", "eval.metrics=[rouge_l]", "--untuned", code=2)


# --- looking ---


def test_check_and_show(project: Path, weft: Callable[..., str]) -> None:
    page = weft("check", "block_size=32", "train.packing=wrapped")
    report = json.loads(weft("check", "block_size=32", "train.packing=wrapped", "--json"))
    encoded = report["sets"][0]["encoded"]["sources"]["train"]
    tokens = encoded["block_tokens"] - encoded["blocks"] + 7
    assert encoded["documents"] == 7
    assert encoded["trained_tokens"] == tokens - 7
    assert (
        f"7 documents of {tokens:,} tokens in {encoded['blocks']} blocks: 100% trained but for the first token of each, "
        f"{encoded['blocks'] - 7} repeated as context"
    ) in page
    assert "turns" not in page
    assert "documents  end with <|eos|>; blocks have at most 32 tokens" in page
    assert f"packing    wrapped, {report['packing']['rows']} rows of 32 tokens" in page
    assert report["packing"]["fill"] > 0.9
    assert "no warnings" in page
    page = weft("check", "block_size=8", "pack_factor=3")
    assert "1. 5 of 7 train records are cut after the tokens of pack_factor blocks\n" in page
    assert "7 documents of 150 tokens in 21 blocks" in page  # three of each document, the last of 8 tokens or fewer
    shown = weft("show", "block_size=8")
    assert "docs.jsonl:1: 8 tokens, 7 trained, block 1 of " in shown
    assert shown.rstrip().endswith("<|eos|>⟧")
    (one,) = json.loads(weft("show", "--json"))["examples"]
    text = json.loads((project / "docs.jsonl").read_text().splitlines()[0])["text"]
    assert "".join(segment["text"] for segment in one["segments"]) == text + "<|eos|>"
    assert one["loss_weights"] == [0, *[1] * (len(one["ids"]) - 1)]
    assert weft("render").strip() == text + "<|eos|>"


# --- what is refused, before any weights load ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["block_size=0"], "block_size must be a whole number of at least 8"),
        (["block_size=-5"], "block_size must be a whole number of at least 8"),
        (["block_size=128"], "block_size: 128 is more than model.max_seq_len, 64"),
        (["pack_factor=0.5"], "pack_factor must be a number of at least 1"),
        (
            ["block_size=513", "model.max_seq_len=600"],
            "blocks of 513 tokens of a document are longer than the 512 positions",
        ),
        (["model.max_seq_len=600"], "blocks of 600 tokens of a document are longer than the 512 positions"),
        (["mode=sft", "block_size=32"], "block_size is about documents, which mode: sft does not train"),
        (["mode=sft", "pack_factor=2"], "pack_factor is about documents, which mode: sft does not train"),
        (
            ["mode=sft", "data.format=text"],
            "data.format: text is a format of documents, which mode: sft does not train",
        ),
        (["data.format=alpaca"], "data.format: alpaca is a format of conversations, which mode: cpt does not train"),
        (
            ["data.filter.min_response=5"],
            "data.filter.min_response is about conversations, and mode: cpt trains documents",
        ),
        (["mode=sft"], "the record is a document, which mode: sft does not train"),
        (["data.train_path=train.jsonl"], "the record is of a conversation, and mode: cpt trains documents"),
        (["mode=cpt_mixed"], "documents and conversations, but there are no conversations"),
        (["mode=cpt_mixed", "data.train_path=train.jsonl"], "documents and conversations, but there are no documents"),
        (
            ["mode=cpt_mixed", "datasets=[{path: docs.jsonl}, {path: train.jsonl, weight: 0}]"],
            "there are no conversations",
        ),
        (["mode=cpt_mixed", "datasets=[{path: docs.jsonl, weight: -1}]"], "weight must be a number of at least 0"),
        (["mode=cpt_mixed", "datasets=[{path: docs.jsonl, weight: 0}]"], "is 0, so there is nothing to train on"),
        (["data.train_path=empty.jsonl"], "the document is empty"),
        (["data.train_path=blank.txt"], "blank.txt:1: the document is empty"),
        (["data.train_path=blank.txt", "data.format=lines"], "the file holds no records"),
    ],
)
def test_refused(weft: Callable[..., str], words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: object, **keys: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("weft.training.train.load_model", load)
    Path("empty.jsonl").write_text('{"text": ""}\n{"text": " "}\n')
    Path("blank.txt").write_text(" \n\n\t\n")
    assert said in weft("train", *words, code=2)
    assert not Path("run").exists() or not any(Path("run").iterdir())


def test_an_empty_document_can_be_left_out(project: Path, weft: Callable[..., str]) -> None:
    with (project / "docs.jsonl").open("a") as file:
        file.write('{"text": "\\n"}\n')
    assert "docs.jsonl:8: the document is empty" in weft("check", code=2)
    (project / "pages").mkdir()
    (project / "docs.jsonl").rename("pages/docs.jsonl")
    page = weft("check", "on_bad_row=drop", "data.train_path=pages/docs.jsonl")
    assert "1 of 8 train records are left out: the document is empty" in page
    for name, text in (("a.txt", "One."), ("b.txt", " \n"), ("c.md", "Two.")):
        (project / "pages" / name).write_text(text)
    page = weft("check", "on_bad_row=drop", "data.train_path=[pages/a.txt, pages/b.txt, pages/c.md]")
    assert "1 of 3 train records are left out: the document is empty\n     first: pages/b.txt:1\n" in page


def test_a_style_leaves_documents_alone(project: Path, weft: Callable[..., str]) -> None:
    words = ["data.raw_path=docs.jsonl", "data.train_path=out/train.jsonl", "data.val_path=out/val.jsonl"]
    weft("prepare", *words, "data.test_path=out/test.jsonl")
    before = Path("out/train.jsonl").read_bytes()
    said = weft("style", *words, "data.test_path=out/test.jsonl", "--style", "Be brief.")
    assert "documents have no system message" in said
    assert Path("out/train.jsonl").read_bytes() == before


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "format", "documents"), [("c4.jsonl", "auto", 300), ("wiki.txt", "lines", 30), ("wiki.txt", "auto", 1)]
)
def test_real_documents(
    shared_data: Path, weft: Callable[..., str], name: str, format: str, documents: int, project: Path
) -> None:
    shutil.copy(shared_data / name, project / name)
    words = [f"data.train_path={name}", f"data.format={format}", "data.val_path=none.jsonl", "model.max_seq_len=512"]
    report = json.loads(weft("check", *words, "train.packing=wrapped", "--json"))
    (account,) = report["sets"][0]["encoded"]["sources"].values()
    assert account["documents"] == documents
    assert account["trained_tokens"] == account["block_tokens"] - account["blocks"]
    assert report["packing"]["fill"] > 0.995
    needed = (account["trained_tokens"] + account["blocks"]) / 512
    assert needed <= report["packing"]["rows"] < needed * 1.003 + 1
    assert "loss" in weft("train", *words, "train.max_steps=2", "train.packing=wrapped")
