"""In which runs a text is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weft.data.encoding import Parts, Run
from weft.types import Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A run to encode, and how many of its first ids belong to the stretch before."""

    run: Run
    trained: bool
    skip: int = 0
    shift: int = 0
    """How many of its first characters stand for those ids."""
    weights: tuple[tuple[int, int, float], ...] = ()
    """Spans of the run's text that count what the record says (:mod:`weft.data.weighing`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """What the runs of an example are, whatever their text; see :class:`Stretch`."""

    trained: tuple[bool, ...]
    """For each run."""
    skips: tuple[bool, ...]
    """Whether its first id belongs to the run before."""
    continues: tuple[bool, ...]
    append_eos: bool

    @classmethod
    def of(cls, stretches: Sequence[Stretch], *, append_eos: bool) -> Frame:
        """Of an example's stretches."""
        return cls(
            trained=tuple(stretch.trained for stretch in stretches),
            skips=tuple(stretch.skip > 0 for stretch in stretches),
            continues=tuple(stretch.run.continues for stretch in stretches),
            append_eos=append_eos,
        )


@dataclass(slots=True)  # not frozen: one is made for every example, in a third of the time
class Runs:
    """The runs of an example."""

    frame: Frame
    parts: Sequence[Parts]
    """Of each."""
    are_weighed: bool = False
    """Whether some of their text counts what the record says, as the stretches tell."""

    @classmethod
    def of(cls, stretches: Sequence[Stretch], *, append_eos: bool) -> Runs:
        """Of an example's stretches."""
        return cls(
            frame=Frame.of(stretches, append_eos=append_eos),
            parts=[stretch.run.parts for stretch in stretches],
            are_weighed=any(stretch.weights for stretch in stretches),
        )


def stretches_of(segments: Iterable[Segment]) -> list[Stretch]:
    """The runs in which a text is encoded.

    A trained run continues the text before it: the model goes on there, without a space of the tokenizer's. Context behind
    a control token is encoded together with that token, whose id is then cut off, as a server encodes the whole history
    (the token may swallow whitespace, and some tokenizers put a space behind it).
    """
    stretches: list[Stretch] = []
    closing: str | None = None  # the control token that ends the text so far
    for segment in segments:
        control, text = segment.control, segment.text
        if not text:
            continue
        if segment.trained or closing is None:
            run, shift = Run.of(text, control, continues=bool(stretches)), 0
        else:
            shift = len(closing)
            moved = [(start + shift, end + shift) for start, end in control]
            run = Run.of(closing + text, [(0, shift), *moved])
        weights = tuple((start + shift, end + shift, weight) for start, end, weight in segment.weights)
        stretches.append(Stretch(run=run, trained=segment.trained, skip=int(shift > 0), shift=shift, weights=weights))
        closing = text[control[-1][0] :] if control and control[-1][1] == len(text) else None
    return stretches
