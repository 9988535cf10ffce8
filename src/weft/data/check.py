"""Will this train what I think? Everything about the data that can be known without the model's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weft.config.schema import Config, MixBy, ModelConfig, PackingMethod
from weft.data.benchmarks import read_benchmarks
from weft.data.conversations import ConversationFile
from weft.data.inputs import (
    HELD_OUT,
    can_do_without_validation,
    held_out_files,
    load_renderer,
    missing_validation,
    split_notices,
    training_files,
)
from weft.data.leaks import Leaks, find_leaks, questions_held_out
from weft.data.mixture import Share
from weft.data.packing import Packing, packing_of
from weft.data.places import named
from weft.data.render import Renderer
from weft.data.split import asked, said
from weft.data.store import ExampleStore, NoExamplesError, Progress, SourceFile, StoreReport, open_store, read_source
from weft.data.store_account import TOO_LONG
from weft.data.style import effective_system_prompt
from weft.errors import ConfigError
from weft.types import Conversation, Location

NOTES = {
    "prompt": "the template opens an answer differently under another argument, and was asked with it",
    "header-appended": "the template ignores add_generation_prompt; what it prints before an answer was found by itself",
    "prompt-mismatch": "the text before an answer differs from the prompt that inference feeds",
    "spliced": "the template prints history differently once it is answered; prompt and answer were joined",
    "prompt-varies": "this answer follows another prompt than a plain answer would",
    "content-changed": "the template changes the text of an answer before it prints it",
    "content-dropped": "the template leaves out a part of an answer: its reasoning, or its text beside a call of a tool",
    "tools-dropped": "the template does not print the definitions of tools",
    "next-role-closes": "the next message's token ends an answer",
    "eos-appended": "the template does not close an answer; the EOS token was appended",
    "unanswered": "the conversation ends with a question; what follows its last answer is left out",
}
"""What the notes of a template's derivation mean; ``prompt:…`` carries the argument behind its colon."""

_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class SetCheck:
    """One file of records, or one set of them."""

    name: str
    paths: tuple[str, ...]
    records: int
    formats: Mapping[str, int]
    mappings: Mapping[str, Mapping[str, int]]
    """What was read as what, by format, in how many records."""
    left_out: Mapping[str, int]
    """How many messages of trees no conversation holds, by reason."""
    dropped: Mapping[str, tuple[Location, ...]]
    """Records that are left out, by reason: bad ones, those that the template cannot print, those that are too long."""
    repeated: int
    """Conversations that say the same as an earlier one of the set."""
    leaked: int
    """Conversations that say the same as one of the training set; 0 for the training set itself."""
    asked: int
    """Further conversations that ask what one of the training set asks, and answer otherwise."""
    encoded: StoreReport | None
    """None where there is no tokenizer yet, and where no record becomes an example."""


@dataclass(frozen=True, kw_only=True)
class Warn:
    """Something that trains, but perhaps not what was meant."""

    what: str
    fix: str
    where: tuple[Location, ...] = ()
    """The first of the records that it is about."""


