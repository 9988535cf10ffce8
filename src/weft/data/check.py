"""Will this train what I think? Everything about the data that can be known without the model's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from weft.config.data_schema import MixBy
from weft.config.schema import Config, ModelConfig, PackingMethod
from weft.data.check_records import SourceRecords, check_records
from weft.data.documents import require_both_kinds
from weft.data.inputs import (
    HELD_OUT,
    held_out_files,
    lacking_notices,
    load_renderer,
    missing_validation,
    open_examples,
    split_notices,
    training_files,
)
from weft.data.leaks import Leaks
from weft.data.mixture import Share
from weft.data.packing import Packing, cut_conversations, packing_of
from weft.data.places import named
from weft.data.render import Renderer
from weft.data.store import ExampleStore, Progress, SourceFile, StoreReport
from weft.data.store_account import NoExamplesError, is_for_length, is_whole
from weft.data.warn import Warn, benchmark_warnings, data_warnings, nothing_drawn, ranked
from weft.errors import ConfigError
from weft.types import Location

NOTES = {
    "prompt": "the template opens an answer differently under another argument, and was asked with it",
    "header-appended": "the template ignores add_generation_prompt; what it prints before an answer was found by itself",
    "prompt-mismatch": "the text before an answer differs from the prompt that inference feeds",
    "spliced": "the template prints history differently once it is answered; prompt and answer were joined",
    "prompt-varies": "this answer follows another prompt than a plain answer would",
    "content-changed": "the template changes the text of an answer before it prints it",
    "content-dropped": "the template leaves out a part of an answer: its reasoning, or its text beside a call of a tool",
    "stop-within": "the template prints a stop in the middle of an answer, where generation would end",
    "closed-within": "the template prints an answer as two; the words that open the second are not trained",
    "tools-dropped": "the template does not print the definitions of tools",
    "switch-read": "the template obeys a system message such as /no_think, and does not print it",
    "next-role-closes": "the next message's token ends an answer",
    "eos-appended": "the template does not close an answer; the EOS token was appended",
    "unanswered": "the conversation ends with a question; what follows its last answer is left out",
    "call-ids": "calls of tools, and their results, got the ids without which the template does not print them",
    "weighted": "answers count what the record says of them (train, weight), and not 1",
    "prompt-trained": "a message that is not the assistant's is trained, as the record says of it (train, weight)",
}
"""What the notes of a template's derivation mean; ``prompt:…`` carries the argument behind its colon."""


@dataclass(frozen=True, kw_only=True)
class SourceCheck:
    """One source of a set; see :class:`SetCheck`."""

    left_out: int
    """Records that are left out, for whatever reason."""
    repeated: int
    leaked: int
    asked: int


@dataclass(frozen=True, kw_only=True)
class SetCheck:
    """One file of records, or one set of them."""

    name: str
    paths: tuple[str, ...]
    files: Mapping[str, int]
    """How many records each file holds."""
    skipped: tuple[str, ...]
    """What lies there and is not read: folders, files of another kind, notes."""
    records: int
    formats: Mapping[str, int]
    mappings: Mapping[str, Mapping[str, int]]
    """What was read as what, by format, in how many records."""
    left_out: Mapping[str, int]
    """How many messages of trees no conversation holds, by reason."""
    dropped: Mapping[str, tuple[Location, ...]]
    """Records that are left out, by reason: bad ones, those that the template cannot print, those that are too long; and those of
    which only a part is."""
    repeated: int
    """Conversations that say the same as an earlier one of the set."""
    leaked: int
    """Conversations that say the same as one of the training set; 0 for the training set itself."""
    asked: int
    """Further conversations that ask what one of the training set asks, and answer otherwise."""
    sources: Mapping[str, SourceCheck]
    """The same by source; conversations that repeat are counted where they come later."""
    printed: int | None
    """Conversations that the template can print; None where there is no tokenizer yet."""
    encoded: StoreReport | None
    """None where there is no tokenizer yet, and where no record becomes an example."""


