"""Answer 'will this train what I think?' before any weights load, on one page.

Reads the training, validation and test records as training would, prints them through the chat template, encodes them, and
tells: records and formats, what is left out and where, examples, tokens and the share of them that is trained, whether every
trained turn ends with a stop token, how many held-out records are training records as well, how an epoch is mixed, packed and
divided into steps, how much memory training will take, and on which GPUs it fits. Warnings follow, the most harmful first.
Encoded examples are kept in data.cache_dir, where training finds them.

Examples:
  weft check configs/my.yaml
  weft check configs/my.yaml model.max_seq_len=512        what would be left out?
  weft check configs/my.yaml --strict                     leave with exit code 1 if there are warnings
  weft check configs/my.yaml --rejects left_out.jsonl     which records are left out, and why?
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, console, emit, leak_lines, load, mapping_lines

if TYPE_CHECKING:
    from weft.config.schema import Config
    from weft.data.check import CheckReport, MixtureCheck, ModelCheck, PackingCheck, SetCheck
    from weft.data.store import StoreReport
    from weft.data.store_account import SourceAccount
    from weft.models.memory import Memory
    from weft.training.outlook import Outlook, RunCheck
    from weft.types import Location

_MOST_FILES = 12
_DEVICES = {"cuda": "GPU with bfloat16", "cpu": "CPU"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    add_json(parser)
    parser.add_argument(
        "--rejects", metavar="FILE", help="list every record that is left out, with its place and reason, as JSON lines"
    )
    parser.add_argument("--strict", action="store_true", help="exit code 1 if there are warnings")


def run(args: argparse.Namespace) -> int:
    """Check, and print the page."""
    from rich.progress import Progress

    from weft.data.in_parallel import processes
    from weft.escape import visible
    from weft.training.outlook import check_run

    config, errors = load(args).config, console(stderr=True)
    # Without a thread that draws it, as no helper is forked beside another thread (weft.data.store_helper).
    with Progress(console=errors, transient=True, disable=not errors.is_terminal, auto_refresh=False) as bar:
        task = bar.add_task("encoding")
        report = check_run(
            config,
            lambda done, total: bar.update(task, completed=done, total=total or None, refresh=True),
            jobs=processes(config.data.jobs),
        )
    if args.rejects:
        _list_rejects(args.rejects, config, report)
    emit(args, report.as_dict(), lambda: console().print(visible("\n".join(_lines(report)))))
    return 1 if args.strict and report.warnings else 0


def _list_rejects(path: str, config: Config, report: RunCheck) -> None:
    """Write the file, and say so where it does not disturb what programs read."""
    from weft.data.rejects import write_rejects
    from weft.escape import visible

    count = write_rejects(Path(path), config, {one.name: one.dropped for one in report.sets})
    said = (
        f"{path} lists {count:,} records that are left out" if count else f"nothing is left out, so there is no {path}"
    )
    console(stderr=True).print(visible(said))


def _lines(report: RunCheck) -> Iterator[str]:
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
    if report.run:
        yield from _run_lines(report.run)
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
        if warning.fix:
            yield f"     fix: {warning.fix}"


def _set_lines(one: SetCheck) -> Iterator[str]:
    from weft.data.places import NOT_READ
    from weft.data.store_account import is_whole, left_out

    yield ", ".join(one.paths)
    if len(one.files) > 1:
        yield from (f"  {file}: {count:,} records" for file, count in list(one.files.items())[:_MOST_FILES])
    if len(one.files) > _MOST_FILES:
        yield f"  … and {len(one.files) - _MOST_FILES:,} more files"
    if one.skipped:
        yield f"{NOT_READ}: {', '.join(one.skipped)}"
    formats = ", ".join(f"{name} {count:,}" for name, count in one.formats.items())
    gone = sum(len(places) for reason, places in one.dropped.items() if is_whole(reason))
    yield f"{one.records:,} records ({formats}), {gone:,} left out, {one.repeated:,} repeated"
    yield from (f"{left_out(reason)}: {len(places):,} × {reason}" for reason, places in one.dropped.items())
    yield from (f"made to fit: {len(places):,} × {how}" for how, places in _shortened(one).items())
    yield from mapping_lines(one.mappings)
    yield from (f"left out of message trees: {count:,} × {reason}" for reason, count in one.left_out.items())
    if found := one.encoded:
        share = found.trained_tokens / found.tokens
        yield f"{found.examples:,} examples, {found.tokens:,} tokens, longest {found.longest:,}"
        if found.turns:
            yield f"{found.trained_tokens:,} tokens trained ({share:.1%}), in {found.turns:,} turns"
            yield f"{found.closed_turns / found.turns:.1%} of the trained turns end with a stop token"
            talks = sum(count for format, count in one.formats.items() if format != "text")
            yield f"the template prints {(one.printed or 0) - sum(one.formats.values()) + talks:,} of {talks:,} conversations"
        if found.documents:
            yield _document_line(found)
        for name, source in found.sources.items() if len(found.sources) > 1 else ():
            yield _source_line(name, source, one)
    if one.name != "train":
        yield f"{one.leaked:,} say the same as a training record, {one.asked:,} ask the same and answer otherwise"


def _document_line(found: StoreReport) -> str:
    repeated = found.blocks - found.documents
    tokens = found.block_tokens - repeated
    share = (found.block_tokens - found.blocks) / (tokens - found.documents)
    return (
        f"{found.documents:,} documents of {tokens:,} tokens in {found.blocks:,} blocks: {share:.0%} trained but for the first "
        f"token of each, {repeated:,} repeated as context"
    )


def _shortened(one: SetCheck) -> Mapping[str, Sequence[Location]]:
    return one.encoded.shortened if one.encoded else {}


def _source_line(name: str, source: SourceAccount, one: SetCheck) -> str:
    share = source.trained_tokens / max(source.tokens, 1)
    said = one.sources.get(name)
    again = f", {said.left_out:,} left out, {said.repeated:,} repeated" if said else ""
    if said and one.name != "train":
        again += f", {said.leaked:,} say and {said.asked:,} ask what a training record does"
    return (
        f"{name}: {source.records:,} records, {source.examples:,} examples, {source.tokens:,} tokens ({share:.1%} trained), "
        f"longest {source.longest:,}, {source.shortened:,} shortened, {source.too_long:,} too long{again}"
    )


def _model_lines(model: ModelCheck) -> Iterator[str]:
    special = "; ".join(
        f"{name} " + ", ".join(f"{token} {index}" for token, index in tokens.items())
        for name, tokens in model.special.items()
        if tokens
    )
    yield f"tokenizer  {model.tokenizer}: {model.vocab_size:,} entries; {special}"
    if model.template:
        yield f"template   {model.template}; examples have at most {model.max_seq_len:,} tokens"
    if model.block_size:
        yield f"documents  end with {model.document_end}; blocks have at most {model.block_size:,} tokens"


def _mixture_line(mixture: MixtureCheck) -> str:
    from weft.data.mixture import mixture_line

    return "mixture    " + mixture_line(mixture.by, mixture.shares)


def _packing_line(packing: PackingCheck) -> str:
    from weft.data.packing import packing_line

    return "packing    " + packing_line(packing.how, rows=packing.rows, capacity=packing.capacity, fill=packing.fill)


def _run_lines(run: Outlook) -> Iterator[str]:
    yield f"batch      {run.batch_size} × {run.grad_accum} micro-batches ({run.batch_reason})"
    yield f"steps      {run.steps_per_epoch:,} an epoch, {run.steps:,} in all, on one device"
    for device, memory in (run.memory or {}).items():
        about = "at least" if memory.activations is None else "about"
        yield f"memory     {about} {_gigabytes(memory.total)} on a {_DEVICES[device]}: {_parts(memory)}"
    if run.memory:
        yield "cards      " + ", ".join(f"{size} GB {verdict}" for size, verdict in run.cards.items())
    if run.unknown:
        yield f"unknown    {'activations' if run.memory else 'memory'}: {run.unknown}"


def _parts(memory: Memory) -> str:
    held = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "activations": memory.activations,
        "head": memory.head,
        "the process": memory.beside,
    }
    return ", ".join(f"{name} {_gigabytes(size)}" for name, size in held.items() if size is not None)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 10**9 else f"{size / 1e6:,.0f} MB"


def _note_lines(report: CheckReport) -> Iterator[str]:
    from weft.data.check import NOTES

    for one in report.sets:
        for note, count in (one.encoded.notes if one.encoded else {}).items():
            meaning = NOTES.get(note.partition(":")[0])
            yield f"note       {one.name}: {count:,} × {note}" + (f" ({meaning})" if meaning else "")
