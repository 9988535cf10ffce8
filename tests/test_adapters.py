"""LoRA: made from a seed, on the layers that were meant, saved so that PEFT and weft read back the same model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from architectures import NEGATIVE
from weft.config.schema import LoraConfig
from weft.errors import ConfigError, ModelError
from weft.models.adapters import add_lora, save_model, trainable_parameters
from weft.models.load import load_model, load_tuned

QWEN2_LINEARS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
IDS = torch.arange(6, 26).unsqueeze(0)


def base(directory: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return load_model(directory, dtype=dtype, device="cpu")


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=400, n_positions=64, n_embd=32, n_layer=2, n_head=4)).eval()


def shake(model: nn.Module) -> nn.Module:
    """Give every trainable weight a value that shows."""
    torch.manual_seed(1)
    for parameter in trainable_parameters(model).values():
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def adapted_layers(model: PeftModel) -> set[str]:
    return {name.split(".lora_A")[0].rpartition(".")[2] for name in trainable_parameters(model) if "lora_A" in name}


@pytest.fixture
def run_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The directory of a run that trained an adapter."""
    save_model(shake(add_lora(base(tiny_model_dir), LoraConfig(r=4), seed=7)), tmp_path, base_name="org/base")
    return tmp_path


def test_auto_adapts_every_linear_layer_but_the_head(tiny_model_dir: Path) -> None:
    model = add_lora(base(tiny_model_dir), LoraConfig(r=4, alpha=8, dropout=0.25), seed=7)
    assert adapted_layers(model) == QWEN2_LINEARS
    assert all("lora_" in name for name in trainable_parameters(model))
    expected = (
        4
        * 2
        * sum(  # r × layers × (in + out)
            inputs + outputs
            for inputs, outputs in [(64, 64), (64, 32), (64, 32), (64, 64), (64, 128), (64, 128), (128, 64)]
        )
    )
    assert sum(parameter.numel() for parameter in trainable_parameters(model).values()) == expected
    config = model.active_peft_config
    assert (config.lora_alpha, config.lora_dropout) == (8, 0.25)


