"""weft against other trainers: ``make bench-peers``, or ``python -m benchmarks.bench_peers``.

For each row of the table: weights and examples are made once and are the same for all; every program trains them at a
learning rate of almost zero and reports its examples and losses, which must agree (else nothing is timed and the status
is 1); then the programs run in turn, A B C A B C, each time in a fresh process, and a round during which the machine did
other work is repeated once. Logging, evaluation and saving are outside of what is timed.

    make bench-peers                                      the whole table, more than an hour on two cores
    make bench-peers ARGS="--row tiny --rounds 1"         a row of it; the results of the others are kept
    make bench-peers ARGS="--tune"                        try every setting of every program, and keep the best for later runs
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.arguments import at_least
from benchmarks.cases import ALL_AT_ONCE, CASES, PROGRAMS, Setting
from benchmarks.child import ROOT, ChildFailed, is_disturbed
from benchmarks.environments import CannotInstall, python_of
from benchmarks.gate import LossesDiffer, Trace, check_same_steps, check_same_training
from benchmarks.results_file import keep, measured, read_results, write_json
from benchmarks.runner import ALMOST_ZERO, Runner, say
from benchmarks.summary import Run, best_setting, figures, verdicts
from benchmarks.table import page

RESULTS = ROOT / "benchmarks/results"
LEAST_ROUNDS = 2


def main() -> int:
    args = _arguments()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    programs = [name for name in PROGRAMS if name == "weft" or name in args.programs]
    pythons, unavailable = _environments(programs)
    programs = [name for name in programs if PROGRAMS[name].environment in pythons]
    runner = Runner(folder=folder, pythons=pythons)
    kept = read_results(args.settings)
    try:
        if args.tune:
            _tune(runner, args, programs, kept)
        else:
            _compare(runner, args, programs, kept, unavailable)
    except LossesDiffer as problem:
        say(f"\nThe programs do not train the same thing, so they are not compared:\n{problem}")
        return 1
    except ChildFailed as problem:
        say(f"\n{problem}")
        return 1
    return 0


def _compare(
    runner: Runner,
    args: argparse.Namespace,
    programs: Sequence[str],
    kept: Mapping[str, Any],
    unavailable: Mapping[str, str],
) -> None:
    """Measure, write the results and print the page."""
    began = time.monotonic()
    results: dict[str, Any] = {}
    for number, case in enumerate(args.row, 1):
        say(f"\n{CASES[case].title}")
        deadline = began + args.minutes * 60 * number / len(args.row)
        material = runner.prepare(case, args.steps)
        tried = kept.get(case, {})
        settings = {
            name: Setting(**tried[name]["best"]) if name in tried else PROGRAMS[name].settings[0]
            for name in CASES[case].programs
            if name in programs
        }
        losses, versions = _check_losses(runner, case, settings, material["steps"])
        rounds = _rounds(runner, case, settings, material["steps"], args.rounds, deadline)
        found = {name: figures([entry["runs"][name] for entry in rounds]) for name in settings}
        entry = {
            "measured": measured("bench_peers", sys.argv[1:]),
            "versions": versions,
            "unavailable": dict(unavailable),
            "material": material,
            "settings": {name: str(setting) for name, setting in settings.items()},
            "tried": {name: tried[name]["seconds a step"] for name in settings if name in tried},
            "losses": losses,
            "rounds": [{**entry, "runs": _plain(entry["runs"])} for entry in rounds],
            "figures": _plain(found),
            "verdicts": [asdict(verdict) for verdict in verdicts(CASES[case], found)],
        }
        results = keep(args.out, case, entry, order=tuple(CASES))  # after every row: a later one may fail
    print(page(results))


def _check_losses(
    runner: Runner, case: str, settings: Mapping[str, Setting], steps: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Losses of every program, which agree as its examples do, and the versions of each environment.

    Raises:
        LossesDiffer: they do not agree.
    """
    say(" the same examples and losses?")
    traces, versions = {}, {}
    for name, setting in settings.items():
        found, _ = runner.run(case, name, setting, steps, rate=ALMOST_ZERO, record=True)
        columns = {column: tuple(found[column]) for column in ("losses", "targets", "examples")}
        traces[name] = Trace(trained_parameters=found["trained_parameters"], **columns)
        versions[PROGRAMS[name].environment] = found["versions"]
    check_same_training("weft", traces)
    by_step = {}
    if CASES[case].stepwise:
        padded = {name: setting for name, setting in settings.items() if name.endswith("-padded")}
        for name, setting in {"weft": ALL_AT_ONCE, **padded}.items():
            by_step[name] = runner.run(case, name, setting, steps, record=True)[0]["losses"]
        check_same_steps("weft", by_step)
    return {"mean": {name: trace.mean for name, trace in traces.items()}, "by step": by_step}, versions


