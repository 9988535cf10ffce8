"""What was measured, as Markdown for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cases import CASES, PROGRAMS
from benchmarks.results_file import measured_line

_MARKS = {"target": "target reached", "floor": "floor reached", "below": "**below the floor**"}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row is the head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ratio_table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """How many times faster weft takes a step, with floors and targets; ``cases`` as in the JSON file."""
    programs = [name for name in PROGRAMS if name != "weft" and any(name in case["figures"] for case in cases.values())]
    rows = [["", *(f"weft against {PROGRAMS[name].title}" for name in programs)]]
    for key, case in cases.items():
        rows.append([CASES[key].title, *(_ratio(case, name) for name in programs)])
    return markdown(rows)


def _ratio(case: Mapping[str, Any], program: str) -> str:
    if program not in case["figures"]:
        return "–"
    for verdict in case["verdicts"]:
        if verdict["what"] == f"speed against {program}":
            bars = f"{verdict['floor']:g} / {verdict['target']:g}"
            return f"{verdict['ratio']:.2f} ({bars}: {_MARKS[verdict['reached']]})"
    return f"{case['figures'][program]['step'] / case['figures']['weft']['step']:.2f}"


def figure_table(case: Mapping[str, Any]) -> str:
    """Each program's medians."""
    rows = [
        ["", "setting", "seconds a step", "spread", "in total", "start to first step", "peak memory", "threads busy"]
    ]
    for program, found in case["figures"].items():
        rows.append(
            [
                PROGRAMS[program].title,
                case["settings"][program],
                f"{found['step']:.3f}",
                f"{found['spread']:.1%}" if len(case["rounds"]) > 1 else "–",
                f"{found['total']:.1f} s",
                f"{found['first_step']:.1f} s",
                f"{found['peak_bytes'] / 2**30:.2f} GiB",
                f"{found['threads_busy']:.0%}",
            ]
        )
    return markdown(rows)


def tried_lines(case: Mapping[str, Any]) -> list[str]:
    """What the settings that were tried took, in the one run that each had."""
    found = {
        PROGRAMS[program].title: ", ".join(f"{setting}: {seconds:.3f}" for setting, seconds in tried.items())
        for program, tried in case["tried"].items()
    }
    return [
        "Settings tried, seconds a step in one run each:",
        "\n".join(f"- {name}: {text}" for name, text in found.items()),
    ]


def limit_table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Memory and start-up against their limits."""
    rows = [["", "measured", "at most", ""]]
    for key, case in cases.items():
        for verdict in _limits(case):
            reached = "reached" if verdict["reached"] == "target" else "**not reached**"
            what = f"{CASES[key].title}: {verdict['what']}"
            rows.append([what, f"{verdict['ratio']:.2f}", f"{verdict['floor']:g}", reached])
    return markdown(rows)


def _limits(case: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [verdict for verdict in case["verdicts"] if verdict["target"] is None]


def page(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole section: tables, machines, versions, what was disturbed; ``cases`` as in the JSON file."""
    parts = [
        "CPU ratios do not carry over to GPUs.",
        ratio_table(cases),
        *([limit_table(cases)] if any(_limits(case) for case in cases.values()) else []),
    ]
    for key, case in cases.items():
        facts = case["material"]
        parts += [
            f"### {CASES[key].title}",
            measured_line(case["measured"]),
            "Versions: " + "; ".join(f"{name}: {_versions(found)}" for name, found in case["versions"].items()) + ".",
            *(f"{name} is missing: {reason}" for name, reason in case["unavailable"].items()),
            f"{facts['records']}: {facts['examples']} examples, {facts['tokens']:,} tokens ({facts['mean']:.0f} on "
            f"average), {facts['targets'] / facts['tokens']:.0%} of them trained, {facts['steps']} steps, "
            f"rounds: {len(case['rounds'])}{_disturbed(case['rounds'])}. "
            f"{_losses(case)}",
            figure_table(case),
            *(tried_lines(case) if case["tried"] else []),
        ]
    return "\n\n".join(parts)


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _disturbed(rounds: Sequence[Mapping[str, Any]]) -> str:
    count = sum(bool(entry["disturbed"]) for entry in rounds)
    return f", {count} of them disturbed by other work even when repeated" if count else ""


def _losses(case: Mapping[str, Any]) -> str:
    means = case["losses"]["mean"].values()
    return f"Mean losses before training: {min(means):.6f} to {max(means):.6f}."