@pytest.mark.parametrize(
    ("name", "adapted"),
    [
        ("llama4", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),  # not the router
        ("mamba", {"in_proj", "x_proj", "dt_proj"}),  # not out_proj, which PEFT refuses
        (
            "falcon",
            {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
        ),  # a class of its own, but it multiplies
    ],
)
def test_auto_leaves_out_what_does_more_than_multiply(name: str, adapted: set[str], tmp_path: Path) -> None:
    architecture = NEGATIVE[name]
    model = shake(add_lora(architecture.build(), LoraConfig(r=4), seed=1))
    assert adapted_layers(model) == adapted
    save_model(model, tmp_path, base_name="org/base")
    again = PeftModel.from_pretrained(architecture.build(), tmp_path)
    assert torch.equal(again(input_ids=IDS).logits, model(input_ids=IDS).logits)


@pytest.mark.parametrize("problem", [AttributeError, IndexError, RuntimeError, TypeError, ValueError])
def test_a_layer_that_takes_no_plain_input_is_left_out(problem: type[Exception]) -> None:
    """Whatever an architecture's own layer makes of an input that it does not expect."""
    model = NEGATIVE["falcon"].build()
    layer = model.transformer.h[0].mlp.dense_h_to_4h

    def fails(*given: object) -> torch.Tensor:
        raise problem("not enough values to unpack (expected 4, got 3)")

    layer.forward = fails
    adapted = {name.split(".lora_A")[0] for name in trainable_parameters(add_lora(model, LoraConfig(r=4), seed=1))}
    assert not [name for name in adapted if name.endswith("h.0.mlp.dense_h_to_4h")]
    assert [name for name in adapted if name.endswith("h.1.mlp.dense_h_to_4h")]


def test_gpt2_keeps_its_weights_transposed(recwarn: pytest.WarningsRecorder) -> None:
    model = add_lora(gpt2(), LoraConfig(r=4), seed=7)
    assert adapted_layers(model) == {"c_attn", "c_proj", "c_fc"}
    assert model.active_peft_config.fan_in_fan_out is True
    assert not [str(warning.message) for warning in recwarn if "fan_in_fan_out" in str(warning.message)]


def test_a_fresh_adapter_changes_nothing_and_is_made_from_the_seed(tiny_model_dir: Path) -> None:
    plain = base(tiny_model_dir)(input_ids=IDS).logits
    random_state = torch.get_rng_state()
    one, same, other = (add_lora(base(tiny_model_dir), LoraConfig(r=4), seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(one.eval()(input_ids=IDS).logits, plain)
    tensors = [trainable_parameters(model) for model in (one, same, other)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
    assert not all(torch.equal(tensors[0][name], tensors[2][name]) for name in tensors[0])


def test_adapters_of_a_half_precision_model_are_float32(tiny_model_dir: Path) -> None:
    model = add_lora(base(tiny_model_dir, torch.bfloat16), LoraConfig(r=4), seed=7)
    assert {parameter.dtype for parameter in trainable_parameters(model).values()} == {torch.float32}


def test_named_modules_only(tiny_model_dir: Path) -> None:
    settings = LoraConfig(r=4, target_modules=["q_proj", "model.layers.1.mlp.up_proj"])
    names = {name.split(".lora_")[0] for name in trainable_parameters(add_lora(base(tiny_model_dir), settings, seed=7))}
    stem = "base_model.model.model.layers"
    assert names == {
        f"{stem}.0.self_attn.q_proj",
        f"{stem}.1.self_attn.q_proj",
        f"{stem}.1.mlp.up_proj",
    }


@pytest.mark.parametrize(
    ("target", "what", "fix"),
    [
        ("q_porj", "'q_porj' is no module of this model", "did you mean 'q_proj'?"),
        ("c_attn", "'c_attn' is no module of this model", "this model has down_proj"),
        ("mlp", "'mlp' cannot have an adapter: it is no linear layer", "`auto`"),
    ],
)
def test_modules_that_do_not_exist_are_named(target: str, what: str, fix: str, tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        add_lora(base(tiny_model_dir), LoraConfig(target_modules=["q_proj", target]), seed=7)
    assert caught.value.what == what
    assert fix in str(caught.value.fix)
    assert caught.value.where == "tuning.lora.target_modules"


def test_what_is_saved_is_what_weft_and_peft_load(tiny_model_dir: Path, run_dir: Path) -> None:
    expected = shake(add_lora(base(tiny_model_dir), LoraConfig(r=4), seed=7))(input_ids=IDS).logits
    ours = load_tuned(tiny_model_dir, run_dir, dtype=torch.float32, device="cpu")
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), run_dir)
    assert sorted(path.name for path in run_dir.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert not ours.training
    assert torch.equal(ours(input_ids=IDS).logits, expected)
    assert torch.equal(theirs.eval()(input_ids=IDS).logits, expected)
    assert not torch.equal(base(tiny_model_dir)(input_ids=IDS).logits, expected)
    settings = json.loads((run_dir / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "org/base"
    assert settings["target_modules"] == sorted(settings["target_modules"])


def test_saving_twice_gives_the_same_bytes(tiny_model_dir: Path, run_dir: Path) -> None:
    again = run_dir / "again"
    again.mkdir()
    save_model(shake(add_lora(base(tiny_model_dir), LoraConfig(r=4), seed=7)), again, base_name="org/base")
    for path in again.iterdir():
        assert path.read_bytes() == (run_dir / path.name).read_bytes(), path.name


def test_a_fully_tuned_model_needs_no_base(tiny_model_dir: Path, tmp_path: Path) -> None:
    tuned = shake(base(tiny_model_dir))
    save_model(tuned, tmp_path)
    loaded = load_tuned(tmp_path / "absent", tmp_path, dtype=torch.float32, device="cpu")
    assert torch.equal(loaded(input_ids=IDS).logits, tuned(input_ids=IDS).logits)
    assert not list(tmp_path.glob("*.bin"))


def test_a_run_without_a_model_says_so(tiny_model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no trained model yet"):
        load_tuned(tiny_model_dir, tmp_path, dtype=torch.float32, device="cpu")


def _change_weights(run_dir: Path, **changes: torch.Tensor | None) -> None:
    file = run_dir / "adapter_model.safetensors"
    weights = {**load_file(file), **changes}
    save_file({name: tensor for name, tensor in weights.items() if tensor is not None}, file)


def _change_config(run_dir: Path, **changes: object) -> None:
    file = run_dir / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _pickled(run_dir: Path) -> None:
    torch.save({}, run_dir / "adapter_model.bin")
    (run_dir / "adapter_model.safetensors").unlink()


A_KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
UNFIT = {
    "missing key": (lambda run: _change_weights(run, **{A_KEY: None}), f"{A_KEY} is missing"),
    "unknown key": (
        lambda run: _change_weights(run, strange=torch.zeros(1)),
        "strange is not part of the architecture",
    ),
    "wrong shape": (lambda run: _change_weights(run, **{A_KEY: torch.zeros(8, 64)}), f"{A_KEY} is of another shape"),
    "pickle": (_pickled, "pickle only (adapter_model.bin)"),
    "other kind": (lambda run: _change_config(run, peft_type="IA3"), "an adapter of the kind 'IA3'"),
    "other model": (lambda run: _change_config(run, target_modules=["c_attn"]), "cannot be loaded: Target modules"),
    "bad value": (lambda run: _change_config(run, r=-3), "cannot be loaded"),
    "no object": (lambda run: (run / "adapter_config.json").write_text("7"), "is not a JSON object"),
    "broken weights": (lambda run: (run / "adapter_model.safetensors").write_bytes(b"x" * 99), "cannot be loaded"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_adapter_that_does_not_fit_exactly_is_refused(name: str, tiny_model_dir: Path, run_dir: Path) -> None:
    spoil, message = UNFIT[name]
    spoil(run_dir)
    with pytest.raises(ModelError) as caught:
        load_tuned(tiny_model_dir, run_dir, dtype=torch.float32, device="cpu")
    assert message in caught.value.what
    assert str(run_dir) in str(caught.value.where)


def test_an_adapter_is_no_model(tiny_model_dir: Path, run_dir: Path) -> None:
    with pytest.raises(ModelError, match="no model by itself"):
        load_model(run_dir, dtype=torch.float32, device="cpu")
    shutil.copytree(tiny_model_dir, run_dir, dirs_exist_ok=True)
    with pytest.raises(ModelError, match="no model by itself"):
        load_model(run_dir, dtype=torch.float32, device="cpu")
