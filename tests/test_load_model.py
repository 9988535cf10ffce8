"""Loading: every weight accounted for, nothing but safetensors from inside the directory, every refusal with a fix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from weft.errors import ModelError
from weft.models.load import copy_out_of_files, load_model
from weft.models.vocab import check_vocab

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


def load(directory: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    return load_model(directory, dtype=dtype, device="cpu")


def edit(path: Path, **changes: object) -> None:
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(content))


def edit_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(directory / WEIGHTS)
    change(weights)
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})


def shard(directory: Path, second: str = "model-2.safetensors") -> None:
    """Split the weights over two files."""
    weights = load_file(directory / WEIGHTS)
    names = sorted(weights)
    half = len(names) // 2
    files = {"model-1.safetensors": names[:half], "model-2.safetensors": names[half:]}
    for file, part in files.items():
        save_file({name: weights[name] for name in part}, directory / file, metadata={"format": "pt"})
    weight_map = {name: second if file.startswith("model-2") else file for file, part in files.items() for name in part}
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (directory / WEIGHTS).unlink()


def test_the_model_is_the_one_that_transformers_loads(model_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reference = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).state_dict()
    capfd.readouterr()
    model = load(model_dir)
    assert not model.training
    assert capfd.readouterr() == ("", "")
    assert model.state_dict().keys() == reference.keys()
    assert all(torch.equal(tensor, reference[name]) for name, tensor in model.state_dict().items())


def test_the_type_is_the_one_asked_for(model_dir: Path) -> None:
    assert {parameter.dtype for parameter in load(model_dir, torch.bfloat16).parameters()} == {torch.bfloat16}


def test_weights_with_memory_of_their_own_do_not_change_with_their_file(model_dir: Path) -> None:
    expected = {name: tensor.clone() for name, tensor in load(model_dir).state_dict().items()}
    view, model = load(model_dir), load(model_dir)
    copy_out_of_files(model)
    with (model_dir / WEIGHTS).open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(bytes(size - size // 2))
    assert not all(torch.equal(tensor, expected[name]) for name, tensor in view.state_dict().items())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_sharded_weights(model_dir: Path) -> None:
    expected = load(model_dir).state_dict()
    shard(model_dir)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load(model_dir).state_dict().items())


def pickled(directory: Path) -> None:
    torch.save(load_file(directory / WEIGHTS), directory / "pytorch_model.bin")
    (directory / WEIGHTS).unlink()


def adapter_inside(directory: Path) -> None:
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')


def outside(directory: Path) -> None:
    shard(directory)
    shutil.copy(directory / "model-2.safetensors", directory.parent / "model-2.safetensors")
    shard_map = json.loads((directory / INDEX).read_text())["weight_map"]
    edit(
        directory / INDEX, weight_map={name: file.replace("model-2", "../model-2") for name, file in shard_map.items()}
    )


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no directory": (shutil.rmtree, "no such model directory"),
    "no config": (lambda model: (model / "config.json").unlink(), "has no config.json"),
    "broken config": (
        lambda model: (model / "config.json").write_text('{"model_type": '),
        "config.json: cannot be read",
    ),
    "config of another kind": (lambda model: (model / "config.json").write_text("[]"), "not a JSON object"),
    "config without a type": (lambda model: (model / "config.json").write_text("{}"), "no `model_type`"),
    "unknown type": (
        lambda model: edit(model / "config.json", model_type="qwen99"),
        "'qwen99' is unknown to Transformers",
    ),
    "own code": (
        lambda model: edit(model / "config.json", model_type="mine", auto_map={"AutoConfig": "evil.Config"}),
        "Python code in the directory, which weft never runs",
    ),
    "no text model": (
        lambda model: edit(model / "config.json", model_type="vit"),
        "'vit' is not a causal language model",
    ),
    "weights elsewhere": (
        lambda model: edit(model / "config.json", transformers_weights="other.safetensors"),
        "`transformers_weights`",
    ),
    "kernel from the hub": (
        lambda model: edit(model / "config.json", attn_implementation="someone/kernel"),
        "`attn_implementation`",
    ),
    "kernel from the hub, within": (
        lambda model: edit(model / "config.json", text_config={"_attn_implementation": "someone/kernel"}),
        "`text_config._attn_implementation`",
    ),
    "attention of our own": (
        lambda model: edit(model / "config.json", attn_implementation="weft_segments"),
        "`attn_implementation`",
    ),
    "impossible size": (lambda model: edit(model / "config.json", hidden_size=-1), "cannot be loaded"),
    "no weights": (lambda model: (model / WEIGHTS).unlink(), "has no weights"),
    "pickle": (pickled, "pickle only (pytorch_model.bin)"),
    "truncated weights": (
        lambda model: (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:-9]),
        "cannot be loaded",
    ),
    "adapter inside": (adapter_inside, "an adapter, which is no model by itself"),
    "shard outside": (outside, "no safetensors file of this directory: '../model-2.safetensors'"),
    "absolute shard": (lambda model: shard(model, "/etc/passwd"), "'/etc/passwd'"),
    "missing shard": (lambda model: shard(model, "model-3.safetensors"), "lacks its shard model-3.safetensors"),
    "empty index": (
        lambda model: (shard(model), (model / INDEX).write_text("{}")),
        "`weight_map` does not map weights to files",
    ),
    "missing key": (
        lambda model: edit_weights(model, lambda weights: weights.pop("model.norm.weight")),
        "model.norm.weight is missing",
    ),
    "unknown key": (
        lambda model: edit_weights(model, lambda weights: weights.update(strange=torch.zeros(1))),
        "strange is not part of the architecture",
    ),
    "wrong shape": (
        lambda model: edit_weights(model, lambda weights: weights.update({"model.norm.weight": torch.zeros(65)})),
        "model.norm.weight is of another shape",
    ),
    "many missing": (
        lambda model: edit_weights(
            model, lambda weights: [weights.pop(name) for name in list(weights) if ".mlp." in name]
        ),
        " and 3 more are missing",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_loaded_safely_is_refused(name: str, model_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoil, message = BROKEN[name]
    spoil(model_dir)
    with pytest.raises(ModelError) as caught:
        load(model_dir)
    assert message in str(caught.value)
    assert str(model_dir) in str(caught.value.where)
    assert caught.value.fix
    assert capfd.readouterr().err == ""


def test_a_missing_head_is_no_problem_where_it_is_tied(model_dir: Path) -> None:
    assert "lm_head.weight" not in load_file(model_dir / WEIGHTS)
    load(model_dir)
    edit(model_dir / "config.json", tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"lm_head\.weight is missing"):
        load(model_dir)


def test_a_tokenizer_may_have_fewer_ids_than_the_embedding_but_not_more(model_dir: Path) -> None:
    model = load(model_dir)
    check_vocab(model, 399)
    check_vocab(model, 400)
    with pytest.raises(ModelError, match="ids up to 400, but the model's embedding has 400 rows"):
        check_vocab(model, 401)