@dataclass(frozen=True, kw_only=True)
class ModelCheck:
    """What reads the records."""

    tokenizer: str
    vocab_size: int
    special: Mapping[str, Mapping[str, int]]
    """``bos``, ``eos``, ``pad`` and ``stops``: the token's string and id."""
    template: str
    max_seq_len: int


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
    """Examples that some row holds only a part of."""


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

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(config: Config, progress: Progress | None = None) -> CheckReport:
    """Read, render and encode all records as training would, and say what is worth knowing.

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
            notices.append(f"there is no {name} file (data.{name}_path), so nothing is evaluated on it")
    renderer = None if _model_is_yet_to_be_made(config) else load_renderer(config)
    benchmarks, unread = read_benchmarks(config)
    sets: list[SetCheck] = []
    talks: dict[str, list[Conversation]] = {}
    stores: dict[str, ExampleStore] = {}
    trained: _Heard | None = None
    for name, group in files.items():
        found = [_read(config, file) for file in group]
        talks[name] = [talk for part in found for talk in part.conversations]
        heard = _Heard.of(talks[name])
        if renderer:
            try:
                stores[name] = _encode(config, group, renderer, progress)
            except NoExamplesError as problem:
                if name != "val" or not can_do_without_validation(config):
                    raise
                notices.append(f"nothing is evaluated while training: of what is held out, {problem.what}")
        notices += [notice for part in found for notice in part.notices]
        encoded = stores[name].report if name in stores else None
        sets.append(_summary(name, group, found, heard, trained, encoded))
        trained = trained or heard  # the training set is the first
    model = _model(config, renderer) if renderer else None
    mixture: MixtureCheck | None = None
    packing: PackingCheck | None = None
    unmixed: list[Warn] = []
    if renderer:
        try:
            planned = packing_of(config, stores["train"], files["train"])
            mixture, packing = _mixture(planned), _packing(planned)
        except ConfigError as problem:  # nothing is left of a dataset: what was left out of it is told all the same
            unmixed = [Warn(what=problem.what, fix=problem.fix or "")]
    held_out = find_leaks(questions_held_out(talks), talks["train"], quotations=False)
    leaks = (*held_out, *find_leaks(benchmarks, talks["train"]))
    return CheckReport(
        sets=tuple(sets),
        model=model,
        mixture=mixture,
        packing=packing,
        leaks=leaks,
        warnings=(*unmixed, *_benchmark_warnings(leaks[len(held_out) :]), *_warnings(config, sets, model, packing)),
        notices=(*notices, *unread),
    )


def cut_examples(cut: int, examples: int) -> Warn:
    """What is to be said where rows hold only parts of ``cut`` of the training examples."""
    return Warn(
        what=f"{cut:,} of {examples:,} training examples are cut by train.packing: wrapped, and trained in parts that do not "
        "see each other",
        fix="set train.packing=bfd, which keeps every example whole",
    )


def _model_is_yet_to_be_made(config: Config) -> bool:
    model = config.model
    return model.local_dir is None and model.name == ModelConfig().name and not Path(model.name).exists()


def _read(config: Config, file: SourceFile) -> ConversationFile:
    return read_source(file, on_bad_row=config.on_bad_row, system_prompt=effective_system_prompt(config))


def _encode(config: Config, files: Sequence[SourceFile], renderer: Renderer, progress: Progress | None) -> ExampleStore:
    return open_store(
        files,
        renderer,
        Path(config.data.cache_dir),
        on_bad_row=config.on_bad_row,
        system_prompt=effective_system_prompt(config),
        progress=progress,
        jobs=config.data.jobs,
    )


@dataclass(frozen=True, slots=True)
class _Heard:
    """Digests of what each conversation of a set says, and of what it asks."""

    said: tuple[str, ...]
    asked: tuple[str, ...]

    @classmethod
    def of(cls, conversations: Sequence[Conversation]) -> _Heard:
        return cls(tuple(map(said, conversations)), tuple(map(asked, conversations)))

    def shared_with(self, other: _Heard) -> tuple[int, int]:
        """How many conversations say what one of ``other`` says, and how many ask what one of them asks."""
        said, asked = set(other.said), set(other.asked)
        return sum(one in said for one in self.said), sum(one in asked for one in self.asked)


def _summary(
    name: str,
    files: Sequence[SourceFile],
    found: Sequence[ConversationFile],
    heard: _Heard,
    trained: _Heard | None,
    encoded: StoreReport | None,
) -> SetCheck:
    dropped: dict[str, list[Location]] = {}
    for row in (row for part in found for row in part.bad_rows):
        dropped.setdefault(row.reason, []).append(row.location)
    if encoded:
        dropped = encoded.dropped
    formats: Counter[str] = Counter()
    mappings: dict[str, Counter[str]] = {}
    left_out: Counter[str] = Counter()
    for part in found:
        formats.update(part.formats)
        left_out.update(part.left_out)
        for format, counts in part.mappings.items():
            mappings.setdefault(format, Counter()).update(counts)
    leaked, asked_too = heard.shared_with(trained) if trained else (0, 0)
    return SetCheck(
        name=name,
        paths=tuple(path for file in files for path in named(file.path)),
        records=sum(sum(part.files.values()) for part in found),
        formats=dict(formats),
        mappings={format: dict(counts) for format, counts in mappings.items()},
        left_out=dict(left_out),
        dropped={reason: tuple(places) for reason, places in dropped.items()},
        repeated=len(heard.said) - len(set(heard.said)),
        leaked=leaked,
        asked=asked_too - leaked,
        encoded=encoded,
    )


def _model(config: Config, renderer: Renderer) -> ModelCheck:
    tokenizer = renderer.tokenizer
    named = {"bos": [tokenizer.bos], "eos": [tokenizer.eos], "pad": [tokenizer.pad], "stops": sorted(tokenizer.stops)}
    return ModelCheck(
        tokenizer=config.model.local_dir or config.model.name,
        vocab_size=tokenizer.vocab_size,
        special={
            name: {token: tokenizer.control_id(token) for token in tokens if token} for name, tokens in named.items()
        },
        template=renderer.template.name,
        max_seq_len=renderer.max_seq_len,
    )


def _mixture(packing: Packing) -> MixtureCheck:
    mixture = packing.mixture
    return MixtureCheck(by=mixture.by, shares=mixture.shares(), plain=mixture.is_plain)


def _packing(packing: Packing) -> PackingCheck:
    rows = packing.rows(0)
    return PackingCheck(
        how=packing.how,
        rows=len(rows),
        capacity=packing.capacity,
        fill=rows.fill,
        cut_examples=rows.cut_examples,
    )


def _benchmark_warnings(leaks: Sequence[Leaks]) -> Iterator[Warn]:
    for one in leaks:
        for known, how in ((one.asked, "asked"), (one.quoted, "quoted")):
            if known:
                yield Warn(
                    what=f"{known} of {one.questions} questions of {one.name} are {how} in training: scores on it mislead",
                    fix="leave these training records out; `weft check --json` lists the first of them under leaks",
                )


def _warnings(
    config: Config, sets: Sequence[SetCheck], model: ModelCheck | None, packing: PackingCheck | None
) -> Iterator[Warn]:
    """The most harmful first: wrong scores, a wrong model, fewer records, repeated work."""
    train, *held_out = sets
    for one in held_out:
        if one.leaked:
            yield Warn(
                what=f"{one.leaked} of {one.records} {one.name} records say the same as training records: scores on them mislead",
                fix="prepare all records together with `weft prepare`, which keeps equal ones in one file",
            )
        if one.asked:
            yield Warn(
                what=f"{one.asked} of {one.records} {one.name} records ask what training records ask, and answer otherwise: "
                "scores on them tell little of new questions",
                fix="prepare all records together with `weft prepare`, which keeps a question in one file",
            )
    if model and train.encoded and (open_turns := train.encoded.turns - train.encoded.closed_turns):
        yield Warn(
            what=f"{open_turns} of {train.encoded.turns} trained turns do not end with a stop token: the model will not stop",
            fix=f"end the assistant's turns with {' or '.join(model.special['stops'])} in the chat template",
        )
    for one in sets:
        for how, shortened in (one.encoded.shortened if one.encoded else {}).items():
            yield Warn(
                what=f"{len(set(shortened))} of {one.records} {one.name} records are {how}, to fit into model.max_seq_len",
                fix="raise model.max_seq_len, or choose another data.overlong",
                where=tuple(shortened[:_SHOWN]),
            )
        for reason, places in one.dropped.items():
            too_long = reason.startswith(TOO_LONG)
            yield Warn(
                what=f"{len(set(places))} of {one.records} {one.name} records are left out: {reason}",
                fix="raise model.max_seq_len, or shorten these records" if too_long else "mend these records",
                where=places[:_SHOWN],
            )
    if train.encoded and packing and packing.cut_examples:
        yield cut_examples(packing.cut_examples, train.encoded.examples)
    if train.encoded and (count := train.encoded.notes.get("prompt-mismatch")):
        yield Warn(
            what=f"in {count} training examples the text before an answer differs from the prompt that inference feeds",
            fix="look at one with `weft show`, and at its prompt with `weft render --text`",
        )
    if train.repeated:
        yield Warn(
            what=f"{train.repeated} of {train.records} training records repeat an earlier one",
            fix="prepare the records with `weft prepare`, which leaves repetitions out",
        )
    if model is None:
        yield Warn(
            what=f"there is no model in {config.model.name} yet, so tokens were not counted and no mask was derived",
            fix=f"make one with `weft init-model nano --text FILE --out {config.model.name}`, or set model.name",
        )
