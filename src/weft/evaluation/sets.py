"""Evaluation sets: which files a command asks for, and their conversations, read before any weights load (law 11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from weft.config.data_schema import DataConfig, DatasetConfig
from weft.config.schema import Config
from weft.data.conversations import read_conversations
from weft.data.inputs import dataset_portions, divides_datasets
from weft.data.places import exists, named
from weft.data.reading import reading_of
from weft.data.seeds import derive_seed
from weft.data.style import effective_system_prompt
from weft.errors import ConfigError
from weft.types import Material

_NOT_DETECTED = ("custom", "lines")
"""Formats of the section ``data`` in which other sets are read, too: no record shows that it is of one."""


@dataclass(frozen=True, kw_only=True)
class EvalSet:
    """A named set of conversations."""

    name: str
    sources: tuple[str, ...]
    conversations: tuple[Material, ...]
    """Documents among them where the mode trains documents."""
    dropped: Mapping[str, int]
    """Records that cannot be used, by reason (with ``on_bad_row: drop``)."""


def find_sets(config: Config, names: Sequence[str], *, full: bool = False) -> dict[str, tuple[DatasetConfig, ...]]:
    """The files of each set that is asked for, by the set's name.

    Args:
        config: says where ``train``, ``val``, ``test`` and the sets of ``eval.sets`` are.
        names: of sets, or paths of files, which are read as those of ``eval.sets`` are; none means the validation set.
        full: ``val``, ``test`` (unless there is none, and the split makes none or no file was named) and all of ``eval.sets``.

    Raises:
        ConfigError: a name is neither a set nor a file, or two files would be reported under one name.
    """
    split = tuple(entry for entry in config.datasets if entry.is_trained) if divides_datasets(config) else ()
    alike = config.data.format if config.data.format in _NOT_DETECTED else "auto"
    known = {
        "train": tuple(config.datasets) or (DatasetConfig(path=config.data.training, format=config.data.format),),
        "val": split or (DatasetConfig(path=config.data.val_path, format=config.data.format),),
        "test": (DatasetConfig(path=config.data.test_path, format=config.data.format),),
        **{name: (DatasetConfig(path=path, format=alike),) for name, path in config.eval.sets.items()},
    }
    if full:
        nobody_named_it = config.data.test_path == DataConfig().test_path or config.data.split.test_ratio == 0
        left_out = {"train", "test"} if nobody_named_it and not exists(config.data.test_path) else {"train"}
        return {name: files for name, files in known.items() if name not in left_out}
    found: dict[str, tuple[DatasetConfig, ...]] = {}
    for name in dict.fromkeys(names or ["val"]):
        if name in known:
            found[name] = known[name]
        elif not name or not Path(name).exists():
            raise ConfigError(
                f"there is no evaluation set '{name}', and no such file",
                where="--set",
                fix=f"name one of {', '.join(known)}, or a file of records; new names go under eval.sets",
            )
        elif Path(name).stem in found or Path(name).stem in known:
            raise ConfigError(
                f"the reports of {name} and of another set would both be named '{Path(name).stem}'",
                where="--set",
                fix="give the files names of their own under eval.sets",
            )
        else:
            found[Path(name).stem] = (DatasetConfig(path=name, format=alike),)
    return found


def read_sets(config: Config, sets: Mapping[str, Sequence[DatasetConfig]]) -> list[EvalSet]:
    """The conversations of every set.

    Raises:
        DataError: a file is missing, unreadable or empty.
        Problems: records cannot be used, and ``on_bad_row`` is ``error``.
    """
    return [_read_set(config, name, files) for name, files in sets.items()]


def sample(evaluated: EvalSet, size: int, seed: int) -> EvalSet:
    """``size`` conversations of a set, in its order; the whole set where it is no larger. The same seed takes the same ones."""
    total = len(evaluated.conversations)
    if total <= size:
        return evaluated
    chosen = np.random.default_rng(derive_seed(seed, "eval sample", total)).choice(total, size, replace=False)
    return replace(evaluated, conversations=tuple(evaluated.conversations[index] for index in sorted(chosen.tolist())))


def _read_set(config: Config, name: str, files: Sequence[DatasetConfig]) -> EvalSet:
    portions = dataset_portions(config, name)
    ours = name in ("train", "val", "test") and not (name == "train" and config.datasets) and not portions
    fix = (
        f"run `weft prepare`, which writes it, or set data.{name}_path"
        if ours
        else "mend the path in the configuration"
    )
    further = name not in ("train", "val", "test")
    read = [
        read_conversations(
            file.training,
            format=reading_of(config.data, file.format or config.data.format, config.mode, file)._replace(
                detects=further
            ),
            on_bad_row=config.on_bad_row,
            system_prompt=effective_system_prompt(config),
            source=file.name,
            seed=config.seed,
            portion=portions.get(file.called),
            fix=fix,
            alone=False,  # a held-out set may lack fields that training has, and that some set has them, training makes sure
        )
        for file in files
    ]
    return EvalSet(
        name=name,
        sources=tuple(path for file in files for path in named(file.training)),
        conversations=tuple(conversation for part in read for conversation in part.conversations),
        dropped=Counter(row.reason for part in read for row in part.bad_rows),
    )
