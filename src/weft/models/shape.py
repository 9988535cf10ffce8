"""The sizes of a model, from config.json and the headers of its weights: no weight is read, and torch is not loaded.

Configurations name the same size in several ways (``hidden_size``, ``n_embd``, ``d_model``), and leave out what follows from
others. What is not found, or computes in a way that is not known here, is named rather than guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from weft.errors import ModelError
from weft.models.directory import CONFIG, check_model, embedding_rows, weight_files

_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_size": ("head_dim",),
    "intermediate": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocabulary": ("vocab_size",),
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
_TRANSPOSED = ("gpt2", "openai-gpt")
"""Models whose layers keep their weights as [in, out]."""
_WRITTEN_OUT = {"gelu_new": 3}
"""Activations that Transformers computes step by step in Python, with what that keeps beside the input."""
_NO_LAYER = ("embed", "wte", "wpe", "lm_head", "norm")
"""What the names of matrices hold that are no linear layer of the body."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A module with a matrix, by its name: a linear layer, with the sizes of what goes in and comes out, or an embedding."""

    name: str
    inputs: int
    outputs: int
    body: bool
    """Whether it is a linear layer of the body: one that ``target_modules: auto`` adapts."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a decoder, as the field calls them."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What the memory of training depends on."""

    parameters: int
    """All of them; tied ones once."""
    matrices: tuple[Matrix, ...]
    between: int
    """Values that an MLP keeps of a token between its layers, in times the intermediate size: of a gated one the gate, its
    activation, and what that is multiplied with; of another the activation's input. A GELU that is written out keeps more.
    """
    norms: int
    """Values that the norms take of a token, all together,"""
    unbiased_norms: int
    """and those of norms without a bias: of RMSNorm, which is computed step by step."""
    tied: bool
    """Whether the head has the weights of the embedding."""
    rows: int | None
    """Of the embedding; None where config.json does not say."""
    sizes: Sizes | None
    """None where they do not say what a layer stores: ``unknown`` has the reason."""
    unknown: str | None = None


def read_shape(directory: Path) -> ModelShape:
    """The shape of the model in ``directory``.

    Raises:
        ModelError: as :func:`weft.models.directory.check_model`; or the header of a file of weights is damaged.
    """
    outer = check_model(directory)
    config = outer.get("text_config") if isinstance(outer.get("text_config"), dict) else outer
    assert isinstance(config, dict)
    weights = dict(_stored(directory))
    head = next((name for name in weights if name.endswith("lm_head.weight")), None)
    tied = head is None or config.get("tie_word_embeddings", outer.get("tie_word_embeddings")) is True
    if tied and head is not None:
        del weights[head]  # some directories hold the same weights under both names; Transformers ties them
    found = _no_plain_attention(config, weights) or _sizes(config, directory)
    sizes, unknown = (found, None) if isinstance(found, Sizes) else (None, found)
    norms = dict(_norms(weights, sizes)) if sizes else {}
    return ModelShape(
        parameters=sum(map(math.prod, weights.values())),
        matrices=tuple(_matrices(weights, transposed=config.get("model_type") in _TRANSPOSED)),
        between=(3 if any("gate" in name for name in weights) else 1) + _WRITTEN_OUT.get(_activation(config), 0),
        norms=sum(norms.values()),
        unbiased_norms=sum(width for name, width in norms.items() if f"{name}.bias" not in weights),
        tied=tied,
        rows=embedding_rows(outer),
        sizes=sizes,
        unknown=unknown,
    )


def _stored(directory: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The shape of every weight by its name. The library checks the header, and that the file holds what it says."""
    for path in weight_files(directory):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    yield name, tuple(file.get_slice(name).get_shape())
        except (SafetensorError, OSError, ValueError, OverflowError) as problem:
            raise ModelError(
                f"is no sound safetensors file: {' '.join(str(problem).split())}",
                where=str(path),
                fix="download or make the model again",
            ) from None


def _matrices(weights: Mapping[str, tuple[int, ...]], *, transposed: bool) -> Iterator[Matrix]:
    for name, shape in weights.items():
        if len(shape) == 2 and name.endswith(".weight"):
            outputs, inputs = reversed(shape) if transposed else shape
            body = not any(part in name for part in _NO_LAYER)
            yield Matrix(name=name.removesuffix(".weight"), inputs=inputs, outputs=outputs, body=body)


def _norms(weights: Mapping[str, tuple[int, ...]], sizes: Sizes) -> Iterator[tuple[str, int]]:
    """The norms by their module's name, with what each takes of a token; those of queries and keys run in every head."""
    for name, shape in weights.items():
        module = name.removesuffix(".weight")
        last = module.rpartition(".")[2]
        if len(shape) != 1 or module == name or not ("norm" in last or last.startswith("ln_")):
            continue
        width = shape[0]
        if width == sizes.head_size and last.startswith(("q_", "k_")):
            width *= sizes.heads if last.startswith("q_") else sizes.kv_heads
        yield module, width


def _no_plain_attention(config: Mapping[str, Any], weights: Mapping[str, tuple[int, ...]]) -> str | None:
    """What makes the formulas of ordinary layers wrong; None where nothing does."""
    if any(_positive(config.get(name)) for name in _EXPERTS):
        return "a mixture of experts: how many tokens go to each is not known"
    if config.get("attn_logit_softcapping"):
        return "attention with a soft cap, which keeps the scores of every pair of an example's tokens on some devices"
    if config.get("kv_lora_rank"):
        return "latent attention, whose heads have sizes of their own"
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and (other := sorted({str(kind) for kind in kinds} - _ATTENTION)):
        return f"layers of another kind than attention: {', '.join(other)}"[:200]
    other_weight = next((name for name, shape in weights.items() if len(shape) > 2), None)
    return f"layers of another kind than attention: {other_weight} is no matrix"[:200] if other_weight else None


def _sizes(config: Mapping[str, Any], directory: Path) -> Sizes | str:
    """The sizes, or why they are not known."""
    found = {ours: next((config[name] for name in names if config.get(name)), None) for ours, names in _NAMES.items()}
    if found["hidden"] and found["heads"]:
        found["kv_heads"] = found["kv_heads"] or found["heads"]
        if _positive(found["hidden"]) and _positive(found["heads"]):
            found["head_size"] = found["head_size"] or found["hidden"] // found["heads"]
            found["intermediate"] = found["intermediate"] or 4 * found["hidden"]
    missing = [_NAMES[name][0] for name, value in found.items() if not _positive(value)]
    if missing:
        return f"{directory / CONFIG} has no sound {' and '.join(missing)}"
    return Sizes(**found)


def _activation(config: Mapping[str, Any]) -> str:
    return str(next((config[name] for name in ("hidden_act", "activation_function") if config.get(name)), ""))


def _positive(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**40