def _rounds(
    runner: Runner, case: str, settings: Mapping[str, Setting], steps: int, count: int, deadline: float
) -> list[dict[str, Any]]:
    """The programs in turn, ``count`` times; fewer, but two at least, where the time is up."""
    rounds: list[dict[str, Any]] = []
    while len(rounds) < count and (len(rounds) < LEAST_ROUNDS or time.monotonic() < deadline):
        say(f" round {len(rounds) + 1}")
        runs = _round(runner, case, settings, steps)
        repeated = _disturbed(runs)
        if repeated:
            say(f" round {len(rounds) + 1} again: the machine did other work during {', '.join(repeated)}")
            runs = _round(runner, case, settings, steps)
        rounds.append({"runs": runs, "repeated": bool(repeated), "disturbed": _disturbed(runs)})
    return rounds


def _round(runner: Runner, case: str, settings: Mapping[str, Setting], steps: int) -> dict[str, Run]:
    return {name: runner.run(case, name, setting, steps)[1] for name, setting in settings.items()}


def _disturbed(runs: Mapping[str, Run]) -> list[str]:
    return [name for name, run in runs.items() if is_disturbed(run.others)]


def _tune(runner: Runner, args: argparse.Namespace, programs: Sequence[str], kept: dict[str, Any]) -> None:
    """Run every setting of every program once, and note the seconds a step and the best of each in the file."""
    for case in args.row:
        say(f"\n{CASES[case].title}")
        steps = runner.prepare(case, args.steps)["steps"]
        for name in (name for name in CASES[case].programs if name in programs):
            runs = {setting: _undisturbed(runner, case, name, setting, steps) for setting in PROGRAMS[name].settings}
            best = best_setting(runs)
            by_name = {str(setting): run.step for setting, run in runs.items()}
            kept.setdefault(case, {})[name] = {"best": asdict(best), "seconds a step": by_name}
            write_json(args.settings, kept)
            say(f"  best for {PROGRAMS[name].title}: {best}")


def _undisturbed(runner: Runner, case: str, program: str, setting: Setting, steps: int) -> Run:
    """A run, or a second one where the machine did other work during the first."""
    _, run = runner.run(case, program, setting, steps)
    return runner.run(case, program, setting, steps)[1] if is_disturbed(run.others) else run


def _environments(programs: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The interpreters of those that install here, and why the others do not."""
    pythons, unavailable = {}, {}
    for environment in dict.fromkeys(PROGRAMS[name].environment for name in programs):
        try:
            pythons[environment] = python_of(environment, say)
        except CannotInstall as problem:
            unavailable[environment] = str(problem)
            say(f"{environment} does not install here: {problem}")
    return pythons, unavailable


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in found.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--row", nargs="+", choices=CASES, default=list(CASES), help="rows of the table (default: all)")
    add(
        "--programs",
        nargs="+",
        choices=PROGRAMS,
        default=list(PROGRAMS),
        help="what weft is compared with (default: all)",
    )
    add("--rounds", type=at_least(1), default=2, help="at most so many (default: 2)")
    add(
        "--minutes", type=float, default=60, help="begin no third round of a row after its share of these (default: 60)"
    )
    add("--steps", type=at_least(2), help="optimizer steps of a run; the first is not counted (default: by row)")
    add("--tune", action="store_true", help="try all settings instead, and keep the best of each program")
    add("--folder", type=Path, default=ROOT / "outputs/benchmarks", help="for models, data and runs")
    add("--out", type=Path, default=RESULTS / "peers-cpu.json", help="the file of results")
    add(
        "--settings",
        type=Path,
        default=RESULTS / "peers-cpu-settings.json",
        help="the file of settings that were tried",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
