"""weft's step by itself: ``make bench-step``, or ``python -m benchmarks.bench_step``.

share   which part of the machine's rate of matrix products a step reaches, every position a target
line    whether the time of a step is a straight line in its tokens, documents of 512, in the micro-batches that
        `batch_size: auto` makes (--one-row: all of a step in one flat row)
parts   where the time of a step on real records goes

Every measurement is a run of ``weft train`` (parts: of ``weft train --profile``) in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.cases import CASES, ROWS_PER_STEP, SHAPES
from benchmarks.child import ROOT, ChildFailed, is_disturbed, quiet_environment, run_child
from benchmarks.results_file import keep, measured, measured_line
from benchmarks.step_summary import LINE_TOLERANCE, SHARE_FLOOR, fit_line, gemm_share
from benchmarks.table import markdown

PARTS = ("share", "line", "parts")
ROWS, LENGTH = 8, 1024
"""Of a step whose share is measured."""
DOCUMENT = 512
TOKENS_PER_MICRO_BATCH = 4096
"""What `batch_size: auto` fills (weft.training.plan, which loads too much to be asked here)."""
LINE_TOKENS = (4096, 8192, 16384, 32768, 65536)


class _Bench:
    def __init__(self, folder: Path):
        self.folder, self.disturbed = folder, 0

    def call(self, *words: str) -> Any:
        """Run a module in a process of its own; what it reports, or None where that is not asked for."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        log = self.folder / f"{words[0]}.log"
        outcome = run_child([sys.executable, "-m", *words], log, quiet_environment(self.folder))
        if not report.is_file():
            return None
        self.disturbed += is_disturbed(outcome.others)
        return json.loads(report.read_text(encoding="utf-8"))

    def train(self, config: Path, *words: str, **settings: Any) -> Any:
        """One run of weft at a small, real learning rate."""
        overrides = {"output_dir": self.folder / "run", "learning_rate": "1e-4", "logging_steps": 1_000_000, **settings}
        report = str(self.folder / "report.json")
        return self.call(
            "benchmarks.run_weft",
            str(config),
            report,
            *(f"train.{name}={value}" for name, value in overrides.items()),
            *words,
        )

    def documents(self, shape: str, *, length: int, count: int) -> Path:
        """A configuration for documents of one length."""
        self.call("benchmarks.documents", shape, str(self.folder), "--length", str(length), "--count", str(count))
        return self.folder / f"{shape}-{length}/weft.json"

    def peak(self) -> float:
        """The best rate of all sizes, in operations a second."""
        return self.call("benchmarks.gemm", str(self.folder / "report.json"))["flops_per_second"]


def measure_share(bench: _Bench, shapes: Sequence[str], steps: int) -> dict[str, Any]:
    """Of each shape the share of the peak, which is taken before and after the run; the better one counts."""
    return {"shapes": [_share(bench, shape, steps) for shape in shapes]}


def _share(bench: _Bench, shape: str, steps: int) -> dict[str, Any]:
    config = bench.documents(shape, length=LENGTH, count=ROWS * steps)
    before = bench.peak()
    report = bench.train(config, batch_size=1, grad_accum=ROWS, max_steps=steps)
    peak = max(before, bench.peak())
    seconds = median(_durations(report))
    share = gemm_share(parameters=SHAPES[shape].parameters, tokens=ROWS * LENGTH, seconds=seconds, peak=peak)
    _say(f"  {shape}: {seconds:.3f} s, {share:.1%} of {peak / 1e9:.0f} GFLOP/s")
    return {
        "shape": shape,
        "step seconds": seconds,
        "tokens per second": ROWS * LENGTH / seconds,
        "peak flops per second": peak,
        "share": share,
        "peak bytes": report["peak_bytes"],
    }


