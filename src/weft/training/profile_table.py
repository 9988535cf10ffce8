"""Where the time of a training step went: the numbers of a profile, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = {
    "data": "data",
    "body_forward": "body forward",
    "backward": "body backward",
    "head_loss": "head + loss",
    "optimizer": "optimizer",
    "other": "other",
}
"""The parts of a step, by their names in the files, with their names in the table."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What was measured over some steps of a run."""

    device: str
    dtype: str
    """The type of the matrix products."""
    threads: int
    """Of torch on the CPU."""
    step_seconds: tuple[float, ...]
    """Of every measured step."""
    part_seconds: Mapping[str, float]
    """Mean seconds a step, for each of :data:`PARTS` but ``other``."""
    part_flops: Mapping[str, float]
    """Mean floating-point operations a step, of the parts that consist of matrix products (weft.training.flops)."""
    not_counted: tuple[str, ...]
    """What computes matrix products that ``part_flops`` lacks."""
    tokens: float
    """Mean tokens a step."""
    targets: float
    """Mean targets a step."""
    peak: float
    """Floating-point operations a second of the best square matrix product."""
    peak_size: int
    """Rows and columns of that product."""
    trace: Path

    @property
    def seconds(self) -> float:
        """Mean seconds a step."""
        return sum(self.step_seconds) / len(self.step_seconds)

    def as_dict(self) -> dict[str, Any]:
        """The same and what follows from it, for ``profile.json``. Rates are operations a second, shares are of 1."""
        return {
            "device": self.device,
            "dtype": self.dtype,
            "threads": self.threads,
            "steps": len(self.step_seconds),
            "step_seconds": list(self.step_seconds),
            "tokens_per_step": self.tokens,
            "targets_per_step": self.targets,
            "tokens_per_second": self.tokens / self.seconds,
            "parts": {name: self._part(seconds, self.part_flops.get(name)) for name, seconds in self._all_parts()},
            "step": self._part(self.seconds, sum(self.part_flops.values())),
            "not_counted": list(self.not_counted),
            "peak_flops_per_second": self.peak,
            "peak_size": self.peak_size,
            "trace": str(self.trace),
        }

    def _all_parts(self) -> Iterator[tuple[str, float]]:
        measured = {**self.part_seconds, "other": self.seconds - sum(self.part_seconds.values())}
        return ((name, measured[name]) for name in PARTS)

    def _part(self, seconds: float, flops: float | None) -> dict[str, float | None]:
        rate = flops / seconds if flops and seconds else None
        return {
            "seconds": seconds,
            "share": seconds / self.seconds,
            "flops": flops,
            "flops_per_second": rate,
            "share_of_peak": rate / self.peak if rate else None,
        }


def profile_text(profile: Profile) -> str:
    """The table, with what must be known to read it."""
    values = profile.as_dict()
    rows = [(PARTS[name], part) for name, part in values["parts"].items()] + [("step", values["step"])]
    cells = [("", "seconds", "share", "GFLOP/s", "of peak"), *(_cells(name, part) for name, part in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    name_width, *number_widths = widths
    lines = [
        "  ".join([name.ljust(name_width), *map(str.rjust, numbers, number_widths)]).rstrip()
        for name, *numbers in cells
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *_notes(profile)])


def _cells(name: str, part: Mapping[str, float | None]) -> tuple[str, ...]:
    rate, of_peak = part["flops_per_second"], part["share_of_peak"]
    return (
        name,
        f"{part['seconds']:.4f}",
        f"{part['share']:.1%}",
        f"{rate / 1e9:,.1f}" if rate else "",
        f"{of_peak:.0%}" if of_peak else "",
    )


def _notes(profile: Profile) -> Iterator[str]:
    times = profile.step_seconds
    steps = (
        f"mean of {len(times)} steps, from {min(times):.4f} s to {max(times):.4f} s" if len(times) > 1 else "one step"
    )
    yield (
        f"{steps}; {profile.tokens:,.0f} tokens a step of which "
        f"{profile.targets:,.0f} trained; {profile.tokens / profile.seconds:,.0f} tokens/s"
    )
    yield (
        f"peak: {profile.peak / 1e9:,.1f} GFLOP/s, the best square {profile.dtype} matrix product here "
        f"({profile.peak_size:,} × {profile.peak_size:,}, {_where(profile)})"
    )
    if profile.not_counted:
        yield f"not counted in FLOP/s: {', '.join(profile.not_counted)}"
    if profile.device != "cpu":
        yield f"every part waits for the {profile.device} device here, so that a step takes a little longer than in training"
    yield f"trace of a short step: {profile.trace} (open it at https://ui.perfetto.dev or in chrome://tracing)"


def _where(profile: Profile) -> str:
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    return threads if profile.device == "cpu" else profile.device
