"""Runs of weft and its peers on the same material, each in a fresh process of its own environment."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, PROGRAMS, Setting, model_directory
from benchmarks.child import ChildFailed, Outcome, is_disturbed, quiet_environment, run_child, threads
from benchmarks.job import Job
from benchmarks.summary import Run, make_run

ALMOST_ZERO, REAL = 1e-12, 1e-3
"""Learning rates: one that leaves the losses of all steps those of the first weights, and one that trains."""


def say(text: str) -> None:
    """To the person who waits: the report alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where programs and their material are."""

    folder: Path
    pythons: Mapping[str, str]
    """The interpreter of each environment."""

    def prepare(self, case: str, steps: int | None) -> dict[str, Any]:
        """Make the material of a case, for ``steps`` steps in place of its own, and return its facts."""
        of_case = self.folder / case
        count = ["--steps", str(steps)] if steps else []
        self._call("weft", ["-m", "benchmarks.material", case, str(self.folder), *count], "material")
        if "llamafactory" in self.pythons:
            for order, out, layout in (
                ("drawn", "drawn", []),
                ("grouped", "grouped", []),
                ("drawn", "packed", ["--packed"]),
            ):
                shutil.rmtree(of_case / out, ignore_errors=True)
                words = [
                    "-m",
                    "benchmarks.peers.llamafactory_data",
                    str(of_case / f"{order}.jsonl"),
                    str(of_case / out),
                ]
                self._call("llamafactory", [*words, *layout], "llamafactory-data")
        facts = json.loads((of_case / "facts.json").read_text(encoding="utf-8"))
        say(f" {facts['examples']} {facts['records']}, {facts['tokens']:,} tokens, {facts['steps']} steps")
        return facts

    def run(
        self, case: str, program: str, setting: Setting, steps: int, *, rate: float = REAL, record: bool = False
    ) -> tuple[dict[str, Any], Run]:
        """Train once: what the process reports (benchmarks.stopwatch), and its measurements.

        Raises:
            ChildFailed: the program failed, or took another number of steps.
        """
        environment, report = PROGRAMS[program].environment, self.folder / "report.json"
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        report.unlink(missing_ok=True)
        words = self._weft if environment == "weft" else self._peer
        outcome = self._call(environment, words(case, program, setting, steps, rate, record), program)
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        found = json.loads(report.read_text(encoding="utf-8"))
        if len(found["step_ends"]) != steps:
            raise ChildFailed(f"{program}, {setting}: {len(found['step_ends'])} steps instead of {steps}")
        measured = make_run(found, started=outcome.started, others=outcome.others, threads=threads())
        say(
            f"  {PROGRAMS[program].title}, {setting}: {measured.step:.3f} s a step, {measured.total:.1f} s in total, "
            f"{measured.peak_bytes / 2**30:.2f} GiB{', DISTURBED' if is_disturbed(measured.others) else ''}"
        )
        return found, measured

    def _weft(self, case: str, _: str, setting: Setting, steps: int, rate: float, record: bool) -> list[str]:
        overrides = {
            "output_dir": self.folder / "run",
            "max_steps": steps,
            "learning_rate": rate,
            "packing": "bfd" if setting.packed else "none",
            "batch_size": setting.batch_size,
            "grad_accum": setting.grad_accum,
            "logging_steps": 1 if record else 1_000_000,
        }
        config, report = self.folder / case / "weft.json", self.folder / "report.json"
        words = ["-m", "benchmarks.run_weft", str(config), str(report), *(["--record"] if record else [])]
        return [*words, *(f"train.{name}={value}" for name, value in overrides.items())]

    def _peer(self, case: str, program: str, setting: Setting, steps: int, rate: float, record: bool) -> list[str]:
        environment = PROGRAMS[program].environment
        order = "grouped" if setting.grouped else "drawn"
        saved = "packed" if setting.packed else order
        job = Job(
            model=str(model_directory(self.folder, CASES[case].shape)),
            examples=str(
                self.folder / case / (f"{order}.jsonl" if environment == "trl" else saved)
            ),  # TRL packs itself
            steps=steps,
            batch_size=setting.batch_size,
            grad_accum=setting.grad_accum,
            packed=setting.packed,
            lora=CASES[case].lora,
            learning_rate=rate,
            record=record,
            folder=str(self.folder / "run"),
            report=str(self.folder / "report.json"),
        )
        job.write(self.folder / "job.json")
        return ["-m", f"benchmarks.peers.run_{environment}", str(self.folder / "job.json")]

    def _call(self, environment: str, words: Sequence[str], name: str) -> Outcome:
        command = [self.pythons[environment], *words]
        return run_child(command, self.folder / f"{name}.log", quiet_environment(self.folder))
