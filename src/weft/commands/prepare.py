"""Turn raw records into train, validation and test files.

Reads data.raw_path (a file, a directory, a pattern, a sample such as a.jsonl#500, or a list of these), detects the format of
each record, normalises its texts, leaves out duplicates, divides the rest by data.split, and writes one JSON record per
line to data.train_path, data.val_path and data.test_path. A report of every count lies beside them (prepare_report.json).
Running it again gives the same files.

--clean removes what preparing made and the cache of encoded examples; it never touches raw data, models or runs.

A row that cannot be used stops it, with file, line and reason; on_bad_row=drop moves such rows to rejects.jsonl instead.

Examples:
  weft prepare                                      data/raw/ → data/processed/, every key at its default
  weft prepare configs/my.yaml data.raw_path=questions.csv.gz
  weft prepare configs/my.yaml 'data.raw_path=[raw/*.parquet, forum.jsonl#500]'
  weft prepare configs/my.yaml data.split.train_ratio=0.9 data.split.val_ratio=0.1 data.split.test_ratio=0
  weft prepare mode=cpt data.raw_path=pages/        documents, for continued pretraining
  weft prepare configs/my.yaml data.near_duplicates=0.8 data.filter.min_response=20
  weft prepare configs/my.yaml 'data.benchmarks=[gsm8k/test.jsonl]'    does training know its questions?
  weft prepare configs/my.yaml on_bad_row=drop --style "Answer in one sentence."
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from weft.commands.arguments import add_config, add_json, console, emit, leak_lines, load, mapping_lines

if TYPE_CHECKING:
    from weft.data.near_duplicates import NearDuplicates
    from weft.data.prepare import PrepareReport


_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    add_config(parser)
    parser.add_argument(
        "--clean", action="store_true", help="remove what preparing made, and the cache; prepare nothing"
    )
    parser.add_argument("--style", metavar="TEXT", help="the same as data.style=TEXT, taken as it stands")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="how many processes may work where it pays; default: data.jobs, one per core",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prepare, and print the counts; or clean, and print what was removed."""
    from weft.config.scalars import dump
    from weft.data.prepare import prepare
    from weft.escape import visible

    if args.style is not None:
        args.words = [*args.words, f"data.style={dump(args.style)}"]
    config = load(args).config
    if args.clean:
        from weft.data.clean import clean

        removed = [str(path) for path in clean(config)]
        emit(
            args, {"removed": removed}, "\n".join(["removed:", *removed] if removed else ["there is nothing to remove"])
        )
        return 0
    from weft.data.in_parallel import processes

    report = prepare(config, jobs=processes(config.data.jobs) if args.jobs is None else args.jobs)
    emit(args, report.as_dict(), lambda: console().print(visible("\n".join(_lines(report)))))
    return 0


def _lines(report: PrepareReport) -> Iterator[str]:
    formats = ", ".join(f"{name} {count}" for name, count in report.formats.items())
    yield f"{report.records} records in {len(report.files)} file(s) of {report.raw_path}; formats: {formats}"
    rejected = sum(report.rejected.values())
    yield from mapping_lines(report.mappings)
    yield f"  {report.kept:>8}  kept"
    listed = f", listed in {report.rejects_path}"
    yield f"  {len(report.duplicates):>8}  duplicates left out{listed if report.duplicates else ''}"
    yield f"  {rejected:>8}  rejected{listed if rejected else ''}"
    for reason, count in report.rejected.items():
        yield f"            {count} × {reason}"
    if near := report.near_duplicates:
        yield from _near_lines(near)
    yield from leak_lines(report.leaks)
    yield "written:"
    for name, split in report.splits.items():
        yield f"  {split.records:>8}  {name:<5}  {split.path}"
    if report.normalised:
        steps = ", ".join(f"{step} in {count:,} records" for step, count in report.normalised.items())
        yield f"normalised (data.normalise): {steps}"
    if report.system_prompt_added:
        yield f"{report.system_prompt_added} records got data.system_prompt as their system message"
    if report.style:
        yield f"style, in every system message: {report.style}"
    if report.fields_beside:
        fields = ", ".join(f"{name} ({count})" for name, count in report.fields_beside.items())
        yield f"kept in meta, not trained: {fields}"
    for note in report.notes:
        yield f"note: {note}"


def _near_lines(near: NearDuplicates) -> Iterator[str]:
    if not near.records:
        yield f"no record is {near.threshold:g} similar to another (data.near_duplicates)"
        return
    yield f"nearly the same (data.near_duplicates: {near.threshold:g}), the first of {near.records:,}:"
    for pair in near.first[:_SHOWN]:
        yield f"            {pair.location} is {pair.similarity:.3f} similar to {pair.first}"
