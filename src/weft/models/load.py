"""Models from local directories: safetensors only, no remote code, every weight accounted for.

Directories come from :func:`weft.config.locate.model_directory`; nothing here reaches a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, PreTrainedModel

from weft.errors import ModelError
from weft.models.directory import ADAPTER_WEIGHTS, check_adapter, check_model, tuned_kind
from weft.models.quiet import quiet_transformers
from weft.models.vocab import add_rows

if TYPE_CHECKING:
    from peft import PeftModelForCausalLM


def load_model(directory: Path, *, dtype: torch.dtype, device: torch.device | str) -> PreTrainedModel:
    """Load a causal language model, in evaluation mode, with its default attention.

    Args:
        directory: a Hugging Face model directory.
        dtype: what the weights become, whatever type they are stored in.
        device: where they go.

    Raises:
        ModelError: the directory is incomplete or unsafe (:func:`weft.models.directory.check_model`), the architecture
            is unknown, needs code of its own or generates no text, or weights are missing, left over or of another shape.
    """
    _check_architecture(directory, check_model(directory))
    with quiet_transformers(), _as_model_error(directory):
        model, found = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
        )
    wrong_shape = [name for name, *_ in found["mismatched_keys"]]
    _check_keys(directory, missing=found["missing_keys"], unknown=found["unexpected_keys"], wrong_shape=wrong_shape)
    return model.to(device)


@torch.no_grad()
def copy_out_of_files(model: PreTrainedModel) -> None:
    """Give the weights of ``model`` memory of their own, where they are to be changed.

    What was loaded for a CPU is a view of the files: whoever overwrites these changes it. And where two threads change it, each
    waits for the other while the system copies page after page: 0.3 s for 40 million weights, which take 0.07 s at once.
    """
    for weight in model.parameters():
        if weight.device.type == "cpu":
            weight.data = weight.clone()


def load_tuned(
    base_dir: Path, run_dir: Path, *, dtype: torch.dtype, device: torch.device | str
) -> PreTrainedModel | PeftModelForCausalLM:
    """Load what a run produced: its adapter on the base model, or its complete model (``base_dir`` is not read then).

    Raises:
        ModelError: as :func:`load_model`; or nothing is trained yet; or the adapter does not fit the base model exactly.
    """
    match tuned_kind(run_dir):
        case "full":
            return load_model(run_dir, dtype=dtype, device=device)
        case "adapter":
            return _load_adapter(load_model(base_dir, dtype=dtype, device=device), run_dir)
    raise ModelError("holds no trained model yet", where=str(run_dir), fix="run `weft train` first")


def _load_adapter(model: PreTrainedModel, run_dir: Path) -> PeftModelForCausalLM:
    """Put the adapter in ``run_dir`` on ``model``; PEFT only warns about keys that do not fit, so they are compared here."""
    from peft import LoraConfig, PeftModelForCausalLM, get_peft_model_state_dict, set_peft_model_state_dict

    config = check_adapter(run_dir)
    with _as_model_error(run_dir):
        weights = load_file(run_dir / ADAPTER_WEIGHTS)
        new_ids = _new_ids(config.get("trainable_token_indices"), model.get_input_embeddings().weight.shape[0], weights)
    add_rows(model, new_ids)
    with quiet_transformers(), _as_model_error(run_dir):
        settings = LoraConfig.from_pretrained(str(run_dir))
        settings.inference_mode = True
        tuned = PeftModelForCausalLM(model, settings)
        expected = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    _check_keys(
        run_dir / ADAPTER_WEIGHTS,
        missing=expected.keys() - weights.keys(),
        unknown=weights.keys() - expected.keys(),
        wrong_shape=[name for name in expected if name in weights and expected[name].shape != weights[name].shape],
    )
    set_peft_model_state_dict(tuned, weights)
    return tuned.eval()


def _new_ids(trained: Any, rows: int, weights: Mapping[str, torch.Tensor]) -> range:
    """The ids that an adapter trains and that its base model has no rows for.

    Raises:
        ValueError: they are not those that follow the model's own, or the adapter holds fewer rows than it asks for.
    """
    lists = trained.values() if isinstance(trained, dict) else [trained or []]
    beyond = sorted({index for ids in lists for index in ids if not 0 <= index < rows})
    held = max((len(tensor) for name, tensor in weights.items() if name.endswith("trainable_tokens_delta")), default=0)
    if len(beyond) > held or beyond != list(range(rows, rows + len(beyond))):
        raise ValueError(f"it trains tokens that do not follow the {rows} of the base model")
    return range(rows, rows + len(beyond))


def _check_architecture(directory: Path, config: dict[str, Any]) -> None:
    kind = config["model_type"]
    if kind in CONFIG_MAPPING and CONFIG_MAPPING[kind] in MODEL_FOR_CAUSAL_LM_MAPPING:
        return
    if "auto_map" in config:
        what = f"the architecture '{kind}' comes as Python code in the directory, which weft never runs"
        fix = "use a model whose architecture is part of Transformers"
    elif kind in CONFIG_MAPPING:
        what = f"the architecture '{kind}' is not a causal language model"
        fix = "use a model that generates text, such as a Llama or a Qwen"
    else:
        what = f"the architecture '{kind}' is unknown to Transformers {transformers.__version__}"
        fix = "use another model, or a newer Transformers: pip install -U transformers"
    raise ModelError(what, where=str(directory / "config.json"), fix=fix)


def _check_keys(where: Path, *, missing: Iterable[str], unknown: Iterable[str], wrong_shape: Iterable[str]) -> None:
    found = {"missing": missing, "not part of the architecture": unknown, "of another shape": wrong_shape}
    problems = [
        f"{_listed(names)} {'are' if len(names) > 1 else 'is'} {state}"
        for state, group in found.items()
        if (names := sorted(group))
    ]
    if problems:
        raise ModelError(
            f"the weights do not fit the model: {'; '.join(problems)}",
            where=str(where),
            fix="use weights and configuration of the same model; if they are, the download or the file is damaged",
        )


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@contextmanager
def _as_model_error(where: Path) -> Iterator[None]:
    """Whatever a library raises about an untrusted directory is a problem of that directory."""
    try:
        yield
    except Exception as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise ModelError(
            f"cannot be loaded: {reason}",
            where=str(where),
            fix="check that the directory is complete and made for the installed Transformers and PEFT",
        ) from problem
