"""What is known of values under watch (:mod:`weft.data.watch`): what a template was told of them, and how it writes them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, NoReturn

Part = Literal["arguments", "definitions"]
"""What of a conversation a shape may know more or less of (:class:`weft.data.shape.Depth`)."""


class LookedInto(Exception):
    """The template did something with a value that depends on what it says."""


class Written(NamedTuple):
    """How a template writes an object as JSON."""

    options: tuple[Any, ...] = ()
    named: tuple[tuple[str, Any], ...] = ()
    """The arguments of the filter, by place and by name."""
    indent: str = ""
    """What stands before it in its line, and so before every further line of it."""

    @property
    def only_indents(self) -> bool:
        """Whether the options put nothing but line breaks and spaces before what stands within something else."""
        given = [*self.options, *(value for _, value in self.named)]
        return not any(isinstance(each, str) or "\n" in str(each) for each in given)


class Watch:
    """What a template learns of the values that it prints, each of which has a number.

    Attributes:
        absent: texts that it was told are not in a value. For other values without them it prints the same.
        trimmed: values of which it was told that there is no white space at their ends.
        differing: pairs of values of which it was told that they differ.
        lengths: values of which it was told the length.
        plain: values that it wrote as JSON and that look the same there; and whether that is JSON in ASCII.
        quoted: values that it wrote as JSON and that look otherwise there: as which value, and whether in ASCII.
        written: how it writes each object as JSON: in one way only.
        opened: what it looked into of which a shape may know more.
        looked_into: whether it learnt more than that of anything.
    """

    def __init__(self) -> None:
        self.absent: dict[int, set[str]] = {}
        self.trimmed: set[int] = set()
        self.differing: set[tuple[int, int]] = set()
        self.lengths: dict[int, int] = {}
        self.plain: dict[int, bool] = {}
        self.quoted: dict[int, tuple[int, bool]] = {}
        self.written: dict[int, Written] = {}
        self.opened: set[Part] = set()
        self.looked_into = False

    def look(self, part: Part | None = None) -> NoReturn:
        """The template looks into a value, which belongs to this part of a conversation."""
        self.looked_into = True
        if part:
            self.opened.add(part)
        raise LookedInto

    def lacks(self, number: int, text: str) -> None:
        """The template is told that ``text`` is not in a value."""
        self.absent.setdefault(number, set()).add(text)

    def trims(self, number: int) -> None:
        """The template is told that there is no white space at the ends of a value."""
        self.trimmed.add(number)

    def differ(self, one: int, other: int) -> None:
        """The template is told that two values differ."""
        self.differing.add((min(one, other), max(one, other)))

    def measures(self, number: int, length: int) -> None:
        """The template is told how long a value is."""
        if self.lengths.setdefault(number, length) != length:
            self.look()

    def quotes(self, number: int, as_json: int | None, *, in_ascii: bool) -> None:
        """The template writes a text as JSON: as another value, if it looks otherwise there."""
        if as_json is None:
            self.plain[number] = in_ascii or self.plain.get(number, False)
        elif self.quoted.setdefault(number, (as_json, in_ascii)) != (as_json, in_ascii):
            self.look()

    def writes(self, number: int, how: Written) -> None:
        """The template writes an object as JSON."""
        if not how.only_indents or self.written.setdefault(number, how) != how:
            self.look()
