"""What can be known about a model directory before weights load, without torch: is it whole, and is it safe to open?

Model directories are untrusted. Weights are read from safetensors files inside the directory and from nothing else; no
pickle is opened and no code is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from weft.errors import ModelError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_REDIRECTS = ("transformers_weights", "attn_implementation", "_attn_implementation")
"""Keys of config.json by which Transformers would take weights or kernels from somewhere else."""


def tuned_kind(run_dir: Path) -> Literal["adapter", "full"] | None:
    """What a run left in its directory: a LoRA adapter, a complete model, or nothing yet."""
    if (run_dir / ADAPTER_CONFIG).is_file():
        return "adapter"
    return "full" if (run_dir / CONFIG).is_file() else None


def check_model(directory: Path) -> dict[str, Any]:
    """Refuse a directory that no model can be loaded from safely.

    Returns:
        The content of its config.json.

    Raises:
        ModelError: the directory, config.json or the weights are missing, broken, pickled or outside the directory.
    """
    if not directory.is_dir():
        raise ModelError(
            "there is no such model directory",
            where=str(directory),
            fix="make one with `weft init-model nano --text FILE --out DIR`, or set model.name to one that exists",
        )
    if (directory / ADAPTER_CONFIG).exists():
        raise ModelError(
            "holds an adapter, which is no model by itself",
            where=str(directory),
            fix="set model.name to the model that it was trained on, or fold it in first with `weft merge`",
        )
    config = _read_object(directory / CONFIG)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(
            "has no `model_type`", where=str(directory / CONFIG), fix="restore the model's own config.json"
        )
    for name in _redirects(config):
        raise ModelError(
            f"`{name}` takes a part of the model from somewhere else, which weft never does",
            where=str(directory / CONFIG),
            fix=f"delete `{name}` if you trust the rest of the directory",
        )
    weight_files(directory)
    return config


def embedding_rows(config: Mapping[str, Any]) -> int | None:
    """How many rows the embedding has, as far as the model's configuration says so."""
    text = config.get("text_config")
    rows = (text if isinstance(text, dict) and text else config).get("vocab_size")
    return rows if isinstance(rows, int) else None


def check_rows(rows: int | None, vocab_size: int) -> None:
    """Refuse a tokenizer whose ids (0 to ``vocab_size`` - 1) are more than the ``rows`` of the model's embedding; of rows that
    are not known (None), nothing is said before the weights are there.

    Raises:
        ModelError: some id has no embedding.
    """
    if rows is not None and vocab_size > rows:
        raise ModelError(
            f"the tokenizer has ids up to {vocab_size - 1}, but the model's embedding has {rows} rows",
            where="model.name",
            fix="use the tokenizer that the model was trained with: its own, or the one that model.tokenizer names",
        )


def check_adapter(directory: Path) -> dict[str, Any]:
    """Refuse a directory that no LoRA adapter can be loaded from safely.

    Returns:
        The content of its adapter_config.json.

    Raises:
        ModelError: adapter_config.json or the weights are missing, broken or pickled, or it is not a LoRA adapter.
    """
    config = _read_object(directory / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"is an adapter of the kind {config.get('peft_type')!r}",
            where=str(directory / ADAPTER_CONFIG),
            fix="use a LoRA adapter: weft reads no other kind",
        )
    if not (directory / ADAPTER_WEIGHTS).is_file():
        raise _no_weights(directory, ADAPTER_WEIGHTS)
    return config


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of a model directory: one, or the shards that its index names.

    Raises:
        ModelError: they are missing, pickled, or outside the directory.
    """
    if (directory / WEIGHTS).is_file():
        return (directory / WEIGHTS,)
    if not (directory / WEIGHTS_INDEX).is_file():
        raise _no_weights(directory, WEIGHTS)
    shards = _read_object(directory / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(
            "`weight_map` does not map weights to files",
            where=str(directory / WEIGHTS_INDEX),
            fix="download the model again",
        )
    names = sorted(set(shards.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"names weights that are no safetensors file of this directory: {name!r}",
                where=str(directory / WEIGHTS_INDEX),
                fix="do not use this model: a sound one names files beside the index",
            )
        if not (directory / name).is_file():
            raise ModelError(f"lacks its shard {name}", where=str(directory), fix="download the model again")
    return tuple(directory / name for name in names)


def _redirects(config: Any, inside: str = "") -> Iterator[str]:
    """The keys, also of a configuration within, by which something would come from elsewhere: files, or kernels of a hub.

    Names without a slash are those of code that is loaded already, such as `sdpa`; that of weft's own is for no file.
    """
    if not isinstance(config, dict):
        return
    for name, value in config.items():
        if name == "transformers_weights" or (name in _REDIRECTS and ("/" in str(value) or "weft" in str(value))):
            yield inside + name
        yield from _redirects(value, f"{inside}{name}.")


def _no_weights(directory: Path, expected: str) -> ModelError:
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        return ModelError(
            f"has its weights as pickle only ({pickles[0]}), which can run code and is never loaded",
            where=str(directory),
            fix=f"use a copy with {expected}, or convert it where you trust it: "
            "https://huggingface.co/docs/safetensors/convert-weights",
        )
    return ModelError(
        f"has no weights: {expected} is missing", where=str(directory), fix="download or make the model again"
    )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"has no {path.name}", where=str(path.parent), fix="point to a directory in Hugging Face layout"
        ) from None
    except (OSError, ValueError, RecursionError) as problem:
        raise ModelError(
            f"cannot be read: {problem}", where=str(path), fix="download or make the model again"
        ) from None
    if not isinstance(content, dict):
        raise ModelError("is not a JSON object", where=str(path), fix="download or make the model again")
    return content
