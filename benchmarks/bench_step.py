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
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import CASES, ROWS_PER_STEP, SHAPES
from benchmarks.child import ROOT, ChildFailed, is_disturbed, machine, quiet_environment, run_child
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
        return max(self.call("benchmarks.gemm", str(self.folder / "report.json"))["flops_per_second"].values())


def measure_share(bench: _Bench, shape: str, steps: int) -> dict[str, Any]:
    """The share of the peak, which is taken before and after the run; the better one counts. A row at a time is fastest."""
    config = bench.documents(shape, length=LENGTH, count=ROWS * steps)
    before = bench.peak()
    report = bench.train(config, batch_size=1, grad_accum=ROWS, max_steps=steps)
    peak = max(before, bench.peak())
    seconds = median(_durations(report))
    share = gemm_share(parameters=SHAPES[shape].parameters, tokens=ROWS * LENGTH, seconds=seconds, peak=peak)
    return {
        "shape": shape,
        "step seconds": seconds,
        "tokens per second": ROWS * LENGTH / seconds,
        "peak flops per second": peak,
        "share": share,
        "peak bytes": report["peak_bytes"],
    }


def measure_line(bench: _Bench, sizes: Sequence[int], steps: int, *, one_row: bool) -> dict[str, Any]:
    """Seconds of a step by its tokens."""
    config = bench.documents("tiny", length=DOCUMENT, count=max(sizes) // DOCUMENT)
    seconds = []
    for tokens in sizes:
        micro_batches = 1 if one_row else tokens // TOKENS_PER_MICRO_BATCH
        size = tokens // DOCUMENT // micro_batches
        report = bench.train(config, batch_size=size, grad_accum=micro_batches, max_steps=steps)
        seconds.append(median(_durations(report)))
        _say(f"  {tokens:,} tokens: {seconds[-1]:.3f} s, {report['peak_bytes'] / 2**30:.2f} GiB")
    line = fit_line(sizes, seconds)
    return {"tokens": list(sizes), "one row": one_row, "seconds": seconds, "straight": line.is_straight, **asdict(line)}


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


def page(result: dict[str, Any]) -> str:
    """What was measured, as Markdown for docs/benchmarks.md."""
    found = result["machine"]
    parts = [
        f"{result['date']}; {found['processor']}, {found['cores']} cores, {found['threads used']} threads, "
        f"{found['memory bytes'] / 2**30:.0f} GiB, {found['system']}, Python {found['python']}, float32, "
        f"`{result['command']}`; {result['disturbed']} measurements disturbed by other work."
    ]
    if "share" in result:
        rows = [["every position a target, 8 × 1,024 tokens a step", "seconds a step", "GEMM peak", "share", "floor"]]
        for entry in result["share"]:
            shape, peak = SHAPES[entry["shape"]], entry["peak flops per second"]
            floor = f"{SHARE_FLOOR:.0%}" if entry["shape"] == "small" else "–"
            name = f"hidden {shape.hidden} × {shape.layers}, vocabulary {shape.vocabulary:,}"
            rows.append(
                [name, f"{entry['step seconds']:.3f}", f"{peak / 1e9:.0f} GFLOP/s", f"{entry['share']:.1%}", floor]
            )
        parts.append(markdown(rows))
    if "line" in result:
        line = result["line"]
        rows = [["tokens a step, documents of 512", "seconds", "µs a token", "beside the line"]]
        for tokens, seconds, deviation in zip(line["tokens"], line["seconds"], line["deviations"], strict=True):
            rows.append([f"{tokens:,}", f"{seconds:.3f}", f"{seconds / tokens * 1e6:.1f}", f"{deviation:+.1%}"])
        verdict = "straight" if line["straight"] else "**not straight**"
        parts += [
            markdown(rows),
            f"The line: {line['fixed']:.3f} s + {line['per_token'] * 1e6:.1f} µs a token; {verdict} to "
            f"±{LINE_TOLERANCE:.0%}.",
        ]
    if "parts" in result:
        profile = result["parts"]
        rows = [["part of a step", "seconds", "share"]]
        rows += [[name, f"{part['seconds']:.3f}", f"{part['share']:.1%}"] for name, part in profile["parts"].items()]
        title = CASES[profile["case"]].title
        parts += [
            markdown(rows),
            f"{title}, {profile['tokens_per_step']:,.0f} tokens a step, mean of {profile['steps']}.",
        ]
    return "\n\n".join(parts)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=["small", "tiny"], help="whose share is measured"
    )
    parser.add_argument("--tokens", nargs="+", type=int, default=LINE_TOKENS, help="tokens a step, for the line")
    parser.add_argument("--one-row", action="store_true", help="for the line: all of a step in one flat row")
    parser.add_argument("--case", choices=CASES, default="small", help="whose parts are measured")
    parser.add_argument("--steps", type=int, default=4, help="of every run; the first is not counted (default: 4)")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs/benchmarks", help="for models, data and runs")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/step-cpu.json", help="the file of results"
    )
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    bench = _Bench(args.folder.resolve())
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.bench_step", *sys.argv[1:]]),
        "machine": machine(),
    }
    try:
        if "share" in args.only:
            _say("share of the machine's rate of matrix products")
            result["share"] = [measure_share(bench, shape, args.steps) for shape in args.shapes]
        if "line" in args.only:
            _say("step time by tokens")
            result["line"] = measure_line(bench, args.tokens, args.steps, one_row=args.one_row)
        if "parts" in args.only:
            _say("parts of a step")
            result["parts"] = measure_parts(bench, args.case, args.steps)
    except ChildFailed as problem:
        _say(str(problem))
        return 1
    result["disturbed"] = bench.disturbed
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(page(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
