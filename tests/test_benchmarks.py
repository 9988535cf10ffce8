"""What the benchmarks compare and how they measure: no peer runs here, and none is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import bench_masks, bench_step, run_weft
from benchmarks.cases import (
    CASES,
    EXAMPLES_PER_STEP,
    PROGRAMS,
    ROWS_PER_STEP,
    SHAPES,
    model_directory,
)
from benchmarks.child import ROOT, ChildFailed, is_disturbed, run_child, share_of_others
from benchmarks.examples import fingerprint, read_examples, split_row, write_examples
from benchmarks.gate import LossesDiffer, Trace, check_same_steps, check_same_training
from benchmarks.job import Job
from benchmarks.stopwatch import Stopwatch
from benchmarks.summary import Run, make_run

from mask_pairs import shaped
from small_run import EXAMPLES, configure, make_project
from weft.training import plan

# what is compared


def test_every_setting_makes_the_same_step() -> None:
    for program in PROGRAMS.values():
        for setting in program.settings:
            unit = ROWS_PER_STEP if setting.packed else EXAMPLES_PER_STEP
            assert setting.batch_size * setting.grad_accum == unit


def test_a_case_is_run_with_the_peers_that_it_has_bars_against() -> None:
    assert CASES["tiny-152k"].programs == ("weft", "trl-padded", "trl-unpadded", "trl-packed")
    assert CASES["tiny"].programs == tuple(PROGRAMS)


def test_parameters_are_those_that_a_peer_counted() -> None:
    assert SHAPES["tiny"].parameters == 11_145_472


def test_the_parent_process_stays_free_of_torch() -> None:
    code = "import sys, benchmarks.bench_peers, benchmarks.bench_step; print({'torch', 'numpy', 'weft'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("module", "words", "says"),
    [
        ("bench_step", "--only nonsense", "invalid choice: 'nonsense'"),
        ("bench_step", "--steps 1", "1 is less than 2"),
        ("bench_step", "--rounds 0", "0 is less than 1"),
        ("bench_step", "--tokens 4096", "a line needs two different sizes"),
        ("bench_step", "--tokens 100 8192", "sizes are multiples of 4,096"),
        ("bench_step", "--tokens 0 8192", "sizes are multiples of 4,096"),
        ("bench_step", "--tokens 12288 16384", "every size divides the largest"),
        ("bench_peers", "--row huge", "invalid choice: 'huge'"),
        ("bench_peers", "--steps 1", "1 is less than 2"),
        ("bench_peers", "--steps x", "invalid whole_number value: 'x'"),
        ("bench_peers", "--rounds 0", "0 is less than 1"),
        ("bench_masks", "--only nonsense", "invalid choice: 'nonsense'"),
        ("bench_masks", "--records 0", "0 is less than 1"),
    ],
)
def test_odd_arguments_are_refused_before_anything_runs(module: str, words: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *words.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_the_line_is_measured_in_the_micro_batches_that_weft_makes() -> None:
    assert bench_step.TOKENS_PER_MICRO_BATCH == plan.TOKENS_PER_MICRO_BATCH


def test_another_model_has_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model_directory(tmp_path, "tiny")
    assert before == model_directory(tmp_path, "tiny") != model_directory(tmp_path, "small")
    monkeypatch.setitem(SHAPES, "tiny", replace(SHAPES["tiny"], layers=5))
    assert model_directory(tmp_path, "tiny") != before


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = Job(
        model="m", examples="e", steps=3, batch_size=2, grad_accum=8, packed=False, lora=True,
        learning_rate=1e-12, record=True, folder="f", report="r",
    )  # fmt: skip
    job.write(tmp_path / "job.json")
    assert Job.read(str(tmp_path / "job.json")) == job


# masks


def test_records_of_a_shape_differ_in_what_is_said() -> None:
    shape = shaped("gpt_oss_tools", "call and answer")
    plain, quoted = (bench_masks.saying(shape, 3, quoted=quoted) for quoted in (False, True))
    assert [plain[0].content, plain[2].content] == ["Q n3 and 21 words more", "21 n3 and 21 words more"]
    assert plain[1].tool_calls[0].arguments == {"city": "Rome n3 and 21 words more"}
    assert [quoted[0].content, quoted[2].content] == [plain[0].content, '{"n": 3, "found": "21"}']
    assert quoted[1].tool_calls[0].arguments == {"city": 'Rome n3 and 21 words more: "3"\n.'}


def test_messages_of_records_say_in_turn_what_they_count() -> None:
    shape = shaped("gpt_oss_tools", "call and answer")
    weights = [[message.weight for message in bench_masks.weighing(shape, number)] for number in (3, 4)]
    assert weights == [[0.0, 0.5, None, 0.0], [0.5, None, 0.0, 0.5]]
    assert bench_masks.weighing(shape, 3)[0].content == "Q n3 and 21 words more"


def test_slow_masks_are_listed_slowest_first() -> None:
    cases = [bench_masks.Case("a", "one", 0.01), bench_masks.Case("b", "two", 0.3), bench_masks.Case("c", "three", 4)]
    assert bench_masks.page("words", cases).splitlines() == [
        "words: 2 of 3 cases take more than 0.2 ms a record; half of all up to 0.300 ms.",
        "",
        "| template | shape | ms a record |",
        "| --- | --- | --- |",
        "| c | three | 4.00 |",
        "| b | two | 0.30 |",
    ]


# examples and losses


def test_a_fingerprint_sees_ids_and_labels_but_not_the_first_label() -> None:
    found = fingerprint([5, 6, 7], [-100, 6, -100])
    assert fingerprint([5, 6, 7], [5, 6, -100]) == found
    assert fingerprint([5, 6, 7], [-100, 6, 7]) != found
    assert fingerprint([5, 6, 8], [-100, 6, -100]) != found


def test_a_packed_row_is_split_into_its_examples_without_padding() -> None:
    assert list(split_row([1, 2, 3, 0], [-100, 2, -100, -100], [2, 1])) == [([1, 2], [-100, 2]), ([3], [-100])]


def test_examples_survive_their_file(tmp_path: Path) -> None:
    write_examples(tmp_path / "e.jsonl", [([1, 2], [-100, 2]), ([3], [-100])])
    assert read_examples(tmp_path / "e.jsonl") == {"input_ids": [[1, 2], [3]], "labels": [[-100, 2], [-100]]}


def trace(
    losses: tuple[float, ...] = (2.0, 3.0), targets: tuple[float, ...] = (30, 10), examples: str = "abc"
) -> Trace:
    return Trace(losses=losses, targets=targets, examples=tuple(examples), trained_parameters=7)


def test_the_mean_is_by_targets() -> None:
    assert trace().mean == 2.25


@pytest.mark.parametrize(
    "other",
    [trace((2.5, 2.0), (20, 20), "cab"), trace((2.2501,), (40,)), trace((2.2499,), (40,))],
    ids=["other batches and order", "a little more", "a little less"],
)
def test_programs_that_train_the_same_pass(other: Trace) -> None:
    check_same_training("weft", {"weft": trace(), "peer": other})


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (trace((2.2505,), (40,)), "mean loss 2.250500, weft: 2.250000"),
        (trace((float("nan"),), (40,)), "mean loss nan"),
        (trace((2.25,), (39,)), "39 targets, weft: 40"),
        (replace(trace(), trained_parameters=8), "8 parameters trained, weft: 7"),
        (trace(examples="abb"), "1 examples that weft does not have, 1 missing"),
        (trace(examples="abcc"), "1 examples that weft does not have, 0 missing"),
    ],
)
def test_programs_that_do_not_are_named(other: Trace, says: str) -> None:
    with pytest.raises(LossesDiffer, match=says):
        check_same_training("weft", {"weft": trace(), "peer": other})


def test_steps_agree_to_a_thousandth() -> None:
    check_same_steps("weft", {"weft": [10.0, 9.0], "peer": [10.009, 9.0]})
    with pytest.raises(LossesDiffer, match=r"peer: loss 9.010000 in step 2, weft: 9.000000"):
        check_same_steps("weft", {"weft": [10.0, 9.0], "peer": [10.0, 9.01]})
    with pytest.raises(LossesDiffer, match="1 steps, weft: 2"):
        check_same_steps("weft", {"weft": [10.0, 9.0], "peer": [10.0]})


# measuring


def test_a_stopwatch_reports_its_times(tmp_path: Path) -> None:
    watch = Stopwatch()
    watch.begin()
    watch.step()
    watch.step()
    watch.write(tmp_path / "r.json", losses=[1.0])
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["began"] <= report["step_ends"][0] <= report["step_ends"][1] <= time.monotonic()
    assert 2**20 < report["peak_bytes"] < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert report["losses"] == [1.0]


def test_a_run_is_what_the_times_say() -> None:
    report = {"began": 105.0, "step_ends": [109.0, 111.0, 113.0], "cpu_seconds": 12.0, "peak_bytes": 7}
    run = make_run(report, started=100.0, others=None, threads=2)
    assert run == Run(step=2.0, training=8.0, first_step=9.0, total=13.0, peak_bytes=7, threads_busy=0.75, others=None)


def test_a_child_is_timed_and_its_output_kept(tmp_path: Path) -> None:
    outcome = run_child([sys.executable, "-c", "import os; print(os.environ['A'])"], tmp_path / "log", {"A": "one"})
    assert (tmp_path / "log").read_text() == "one\n"
    assert outcome.cpu_seconds > 0
    assert outcome.started + outcome.seconds <= time.monotonic()


def test_a_child_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match=r"status 3; the end of .*log:\nwhy"):
        run_child([sys.executable, "-c", "print('why'); raise SystemExit(3)"], tmp_path / "log", {})


def test_others_are_whoever_worked_beside_us() -> None:
    assert share_of_others(busy=12.0, own=9.0, seconds=10.0, cores=2) == 0.15
    assert share_of_others(busy=9.0, own=9.1, seconds=10.0, cores=2) == 0.0
    assert [is_disturbed(share) for share in (None, 0.05, 0.051)] == [False, False, True]


def test_a_run_of_weft_reports_what_the_gate_and_the_table_need(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, tiny_model_dir)
    settings = configure(tmp_path, logging_steps=1, max_steps=3).config.model_dump(exclude_none=True)
    (tmp_path / "weft.json").write_text(json.dumps(settings))
    monkeypatch.setattr("sys.argv", ["run_weft", f"{tmp_path}/weft.json", f"{tmp_path}/report.json", "--record"])
    run_weft.main()
    report = json.loads((tmp_path / "report.json").read_text())
    run = make_run(report, started=report["began"], others=None, threads=1)
    assert run.step > 0
    assert run.total == run.training == pytest.approx(run.first_step + 2 * run.step)
    assert len(report["losses"]) == len(report["targets"]) == 3
    assert len(report["examples"]) == EXAMPLES
    assert report["trained_parameters"] == report["header"]["trained_parameters"]
