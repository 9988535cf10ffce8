"""What a finished run says about itself, for people and for ``train_summary.json``."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from weft.training.plan import Plan
from weft.training.progress import Progress


def summarise(
    progress: Progress, plan: Plan, metrics: Sequence[Mapping[str, float]], *, weights_from: str
) -> dict[str, Any]:
    """The numbers of a run. Losses are per target, in nats; memory is the highest use of this process, in bytes.

    Args:
        progress: at the end.
        plan: of the run.
        metrics: the lines of its ``metrics.jsonl``.
        weights_from: the checkpoint whose weights are the result.
    """
    losses = [line["loss"] for line in metrics if "loss" in line]
    evaluations = [line["eval_loss"] for line in metrics if "eval_loss" in line]
    return {
        "steps": progress.step,
        "planned_steps": plan.total_steps,
        "epochs": plan.epochs_done(progress.step),
        "loss": _first_last_best(losses),
        "eval_loss": _first_last_best(evaluations),
        "best_step": progress.best_step,
        "weights_from": weights_from,
        "tokens": progress.tokens,
        "targets": progress.targets,
        "seconds": progress.seconds,
        "tokens_per_second": progress.tokens / progress.seconds,
        "peak_memory_bytes": peak_memory(),
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


def summary_text(summary: Mapping[str, Any], run: Path) -> str:
    """The summary in a few lines."""
    loss, evaluation = summary["loss"], summary["eval_loss"]
    parts = [f"{summary['epochs']:.2f} epochs"]
    if loss:
        parts.append(f"loss {loss['first']:.4f} → {loss['last']:.4f}")
    if evaluation:
        parts.append(f"validation loss {evaluation['last']:.4f} (best {evaluation['best']:.4f})")
    stopped = "" if summary["steps"] == summary["planned_steps"] else f" of {summary['planned_steps']}, stopped early"
    return (
        f"trained: {summary['steps']} steps{stopped}, {', '.join(parts)}\n"
        f"{summary['tokens']:,} tokens in {summary['seconds']:.0f} s ({summary['tokens_per_second']:,.0f} a second), "
        f"{summary['peak_memory_bytes'] / 2**30:.1f} GiB at most\n"
        f"the result is in {run} (weights of {summary['weights_from']})"
    )


def _first_last_best(values: Sequence[float]) -> dict[str, float] | None:
    return {"first": values[0], "last": values[-1], "best": min(values)} if values else None


def peak_memory(status: Path = Path("/proc/self/status")) -> int:
    """The most memory that this process has held (resident set size), in bytes.

    Linux has it by address space, as ``VmHWM`` of ``status``; ``getrusage`` there also counts what the parent held when it
    forked.
    """
    try:
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024  # the one thing on which getrusage differs
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
