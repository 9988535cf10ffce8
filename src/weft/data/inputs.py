"""What a configuration names as input: the files of records, and the renderer that makes examples of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from weft.config.data_schema import DatasetConfig
from weft.config.locate import model_directory, tokenizer_place
from weft.config.schema import Config, TokenizerIds
from weft.data.documents import block_size, document_form
from weft.data.held_out import held_out_places
from weft.data.places import Paths, as_list, exists, named
from weft.data.reading import reading_of
from weft.data.render import Renderer
from weft.data.split import Portion
from weft.data.store import ExampleStore, Progress, SourceFile, open_stores
from weft.data.store_account import NoExamplesError
from weft.data.style import effective_system_prompt
from weft.data.template import BUILT_IN, ChatTemplate, load_template
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import ConfigError, DataError, ModelError, TemplateError

HELD_OUT = ("val", "test")


def training_files(config: Config) -> tuple[SourceFile, ...]:
    """Every entry of ``datasets`` (but for what validation takes of it), or else the training file that ``weft prepare`` writes.

    Raises:
        DataError: one of them does not exist.
    """
    fix = "correct the path under datasets" if config.datasets else "run `weft prepare`, or set data.train_path"
    places = [entry.training for entry in config.datasets] or [config.data.training]
    for path in (path for paths in places for path in named(paths)):
        if not exists(path):
            raise DataError("there is no such file of training records", where=path, fix=as_list(path) or fix)
    if config.datasets:
        return _datasets(config, "train")
    return (_own_file(config, "train", config.data.training),)


def held_out_files(config: Config, name: str) -> tuple[SourceFile, ...]:
    """The records of ``val`` or ``test``: a file, or the portion of every entry of ``datasets``; none where there are none."""
    path = {"val": config.data.val_path, "test": config.data.test_path}[name]
    if exists(path):
        return (_own_file(config, name, path),)
    if name == "val" and divides_datasets(config):
        return tuple(file for file in _datasets(config, "val") if file.weight != 0)
    return ()


def divides_datasets(config: Config) -> bool:
    """Whether validation takes a part of each entry of ``datasets``: it is asked to, and has no file of its own."""
    return bool(config.datasets and config.data.val_split_ratio and not exists(config.data.val_path))


def dataset_portions(config: Config, name: str) -> dict[str, Portion]:
    """What ``train`` or ``val`` takes of each entry of ``datasets`` that is trained, by the entry's name; nothing for other sets,
    and where validation takes nothing of them.

    Raises:
        DataError: one of them cannot be read.
    """
    if name not in ("train", "val") or not divides_datasets(config):
        return {}
    entries = [entry for entry in config.datasets if entry.is_trained]
    sources = [replace(one, path=named(one.path)) for one in (_source(config, each, "train") for each in entries)]
    places = held_out_places(sources, config.data.val_split_ratio, config.seed, Path(config.data.cache_dir))
    return {
        entry.called: Portion(held_out=name == "val", places=each) for entry, each in zip(entries, places, strict=True)
    }


def split_notices(config: Config) -> Iterator[str]:
    """What is to be said of ``datasets``: what validation takes of them, or why it takes nothing, and which are not trained."""
    if divides_datasets(config):
        yield (
            f"{config.data.val_split_ratio:.2%} of each dataset is held out for validation (data.val_split_ratio), because "
            f"there is no {config.data.val_path}"
        )
    elif config.data.val_split_ratio and "val_split_ratio" in config.data.model_fields_set:
        free = "to hold records out of the datasets instead, set data.val_path to a name that is free"
        why = f"there is {config.data.val_path}; {free}"
        if not config.datasets:
            why = "it is about datasets, and none are listed; `weft prepare` divides records by data.split"
        yield f"data.val_split_ratio is not used: {why}"
    for entry in config.datasets:
        if not entry.is_trained:
            yield f"nothing of {entry.called} is trained, because its weight is 0; it is counted all the same"


def _own_file(config: Config, name: str, path: Paths) -> SourceFile:
    return SourceFile(
        path=path, name=name, format=reading_of(config.data, config.data.format, config.mode), seed=config.seed
    )


def _datasets(config: Config, name: str) -> tuple[SourceFile, ...]:
    portions = dataset_portions(config, name)
    return tuple(replace(_source(config, entry, name), portion=portions.get(entry.called)) for entry in config.datasets)


def _source(config: Config, entry: DatasetConfig, name: str) -> SourceFile:
    return SourceFile(
        path=entry.training,
        name=entry.called,
        format=reading_of(config.data, entry.format or config.data.format, config.mode, entry),
        weight=entry.weight,
        seed=config.seed,
        loss_weight=entry.loss_weight if name == "train" else 1.0,
    )


def missing_validation(config: Config, place: str | None = None) -> Iterator[ConfigError]:
    """The problem of a validation set that training needs and that is not there; ``place`` set ``data.val_path``."""
    needs_evaluation = _needs_evaluation(config)
    if needs_evaluation and not exists(config.data.val_path) and not divides_datasets(config):
        yield ConfigError(
            f"the validation set {config.data.val_path} is missing; it is needed for {' and '.join(needs_evaluation)}",
            where="data.val_path" + (f" ({place})" if place else ""),
            fix="make it with `weft prepare`, set data.val_path to it, or turn that off",
        )


def can_do_without_validation(config: Config) -> bool:
    """Whether validation is taken from ``datasets`` though nothing needs it: then too few records are no error."""
    return divides_datasets(config) and not _needs_evaluation(config)


def open_examples(
    config: Config,
    sets: Mapping[str, Sequence[SourceFile]],
    renderer: Renderer,
    progress: Progress | None = None,
) -> tuple[dict[str, ExampleStore], dict[str, NoExamplesError]]:
    """The examples of training and of held-out sets, encoded as configured; without those of ``val`` where it has none and can
    be done without, and then why it has none. Raises as :func:`weft.data.store.open_stores`.
    """
    return open_stores(
        sets,
        renderer,
        Path(config.data.cache_dir),
        on_bad_row=config.on_bad_row,
        system_prompt=effective_system_prompt(config),
        progress=progress,
        jobs=config.data.jobs,
        dispensable=("val",) if can_do_without_validation(config) else (),
    )


def lacking_notices(lacking: Mapping[str, NoExamplesError]) -> Iterator[str]:
    """What is to be said of a validation set that :func:`open_examples` did without."""
    for problem in lacking.values():
        yield f"nothing is evaluated while training: of what is held out, {problem.what}"


def _needs_evaluation(config: Config) -> list[str]:
    """The keys that ask for evaluations."""
    asked = {
        "train.load_best_model_at_end": config.train.load_best_model_at_end,
        "train.early_stopping_patience": config.train.early_stopping_patience is not None,
    }
    return [key for key, is_asked in asked.items() if is_asked]


def load_renderer(config: Config) -> Renderer:
    """The renderer of the configured tokenizer and template; no weights are needed.

    Raises:
        ModelError: there is no such model, or its tokenizer cannot be used.
        TemplateError: there is no template that can be used, and conversations are trained.
        ConfigError: blocks of documents are longer than the model's positions.
    """
    tokenizer = configured_tokenizer(config)
    template = chosen_template(config, tokenizer)
    if config.mode != "sft":
        _check_positions(config)
    return renderer_of(config, tokenizer, template)


def renderer_of(config: Config, tokenizer: Tokenizer, template: ChatTemplate | None) -> Renderer:
    """The renderer that a configuration asks for, of this tokenizer and template."""
    return Renderer(
        tokenizer,
        template,
        config.model.max_seq_len,
        overlong=config.data.overlong,
        train_on=config.data.train_on,
        documents=document_form(config, tokenizer, template),
    )


def chosen_template(config: Config, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The chat template; None where only documents are trained, and neither the configuration nor the tokenizer has one.

    Raises:
        TemplateError: as :func:`weft.data.template.load_template`.
    """
    data = config.data
    asked_for = data.template_path is not None or data.instruction_response_separator is not None
    try:
        return configured_template(config, tokenizer)
    except TemplateError:
        if config.mode != "cpt" or asked_for or tokenizer.chat_template is not None:
            raise
        return None


