"""Reports side by side, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from weft.evaluation.metrics import METRICS
from weft.evaluation.report import EvalReport

_TITLES = {"train": "trained questions", "val": "validation", "test": "test"}


def table(reports: Sequence[EvalReport]) -> str:
    """One row per report: how many answers, each metric's mean and share of high values, loss and perplexity."""
    rows = [_cells(report) for report in reports]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    widths = {column: max(len(column), *(len(row.get(column, "")) for row in rows)) for column in columns}
    lines = [{column: column for column in columns}, {column: "─" * widths[column] for column in columns}, *rows]
    return "\n".join(
        "  ".join(_aligned(line.get(column, ""), column, widths) for column in columns).rstrip() for line in lines
    )


def _cells(report: EvalReport) -> dict[str, str]:
    title = _TITLES.get(report.set_name, report.set_name.replace("_", " "))
    cells = {"set": f"{title} (sample)" if report.quick else title, "model": "tuned" if report.tuned else "untuned"}
    cells["n"] = f"{report.evaluated:,}"
    for name, summary in report.score.metrics.items() if report.score else ():
        metric = METRICS[name]
        if metric.high is None:
            cells[metric.title] = f"{summary.mean:.1%}"
        else:
            cells[f"{metric.title} mean"] = f"{summary.mean:.3f}"
            cells[f"{metric.title} ≥ {metric.high}"] = f"{summary.share_high:.1%}"
    if report.loss:
        cells["loss"] = f"{report.loss.loss:.4f}"
        cells["perplexity"] = f"{report.loss.perplexity:,.2f}"
    return cells


def _aligned(cell: str, column: str, widths: dict[str, int]) -> str:
    return cell.ljust(widths[column]) if column in ("set", "model") else cell.rjust(widths[column])
