"""weft's preparation of data against TRL's: ``make bench-prepare``, or ``python -m benchmarks.bench_prepare``.

messages   50,000 conversations of the recombined sentences of real data (benchmarks.recombined), the assistant's messages trained
prompts    their first questions and answers as prompt and completion, the completion trained
two        conversations, with two processes each, and weft also with one in turn
growth     weft alone, on ten times as many conversations: what a further record takes of memory, and what two processes do then

Each program reads the file, renders, encodes and masks onto the disk, and packs into rows, in a fresh process, in turn. TRL
writes packed rows; weft writes examples, and has the rows as a plan of examples in memory, which training reads them by. First
both prepare a part of the records, and every example must have the same ids and trained positions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.child import ROOT, ChildFailed, is_disturbed, quiet_environment, run_child
from benchmarks.environments import CannotInstall, python_of
from benchmarks.prepare_job import PrepareJob
from benchmarks.recombined import DATA, write_messages, write_prompts
from benchmarks.results_file import keep, measured, measured_line
from benchmarks.runner import say
from benchmarks.table import markdown

PARTS = ("messages", "prompts", "two", "growth")
FLOORS = {"messages": (6.0, 8.0), "prompts": (8.0, 10.0)}
"""How many times as fast as TRL: floor and target."""
SCALING_FLOOR, MEMORY_LIMIT, RECORD_LIMIT, AGAIN_LIMIT = 1.7, 0.5, 300, 1.0
"""Of two processes; of TRL's peak; bytes per further record; seconds of a second run."""
COMPARED = 2_000
"""Records whose examples are compared."""
TOKENIZER_SIZE = 32_000
_TAGGED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML as TRL needs it, which finds what is trained by tags."""


class _Bench:
    def __init__(self, folder: Path, pythons: Mapping[str, str], records: int) -> None:
        self.folder, self.pythons, self.records, self.disturbed = folder, pythons, records, 0

    def material(self) -> None:
        """Tokenizers: the same for both, with tags in the template for TRL alone."""
        from weft.data.template import built_in_source
        from weft.data.texts import read_texts
        from weft.models.new_tokenizer import save_tokenizer, train_tokenizer

        tokenizer = train_tokenizer(
            read_texts([DATA / "alpaca_en.json", DATA / "wiki.txt", DATA / "c4.jsonl"], []), TOKENIZER_SIZE
        )
        for name, template in (("weft", built_in_source("chatml")), ("trl", _TAGGED)):
            out = self.folder / f"tokenizer-{name}"
            out.mkdir(exist_ok=True)
            save_tokenizer(tokenizer, out, chat_template=template, max_length=4096)

    def file(self, kind: str, count: int) -> Path:
        """The records."""
        path = self.folder / f"{kind}-{count}.jsonl"
        if not path.is_file():
            {"messages": write_messages, "prompts": write_prompts}[kind](path, count)
        return path

    def run(self, program: str, kind: str, count: int, *, processes: int = 1, record: bool = False) -> dict[str, Any]:
        """What a process reports."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        job = PrepareJob(
            kind=kind,
            records=str(self.file(kind, count)),
            tokenizer=str(self.folder / f"tokenizer-{program}"),
            processes=processes,
            record=record,
            folder=str(work),
            report=str(self.folder / "report.json"),
        )
        job.write(self.folder / "job.json")
        module = "benchmarks.prepare_weft" if program == "weft" else "benchmarks.peers.prepare_trl"
        command = [self.pythons[program], "-m", module, str(self.folder / "job.json")]
        outcome = run_child(command, self.folder / f"{program}.log", quiet_environment(self.folder))
        shutil.rmtree(work)
        found = json.loads(Path(job.report).read_text(encoding="utf-8"))
        disturbed = is_disturbed(outcome.others)
        self.disturbed += disturbed
        say(
            f"  {program}, {count:,} {kind}, {processes} processes: {found['seconds']:.2f} s, "
            f"{found['peak_bytes'] / 2**20:.0f} MiB{', DISTURBED' if disturbed else ''}"
        )
        return found

    def compare(self, kind: str) -> None:
        """Raise where the two do not make the same examples."""
        ours, theirs = (
            Counter(self.run(program, kind, COMPARED, record=True)["examples"]) for program in ("weft", "trl")
        )
        if ours != theirs:
            raise ChildFailed(
                f"the examples differ: {(ours - theirs).total()} of {ours.total()} are weft's alone, "
                f"{(theirs - ours).total()} TRL's"
            )

    def against(self, kind: str, rounds: int, *, processes: int = 1) -> dict[str, Any]:
        """Both in turn; where they have several processes, also weft with one (``one``)."""
        programs = {"weft": ("weft", processes), "trl": ("trl", processes)}
        if processes == 1:
            self.compare(kind)
        else:
            programs["one"] = ("weft", 1)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
        for turn in range(rounds):  # forwards and backwards: no program always follows the same one
            for name, (program, count) in reversed(programs.items()) if turn % 2 else programs.items():
                runs[name].append(self.run(program, kind, self.records, processes=count))
        figures = {
            name: {
                "seconds": median(run["seconds"] for run in found),
                "spread": [min(run["seconds"] for run in found), max(run["seconds"] for run in found)],
                "peak bytes": median(run["peak_bytes"] for run in found),
                "peak bytes above libraries": median(run["peak_bytes"] - run["library_bytes"] for run in found),
            }
            for name, found in runs.items()
        }
        last = runs["weft"][-1]
        return {
            "records": self.records,
            "tokens": last["tokens"],
            "figures": figures,
            "ratio": 1 / _by_trls(figures, "seconds"),
            "memory": _by_trls(figures, "peak bytes"),
            "memory above libraries": _by_trls(figures, "peak bytes above libraries"),
            "seconds again": median(run["seconds_again"] for run in runs["weft"]),
            "fill": last["fill"],
            "known chunks": last["known_chunks"],
        }

    def growth(self) -> dict[str, Any]:
        """Peak memory of weft by the number of records, and the time of two processes for the most of them."""
        sizes = [self.records, 10 * self.records]
        found = [self.run("weft", "messages", count) for count in sizes]
        two = self.run("weft", "messages", sizes[-1], processes=2)
        peaks = [run["peak_bytes"] for run in found]
        return {
            "records": sizes,
            "peak bytes": peaks,
            "seconds": [run["seconds"] for run in found],
            "seconds of two": two["seconds"],
            "bytes per record": (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]),
        }


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What was measured, as Markdown for docs/benchmarks.md."""
    rows = [
        ["", "weft", "TRL", "weft is faster by", "weft's peak memory", "of TRL's", "above the libraries", "of TRL's"]
    ]
    titles = {
        "messages": "messages, one process",
        "prompts": "prompt and completion, one process",
        "two": "messages, two processes",
    }
    for name, title in titles.items():
        if name in results:
            rows.append([title, *_cells(results[name], FLOORS.get(name))])
    parts = [markdown(rows)]
    if "two" in results:
        one, two = (results["two"]["figures"][name]["seconds"] for name in ("one", "weft"))
        parts.append(f"Two processes of weft are {one / two:.2f} times as fast as one (floor {SCALING_FLOOR}).")
    if "messages" in results:
        found = results["messages"]
        parts.append(
            f"{found['records']:,} records, {found['tokens']:,} tokens. The same again takes {found['seconds again']:.2f} s "
            f"(limit {AGAIN_LIMIT:g}). Rows of 2,048 tokens are filled to {found['fill']:.1%}. Of the chunks that were encoded, "
            f"{found['known chunks']:.2%} were known."
        )
    if "growth" in results:
        grown = results["growth"]
        parts.append(
            f"From {grown['records'][0]:,} to {grown['records'][1]:,} records weft's peak grows by "
            f"{grown['bytes per record']:.0f} bytes a record (limit {RECORD_LIMIT}). "
            f"Of {grown['records'][1]:,} records, two processes are {grown['seconds'][1] / grown['seconds of two']:.2f} times as "
            "fast as one."
        )
    disturbed = sum(entry["measured"]["disturbed"] for entry in results.values())
    lines = dict.fromkeys(measured_line(entry["measured"]) for entry in results.values())
    parts += [*lines, *([f"{disturbed} runs were disturbed by other work."] if disturbed else [])]
    return "\n\n".join(parts)


def _by_trls(figures: Mapping[str, Mapping[str, Any]], name: str) -> float:
    return float(figures["weft"][name] / figures["trl"][name])


def _cells(found: Mapping[str, Any], bars: tuple[float, float] | None) -> list[str]:
    weft, trl = (found["figures"][program] for program in ("weft", "trl"))
    ratio = f"{found['ratio']:.1f}"
    if bars:
        floor, target = bars
        reached = (
            "target reached"
            if found["ratio"] >= target
            else "floor reached"
            if found["ratio"] >= floor
            else "**below the floor**"
        )
        ratio += f" ({floor:g} / {target:g}: {reached})"
    return [
        f"{weft['seconds']:.2f} s",
        f"{trl['seconds']:.1f} s",
        ratio,
        f"{weft['peak bytes'] / 2**20:.0f} MiB",
        f"{found['memory']:.2f} (limit {MEMORY_LIMIT:g})",
        f"{weft['peak bytes above libraries'] / 2**20:.0f} MiB",
        f"{found['memory above libraries']:.2f}",
    ]


def main() -> int:
    args = _arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    try:
        pythons = {program: python_of(program, say) for program in ("weft", "trl")}
        bench = _Bench(args.folder.resolve(), pythons, args.records)
        bench.material()
        for part in args.only:
            say(part)
            bench.disturbed = 0
            if part == "growth":
                found = bench.growth()
            else:
                kind = "prompts" if part == "prompts" else "messages"
                found = bench.against(kind, args.rounds, processes=2 if part == "two" else 1)
            entry = {"measured": measured("bench_prepare", sys.argv[1:]) | {"disturbed": bench.disturbed}, **found}
            results = keep(args.out, part, entry, order=PARTS)
    except (ChildFailed, CannotInstall) as problem:
        say(str(problem))
        return 1
    print(page(results))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, default=PARTS, help="what is measured; results of the rest are kept")
    add("--records", type=at_least(COMPARED), default=50_000, help="(default: 50,000)")
    add("--rounds", type=at_least(1), default=3, help="runs of each program in turn (default: 3)")
    add("--folder", type=Path, default=ROOT / "outputs/benchmarks/prepare", help="for records and what is made of them")
    add("--out", type=Path, default=ROOT / "benchmarks/results/prepare-cpu.json", help="the file of results")
    args = parser.parse_args()
    if not DATA.is_dir():
        parser.error(f"the records are made of the sentences in {DATA.relative_to(ROOT.parent)}, which is not here")
    return args


if __name__ == "__main__":
    sys.exit(main())
