"""Rules between keys. A check runs only where none of the keys that it reads is broken by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from weft.config.keys import find_key
from weft.config.layers import Layer
from weft.config.schema import Config, DataConfig
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
    if config.datasets and not any(dataset.weight for dataset in config.datasets):
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
                fix="give each of them a name: of its own",
            )


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
    if "custom" not in (config.data.format, *(dataset.format for dataset in config.datasets)):
        return
    default = DataConfig()
    named: dict[str, str] = {}
    for key in ("instruction_field", "response_field", "system_field", "context_field"):
        field = getattr(config.data, key)
        may_be_absent = key in ("system_field", "context_field")
        if field in named and not (may_be_absent and field == getattr(default, key)):
            yield Finding(
                keys=(f"data.{key}", f"data.{named[field]}"),
                what=f"data.{named[field]} and data.{key} both name the field {field!r}",
                fix="name another field with one of them",
            )
        named.setdefault(field, key)


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