def _check_positions(config: Config) -> None:
    """Raise where the model has fewer positions than a block of a document."""
    try:
        directory = model_directory(config.model, weights=False)
        shape = json.loads((directory / "config.json").read_bytes())
        text = shape.get("text_config") or shape
        positions = text.get("max_position_embeddings") or text.get("n_positions")
    except (OSError, ValueError, AttributeError, ModelError):  # loading the model says what is wrong with it
        return
    size = block_size(config)
    if isinstance(positions, int) and size > positions:
        key = "block_size" if config.block_size else "model.max_seq_len"
        raise ConfigError(
            f"blocks of {size:,} tokens of a document are longer than the {positions:,} positions of {config.model.name}",
            where=key,
            fix=f"set block_size={positions}, or less",
        )


def configured_tokenizer(config: Config) -> Tokenizer:
    """The tokenizer of the section ``model``, with the control tokens of a built-in template that the configuration names.

    Raises:
        ModelError: there is no such model or tokenizer, it cannot be used, or ``model.tokenizer_ids`` says otherwise.
    """
    control = BUILT_IN.get(config.data.template_path or "", ())
    tokenizer = load_tokenizer(tokenizer_place(config.model), control=control)
    check_ids(tokenizer, config.model.tokenizer_ids)
    return tokenizer


def check_ids(tokenizer: Tokenizer, wanted: TokenizerIds) -> None:
    """Refuse a tokenizer whose special tokens have other ids than those that are ``wanted``."""
    asked = {name: index for name, index in wanted.model_dump().items() if index is not None}
    found = {name: tokenizer.named_ids.get(name, -1) for name in asked}
    if found == asked:
        return
    differing = [
        f"{name} is {_id_and_token(found[name], tokenizer)} and not {_id_and_token(index, tokenizer)}"
        for name, index in asked.items()
        if found[name] != index
    ]
    listed = ", ".join(f"{name}: {index}" for name, index in found.items())
    raise ModelError(
        f"the tokenizer {tokenizer.place} has other ids: {'; '.join(differing)}",
        where="model.tokenizer_ids",
        fix="set model.tokenizer to the tokenizer that the model was trained with; if it is this one, set "
        f"model.tokenizer_ids to {{{listed}}}",
    )


def _id_and_token(index: int, tokenizer: Tokenizer) -> str:
    if index < 0:
        return "missing"
    return f"{index} ({tokenizer.token(index) or 'outside the vocabulary'})"


def configured_template(config: Config, tokenizer: Tokenizer) -> ChatTemplate:
    """The chat template of the section ``data``; raises as :func:`weft.data.template.load_template`."""
    data = config.data
    separator, mismatch = data.instruction_response_separator, data.prompt_mismatch
    return load_template(data.template_path, tokenizer, separator=separator, prompt_mismatch=mismatch)