@dataclass(frozen=True, kw_only=True)
class ModelCheck:
    """What reads the records."""

    tokenizer: str
    vocab_size: int
    new_tokens: int
    """Of these, those that the model was not trained with, and gets rows for."""
    special: Mapping[str, Mapping[str, int]]
    """``bos``, ``eos``, ``pad`` and ``stops``: the token's string and id."""
    template: str | None
    """None where only documents are trained, and there is none."""
    max_seq_len: int
    document_end: str | None
    """The token behind each document; None where none are trained."""
    block_size: int | None
    """The most tokens of a document at once."""


@dataclass(frozen=True, kw_only=True)
class MixtureCheck:
    """What the first epoch takes of each training set."""

    by: MixBy
    shares: tuple[Share, ...]
    plain: bool
    """Whether nothing is mixed: one set, each of its examples once."""


@dataclass(frozen=True, kw_only=True)
class PackingCheck:
    """The rows that the first epoch makes of the training examples."""

    how: PackingMethod
    rows: int
    capacity: int
    """Tokens that a row may hold."""
    fill: float
    """The share of the rows' capacity that is used."""
    cut_examples: int
    """Examples of conversations that some row holds only a part of."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The findings, worst first."""

    sets: tuple[SetCheck, ...]
    model: ModelCheck | None
    mixture: MixtureCheck | None
    packing: PackingCheck | None
    """None where there is no tokenizer yet, or the training sets cannot be mixed."""
    leaks: tuple[Leaks, ...]
    """What training tells of the held-out sets and of ``data.benchmarks``; quotations of the latter only."""
    warnings: tuple[Warn, ...]
    notices: tuple[str, ...]
    epochs: Packing | None = field(repr=False, compare=False)
    """The rows of every epoch, for whoever counts steps; None as above."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: all but ``epochs``."""
        content = asdict(replace(self, epochs=None))
        del content["epochs"]
        return content


def check(config: Config, progress: Progress | None = None, *, jobs: int = 1) -> CheckReport:
    """Read, render and encode all records as training would, and say what is worth knowing.

    Args:
        config: says of which.
        progress: told how far the encoding is.
        jobs: processes that look for quotations of benchmarks; the result does not depend on it.

    Raises:
        DataError: the training file is missing or unreadable, or no example is left.
        Problems: records cannot be used, and ``on_bad_row`` is ``error``.
        ModelError: the tokenizer cannot be used. Without the model that weft's examples make, records are checked alone.
        TemplateError: the chat template cannot be used.
    """
    for problem in missing_validation(config):
        raise problem
    files: dict[str, Sequence[SourceFile]] = {"train": training_files(config)}
    notices = [*split_notices(config)]
    for name in HELD_OUT:
        if found_files := held_out_files(config, name):
            files[name] = found_files
        else:
            path = getattr(config.data, f"{name}_path")
            notices.append(f"there is no {name} file, {path} (data.{name}_path), so nothing is evaluated on it")
    renderer = None if _model_is_yet_to_be_made(config) else load_renderer(config)
    notices += renderer.tokenizer.notices if renderer else ()
    records = check_records(config, files, jobs=jobs)
    stores, lacking = open_examples(config, files, renderer, progress) if renderer else ({}, {})
    notices += [
        *lacking_notices(lacking),
        *(notice for parts in records.sets.values() for part in parts for notice in part.notices),
    ]
    sets = [
        _summary(name, group, records.sets[name], stores.get(name), lacking.get(name)) for name, group in files.items()
    ]
    model = _model(config, renderer) if renderer else None
    planned: Packing | None = None
    unmixed: list[Warn] = []
    if renderer:
        try:
            require_both_kinds(config, stores["train"], tuple(files["train"]))
            planned = packing_of(config, stores["train"], files["train"])
        except ConfigError as problem:  # nothing is left of a dataset: what was left out of it is told all the same
            unmixed = [Warn(name="cannot-train", what=problem.what, fix=problem.fix or "")]
    packing = _packing(planned, stores["train"]) if planned else None
    warnings = [
        *unmixed,
        *benchmark_warnings(records.benchmarks),
        *data_warnings(config, sets, model, packing),
        *(map(nothing_drawn, planned.mixture.undrawn) if planned else ()),
    ]
    return CheckReport(
        sets=tuple(sets),
        model=model,
        mixture=_mixture(planned) if planned else None,
        packing=packing,
        leaks=(*records.held_out, *records.benchmarks),
        warnings=ranked(warnings),
        notices=(*notices, *records.notices),
        epochs=planned,
    )


