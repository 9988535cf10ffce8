"""Low-rank adapters on a frozen model: made from a seed, saved as PEFT reads them, byte-identical for identical weights.

PEFT is imported where there is an adapter: full tuning passes through here as well.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from weft.config.schema import LoraConfig
from weft.errors import ConfigError
from weft.models.directory import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from weft.models.quiet import quiet_transformers
from weft.models.wrapper import is_wrapped

if TYPE_CHECKING:
    from peft import PeftModel

_ADAPTABLE = (nn.Linear, Conv1D, nn.Embedding)
_SCAN_READS = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Where the scan's kernel reads the weight of ``out_proj`` without calling it; PEFT refuses to adapt it there."""


def add_lora(model: PreTrainedModel, settings: LoraConfig, seed: int, *, new_ids: Sequence[int] = ()) -> PeftModel:
    """Freeze ``model`` and give its linear layers adapters W + (alpha / r)·B·A (Hu et al. 2021, arXiv:2106.09685).

    A is random by ``seed`` and B zero, so that the model computes what it did before. Adapters are float32 also on a
    half-precision model. ``target_modules: auto`` takes every linear layer but the output head, and but those that do more
    or other than multiply, such as routers of experts. The rows of ``new_ids``, tokens
    that the model was not trained with (:func:`weft.models.vocab.add_rows`), are trained too, in embedding and head.

    Raises:
        ConfigError: ``target_modules`` names what the model does not have or what cannot be adapted, or PEFT cannot adapt
            this model.
    """
    import peft

    left_out = None
    if settings.target_modules == "auto":
        targets: str | list[str] = "all-linear"
        left_out = _not_plain(model) or None
        adapted = [module for _, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))]
    else:
        targets = list(settings.target_modules)
        adapted = [module for name in targets for module in _adaptable(model, name)]
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.r,
        lora_alpha=int(settings.alpha) if float(settings.alpha).is_integer() else settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        exclude_modules=left_out,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in adapted),  # GPT-2 keeps its weights transposed
        trainable_token_indices={name: list(new_ids) for name in _vocabulary_tables(model)} if new_ids else None,
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        try:
            return peft.get_peft_model(model, config)
        except ValueError as problem:
            raise ConfigError(
                f"PEFT cannot put adapters on this model: {' '.join(str(problem).split())}",
                where="tuning.lora",
                fix="name the layers that get one in tuning.lora.target_modules, such as [q_proj, v_proj]; layers of experts "
                "take none with tuning.lora.dropout above 0",
            ) from problem


def save_model(model: PreTrainedModel | PeftModel, directory: Path, *, base_name: str | None = None) -> None:
    """Write the adapter of ``model``, or the whole model where it has none, as safetensors with its configuration.

    Args:
        model: the trained model; its weights are written in the type they have.
        directory: an existing directory; files of the same names are replaced.
        base_name: what the adapter's configuration calls its base model, by default the directory it was loaded from.
    """
    if not is_wrapped(model):
        with quiet_transformers():
            model.save_pretrained(directory)
        return
    from peft import get_peft_model_state_dict

    # Not PeftModel.save_pretrained: it writes a README, may ask the hub, and lists target_modules in a random order.
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
    save_file(weights, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    settings = {name: _as_json(value) for name, value in model.active_peft_config.to_dict().items()}
    settings["inference_mode"] = True
    settings["base_model_name_or_path"] = base_name or settings["base_model_name_or_path"]
    text = json.dumps(settings, indent=2, sort_keys=True)
    (directory / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


def restore_adapter(model: PeftModel, directory: Path) -> None:
    """Give ``model``, as :func:`add_lora` made it, the adapter that :func:`save_model` wrote into ``directory``."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, load_file(directory / ADAPTER_WEIGHTS))


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name, in the model's order; tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _not_plain(model: PreTrainedModel) -> list[str]:
    """The names of layers that are linear by their class, but give something else than a product, or are never called."""
    scanned = model.config.model_type in _SCAN_READS
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and ((scanned and name.endswith(".out_proj")) or (_of_an_architecture(module) and not _multiplies(module)))
    ]


def _of_an_architecture(module: nn.Linear) -> bool:
    """Whether Transformers redefines what ``module`` computes for one architecture; a quantised layer is none of these."""
    kind = type(module)
    return kind.__module__.startswith("transformers.models.") and kind.forward is not nn.Linear.forward


@torch.no_grad()
def _multiplies(module: nn.Linear) -> bool:
    """Whether it does, as an adapter beside it takes for granted: Falcon's layers do, routers of experts do not."""
    weight = module.weight
    given = torch.linspace(-1, 1, 2 * weight.shape[1], dtype=weight.dtype, device=weight.device).view(1, 2, -1)
    try:
        found = module(given)
        return torch.allclose(found, nn.functional.linear(given, weight, module.bias), rtol=1e-2, atol=1e-2)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # not a tensor, or not of that shape
        return False


def _vocabulary_tables(model: PreTrainedModel) -> list[str]:
    """The names of the embedding and of a head of its own; one that shares its weights follows by itself."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tables = [embedding] if head is None or head.weight is embedding.weight else [embedding, head]
    if getattr(head, "bias", None) is not None:
        raise ConfigError(
            "tokens are added to the vocabulary, and PEFT would train their rows without the bias of this model's head",
            where="tuning.mode",
            fix="set tuning.mode=full, or data.template_path to a template that needs no tokens of its own, such as instruct",
        )
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(table)] for table in tables]


def _adaptable(model: nn.Module, target: str) -> Sequence[nn.Module]:
    """The modules that ``target`` names, by their full name or its last parts, as PEFT matches them."""
    named = dict(model.named_modules())
    matches = [module for name, module in named.items() if name == target or name.endswith(f".{target}")]
    adaptable = [module for module in matches if isinstance(module, _ADAPTABLE)]
    if adaptable:
        return adaptable
    known = sorted({name.rpartition(".")[2] for name, module in named.items() if isinstance(module, _ADAPTABLE)})
    near = difflib.get_close_matches(target, known, n=1)
    raise ConfigError(
        f"'{target}' " + ("cannot have an adapter: it is no linear layer" if matches else "is no module of this model"),
        where="tuning.lora.target_modules",
        fix=(f"did you mean '{near[0]}'? " if near else "")
        + f"this model has {', '.join(known)}; `auto` takes all but the head",
    )


def _as_json(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value
