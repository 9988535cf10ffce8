"""Rules between keys. A check runs only where none of the keys that it reads is broken by itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from weft.config.data_schema import CUSTOM_FIELDS, DataConfig, DatasetConfig
from weft.config.keys import find_key
from weft.config.layers import Layer
from weft.config.schema import Config
from weft.config.section import Paths
from weft.config.values import plain_value
from weft.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A broken rule; the first of ``keys`` that was set to something else than its default is the place to look at."""

    keys: tuple[str, ...]
    what: str
    fix: str


Check = Callable[[Config], Iterator[Finding]]


def split_is_whole(config: Config) -> Iterator[Finding]:
    """The three ratios of the split are shares of one whole."""
    split = config.data.split
    ratios = (split.train_ratio, split.val_ratio, split.test_ratio)
    if abs(sum(ratios) - 1) > 1e-6:
        shown = " + ".join(f"{ratio:g}" for ratio in ratios)
        yield Finding(
            keys=("data.split.train_ratio", "data.split.val_ratio", "data.split.test_ratio"),
            what=f"data.split: train_ratio + val_ratio + test_ratio must be 1, but {shown} = {sum(ratios):g}",
            fix="set all three, so that they sum to 1",
        )


def filters_let_something_through(config: Config) -> Iterator[Finding]:
    """No length is above a longest and below a shortest one."""
    rules = config.data.filter
    for part, low, high in (
        ("prompt", rules.min_prompt, rules.max_prompt),
        ("response", rules.min_response, rules.max_response),
    ):
        if low is not None and high is not None and low > high:
            yield Finding(
                keys=(f"data.filter.min_{part}", f"data.filter.max_{part}"),
                what=f"no {part} is at least {low:,} and at most {high:,} {rules.unit} long",
                fix=f"set data.filter.max_{part} to at least data.filter.min_{part}",
            )


def one_precision(config: Config) -> Iterator[Finding]:
    """A forward pass computes in one type."""
    if config.train.bf16 is True and config.train.fp16:
        yield Finding(
            keys=("train.fp16", "train.bf16"),
            what="train.bf16 and train.fp16 cannot both be true",
            fix="keep bf16 where the GPU has it, else fp16",
        )


def best_model_needs_evaluations(config: Config) -> Iterator[Finding]:
    """Choosing the best model and stopping early both compare evaluations."""
    if config.train.evaluation_strategy != "no":
        return
    wanting = {
        "train.load_best_model_at_end": config.train.load_best_model_at_end,
        "train.early_stopping_patience": config.train.early_stopping_patience is not None,
    }
    for key, wants in wanting.items():
        if wants:
            yield Finding(
                keys=(key, "train.evaluation_strategy"),
                what=f"{key} compares evaluations, but train.evaluation_strategy: no makes none",
                fix="set train.evaluation_strategy to epoch or steps",
            )


def datasets_have_weight(config: Config) -> Iterator[Finding]:
    """An epoch is shared out by the weights of the data sets."""
    if config.datasets and not any(dataset.is_trained for dataset in config.datasets):
        yield Finding(
            keys=("datasets[0].weight",),
            what="the weight of every entry of datasets is 0, so there is nothing to train on",
            fix="give one entry a weight above 0",
        )


def datasets_have_names_of_their_own(config: Config) -> Iterator[Finding]:
    """Reports and mixtures know a data set by its name."""
    names = [dataset.called for dataset in config.datasets]
    for name, count in Counter(names).items():
        if count > 1:
            last = len(names) - 1 - names[::-1].index(name)
            yield Finding(
                keys=(f"datasets[{last}].name", f"datasets[{last}].path"),
                what=f"{count} entries of datasets are named {name!r}",
                fix="list each under datasets with a name: of its own, or once with a higher weight",
            )


def documents_have_their_mode(config: Config) -> Iterator[Finding]:
    """Documents are trained with ``cpt`` and ``cpt_mixed``, conversations with ``sft`` and ``cpt_mixed``."""
    if config.mode == "sft":
        for key, value in {"block_size": config.block_size, "pack_factor": config.pack_factor}.items():
            if value is not None:
                yield Finding(
                    keys=(key,),
                    what=f"{key} is about documents, which mode: sft does not train",
                    fix=f"set mode: cpt (documents) or mode: cpt_mixed (documents and conversations), or remove {key}",
                )
    if config.mode == "cpt_mixed":
        return
    wrong = ("text", "lines") if config.mode == "sft" else ("auto", "text", "lines")
    for key, format in _formats(config).items():
        if (format in wrong) == (config.mode == "sft"):
            kind = "documents" if config.mode == "sft" else "conversations"
            yield Finding(
                keys=(key,),
                what=f"{key}: {format} is a format of {kind}, which mode: {config.mode} does not train",
                fix=f"set {key}: {'auto' if config.mode == 'sft' else 'text'}, or mode: cpt_mixed to train both kinds",
            )


