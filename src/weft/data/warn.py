"""What trains, but perhaps not as it was meant: the warnings of ``weft check``, the most harmful first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from weft.data.documents import CUT
from weft.data.store_account import is_for_length, left_out
from weft.types import Location

if TYPE_CHECKING:
    from weft.config.schema import Config
    from weft.data.check import ModelCheck, PackingCheck, SetCheck
    from weft.data.leaks import Leaks

Harm = Literal[
    "cannot-train",
    "unclosed-turns",
    "benchmark-known",
    "leaked",
    "asked-before",
    "records-dropped",
    "nothing-drawn",
    "prompt-mismatch",
    "low-trained-share",
    "cut-examples",
    "too-long",
    "shortened",
    "repeated",
    "memory",
    "no-model",
]
"""The stable names of warnings, the most harmful first: no training, a wrong model, wrong scores, lost records, wasted work."""

LOW_TRAINED_SHARE = 0.05
"""Below this share of trained tokens, nearly all of a step computes context."""
_SHOWN = 3
_RANK = {harm: rank for rank, harm in enumerate(get_args(Harm))}


@dataclass(frozen=True, kw_only=True)
class Warn:
    """Something that trains, but perhaps not what was meant."""

    name: Harm
    what: str
    fix: str
    where: tuple[Location, ...] = ()
    """The first of the records that it is about."""


def ranked(warnings: Iterable[Warn]) -> tuple[Warn, ...]:
    """The most harmful first."""
    return tuple(sorted(warnings, key=lambda warning: _RANK[warning.name]))


def cut_examples(cut: int, examples: int) -> Warn:
    """What is to be said where rows hold only parts of ``cut`` of the training examples."""
    return Warn(
        name="cut-examples",
        what=f"{cut:,} of {examples:,} training examples are cut by train.packing: wrapped, and trained in parts that do not "
        "see each other",
        fix="set train.packing=bfd, which keeps every example whole",
    )


def nothing_drawn(source: str) -> Warn:
    """What is to be said of a source that has a share of an epoch, and no example in it."""
    return Warn(
        name="nothing-drawn",
        what=f"nothing of {source} is trained: its weight asks for less than one example an epoch",
        fix="raise its weight or data.mix.epoch, or set its weight to 0",
    )


def benchmark_warnings(leaks: Iterable[Leaks]) -> Iterator[Warn]:
    """What training tells of ``data.benchmarks``."""
    for one in leaks:
        for known, how in ((one.asked, "asked"), (one.quoted, "quoted")):
            if known:
                yield Warn(
                    name="benchmark-known",
                    what=f"{known} of {one.questions} questions of {one.name} are {how} in training: scores on it mislead",
                    fix="leave these training records out; `weft check --json` lists the first of them under leaks",
                )


def data_warnings(
    config: Config, sets: Iterable[SetCheck], model: ModelCheck | None, packing: PackingCheck | None
) -> Iterator[Warn]:
    """What there is to say about the records, in no order."""
    train, *held_out = sets
    for one in held_out:
        yield from _answered_before(one)
    for one in (train, *held_out):
        yield from _left_out(one)
    if model:
        yield from _learned(train, model, packing)
    if train.repeated:
        yield Warn(
            name="repeated",
            what=f"{train.repeated} of {train.records} training records repeat an earlier one",
            fix="prepare the records with `weft prepare`, which leaves repetitions out",
        )
    if model is None:
        yield Warn(
            name="no-model",
            what=f"there is no model in {config.model.name} yet, so tokens were not counted and no mask was derived",
            fix=f"make one with `weft init-model nano --text FILE --out {config.model.name}`, or set model.name",
        )


def _answered_before(one: SetCheck) -> Iterator[Warn]:
    if one.leaked:
        yield Warn(
            name="leaked",
            what=f"{one.leaked} of {one.records} {one.name} records say the same as training records: scores on them mislead",
            fix="prepare all records together with `weft prepare`, which keeps equal ones in one file",
        )
    if one.asked:
        yield Warn(
            name="asked-before",
            what=f"{one.asked} of {one.records} {one.name} records ask what training records ask, and answer otherwise: "
            "scores on them tell little of new questions",
            fix="prepare all records together with `weft prepare`, which keeps a question in one file",
        )


def _left_out(one: SetCheck) -> Iterator[Warn]:
    for how, shortened in (one.encoded.shortened if one.encoded else {}).items():
        why, fix = ", to fit into model.max_seq_len", "raise model.max_seq_len, or choose another data.overlong"
        if how == CUT:
            why, fix = "", "raise pack_factor, or remove it to train documents to their end"
        yield Warn(
            name="shortened",
            what=f"{len(set(shortened))} of {one.records} {one.name} records are {how}{why}",
            fix=fix,
            where=tuple(shortened[:_SHOWN]),
        )
    for reason, places in one.dropped.items():
        too_long = is_for_length(reason)
        yield Warn(
            name="too-long" if too_long else "records-dropped",
            what=f"{len(set(places))} of {one.records} {one.name} records are {left_out(reason)}: {reason}",
            fix="raise model.max_seq_len, or shorten these records; `weft check --rejects FILE` lists them"
            if too_long
            else "mend these records; `weft check --rejects FILE` lists them",
            where=places[:_SHOWN],
        )


def _learned(train: SetCheck, model: ModelCheck, packing: PackingCheck | None) -> Iterator[Warn]:
    found = train.encoded
    if found is None:
        return
    if open_turns := found.turns - found.closed_turns:
        yield Warn(
            name="unclosed-turns",
            what=f"{open_turns} of {found.turns} trained turns do not end with a stop token: the model will not stop",
            fix=f"end the assistant's turns with {' or '.join(model.special['stops'])} in the chat template",
        )
    if count := found.notes.get("prompt-mismatch"):
        yield Warn(
            name="prompt-mismatch",
            what=f"in {count} training examples the text before an answer differs from the prompt that inference feeds",
            fix="look at one with `weft show`, and at its prompt with `weft render --text`; to train behind the template's own "
            "generation prompt, which servers feed, set data.prompt_mismatch=splice",
        )
    if (share := found.trained_tokens / found.tokens) < LOW_TRAINED_SHARE:
        yield Warn(
            name="low-trained-share",
            what=f"only {share:.1%} of the training tokens are trained: nearly all of a step computes context",
            fix="shorten system messages and other context, or see with `weft show` whether an answer was taken for context",
        )
    if packing and packing.cut_examples:
        yield cut_examples(packing.cut_examples, found.examples)
