"""The directories that a configuration names: where the model is, where the run goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weft.config.schema import Config, ModelConfig
from weft.errors import ModelError

DEFAULT_MODELS = "models/"
"""Where `weft init-model` puts models, in every example."""

CONFIG_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""What a tokenizer and a model's shape are read from, in a hub repository."""
WEIGHT_FILES = ("*.safetensors",)
"""What weights are read from; never pickle (law 13)."""
IGNORED_FILES = tuple(f"*/{name}" for name in (*CONFIG_FILES, *WEIGHT_FILES) if name != "*.jinja")
"""Other formats (ONNX, original checkpoints) lie in subdirectories; so does a chat template for tools, which is wanted."""

HUB_TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer. Its client has no limit of its own and would wait for ever."""


def output_dir(config: Config) -> Path:
    """The run directory: `train.output_dir`, else `outputs/` and the run's name."""
    return Path(config.train.output_dir or Path("outputs", config.run_name or "run"))


def model_directory(model: ModelConfig, *, weights: bool) -> Path:
    """The local directory of a model, fetched from the Hugging Face hub if need be.

    A snapshot in the local cache that has what is asked for is used without asking the hub for a newer one.

    Args:
        model: the section of the configuration.
        weights: also the weights; otherwise only what the tokenizer and the model's shape are read from.

    Raises:
        ModelError: there is no such directory, or the hub cannot or will not give the model.
    """
    if model.local_dir is not None:
        return _existing(model.local_dir, key="model.local_dir")
    if _is_path(model.name):
        directory = _existing(model.name, key="model.name")
        if model.revision is not None:
            where, fix = f"model.revision: {model.revision}", "remove model.revision, or name a model on the hub"
            raise ModelError(f"{model.name} is a local directory, which has no revisions", where=where, fix=fix)
        return directory
    return _cached(model, weights) or _fetched(model, weights)


def tokenizer_place(model: ModelConfig) -> Path:
    """The directory or SentencePiece model that the tokenizer is read from: `model.tokenizer`, else the model's directory.

    Raises:
        ModelError: as :func:`model_directory`, or there is no such tokenizer.
    """
    if model.tokenizer is None:
        return model_directory(model, weights=False)
    place = Path(model.tokenizer).expanduser()
    if not place.exists():
        raise ModelError(
            "there is no such tokenizer",
            where=f"model.tokenizer: {model.tokenizer}",
            fix="name a directory with a tokenizer.json or a SentencePiece model, or leave the key out to use the model's own",
        )
    return place


def _is_path(name: str) -> bool:
    """Whether the name can only be a path, or is one that exists. `org/name` and `gpt2` are names on the hub."""
    looks_like_one = name.startswith((".", "/", "~", DEFAULT_MODELS)) or name.endswith("/") or name.count("/") > 1
    return looks_like_one or Path(name).exists()


def _existing(name: str, *, key: str) -> Path:
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    where = f"{key}: {name}"
    if directory.exists():
        what = "a model is a directory with config.json and *.safetensors, but this is a file"
        raise ModelError(what, where=where, fix="give the directory; weft reads no single-file formats")
    if name.startswith(DEFAULT_MODELS):
        fix = f"make one with `weft init-model nano --text FILE --out {name}`, or set {key} to a model that you have"
    else:
        fix = f"check {key}, or give a name on the Hugging Face hub such as org/name as model.name"
    raise ModelError("there is no such model directory", where=where, fix=fix)


def _cached(model: ModelConfig, weights: bool) -> Path | None:
    """The snapshot in the local cache, if it is there and complete."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        directory = _snapshot(model, weights, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return directory if _is_complete(directory, weights) else None


def _is_complete(directory: Path, weights: bool) -> bool:
    """Whether a snapshot, of which somebody may have fetched a part, holds a tokenizer and all shards of the weights."""
    names = {file.name for file in directory.iterdir() if file.exists()}  # a link to a blob that was deleted is nothing
    has_tokenizer = any(
        name.startswith("tokenizer") or name.endswith(".model") or name == "vocab.json" for name in names
    )
    if "config.json" not in names or not has_tokenizer:
        return False
    if not weights:
        return True
    index = directory / "model.safetensors.index.json"
    if index.name not in names:
        return any(name.endswith(".safetensors") for name in names)
    try:
        shards = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return shards <= names


def _fetched(model: ModelConfig, weights: bool) -> Path:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(model.name, revision=model.revision, timeout=HUB_TIMEOUT)  # asks within a limit; see there
        return _snapshot(model, weights, local_files_only=False)
    # The client raises its own errors, those of an HTTP library that changes between versions, and OSError and ValueError.
    except Exception as error:
        raise _hub_error(model, error) from error


def _snapshot(model: ModelConfig, weights: bool, *, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [*CONFIG_FILES, *(WEIGHT_FILES if weights else ())]
    return Path(
        snapshot_download(
            model.name,
            revision=model.revision,
            allow_patterns=patterns,
            ignore_patterns=list(IGNORED_FILES),
            local_files_only=local_files_only,
        )
    )


def _hub_error(model: ModelConfig, error: Exception) -> ModelError:
    """What the hub's client means, and what to do about it."""
    from huggingface_hub import errors

    where = f"model.name: {model.name}"
    status: Any = getattr(getattr(error, "response", None), "status_code", None)
    token = "set the environment variable HF_TOKEN to a token of an account that has access"
    offline = "connect, or set model.local_dir to a directory that holds the model"
    match error:
        case errors.HFValidationError():
            what, fix = "this is neither a directory nor a possible name on the Hugging Face hub", "check model.name"
        case errors.GatedRepoError():
            what = "the model is gated: its owner grants access per account"
            fix = f"ask for access on the model's page on the hub, then {token}"
        case errors.RepositoryNotFoundError():
            what = "the Hugging Face hub has no such model, or it is private"
            fix = f"check the spelling; for a private model, {token}; for a directory, write ./{model.name}"
        case errors.RevisionNotFoundError():
            what, fix = f"the model has no revision {model.revision!r}", "check model.revision"
        case errors.OfflineModeIsEnabled():
            what = "the model is not complete in the local cache, and HF_HUB_OFFLINE forbids to fetch it"
            fix = "unset HF_HUB_OFFLINE, or set model.local_dir to a directory that holds the model"
        case errors.HfHubHTTPError() if status in (401, 403):
            what, fix = "the Hugging Face hub refuses access to the model", token
        case _:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            what, fix = f"the model cannot be fetched from the Hugging Face hub ({reason[:200]})", offline
    return ModelError(what, where=where, fix=fix)
