"""What it takes to derive the mask of a record: ``make bench-masks``, or ``python -m benchmarks.bench_masks``.

Under each template of the tests (tests/templates/pairs, in the shapes of well-known families), for each shape of conversation
that the tests know, records that differ in what is said in them. Those that come first pay for the shape; those behind them are
measured, in CPU time. The limit is 0.2 ms a record.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.child import ROOT
from benchmarks.table import markdown

sys.path.insert(0, str(ROOT / "tests"))

from mask_pairs import READY, SHAPES, TEXT_ONLY, TEXT_SHAPES, shaped
from weft.data.shape_plan import Planner
from weft.errors import TemplateError
from weft.types import Message, ToolCall

LIMIT = 0.2
"""Milliseconds."""


@dataclass(frozen=True)
class Case:
    """Records of one shape under one template."""

    family: str
    shape: str
    milliseconds: float
    """Of a record, on average."""


def saying(messages: Sequence[Message], number: int, *, quoted: bool = False) -> list[Message]:
    """The messages with more words of this ``number`` behind the first of everything that is said, and ``quoted`` ones."""

    def more(text: str) -> str:
        return re.sub(r"\S+", lambda found: f"{found[0]} n{number} and {number * 7} words more", text, count=1)

    def value(given: Any) -> Any:
        if not isinstance(given, str):
            return given
        return f'{more(given)}: "{number}"\n.' if quoted and given.strip() else more(given)

    def call(given: ToolCall) -> ToolCall:
        return replace(given, arguments={name: value(each) for name, each in given.arguments.items()})

    def content(message: Message) -> str:
        if not (quoted and message.role == "tool"):
            return more(message.content)
        return re.sub(r"\S+", lambda found: json.dumps({"n": number, "found": found[0]}), message.content, count=1)

    return [
        replace(
            message,
            content=content(message),
            reasoning=more(message.reasoning),
            tool_calls=tuple(map(call, message.tool_calls)),
        )
        for message in messages
    ]


def weighing(messages: Sequence[Message], number: int) -> list[Message]:
    """As :func:`saying`; each message says in turn that it counts nothing, half as much, or nothing about it."""
    weights = (0.0, 0.5, None)
    said = enumerate(saying(messages, number), number)
    return [replace(message, weight=weights[each % len(weights)]) for each, message in said]


Vary = Callable[[Sequence[Message], int], list[Message]]
"""Makes of the messages of a shape those of a number."""
RECORDS: dict[str, Vary] = {
    "words": saying,
    "quotes": partial(saying, quoted=True),
    "weights": weighing,
}
"""What records differ in: a few words; also quotation marks and line ends, in arguments and what tools found; also what their
messages count."""


def measured(first: int, count: int, vary: Vary) -> Iterator[Case]:
    """``count`` records of each case behind the ``first`` ones, as ``vary`` makes them; of no shape that a template refuses."""
    for family, pair in READY.items():
        for shape in TEXT_SHAPES if family in TEXT_ONLY else SHAPES:
            planner = Planner(pair.plain, pair.control)
            records = [vary(shaped(family, shape), number) for number in range(first + count)]
            try:
                for messages in records[:first]:
                    planner.examples(messages)
            except TemplateError:
                continue
            started = time.process_time()
            for messages in records[first:]:
                planner.examples(messages)
            yield Case(family, shape, (time.process_time() - started) * 1e3 / count)


def page(said: str, cases: Sequence[Case]) -> str:
    """What was measured, as Markdown; the slowest first."""
    slow = sorted((case for case in cases if case.milliseconds > LIMIT), key=lambda case: -case.milliseconds)
    usual = sorted(case.milliseconds for case in cases)[len(cases) // 2]
    line = f"{said}: {len(slow)} of {len(cases):,} cases take more than {LIMIT} ms a record; half of all up to {usual:.3f} ms."
    if not slow:
        return line
    rows = [
        ["template", "shape", "ms a record"],
        *([each.family, each.shape, f"{each.milliseconds:.2f}"] for each in slow),
    ]
    return f"{line}\n\n{markdown(rows)}"


def main() -> int:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=RECORDS, default=RECORDS, help="what the records differ in")
    add("--first", type=at_least(1), default=40, help="records before those that are measured (default: 40)")
    add("--records", type=at_least(1), default=40, help="records that are measured of each case (default: 40)")
    args = parser.parse_args()
    for said in args.only:
        print(page(said, list(measured(args.first, args.records, RECORDS[said]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
