"""Control tokens that a template is made of and a tokenizer lacks: their ids, their rows in the model, their training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from architectures import EXACT, NEGATIVE, VOCABULARY
from small_run import Quiet, result_of, write_records
from small_sentencepiece import USER_DEFINED, byte_model
from tokenizer_zoo import ZOO, write
from weft.cli import main
from weft.config.load import Loaded
from weft.config.schema import Config, LoraConfig
from weft.data.inputs import configured_tokenizer
from weft.data.template import BUILT_IN, load_template
from weft.data.tokenizer import load_tokenizer
from weft.errors import ConfigError, Interrupted, ModelError, RunError
from weft.export.merge import merge
from weft.inference.load import load_answerer
from weft.models.adapters import add_lora, save_model, trainable_parameters
from weft.models.load import load_model, load_tuned
from weft.models.parts import split_model
from weft.models.vocab import add_rows
from weft.training.train import train

torch.set_num_threads(1)

CHATML = BUILT_IN["chatml"]
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


# ---- the tokenizer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, needed in BUILT_IN.items() if needed])
def test_a_built_in_template_gets_its_tokens(tmp_path: Path, name: str) -> None:
    path = byte_model(tmp_path / "spm.model")
    plain, needed = load_tokenizer(path), BUILT_IN[name]
    tokenizer = load_tokenizer(path, control=needed)
    first = plain.vocab_size
    assert tokenizer.new_ids == tuple(range(first, first + len(needed)))
    assert [tokenizer.control_id(token) for token in needed] == list(tokenizer.new_ids)
    assert tokenizer.vocab_size == first + len(needed)
    assert tokenizer.control == plain.control | set(needed)
    assert tokenizer.stops == {"</s>", needed[-1]}, "the last token ends a turn"
    assert tokenizer.fingerprint != plain.fingerprint
    assert tokenizer.encode("What is it?") == plain.encode("What is it?")
    for token in needed:
        assert not set(tokenizer.encode(f"a {token} b")) & set(tokenizer.new_ids), "as text it stays text"
    assert load_template(name, tokenizer).stop_strings >= {needed[-1]}


def test_ids_go_behind_every_other(tmp_path: Path) -> None:
    own = ZOO["byte_level_added_later"]()
    directory = write(own, tmp_path, tokenizer_config=NAMED)
    tokenizer = load_tokenizer(directory, control=("<|im_start|>", "<new>"))
    assert tokenizer.control_id("<|im_start|>") == own.token_to_id("<|im_start|>"), "it was there"
    assert tokenizer.new_ids == (own.get_vocab_size(),)
    assert tokenizer.notices == (
        f"<new> ({own.get_vocab_size()}) is added to the tokenizer {directory}, because the template is made of it; the model "
        "gets a row for each, which is trained",
    )


def test_a_token_that_the_vocabulary_has_becomes_a_control_token(tmp_path: Path) -> None:
    """As people train SentencePiece models for ChatML: with `user_defined_symbols`."""
    path = byte_model(tmp_path / "spm.model", [(token, 0.0, USER_DEFINED) for token in CHATML])
    plain = load_tokenizer(path)
    tokenizer = load_tokenizer(path, control=CHATML)
    assert tokenizer.new_ids == ()
    assert tokenizer.vocab_size == plain.vocab_size
    ids = {plain.vocab_size - 2, plain.vocab_size - 1}
    assert ids <= set(plain.encode("<|im_start|>a<|im_end|>"))
    assert not ids & set(tokenizer.encode("<|im_start|>a<|im_end|>"))
    assert set(tokenizer.encode("<|im_start|>a<|im_end|>", [(0, 12), (13, 23)])) >= ids
    (notice,) = tokenizer.notices
    assert "now control tokens" in notice


def test_nothing_to_add_changes_no_file(tmp_path: Path) -> None:
    directory = write(ZOO["byte_level"](), tmp_path, tokenizer_config=NAMED, generation_config={"eos_token_id": [2, 4]})
    plain, tokenizer = load_tokenizer(directory), load_tokenizer(directory, control=CHATML)
    assert (tokenizer.made, tokenizer.new_ids, tokenizer.notices) == ({}, (), ())
    assert tokenizer.fingerprint == plain.fingerprint
    (directory / "generation_config.json").unlink()
    tokenizer = load_tokenizer(directory, control=CHATML)
    assert tokenizer.stops == {"</s>", "<|im_end|>"}
    assert (tokenizer.made, tokenizer.fingerprint != load_tokenizer(directory).fingerprint) == ({}, True)


@pytest.mark.parametrize("listed", [False, True])
def test_other_programs_read_the_same_tokens(tmp_path: Path, listed: bool) -> None:
    own = ZOO["byte_level_added_later"]()
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **NAMED}
    if listed:
        config["added_tokens_decoder"] = {
            str(index): {"content": token.content, "special": token.special, "normalized": False}
            for index, token in own.get_added_tokens_decoder().items()
        }
    directory = write(own, tmp_path / "own", tokenizer_config=config)
    tokenizer = load_tokenizer(directory, control=("<a>", "<b>"))
    for name, content in tokenizer.made.items():
        (directory / name).write_bytes(content)
    again, theirs = load_tokenizer(directory), AutoTokenizer.from_pretrained(directory, local_files_only=True)
    assert again.control == tokenizer.control
    assert theirs("<a>hello<b>")["input_ids"] == again.encode("<a>hello<b>", [(0, 3), (8, 11)])
    assert theirs.convert_tokens_to_ids(["<a>", "<b>"]) == list(tokenizer.new_ids)


# ---- the ids that are asked for ----------------------------------------------------------------------------------------


def tokenizer_of(directory: Path, **keys: Any) -> Any:
    return configured_tokenizer(Config(model={"name": "org/never-read", "tokenizer": str(directory), **keys}))


@pytest.mark.parametrize(
    "ids", [{"pad": 0, "unk": 1, "bos": 2, "eos": 3}, {"eos": 3}, {"pad": None}, {}], ids=["all", "one", "null", "none"]
)
def test_ids_that_agree(tmp_path: Path, ids: dict[str, int | None]) -> None:
    assert tokenizer_of(byte_model(tmp_path / "spm.model"), tokenizer_ids=ids).eos_id == 3


def test_ids_that_differ_are_named_with_both_tokens(tmp_path: Path) -> None:
    path = byte_model(tmp_path / "spm.model")
    with pytest.raises(ModelError) as caught:
        tokenizer_of(path, tokenizer_ids={"pad": 0, "unk": 0, "bos": 1, "eos": 99_999})
    assert str(caught.value) == (
        f"model.tokenizer_ids: the tokenizer {path} has other ids: unk is 1 (<unk>) and not 0 (<pad>); bos is 2 (<s>) and not "
        "1 (<unk>); eos is 3 (</s>) and not 99999 (outside the vocabulary)\n"
        "  fix: set model.tokenizer to the tokenizer that the model was trained with; if it is this one, set "
        "model.tokenizer_ids to {pad: 0, unk: 1, bos: 2, eos: 3}"
    )


def test_ids_of_any_tokenizer(tmp_path: Path) -> None:
    directory = write(ZOO["byte_level"](), tmp_path, tokenizer_config=NAMED)
    tokenizer_of(directory, tokenizer_ids={"pad": -1, "unk": 0, "bos": 1, "eos": 2})
    with pytest.raises(
        ModelError, match=r"pad is missing and not 0 \(<unk>\)\n.*set model.tokenizer_ids to \{pad: -1\}"
    ):
        tokenizer_of(directory, tokenizer_ids={"pad": 0})


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["model.tokenizer=nowhere.model"], "model.tokenizer: nowhere.model: there is no such tokenizer"),
        (["model.tokenizer_ids={pad: 0, eso: 3}"], "eos"),
        (["model.tokenizer_ids={pad: -2}"], "-1"),
        (["model.tokenizer_ids={pad: zero}"], "pad"),
        (["model.tokenizer_ids=3"], "model.tokenizer_ids"),
        (["model.tokenizer=."], "there is no tokenizer.json"),
    ],
)
def test_the_command_line_s_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_records(tmp_path / "train.jsonl", 3)
    assert main(["check", "data.train_path=train.jsonl", "model.name=org/never-read", *words]) == 2
    assert what in capsys.readouterr().err


# ---- rows --------------------------------------------------------------------------------------------------------------

NEW = (VOCABULARY, VOCABULARY + 1)
KEPT = ("Llama", "Gemma2", "GPT2", "Cohere", "GPTNeoX")
ARCHITECTURES = {architecture.name: architecture for architecture in [*EXACT.values(), *NEGATIVE.values()]}


@pytest.mark.parametrize("name", [*KEPT, "Phi"])
def test_new_rows_are_the_mean_and_nothing_else_changes(name: str) -> None:
    model, fresh = ARCHITECTURES[name].build(), ARCHITECTURES[name].build()
    state = torch.get_rng_state()
    add_rows(model, NEW)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.get_text_config().vocab_size == VOCABULARY + 2
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (fresh.get_output_embeddings().weight is fresh.get_input_embeddings().weight)
    for get in ("get_input_embeddings", "get_output_embeddings"):
        for part in ("weight", "bias"):
            new, old = (getattr(getattr(one, get)(), part, None) for one in (model, fresh))
            if old is not None:
                assert torch.equal(new[:VOCABULARY], old)
                assert torch.equal(new[VOCABULARY:], old.mean(dim=0).expand_as(new[VOCABULARY:]))


def test_rows_that_a_model_has_to_spare_are_filled_and_none_are_added() -> None:
    model = ARCHITECTURES["Llama"].build()
    expected = model.get_input_embeddings().weight[:90].mean(dim=0)
    add_rows(model, (90, 91))
    assert model.get_input_embeddings().weight.shape[0] == VOCABULARY
    assert torch.equal(model.get_input_embeddings().weight[90:92], expected.expand(2, -1))


def test_a_model_that_lacks_rows_for_the_tokenizer_itself_is_refused() -> None:
    with pytest.raises(
        ModelError, match=f"ids up to {VOCABULARY + 4}, but the model's embedding has {VOCABULARY} rows"
    ):
        add_rows(ARCHITECTURES["Llama"].build(), (VOCABULARY + 5,))


@pytest.mark.parametrize("name", KEPT)
def test_an_adapter_trains_the_new_rows_and_no_others(name: str, tmp_path: Path) -> None:
    """In embedding and head; saved, loaded by weft and by PEFT, and merged, it computes the same."""
    ids = torch.tensor([[5, *NEW, 7, 9]])
    ARCHITECTURES[name].build().save_pretrained(tmp_path / "base")
    model = ARCHITECTURES[name].build()
    add_rows(model, NEW)
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).logits
        tuned = add_lora(model, LoraConfig(r=2, dropout=0.0), seed=7, new_ids=NEW).eval()
        assert torch.allclose(tuned(input_ids=ids, use_cache=False).logits, before, atol=1e-6)
        rows = [weight for weight_name, weight in trainable_parameters(tuned).items() if "lora" not in weight_name]
        tied = model.get_output_embeddings() is None or ARCHITECTURES[name].build().config.tie_word_embeddings
        assert [tuple(weight.shape) for weight in rows] == [(2, rows[0].shape[1])] * (1 if tied else 2)
        torch.manual_seed(3)
        for weight in trainable_parameters(tuned).values():
            weight.normal_(std=0.1)
        expected = tuned(input_ids=ids, use_cache=False).logits
        assert split_model(tuned).rung == "body and head"
        save_model(tuned, tmp_path, base_name="org/base")
        loaded = load_tuned(tmp_path / "base", tmp_path, dtype=torch.float32, device="cpu")
        assert torch.equal(loaded(input_ids=ids, use_cache=False).logits, expected)
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        base.resize_token_embeddings(VOCABULARY + 2)
        theirs = PeftModel.from_pretrained(base, str(tmp_path)).eval()
        assert torch.allclose(theirs(input_ids=ids, use_cache=False).logits, expected, atol=1e-6)
    merged = merge(tmp_path / "base", tmp_path, tmp_path / "merged")
    assert merged.max_change > 0.01
    assert (
        load_model(tmp_path / "merged", dtype=torch.float32, device="cpu").get_input_embeddings().weight.shape[0] == 99
    )


def test_a_head_with_a_bias_is_refused_by_name() -> None:
    model = ARCHITECTURES["Phi"].build()
    add_rows(model, NEW)
    with pytest.raises(ConfigError, match="without the bias of this model's head"):
        add_lora(model, LoraConfig(r=2), seed=7, new_ids=NEW)


@pytest.mark.parametrize("ids", [[200, 201], [97, 98, 99], [98, 97, 10**9], [-1, 97], ["x", 97], [[97], 98]])
def test_an_adapter_that_asks_for_other_rows_is_refused(tmp_path: Path, ids: list[Any]) -> None:
    ARCHITECTURES["Llama"].build().save_pretrained(tmp_path / "base")
    model = ARCHITECTURES["Llama"].build()
    add_rows(model, NEW)
    save_model(add_lora(model, LoraConfig(r=2), seed=7, new_ids=NEW), tmp_path, base_name="org/base")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["trainable_token_indices"] = {"model.embed_tokens": ids, "lm_head": ids}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError) as caught:
        load_tuned(tmp_path / "base", tmp_path, dtype=torch.float32, device="cpu")
    assert str(tmp_path) in str(caught.value.where)


# ---- a run -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Records, a SentencePiece model without ChatML, and a tied and an untied model of its vocabulary."""
    byte_model(tmp_path / "spm.model")
    size = load_tokenizer(tmp_path / "spm.model").vocab_size
    write_records(tmp_path / "train.jsonl", 7)
    write_records(tmp_path / "val.jsonl", 2, subject="figure")
    for name, tied in (("tied", True), ("untied", False)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            shape = {"vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
            heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
            special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
            LlamaForCausalLM(LlamaConfig(**shape, **heads, **special, tie_word_embeddings=tied)).save_pretrained(
                tmp_path / name
            )
    return tmp_path


def configure(project: Path, model: str, mode: str, output: str) -> Loaded:
    config = Config(
        model={
            "name": str(project / model),
            "tokenizer": str(project / "spm.model"),
            "tokenizer_ids": {"pad": 0, "unk": 1, "bos": 2, "eos": 3},
        },
        tuning={"mode": mode, "lora": {"r": 2, "dropout": 0.3}},
        train={
            "output_dir": str(project / output),
            "epochs": 2.0,
            "batch_size": 2,
            "grad_accum": 2,
            "learning_rate": 1e-2,
            "logging_steps": 1,
        },
        data={
            "template_path": "chatml",
            "train_path": str(project / "train.jsonl"),
            "val_path": str(project / "val.jsonl"),
            "cache_dir": str(project / "cache"),
        },
        gen={"max_new_tokens": 4},
    )
    return Loaded(config=config, provenance={}, files=())


@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("model", ["tied", "untied"])
def test_a_run_with_new_tokens(project: Path, model: str, mode: str) -> None:
    """Trained, stopped, resumed to the bit, answered from and, if need be, merged."""
    shown = Quiet()
    train(configure(project, model, mode, "whole"), display=shown)
    size = load_tokenizer(project / "spm.model").vocab_size
    assert f"<|im_start|> ({size}), <|im_end|> ({size + 1}) are added to the tokenizer" in shown.notices()
    for step in (1, 3):
        loaded = configure(project, model, mode, f"stopped-{step}")
        with pytest.raises(Interrupted):
            train(loaded, display=Quiet(interrupt_at=step))
        train(loaded, display=Quiet())
        assert result_of(project / f"stopped-{step}") == result_of(project / "whole")

    run = project / "whole"
    assert (run / "tokenizer.model").read_bytes() == (project / "spm.model").read_bytes()
    generation = json.loads((run / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"], generation["bos_token_id"]) == ([3, size + 1], 0, 2)
    kept = load_tokenizer(run)
    assert (kept.vocab_size, kept.new_ids, kept.stops) == (size + 2, (), {"</s>", "<|im_end|>"})

    config = configure(project, model, mode, "whole").config
    answerer, untuned = load_answerer(config), load_answerer(config, untuned=True)
    assert answerer.tuned
    before, after = (one.model.get_input_embeddings().weight.detach() for one in (untuned, answerer))
    assert before.shape == after.shape == (size + 2, 32)
    moved = (before != after).any(dim=1)
    assert moved[size:].all()
    assert not torch.equal(after[size], after[size + 1]), "each learns for itself"
    assert moved[:size].any() == (mode == "full"), "an adapter leaves the other rows as they are"

    if mode == "lora":
        merge(project / model, run, project / "merged")
    served = AutoModelForCausalLM.from_pretrained(project / "merged" if mode == "lora" else run)
    tokens = AutoTokenizer.from_pretrained(project / "merged" if mode == "lora" else run, local_files_only=True)
    prompt = tokens.apply_chat_template(
        [{"role": "user", "content": "What is number 3?"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    assert load_template(str(run / "chat_template.jinja"), kept)
    with torch.no_grad():
        theirs = served.eval()(input_ids=prompt, use_cache=False).logits
        ours = answerer.model(input_ids=prompt, use_cache=False).logits
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_another_tokenizer_is_another_run(project: Path) -> None:
    train(configure(project, "tied", "lora", "run"), display=Quiet())
    byte_model(project / "spm.model", normaliser={4: 1})
    with pytest.raises(RunError, match="template and tokenizer"):
        train(configure(project, "tied", "lora", "run"), display=Quiet())


def test_a_tokenizer_that_is_larger_than_the_model_is_refused(project: Path) -> None:
    byte_model(project / "spm.model", [(letter * 3, -200.0, 1) for letter in "abc"])
    with pytest.raises(ModelError, match=r"the tokenizer has ids up to \d+, but the model's embedding has \d+ rows"):
        train(configure(project, "tied", "lora", "run"), display=Quiet())


def test_the_model_s_own_directory_serves_as_a_tokenizer_too(project: Path) -> None:
    tokenizer = load_tokenizer(project / "spm.model")
    for name, content in tokenizer.made.items():
        (project / "tied" / name).write_bytes(content)
    shutil.move(project / "spm.model", project / "gone.model")
    loaded = configure(project, "tied", "lora", "run")
    config = loaded.config.model_copy(update={"model": loaded.config.model.model_copy(update={"tokenizer": None})})
    train(Loaded(config=config, provenance={}, files=()), display=Quiet())
    assert load_tokenizer(project / "run").vocab_size == tokenizer.vocab_size + 2
    assert "lm_head" not in " ".join(load_file(project / "run" / "adapter_model.safetensors"))
