"""metrics.jsonl repeats to the bit, training.log is for people, and neither a terminal nor a program is surprised."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from weft.errors import RunError
from weft.training.display import ConsoleDisplay, JsonDisplay
from weft.training.log import RunLog, cut_metrics, read_metrics
from weft.training.progress import Progress

LINE = {
    "step": 1,
    "epoch": 0.1,
    "loss": 2.5,
    "learning_rate": 1e-3,
    "grad_norm": 0.5,
    "tokens": 100,
    "targets": 60.0,
}
EVALUATION = {"step": 1, "epoch": 0.1, "eval_loss": 2.0, "eval_perplexity": 7.389, "eval_targets": 30.0}


class Shown:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.statuses: list[str] = []
        self.closed = False

    def show(self, event, values, text):
        self.events.append((event, dict(values)))
        self.texts.append(text)

    def step(self, step, total, status):
        self.statuses.append(status)

    def close(self):
        self.closed = True


def write_a_log(run: Path, display, start: Progress | None = None, tensorboard: bool = False) -> None:
    log = RunLog(run, display, start=start or Progress(), total_steps=10, tensorboard=tensorboard)
    time.sleep(0.001)
    log.step(Progress(step=1, tokens=100), loss=2.5, learning_rate=1e-3)
    log.metrics(LINE)
    log.metrics(EVALUATION)
    log.flush()
    log.close()


def test_metrics_hold_what_a_resumed_run_repeats_and_no_times(tmp_path):
    write_a_log(tmp_path, Shown())
    assert read_metrics(tmp_path / "metrics.jsonl") == [LINE, EVALUATION]
    assert (tmp_path / "metrics.jsonl").read_text() == json.dumps(LINE) + "\n" + json.dumps(EVALUATION) + "\n"


def test_the_display_gets_speeds_as_well(tmp_path):
    shown = Shown()
    write_a_log(tmp_path, shown)
    (train, values), (evaluation, evaluated) = shown.events
    assert (train, evaluation) == ("train", "eval")
    assert values.pop("tokens_per_second") > 0
    assert (values, evaluated) == (LINE, EVALUATION)
    assert "loss 2.5000" in shown.statuses[0]
    assert "tokens/s" in shown.statuses[0]
    assert "left" in shown.statuses[0]
    assert shown.closed


def test_the_text_log_has_a_time_on_every_line_and_no_terminal_codes(tmp_path):
    shown = Shown()
    log = RunLog(tmp_path, shown, start=Progress(), total_steps=1, tensorboard=False)
    log.notice("left out \x1b[31mred\x1b[0m.jsonl:3\nand more")
    log.close()
    lines = (tmp_path / "training.log").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == [r"left out \x1b[31mred\x1b[0m.jsonl:3", "and more"]
    assert all(line[:4].isdigit() for line in lines)
    assert "\x1b" not in shown.texts[0]


def test_a_resumed_log_goes_on_where_the_checkpoint_was(tmp_path):
    path = tmp_path / "metrics.jsonl"
    later = {**LINE, "step": 2}
    path.write_text(json.dumps(LINE) + "\n" + json.dumps(later) + "\n" + json.dumps({**LINE, "step": 3})[:20])
    cut_metrics(path, 2)
    assert read_metrics(path) == [LINE, later]
    write_a_log(tmp_path, Shown(), start=Progress(step=1))
    assert read_metrics(path) == [LINE, LINE, EVALUATION]


@pytest.mark.parametrize("line", ["{broken", "{}", "[]", '{"step": "one"}'])
def test_metrics_that_somebody_changed_are_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(LINE) + f"\n{line}\n")
    for read in (read_metrics, lambda path: cut_metrics(path, 2)):
        with pytest.raises(RunError, match=r"metrics\.jsonl:2: the line is not one that a run writes"):
            read(path)


def test_a_remaining_time_of_ages_is_no_overflow(tmp_path):
    shown = Shown()
    log = RunLog(tmp_path, shown, start=Progress(), total_steps=10**300, tensorboard=False)
    log.step(Progress(step=1, tokens=100), loss=2.5, learning_rate=1e-3)
    log.close()
    assert "days" in shown.statuses[0]


def test_a_log_that_never_began_has_no_metrics(tmp_path):
    cut_metrics(tmp_path / "metrics.jsonl", 3)
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_tensorboard_gets_every_number(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_a_log(tmp_path, Shown(), tensorboard=True)
    events = accumulator.EventAccumulator(str(tmp_path / "runs"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/learning_rate", "train/tokens_per_second", "eval/loss", "eval/perplexity"} <= tags
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.5)]


def test_json_is_one_object_a_line(tmp_path):
    stream = io.StringIO()
    write_a_log(tmp_path, JsonDisplay(stream))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["train", "eval"]
    assert events[1]["eval_loss"] == 2.0


def test_without_a_terminal_there_are_only_lines(tmp_path):
    stream = io.StringIO()
    write_a_log(tmp_path, ConsoleDisplay(Console(file=stream, width=200)))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("step 1/10  epoch 0.10  loss 2.5000")
    assert lines[1] == "step 1  validation loss 2.0000  perplexity 7.39"


def test_on_a_terminal_there_is_a_bar_that_goes_away(tmp_path):
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=True)
    write_a_log(tmp_path, ConsoleDisplay(console))
    assert "1/10" in stream.getvalue()
    assert "validation loss 2.0000" in stream.getvalue()
    assert "\x1b[?25h" in stream.getvalue()  # the cursor is shown again