def documents_have_no_prompts(config: Config) -> Iterator[Finding]:
    """Limits of prompts and responses mean nothing where only documents are trained."""
    for name in ("min_prompt", "max_prompt", "min_response", "max_response"):
        if config.mode == "cpt" and getattr(config.data.filter, name) is not None:
            yield Finding(
                keys=(f"data.filter.{name}",),
                what=f"data.filter.{name} is about conversations, and mode: cpt trains documents",
                fix=f"remove data.filter.{name}",
            )


def blocks_fit_into_rows(config: Config) -> Iterator[Finding]:
    """Nothing that the model sees at once is longer than ``model.max_seq_len``."""
    if config.block_size is not None and config.block_size > config.model.max_seq_len:
        yield Finding(
            keys=("block_size", "model.max_seq_len"),
            what=f"block_size: {config.block_size} is more than model.max_seq_len, {config.model.max_seq_len}",
            fix=f"set model.max_seq_len={config.block_size}, or a smaller block_size",
        )


def _formats(config: Config) -> dict[str, str]:
    """The format of each training set, by its key."""
    of_datasets = {f"datasets[{number}].format": entry.format for number, entry in enumerate(config.datasets)}
    return {"data.format": config.data.format, **{key: format for key, format in of_datasets.items() if format}}


def configurations_are_of_datasets(config: Config) -> Iterator[Finding]:
    """A configuration is a part of a dataset that is known by its name, and is named once."""
    data = config.data
    named = [("data.dataset_config_name", "data.train_path", data.dataset_config_name, data.train_path)]
    if config.datasets:
        named = [
            (f"datasets[{number}].config", f"datasets[{number}].path", one.config, one.path)
            for number, one in enumerate(config.datasets)
        ]
    for key, of, configuration, path in named:
        if configuration is None or _has_configuration(path, configuration):
            continue
        yield Finding(
            keys=(key, of),
            what=f"{key} names a configuration, but {of} names {_kind_of_source(path)}: {str(path)[:80]}",
            fix=f"set {of} to the name of a dataset, org/name, or to its directory; or remove {key}",
        )


def listed_datasets_have_their_own_configurations(config: Config) -> Iterator[Finding]:
    """`data.dataset_config_name` is about `data.train_path` alone, which is not read where data sets are listed."""
    own = config.data.dataset_config_name
    if config.datasets and own is not None and not _has_configuration(config.data.train_path, own):
        yield Finding(
            keys=("data.dataset_config_name",),
            what="data.dataset_config_name is about data.train_path, which is not read where datasets are listed",
            fix=f"write config: {own} into those entries of datasets that it is meant for, and remove it",
        )


def _has_configuration(path: Paths, configuration: str) -> bool:
    """Whether it can be added to the path, or is there already."""
    if not isinstance(path, str) or PurePath(path).suffix[1:].isalpha():  # .jsonl and the like
        return False
    given = re.search(r":([^@#]+)", path)
    return given is None or given[1] == configuration


def _kind_of_source(path: Paths) -> str:
    if not isinstance(path, str):
        return "several sources"
    return "another one" if ":" in path else "a file"


def fields_are_those_of_custom_records(config: Config) -> Iterator[Finding]:
    """A data set's own names of fields say how `format: custom` is read, and nothing else."""
    for number, dataset in enumerate(config.datasets):
        format = dataset.format or config.data.format
        for field in CUSTOM_FIELDS:
            if getattr(dataset, field) is not None and format != "custom":
                yield Finding(
                    keys=(f"datasets[{number}].{field}",),
                    what=f"datasets[{number}].{field} is for records of format: custom, but the format is {format}",
                    fix=f"set datasets[{number}].format to custom, or remove the name of the field",
                )


def no_system_message_is_added_where_none_is_kept(config: Config) -> Iterator[Finding]:
    """Leaving system messages out and adding one contradict each other."""
    if config.data.include_system_prompt:
        return
    for name, text in (("system_prompt", config.data.system_prompt), ("style", config.data.style)):
        if text is not None:
            yield Finding(
                keys=("data.include_system_prompt", f"data.{name}"),
                what=f"data.include_system_prompt: false leaves every system message out, but data.{name} adds to it",
                fix="set one of the two only",
            )


def what_is_added_says_something(config: Config) -> Iterator[Finding]:
    """A system message or a style of white space would be one that nobody sees; an empty one is none."""
    for name, text in (("system_prompt", config.data.system_prompt), ("style", config.data.style)):
        if text and text.isspace():
            yield Finding(keys=(f"data.{name}",), what=f"data.{name} says nothing", fix="give it words, or remove it")


