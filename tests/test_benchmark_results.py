"""What the benchmarks make of their runs: medians, verdicts, rounds in turn and the page."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import bench_peers, bench_step, table
from benchmarks.cases import (
    CASES,
    PROGRAMS,
    Bar,
    Setting,
)
from benchmarks.child import ROOT
from benchmarks.results_file import keep, measured, read_results
from benchmarks.step_summary import fit_line, gemm_share
from benchmarks.summary import Run, best_setting, figures, judge, judge_limit, spread, verdicts

RUN = Run(step=2.0, training=6.0, first_step=9.0, total=13.0, peak_bytes=2**30, threads_busy=0.9, others=0.01)


# medians and verdicts


def test_medians_are_taken_one_by_one() -> None:
    runs = [replace(RUN, step=step, total=total) for step, total in ((2.0, 30.0), (2.2, 10.0), (2.1, 20.0))]
    found = figures(runs)
    assert (found.step, found.total, found.peak_bytes) == (2.1, 20.0, 2**30)
    assert found.spread == pytest.approx(0.2 / 2.1)
    assert spread([4.0]) == 0.0


def test_of_settings_that_are_as_fast_the_smallest_is_best() -> None:
    fast, small, slow = PROGRAMS["weft"].settings
    tried = {
        fast: replace(RUN, step=1.0, peak_bytes=30),
        small: replace(RUN, step=1.02, peak_bytes=20),
        slow: replace(RUN, step=1.04, peak_bytes=10),
    }
    assert best_setting(tried) == small


@pytest.mark.parametrize(("ratio", "reached"), [(3.0, "target"), (2.99, "floor"), (2.5, "floor"), (2.49, "below")])
def test_a_ratio_reaches_its_bars(ratio: float, reached: str) -> None:
    assert judge("speed", ratio, Bar(floor=2.5, target=3.0)).reached == reached


def test_a_limit_is_kept_or_not() -> None:
    assert [judge_limit("memory", ratio, 0.7).reached for ratio in (0.7, 0.71)] == ["target", "below"]


def test_verdicts_cover_speed_memory_and_start() -> None:
    weft = figures([replace(RUN, step=1.0, peak_bytes=60, first_step=5.0)])
    found = {
        "weft": weft,
        "trl-padded": figures([replace(RUN, step=4.0, peak_bytes=500, first_step=10.0)]),
        "trl-packed": figures([replace(RUN, step=1.7, peak_bytes=100, first_step=8.0)]),
    }
    judged = {verdict.what: (round(verdict.ratio, 3), verdict.reached) for verdict in verdicts(CASES["small"], found)}
    assert judged == {
        "speed against trl-padded": (4.0, "floor"),
        "speed against trl-packed": (1.7, "floor"),
        "peak memory by trl-packed's": (0.6, "target"),
        "first step by TRL's earliest one": (0.625, "below"),
    }


def test_the_share_counts_six_operations_a_weight_and_token() -> None:
    assert gemm_share(parameters=1000, tokens=10, seconds=2.0, peak=60_000.0) == 0.5


def test_a_line_is_found_and_a_curve_refused() -> None:
    tokens = [1.0, 2.0, 4.0, 8.0, 16.0]
    line = fit_line(tokens, [3 + 2 * token for token in tokens])
    assert (line.fixed, line.per_token) == (pytest.approx(3), pytest.approx(2))
    assert line.is_straight
    assert not fit_line(tokens, [3 + 2 * token + 0.1 * token**2 for token in tokens]).is_straight


# rounds


class FakeRunner:
    """Every run takes a second of a clock that only it moves, and is disturbed as the list says."""

    def __init__(self, others: list[float]):
        self.others, self.order = others, []

    def run(self, case: str, program: str, setting: Setting, steps: int) -> tuple[dict[str, object], Run]:
        self.order.append(program)
        return {}, replace(RUN, others=self.others.pop(0) if self.others else 0.0)


SETTINGS = {name: PROGRAMS[name].settings[0] for name in ("weft", "trl-padded")}


def test_programs_run_in_turn() -> None:
    runner = FakeRunner([])
    rounds = bench_peers._rounds(runner, "tiny", SETTINGS, 4, 3, deadline=time.monotonic() + 60)
    assert runner.order == ["weft", "trl-padded"] * 3
    assert [entry["repeated"] for entry in rounds] == [False] * 3


def test_a_disturbed_round_is_repeated_once_and_marked() -> None:
    runner = FakeRunner([0.0, 0.5, 0.0, 0.0, 0.5, 0.0, 0.5, 0.0])
    first, second = bench_peers._rounds(runner, "tiny", SETTINGS, 4, 2, deadline=time.monotonic() + 60)
    assert runner.order == ["weft", "trl-padded"] * 4
    assert (first["repeated"], first["disturbed"]) == (True, [])
    assert (second["repeated"], second["disturbed"]) == (True, ["weft"])


def test_two_rounds_are_run_even_when_the_time_is_up() -> None:
    assert len(bench_peers._rounds(FakeRunner([]), "tiny", SETTINGS, 4, 3, deadline=time.monotonic())) == 2


# the page


MACHINE = {
    "processor": "P", "cores": 2, "threads used": 2, "memory bytes": 24 * 2**30, "system": "S", "python": "3.11",
}  # fmt: skip
MEASURED = {"date": "2026-01-02", "command": "python -m benchmarks.bench_peers", "machine": MACHINE}


def a_result() -> dict[str, object]:
    found = {"weft": figures([RUN]), "trl-padded": figures([replace(RUN, step=8.4)])}
    case = {
        "measured": MEASURED,
        "versions": {"trl": {"trl": "1.16.0"}},
        "unavailable": {"llamafactory": "no wheel"},
        "material": {
            "records": "records",
            "examples": 64,
            "tokens": 12_000,
            "mean": 187.5,
            "targets": 10_000,
            "steps": 4,
        },
        "settings": {"weft": "3 × 1 rows", "trl-padded": "8 × 2 examples"},
        "tried": {"trl-padded": {"8 × 2 examples": 8.4, "16 × 1 examples": 9.0}},
        "losses": {"mean": {"weft": 10.8, "trl-padded": 10.800001}, "by step": {}},
        "rounds": [{"runs": {}, "repeated": True, "disturbed": ["weft"]}],
        "figures": bench_peers._plain(found),
        "verdicts": [vars(verdict) for verdict in verdicts(CASES["small"], found)],
    }
    return {"small": case}


def test_the_page_says_what_was_measured_and_against_which_bars() -> None:
    text = table.page(a_result())
    assert "| hidden 512 × 8, vocabulary 32k, full | 4.20 (3.6 / 4.2: target reached) |" in text
    assert "| TRL padded | 8 × 2 examples | 8.400 |" in text
    assert "16 × 1 examples: 9.000" in text
    assert "rounds: 1, 1 of them disturbed" in text
    assert "10.800000 to 10.800001" in text
    assert "llamafactory is missing: no wheel" in text
    assert "do not carry over to GPUs" in text
    assert (
        "2026-01-02; P, 2 cores, 2 threads, 24 GiB, S, Python 3.11, float32; `python -m benchmarks.bench_peers`."
        in text
    )
    assert (
        "| hidden 512 × 8, vocabulary 32k, full: first step by TRL's earliest one | 1.00 | 0.6 | **not reached** |"
        in text
    )


def test_the_step_page_has_share_line_and_parts() -> None:
    line = fit_line([4096, 8192], [2.0, 4.0])
    share = {"shape": "small", "step seconds": 10.0, "peak flops per second": 200e9, "share": 0.585}
    text = bench_step.page({
        "share": {"measured": MEASURED | {"disturbed": 0}, "shapes": [share]},
        "line": {
            "measured": MEASURED | {"disturbed": 2}, "tokens": [4096, 8192], "seconds": [2.0, 4.0], "rounds": 3,
            "one row": False, "straight": line.is_straight, **vars(line),
        },
        "parts": {
            "measured": MEASURED | {"disturbed": 0}, "case": "small", "tokens_per_step": 3000.0, "steps": 4,
            "parts": {"optimizer": {"seconds": 0.5, "share": 0.25}},
        },
    })  # fmt: skip
    assert "| hidden 512 × 8, vocabulary 32,000 | 10.000 | 200 GFLOP/s | 58.5% | 58% |" in text
    assert "| 8,192 | 4.000 | 488.3 | +0.0% |" in text
    assert "median of 3 runs in turn. The line: 0.000 s + 488.3 µs a token; straight to ±5%." in text
    assert "| optimizer | 0.500 | 25.0% |" in text
    assert text.count("runs were disturbed") == 1


def test_a_new_measurement_replaces_only_its_own(tmp_path: Path) -> None:
    file = tmp_path / "results/a.json"
    assert read_results(file) == {}
    keep(file, "line", {"a": 1}, order=bench_step.PARTS)
    keep(file, "share", {"a": 2}, order=bench_step.PARTS)
    assert keep(file, "line", {"a": 3}, order=bench_step.PARTS) == {"share": {"a": 2}, "line": {"a": 3}}
    assert list(read_results(file)) == ["share", "line"]


def test_no_path_of_the_machine_is_kept() -> None:
    assert measured("bench_step", ["--out", f"{ROOT}/a b.json"])["command"] == (
        "python -m benchmarks.bench_step --out 'a b.json'"
    )


def test_a_table_is_markdown() -> None:
    assert table.markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_where_files_were_kept_is_not_recorded() -> None:
    words = ["--rounds", "2", "--folder", "/somewhere/else", "--only", "growth"]
    assert measured("bench_prepare", words)["command"] == "python -m benchmarks.bench_prepare --rounds 2 --only growth"