def measure_line(bench: _Bench, sizes: Sequence[int], steps: int, rounds: int, *, one_row: bool) -> dict[str, Any]:
    """Seconds of a step by its tokens. The sizes run in turn, because a machine's speed changes from minute to minute."""
    config = bench.documents("tiny", length=DOCUMENT, count=max(sizes) // DOCUMENT)
    durations: dict[int, list[float]] = {tokens: [] for tokens in sizes}
    for _ in range(rounds):
        for tokens in sizes:
            micro_batches = 1 if one_row else tokens // TOKENS_PER_MICRO_BATCH
            size = tokens // DOCUMENT // micro_batches
            report = bench.train(config, batch_size=size, grad_accum=micro_batches, max_steps=steps)
            durations[tokens] += _durations(report)
            _say(f"  {tokens:,} tokens: {median(_durations(report)):.3f} s, {report['peak_bytes'] / 2**30:.2f} GiB")
    seconds = [median(durations[tokens]) for tokens in sizes]
    line = fit_line(sizes, seconds)
    return {
        "tokens": list(sizes),
        "one row": one_row,
        "rounds": rounds,
        "seconds": seconds,
        "straight": line.is_straight,
        **asdict(line),
    }


def measure_parts(bench: _Bench, case: str, steps: int) -> dict[str, Any]:
    """Mean seconds of each part of a step, on packed records."""
    bench.call("benchmarks.material", case, str(bench.folder))
    config = bench.folder / case / "weft.json"
    settings = {"packing": "bfd", "batch_size": ROWS_PER_STEP, "grad_accum": 1, "max_steps": steps + 1}
    profile = bench.train(config, "--profile", str(steps), **settings)["profile"]
    del profile["trace"]  # a path of this machine
    return {"case": case, **profile}


def _durations(report: dict[str, Any]) -> list[float]:
    """Of every step but the first."""
    ends = report["step_ends"]
    return [after - before for before, after in pairwise(ends)]


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured, as Markdown for docs/benchmarks.md."""
    tables = {"share": _share_table, "line": _line_table, "parts": _parts_table}
    return "\n\n".join(
        text for name, entry in results.items() for text in (*tables[name](entry), _measured(entry["measured"]))
    )


def _share_table(found: Mapping[str, Any]) -> list[str]:
    rows = [["every position a target, 8 × 1,024 tokens a step", "seconds a step", "GEMM peak", "share", "floor"]]
    for entry in found["shapes"]:
        shape, peak = SHAPES[entry["shape"]], entry["peak flops per second"]
        floor = f"{SHARE_FLOOR:.0%}" if entry["shape"] == "small" else "–"
        name = f"hidden {shape.hidden} × {shape.layers}, vocabulary {shape.vocabulary:,}"
        rows.append([name, f"{entry['step seconds']:.3f}", f"{peak / 1e9:.0f} GFLOP/s", f"{entry['share']:.1%}", floor])
    return [markdown(rows)]


def _line_table(line: Mapping[str, Any]) -> list[str]:
    rows = [["tokens a step, documents of 512", "seconds", "µs a token", "beside the line"]]
    for tokens, seconds, deviation in zip(line["tokens"], line["seconds"], line["deviations"], strict=True):
        rows.append([f"{tokens:,}", f"{seconds:.3f}", f"{seconds / tokens * 1e6:.1f}", f"{deviation:+.1%}"])
    verdict = "straight" if line["straight"] else "**not straight**"
    way = "One flat row a step" if line["one row"] else f"Micro-batches of {TOKENS_PER_MICRO_BATCH:,} tokens"
    return [
        markdown(rows),
        f"{way}, median of {line['rounds']} runs in turn. The line: {line['fixed']:.3f} s + "
        f"{line['per_token'] * 1e6:.1f} µs a token; {verdict} to ±{LINE_TOLERANCE:.0%}.",
    ]


def _parts_table(profile: Mapping[str, Any]) -> list[str]:
    rows = [["part of a step", "seconds", "share"]]
    rows += [[name, f"{part['seconds']:.3f}", f"{part['share']:.1%}"] for name, part in profile["parts"].items()]
    title = CASES[profile["case"]].title
    return [
        markdown(rows),
        f"{title}, {profile['tokens_per_step']:,.0f} tokens a step, mean of {profile['steps']}.",
    ]


def _measured(found: Mapping[str, Any]) -> str:
    others = f" {found['disturbed']} runs were disturbed by other work." if found["disturbed"] else ""
    return f"{measured_line(found)}{others}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    args = _arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    bench = _Bench(args.folder.resolve())
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "share": lambda: measure_share(bench, args.shapes, args.steps),
        "line": lambda: measure_line(bench, args.tokens, args.steps, args.rounds, one_row=args.one_row),
        "parts": lambda: measure_parts(bench, args.case, args.steps),
    }
    results: dict[str, Any] = {}
    try:
        for name in args.only:
            _say(name)
            bench.disturbed = 0
            found = measures[name]()
            entry = {"measured": measured("bench_step", sys.argv[1:]) | {"disturbed": bench.disturbed}, **found}
            results = keep(args.out, name, entry, order=PARTS)
    except ChildFailed as problem:
        _say(str(problem))
        return 1
    print(page(results))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, default=PARTS, help="what is measured; results of the rest are kept")
    add("--shapes", nargs="+", choices=SHAPES, default=["small", "tiny"], help="whose share is measured")
    add("--tokens", nargs="+", type=int, default=LINE_TOKENS, help="tokens a step, for the line")
    add("--one-row", action="store_true", help="for the line: all of a step in one flat row")
    add("--rounds", type=at_least(1), default=3, help="for the line: runs of each size (default: 3)")
    add("--case", choices=CASES, default="small", help="whose parts are measured")
    add("--steps", type=at_least(2), default=3, help="of every run; the first is not counted (default: 3)")
    add("--folder", type=Path, default=ROOT / "outputs/benchmarks", help="for models, data and runs")
    add("--out", type=Path, default=ROOT / "benchmarks/results/step-cpu.json", help="the file of results")
    args = parser.parse_args()
    if problem := _line_problem(args.tokens):
        parser.error(f"--tokens: {problem}")
    return args


def _line_problem(sizes: Sequence[int]) -> str | None:
    """Why no line can be drawn through steps of these sizes, or None."""
    if len(set(sizes)) < 2:
        return "a line needs two different sizes"
    if any(size <= 0 or size % TOKENS_PER_MICRO_BATCH for size in sizes):
        return f"sizes are multiples of {TOKENS_PER_MICRO_BATCH:,}"
    if any(max(sizes) % size for size in sizes):
        return "every size divides the largest, so that all train the same documents"
    return None


if __name__ == "__main__":
    sys.exit(main())
