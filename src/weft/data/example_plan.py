"""One example of a plan (:mod:`weft.data.shape_plan`): what is derived once for stand-ins, and filled with what a record says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.data.derive import Printed, Rendered
from weft.data.runs import Runs, Stretch
from weft.data.shape_pattern import RunsPattern, SegmentPattern, StretchPattern
from weft.data.weighing import Weighable, weigh, weighing_notes
from weft.types import Segment


@dataclass(frozen=True, slots=True)
class ExamplePlan:
    """One example of a plan."""

    segments: tuple[SegmentPattern, ...]
    stretches: tuple[StretchPattern, ...]
    runs: RunsPattern
    """The same as the stretches."""
    notes: tuple[str, ...]

    @classmethod
    def of(cls, rendered: Rendered) -> ExamplePlan:
        """The plan of what is rendered for stand-ins."""
        return cls(
            tuple(map(SegmentPattern, rendered.segments)),
            tuple(map(StretchPattern, rendered.stretches)),
            RunsPattern(rendered.stretches, append_eos=rendered.append_eos),
            rendered.notes,
        )

    @property
    def size(self) -> int:
        """Characters of its segments; their stretches and runs hold them, too."""
        return 3 * sum(segment.size for segment in self.segments)

    def weighed(
        self, contents: Sequence[str], weighable: Sequence[Weighable], weights: Mapping[int, float]
    ) -> Rendered:
        """The example with these contents, where messages say what they count.

        Args:
            contents: what it prints.
            weighable: the spans of its text that count what a message says.
            weights: what messages say, by their indices.
        """
        segments = weigh(Filled(self, contents).segments, weighable, weights)
        notes = (*self.notes, *weighing_notes(segments))
        return Rendered(segments=segments, append_eos=self.runs.frame.append_eos, notes=notes)


@dataclass(slots=True)
class Filled:
    """An example by plan (:class:`weft.data.derive.Printed`), put together when it is asked for."""

    plan: ExamplePlan
    contents: Sequence[str]

    @property
    def append_eos(self) -> bool:
        """As :class:`weft.data.derive.Printed` says; so the others."""
        return self.plan.runs.frame.append_eos

    @property
    def notes(self) -> tuple[str, ...]:
        """As there."""
        return self.plan.notes

    @property
    def segments(self) -> tuple[Segment, ...]:
        """As there."""
        return tuple(segment.fill(self.contents) for segment in self.plan.segments)

    @property
    def stretches(self) -> list[Stretch]:
        """As there."""
        return [stretch.fill(self.contents) for stretch in self.plan.stretches]

    def runs(self) -> Runs:
        """As :meth:`weft.data.derive.Rendered.runs`."""
        return self.plan.runs.fill(self.contents)


def outcome(example: Printed) -> tuple[object, ...]:
    """All of an example by which two are the same."""
    return tuple(example.segments), example.append_eos, frozenset(example.notes)
