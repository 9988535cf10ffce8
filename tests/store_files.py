"""Small files of records, and stores of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from weft.data.render import Renderer
from weft.data.store import ExampleStore, SourceFile, open_stores

Row = dict[str, Any] | str
Open = Callable[..., ExampleStore]


def open_store(files: Sequence[SourceFile], renderer: Renderer, cache_dir: Path, **options: Any) -> ExampleStore:
    """The store of one set."""
    stores, _ = open_stores({"train": files}, renderer, cache_dir, **options)
    return stores["train"]


def opener(folder: Path, renderer: Renderer) -> Open:
    """Opens the store of some files with a cache of its own for each number of processes: ``folder/cache-1`` and so on."""

    def open_files(
        *files: Path | SourceFile, renderer: Renderer = renderer, jobs: int | str = 1, **options: Any
    ) -> ExampleStore:
        sources = [SourceFile(path=file, name=file.stem) if isinstance(file, Path) else file for file in files]
        choices = {"on_bad_row": "drop", "system_prompt": None, **options}
        return open_store(sources, renderer, folder / f"cache-{jobs}", jobs=jobs, **choices)

    return open_files


def write(path: Path, rows: list[Row]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def qa(number: int, words: str = "") -> Row:
    return {"prompt": f"What is {number} {words}?", "response": f"It is {number}, {words} indeed."}