def _model_is_yet_to_be_made(config: Config) -> bool:
    model = config.model
    if model.tokenizer is not None:
        return False
    return model.local_dir is None and model.name == ModelConfig().name and not Path(model.name).exists()


def _summary(
    name: str,
    files: Sequence[SourceFile],
    found: Sequence[SourceRecords],
    store: ExampleStore | None,
    lacking: NoExamplesError | None,
) -> SetCheck:
    encoded = store.report if store else None
    bad: dict[str, list[Location]] = {}
    formats: Counter[str] = Counter()
    mappings: dict[str, Counter[str]] = {}
    left_out: Counter[str] = Counter()
    for part in found:
        for reason, places in part.bad.items():
            bad.setdefault(reason, []).extend(places)
        formats.update(part.formats)
        left_out.update(part.left_out)
        for format, counts in part.mappings.items():
            mappings.setdefault(format, Counter()).update(counts)
    dropped = encoded.dropped if encoded else lacking.dropped if lacking else bad
    whole = [places for reason, places in dropped.items() if is_whole(reason)]
    gone = Counter(place.path for place in {place for places in whole for place in places})
    sources = {
        file.name: SourceCheck(
            left_out=sum(gone[path] for path in part.files),
            repeated=part.repeated,
            leaked=part.leaked,
            asked=part.asked,
        )
        for file, part in zip(files, found, strict=True)
    }
    unprinted = sum(
        len(set(places)) for reason, places in dropped.items() if reason not in bad and not is_for_length(reason)
    )
    return SetCheck(
        name=name,
        paths=tuple(path for file in files for path in named(file.path)),
        files={file: count for part in found for file, count in part.files.items()},
        skipped=tuple(path for part in found for path in part.skipped),
        records=sum(sum(part.files.values()) for part in found),
        formats=dict(formats),
        mappings={format: dict(counts) for format, counts in mappings.items()},
        left_out=dict(left_out),
        dropped={reason: tuple(places) for reason, places in dropped.items()},
        repeated=sum(source.repeated for source in sources.values()),
        leaked=sum(source.leaked for source in sources.values()),
        asked=sum(source.asked for source in sources.values()),
        sources=sources,
        printed=sum(part.conversations for part in found) - unprinted if encoded else None,
        encoded=encoded,
    )


def _model(config: Config, renderer: Renderer) -> ModelCheck:
    tokenizer = renderer.tokenizer
    named = {"bos": [tokenizer.bos], "eos": [tokenizer.eos], "pad": [tokenizer.pad], "stops": sorted(tokenizer.stops)}
    return ModelCheck(
        tokenizer=config.model.tokenizer or config.model.local_dir or config.model.name,
        vocab_size=tokenizer.vocab_size,
        new_tokens=len(tokenizer.new_ids),
        special={
            name: {token: tokenizer.control_id(token) for token in tokens if token} for name, tokens in named.items()
        },
        template=renderer.template.name if renderer.template else None,
        max_seq_len=renderer.max_seq_len,
        document_end=renderer.documents.closing if renderer.documents else None,
        block_size=renderer.documents.block_size if renderer.documents else None,
    )


def _mixture(packing: Packing) -> MixtureCheck:
    mixture = packing.mixture
    return MixtureCheck(by=mixture.by, shares=mixture.shares(), plain=mixture.is_plain)


def _packing(packing: Packing, store: ExampleStore) -> PackingCheck:
    rows = packing.rows(0)
    return PackingCheck(
        how=packing.how,
        rows=len(rows),
        capacity=packing.capacity,
        fill=rows.fill,
        cut_examples=cut_conversations(rows, store),
    )
