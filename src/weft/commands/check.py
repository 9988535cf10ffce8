"""Answer 'will this train what I think?' before any weights load, on one page.

Reads the training, validation and test records as training would, prints them through the chat template, encodes them, and
tells: records and formats, what is left out and where, examples, tokens and the share of them that is trained, whether every
trained turn ends with a stop token, and how many held-out records are training records as well. Encoded examples are kept in
data.cache_dir, where training finds them.

Examples:
  weft check configs/my.yaml
  weft check configs/my.yaml model.max_seq_len=512        what would be left out?
  weft check configs/my.yaml --strict                     leave with exit code 1 if there are warnings
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, console, emit, leak_lines, load, mapping_lines

if TYPE_CHECKING:
    from weft.data.check import CheckReport, MixtureCheck, ModelCheck, PackingCheck, SetCheck
    from weft.data.store_build import SourceAccount


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    add_json(parser)
    parser.add_argument("--strict", action="store_true", help="exit code 1 if there are warnings")


def run(args: argparse.Namespace) -> int:
    """Check, and print the page."""
    from rich.progress import Progress

    from weft.data.check import check
    from weft.escape import visible

    config, errors = load(args).config, console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("encoding")
        report = check(config, lambda done, total: bar.update(task, completed=done, total=total or None))
    emit(args, report.as_dict(), lambda: console().print(visible("\n".join(_lines(report)))))
    return 1 if args.strict and report.warnings else 0


def _lines(report: CheckReport) -> Iterator[str]:
    width = max(len(one.name) for one in report.sets)
    for one in report.sets:
        first, *rest = _set_lines(one)
        yield f"{one.name:<{width}}  {first}"
        yield from (f"{'':<{width}}  {line}" for line in rest)
    if report.model:
        yield from _model_lines(report.model)
    if report.mixture and not report.mixture.plain:
        yield _mixture_line(report.mixture)
    if report.packing:
        yield _packing_line(report.packing)
    yield from leak_lines([one for one in report.leaks if one.asked or one.quoted is not None])
    yield from _note_lines(report)
    yield from (f"notice: {notice}" for notice in report.notices)
    if not report.warnings:
        yield "no warnings"
        return
    yield f"{len(report.warnings)} warning{'s' if len(report.warnings) > 1 else ''}, the most harmful first:"
    for number, warning in enumerate(report.warnings, 1):
        yield f"  {number}. {warning.what}"
        if warning.where:
            yield f"     first: {', '.join(map(str, warning.where))}"
        yield f"     fix: {warning.fix}"


def _set_lines(one: SetCheck) -> Iterator[str]:
    yield ", ".join(one.paths)
    formats = ", ".join(f"{name} {count:,}" for name, count in one.formats.items())
    left_out = sum(map(len, one.dropped.values()))
    yield f"{one.records:,} records ({formats}), {left_out:,} left out, {one.repeated:,} repeated"
    yield from mapping_lines(one.mappings)
    yield from (f"left out of message trees: {count:,} × {reason}" for reason, count in one.left_out.items())
    if found := one.encoded:
        share = found.trained_tokens / found.tokens
        yield f"{found.examples:,} examples, {found.tokens:,} tokens, longest {found.longest:,}"
        yield f"{found.trained_tokens:,} tokens trained ({share:.1%}), in {found.turns:,} turns"
        yield f"{found.closed_turns / found.turns:.1%} of the trained turns end with a stop token"
        for name, source in found.sources.items() if len(found.sources) > 1 else ():
            yield _source_line(name, source)
    if one.name != "train":
        yield f"{one.leaked:,} say the same as a training record, {one.asked:,} ask the same and answer otherwise"


def _source_line(name: str, source: SourceAccount) -> str:
    share = source.trained_tokens / max(source.tokens, 1)
    return (
        f"{name}: {source.records:,} records, {source.examples:,} examples, {source.tokens:,} tokens ({share:.1%} trained), "
        f"longest {source.longest:,}, {source.shortened:,} shortened, {source.too_long:,} too long"
    )


def _model_lines(model: ModelCheck) -> Iterator[str]:
    special = "; ".join(
        f"{name} " + ", ".join(f"{token} {index}" for token, index in tokens.items())
        for name, tokens in model.special.items()
        if tokens
    )
    yield f"tokenizer  {model.tokenizer}: {model.vocab_size:,} entries; {special}"
    yield f"template   {model.template}; examples have at most {model.max_seq_len:,} tokens"


def _mixture_line(mixture: MixtureCheck) -> str:
    from weft.data.mixture import mixture_line

    return "mixture    " + mixture_line(mixture.by, mixture.shares)


def _packing_line(packing: PackingCheck) -> str:
    from weft.data.packing import packing_line

    return "packing    " + packing_line(packing.how, rows=packing.rows, capacity=packing.capacity, fill=packing.fill)


def _note_lines(report: CheckReport) -> Iterator[str]:
    from weft.data.check import NOTES

    for one in report.sets:
        for note, count in (one.encoded.notes if one.encoded else {}).items():
            meaning = NOTES.get(note.partition(":")[0])
            yield f"note       {one.name}: {count:,} × {note}" + (f" ({meaning})" if meaning else "")
