"""The command line: what it imports, what it says to the wrong words, and its exit codes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weft import cli
from weft.errors import DataError, Interrupted


def weft(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weft", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_help_is_instant_and_names_every_command() -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = weft("--help")
        times.append(time.perf_counter() - started)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)
    assert min(times) < 0.5


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_commands_help_teaches_and_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys\nfrom weft.cli import main\n"
        f"try: main([{command!r}, '--help'])\nexcept SystemExit as done: assert done.code == 0\n"
        "print([name for name in ('torch', 'transformers', 'pydantic', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    *text, heavy = done.stdout.strip().splitlines()
    assert heavy == "[]"
    assert any(f"weft {command}" in line for line in text[1:]), "an example of its use"


def test_process_is_another_name_for_prepare(tmp_path: Path) -> None:
    answers = {weft(name, "data.raw_path=nothing", cwd=tmp_path).stderr for name in ("process", "prepare")}
    assert len(answers) == 1
    assert "nothing" in answers.pop()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "did you mean `weft train`?"),
        (["check", "no-such.yaml"], "no-such.yaml"),
        (["check", "train.epoch=5"], "train.epochs"),
        (["check", "a.yaml", "b.yaml"], "only one configuration file"),
        (["train", "train.learning_rate=fast"], "must be a number"),
        (["style", "--style", "caf\udce9"], "command line: a word is not valid UTF-8: 'caf\\udce9'"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(words: list[str], said: str, tmp_path: Path) -> None:
    done = weft(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in weft("check", "no-such.yaml", "--debug", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("wrong"), 2),
        (Interrupted("stopped"), 130),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("ours"), 1),
        (OSError(28, "No space left on device"), 2),
    ],
)
def test_exit_codes(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["train"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_output_is_escaped_where_its_encoding_is_small_and_dropped_where_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "raw.jsonl").write_text('{"input": "\u27e6", "target": "a"}', encoding="utf-8")
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    words = f"{shlex.quote(sys.executable)} -m weft prepare data.raw_path=raw.jsonl data.style=\u27e6"
    for redirect, out in (("", "style, in every system message: \\u27e6\n"), (">&-", "")):
        command = ["bash", "-c", f"{words} {redirect}"]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=ascii_only, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert out in done.stdout


def test_an_error_does_not_go_to_standard_output_where_standard_error_is_closed() -> None:
    command = ["bash", "-c", f"{shlex.quote(sys.executable)} -m weft nonsense 2>&-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_the_systems_refusal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weft", "doctor", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=120, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("weft: the system refused: No space left on device\n  fix: ")


def test_an_error_message_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> int:
        raise DataError("a record says \x1b[2Jhello")

    monkeypatch.setattr(cli, "_run", fail)
    cli.main(["train"])
    assert capsys.readouterr().err == "weft: a record says \\x1b[2Jhello\n"


def test_an_error_that_nobody_reads_is_one_all_the_same(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        command = [sys.executable, "-m", "weft", "check", "none.yaml"]
        assert subprocess.run(command, cwd=tmp_path, stdout=nobody, stderr=nobody, check=False).returncode == 2


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"input": f"q{n}", "target": "a" * 200}) + "\n" for n in range(2000))
    (tmp_path / "raw.jsonl").write_text(rows)
    words = f"{shlex.quote(sys.executable)} -m weft prepare data.raw_path=raw.jsonl --json"
    command = f"{words} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["{", "0"]
    assert done.stderr == ""
