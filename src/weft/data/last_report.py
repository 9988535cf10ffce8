"""The report that an earlier ``weft prepare`` left beside what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REPORT_NAME = "prepare_report.json"


def last_report(directory: Path) -> dict[str, Any] | None:
    """The report in ``directory``; None where there is none."""
    path = directory / REPORT_NAME
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) and {"raw_path", "train_path", "splits"} <= report.keys() else None
