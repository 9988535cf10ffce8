"""``weft merge``: the merged directory, loaded again, computes what base and adapter computed together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from weft.cli import main
from weft.config.schema import LoraConfig
from weft.errors import ModelError, RunError
from weft.export.merge import merge
from weft.models.adapters import add_lora, save_model, trainable_parameters
from weft.models.files import SERVING_FILES
from weft.models.load import load_model

IDS = torch.arange(6, 46).unsqueeze(0)


def train_something(base_dir: Path, run_dir: Path, tokenizer_dir: Path, **settings: object) -> None:
    """An adapter with weights that show, beside the files that training leaves."""
    model = add_lora(load_model(base_dir, dtype=torch.float32, device="cpu"), LoraConfig(r=4, **settings), seed=7)
    torch.manual_seed(1)
    for parameter in trainable_parameters(model).values():
        nn.init.normal_(parameter, std=0.1)
    run_dir.mkdir(parents=True, exist_ok=True)
    save_model(model, run_dir)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(tokenizer_dir / name, run_dir / name)
    (run_dir / "chat_template.jinja").write_text("{{ messages }}")
    (run_dir / "training.log").write_text("not for serving")


@pytest.fixture
def run_dir(tiny_model_dir: Path, tiny_tokenizer_dir: Path, tmp_path: Path) -> Path:
    train_something(tiny_model_dir, tmp_path / "run", tiny_tokenizer_dir)
    return tmp_path / "run"


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_merged_equals_base_plus_adapter(tiny_model_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    before = logits(base)
    expected = logits(PeftModel.from_pretrained(base, run_dir))
    result = merge(tiny_model_dir, run_dir, tmp_path / "merged")
    actual = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged", local_files_only=True))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-4)
    assert (actual - before).abs().max() > 0.1
    assert (result.dtype, result.directory) == ("float32", tmp_path / "merged")
    assert 0 < result.max_difference < 2e-5
    assert result.max_change > 0.1


def test_serving_files_are_those_of_training_byte_for_byte(tiny_model_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    result = merge(tiny_model_dir, run_dir, tmp_path / "merged")
    assert set(result.files) == {path.name for path in run_dir.iterdir()} & set(SERVING_FILES)
    for name in result.files:
        assert (tmp_path / "merged" / name).read_bytes() == (run_dir / name).read_bytes()
    assert {path.name for path in (tmp_path / "merged").iterdir()} == {
        *result.files,
        "config.json",
        "model.safetensors",
    }
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == "{{ messages }}"


def test_the_result_keeps_the_type_of_the_base(tiny_model_dir: Path, run_dir: Path, tmp_path: Path) -> None:
    base_dir = tmp_path / "base"
    load_model(tiny_model_dir, dtype=torch.bfloat16, device="cpu").save_pretrained(base_dir)
    result = merge(base_dir, run_dir, tmp_path / "merged")
    assert result.dtype == "bfloat16"
    assert 2e-4 < result.max_difference < 0.1
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto").dtype == torch.bfloat16


def test_what_does_not_agree_is_not_written(tiny_tokenizer_dir: Path, tmp_path: Path) -> None:
    """An adapter on a head that is tied to the embedding is lost when the tied weights are saved once."""
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    train_something(tmp_path / "base", tmp_path / "run", tiny_tokenizer_dir, target_modules=["lm_head"])
    with pytest.raises(ModelError, match="merged and unmerged model disagree"):
        merge(tmp_path / "base", tmp_path / "run", tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "run"]


def test_there_must_be_an_adapter(tiny_model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nothing to merge: every weight was trained"):
        merge(tiny_model_dir, tiny_model_dir, tmp_path / "merged")
    with pytest.raises(RunError, match="holds no trained adapter"):
        merge(tiny_model_dir, tmp_path, tmp_path / "merged")


def test_the_command(
    tiny_model_dir: Path,
    tiny_tokenizer_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    train_something(tiny_model_dir, Path("outputs/mine"), tiny_tokenizer_dir)
    words = [f"model.name={tiny_model_dir}", "run_name=mine"]
    assert main(["merge", *words]) == 0
    assert "wrote outputs/mine/merged (float32, with " in capsys.readouterr().out
    assert main(["merge", *words]) == 2
    assert "outputs/mine/merged: is there already\n  fix: " in capsys.readouterr().err
    assert main(["merge", *words, "--out", "elsewhere", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["directory"] == "elsewhere"
