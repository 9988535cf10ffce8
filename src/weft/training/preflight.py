"""Everything that can be known before weights load, found out before weights load (law 11)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weft.config.load import Loaded
from weft.config.locate import model_directory
from weft.config.schema import Config
from weft.data.check import NOTES
from weft.data.documents import CUT, require_both_kinds
from weft.data.inputs import (
    held_out_files,
    lacking_notices,
    load_renderer,
    missing_validation,
    open_examples,
    split_notices,
    training_files,
)
from weft.data.packing import Packing, Rows, cut_conversations, pack, packing_of
from weft.data.places import find_parts
from weft.data.rejects import REJECTS, LeftOut, write_rejects
from weft.data.render import Renderer
from weft.data.store import ExampleStore, SourceFile
from weft.data.store_account import left_out
from weft.data.warn import cut_examples, nothing_drawn
from weft.errors import ConfigError, Problems, WeftError
from weft.models.directory import check_model, check_rows, embedding_rows
from weft.training.plan import Plan, make_plan


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run reads, and the steps that follow from it."""

    base: Path
    """The base model's directory; its weights are there too."""
    files: tuple[Path, ...]
    """Where the training and validation records are."""
    renderer: Renderer
    """With the tokenizer and the template."""
    train: ExampleStore
    validation: ExampleStore | None
    validation_rows: Rows | None
    """Whole examples, however those of training are packed, so that the loss is of answers with their questions."""
    plan: Plan
    left_out: Mapping[str, LeftOut]
    """Of each set that is read."""
    notices: tuple[str, ...]

    @property
    def longest_document(self) -> int:
        """Tokens of the longest example of the run, which are at least those of the longest piece."""
        return max(int(store.lengths.max()) for store in (self.train, self.validation) if store)

    @property
    def longest_row(self) -> int:
        """Tokens that no micro-batch of the run exceeds."""
        packing = self.plan.packing
        rows = max(packing.visits, len(self.validation_rows or ()))  # no packing makes more rows than examples
        longest = self.longest_document if packing.how == "none" else packing.capacity
        return min(self.plan.batch_size, rows) * longest


def open_inputs(loaded: Loaded) -> Inputs:
    """Check the settings, read the tokenizer and the template, encode the data, and plan the steps.

    Raises:
        Problems: settings that cannot work here.
        WeftError: a file, record, template or model that cannot be used.
    """
    problems = list(_problems(loaded))
    if problems:
        raise problems[0] if len(problems) == 1 else Problems(problems)
    config = loaded.config
    renderer = load_renderer(config)
    files = training_files(config)
    held_out, notices = _validation_files(config)
    stores, lacking = open_examples(config, {"train": files, **held_out}, renderer)
    train, validation = stores["train"], stores.get("val")
    require_both_kinds(config, train, files)
    packing = packing_of(config, train, files)
    base = model_directory(config.model, weights=True)  # after the data: it may take a long download
    check_rows(embedding_rows(check_model(base)), renderer.tokenizer.vocab_size - len(renderer.tokenizer.new_ids))
    return Inputs(
        base=base,
        files=(
            *(path for file in files for part in find_parts(file.path, seed=file.seed) for path in part.files),
            Path(config.data.val_path),
        ),
        renderer=renderer,
        train=train,
        validation=validation,
        validation_rows=_validation_rows(validation, packing) if validation else None,
        plan=make_plan(config.train, packing),
        left_out={name: opened.report.dropped for name, opened in stores.items()}
        | {name: problem.dropped for name, problem in lacking.items()},
        notices=(
            *renderer.tokenizer.notices,
            *split_notices(config),
            *_left_out("training", train),
            *_cut(packing, train),
            *_undrawn(packing),
            *notices,
            *lacking_notices(lacking),
            *(_left_out("validation", validation) if validation else ()),
        ),
    )


def list_rejects(run: Path, config: Config, inputs: Inputs) -> Iterator[str]:
    """Write what is left out into the run directory, and say where.

    Raises:
        DataError: the file cannot be written.
    """
    path = run / REJECTS
    if count := write_rejects(path, config, inputs.left_out):
        yield f"{path} lists what is left out, record by record: {count:,}"


def _validation_files(config: Config) -> tuple[dict[str, Sequence[SourceFile]], tuple[str, ...]]:
    """The validation set, if there is one and something is evaluated, and what is to be said about it."""
    if config.train.evaluation_strategy == "no":
        return {}, ()
    if files := held_out_files(config, "val"):
        return {"val": files}, ()
    return {}, (f"there is no validation set ({config.data.val_path}), so nothing is evaluated while training",)


def _cut(packing: Packing, train: ExampleStore) -> Iterator[str]:
    if packing.how == "wrapped" and (cut := cut_conversations(packing.rows(0), train)):
        warning = cut_examples(cut, len(train))
        yield f"{warning.what}; {warning.fix}"


def _undrawn(packing: Packing) -> Iterator[str]:
    for warning in map(nothing_drawn, packing.mixture.undrawn):
        yield f"{warning.what}; {warning.fix}"


def _validation_rows(validation: ExampleStore, packing: Packing) -> Rows:
    how = "none" if packing.how == "none" else "bfd"
    return pack(np.arange(len(validation)), validation.lengths, how=how, capacity=packing.capacity)


def _problems(loaded: Loaded) -> Iterator[WeftError]:
    config, place = loaded.config, loaded.provenance
    yield from missing_validation(config, place.get("data.val_path", "default"))
    if config.train.report_to == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        yield ConfigError(
            "TensorBoard is not installed",
            where=f"train.report_to ({place.get('train.report_to', 'default')})",
            fix="pip install 'weft[tensorboard]', or set train.report_to=none",
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield ConfigError(
            "training with several processes comes with a later version",
            where="environment WORLD_SIZE",
            fix="start one process: `weft train CONFIG`, without accelerate launch or torchrun",
        )


def _left_out(name: str, store: ExampleStore) -> Iterator[str]:
    """What law 5 asks to be said."""
    yield from store.report.notices
    for reason, places in store.report.dropped.items():
        yield f"{len(places)} {name} records {left_out(reason)}, {reason}: {', '.join(map(str, places[:3]))}" + (
            ", …" if len(places) > 3 else ""
        )
    for how, places in store.report.shortened.items():
        why = "" if how == CUT else ", to fit into model.max_seq_len"
        yield f"{len(places)} {name} records {how}{why}: {', '.join(map(str, places[:3]))}" + (
            ", …" if len(places) > 3 else ""
        )
    for note, count in store.report.notes.items():
        name_of_note, _, detail = note.partition(":")
        yield f"{count} {name} examples: {NOTES.get(name_of_note, name_of_note)}" + (f": {detail}" if detail else "")