def names_are_file_names(config: Config) -> Iterator[Finding]:
    """The run and the evaluation sets give their names to files, which must stay where they belong."""
    names = {"run_name": config.run_name} | {f"eval.sets.{name}": name for name in config.eval.sets}
    for key, name in names.items():
        if name is not None and not _is_file_name(name):
            yield Finding(
                keys=(key,),
                what=f"{key.removesuffix('.' + name)} names files, so {name!r} cannot be used",
                fix="choose a name without slashes and control characters, and without a dot at its start",
            )


def sets_do_not_hide_the_splits(config: Config) -> Iterator[Finding]:
    """`train`, `val` and `test` are evaluation sets already."""
    for name in ("train", "val", "test"):
        if name in config.eval.sets:
            yield Finding(
                keys=(f"eval.sets.{name}",),
                what=f"the evaluation set {name} is data.{name}_path already",
                fix=f"set data.{name}_path, or give this set another name",
            )


def custom_fields_are_apart(config: Config) -> Iterator[Finding]:
    """A field that is the question as well as the answer would be said twice."""
    default, said = DataConfig(), set[str]()
    own: list[tuple[str, DatasetConfig | None]] = [("data", None)] if config.data.format == "custom" else []
    own += [(f"datasets[{n}]", dataset) for n, dataset in enumerate(config.datasets) if dataset.format == "custom"]
    for section, dataset in own:
        named: dict[str, str] = {}
        for key in CUSTOM_FIELDS:
            chosen = getattr(dataset, key, None)
            field = chosen or getattr(config.data, key)
            name = f"{section}.{key}" if chosen else f"data.{key}"
            may_be_absent = key in ("system_field", "context_field") and not chosen
            what = f"{named.get(field)} and {name} both name the field {field!r}"
            if field in named and what not in said and not (may_be_absent and field == getattr(default, key)):
                said.add(what)
                yield Finding(keys=(name, named[field]), what=what, fix="name another field with one of them")
            named.setdefault(field, name)


def _is_file_name(name: str) -> bool:
    return bool(name.strip()) and name[0] != "." and name.isprintable() and not set(name) & set("/\\")


CHECKS: dict[Check, tuple[str, ...]] = {
    split_is_whole: ("data.split.",),
    filters_let_something_through: ("data.filter.",),
    one_precision: ("train.bf16", "train.fp16"),
    best_model_needs_evaluations: (
        "train.evaluation_strategy",
        "train.load_best_model_at_end",
        "train.early_stopping_patience",
    ),
    datasets_have_weight: ("datasets",),
    datasets_have_names_of_their_own: ("datasets",),
    documents_have_their_mode: ("mode", "block_size", "pack_factor", "data.format", "datasets"),
    documents_have_no_prompts: ("mode", "data.filter."),
    blocks_fit_into_rows: ("block_size", "model.max_seq_len"),
    configurations_are_of_datasets: ("datasets", "data.dataset_config_name", "data.train_path"),
    listed_datasets_have_their_own_configurations: ("datasets", "data.dataset_config_name", "data.train_path"),
    fields_are_those_of_custom_records: ("datasets",),
    what_is_added_says_something: ("data.system_prompt", "data.style"),
    no_system_message_is_added_where_none_is_kept: (
        "data.include_system_prompt",
        "data.system_prompt",
        "data.style",
    ),
    names_are_file_names: ("run_name", "eval.sets."),
    sets_do_not_hide_the_splits: ("eval.sets.",),
    custom_fields_are_apart: (
        "data.instruction_field",
        "data.response_field",
        "data.system_field",
        "data.context_field",
        "data.format",
        "datasets",
    ),
}
"""Every rule, with the beginnings of the names of the keys that it reads."""


def check(config: Config, layer: Layer, broken: frozenset[str]) -> Iterator[ConfigError]:
    """What the rules find in a configuration, each with the place of the key."""
    for rule, reads in CHECKS.items():
        if not any(name.startswith(reads) for name in broken):
            for finding in rule(config):
                yield ConfigError(finding.what, where=_place(finding, layer), fix=finding.fix)


def _place(finding: Finding, layer: Layer) -> str | None:
    """A file that repeats a default, as config_base.yaml does, is not the place that broke the rule."""
    is_set = [name for name in finding.keys if name in layer]
    changed = [name for name in is_set if _changes_the_default(name, layer)]
    return layer[(changed or is_set)[0]].place if is_set else None


def _changes_the_default(name: str, layer: Layer) -> bool:
    key = find_key(name)
    return key is not None and plain_value(key, layer[name].node) != key.default
