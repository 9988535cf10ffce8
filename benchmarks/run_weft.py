"""One run of weft, through the function behind ``weft train``: ``python -m benchmarks.run_weft CONFIG REPORT [key=value …]``.

``--record`` also reports losses and examples; ``--profile N`` measures the parts of N steps in place of a run, as
``weft train --profile`` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.examples import CONTEXT, fingerprint
from benchmarks.stopwatch import Stopwatch


class Recording:
    """A display that shows nothing and times every step."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()
        self.header: Mapping[str, Any] = {}

    def show(self, event: str, values: Mapping[str, Any], text: str) -> None:
        """The header is the last event before the first step."""
        if event == "header":
            self.header = values
            self.stopwatch.begin()

    def step(self, step: int, total: int, status: str) -> None:
        """An optimizer step is done."""
        self.stopwatch.step()

    def close(self) -> None:
        """Nothing is open."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("report", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--profile", type=int, metavar="N")
    args = parser.parse_intermixed_args()

    from weft.config.load import load_config
    from weft.importing import importing_libraries

    with importing_libraries():  # as the command imports it
        from weft.training.train import profile, train

    loaded = load_config(args.config, args.overrides)
    recording = Recording()
    more: dict[str, Any] = {"versions": {name: version(name) for name in ("weft", "transformers", "torch", "peft")}}
    if args.profile:
        more["profile"] = profile(loaded, args.profile, display=recording).as_dict()
    else:
        result = train(loaded, display=recording)
        if args.record:
            more |= _losses(result.output_dir) | {"examples": _examples(loaded)}
            more["trained_parameters"] = recording.header["trained_parameters"]
    recording.stopwatch.write(args.report, header=dict(recording.header), **more)


def _losses(run: Path) -> dict[str, list[float]]:
    """Of each step, where train.logging_steps is 1."""
    from weft.training.log import read_metrics

    lines = [line for line in read_metrics(run / "metrics.jsonl") if "loss" in line]
    so_far = [0.0, *(line["targets"] for line in lines)]
    return {
        "losses": [line["loss"] for line in lines],
        "targets": [after - before for before, after in pairwise(so_far)],
    }


def _examples(loaded: Any) -> list[str]:
    from weft.training.preflight import open_inputs

    store = open_inputs(loaded).train
    return [fingerprint(example.ids, labels_of(example)) for example in (store[index] for index in range(len(store)))]


def labels_of(example: Any) -> list[int]:
    """Token ids where an example is trained, -100 elsewhere, as the peers write it."""
    pairs = zip(example.ids.tolist(), example.loss_weights.tolist(), strict=True)
    return [token if weight else CONTEXT for token, weight in pairs]


if __name__ == "__main__":
    main()
