"""Several paths that were written as one text with commas between them, as the options of many trainers take them."""

from __future__ import annotations

from weft.data.places import Paths, exists


def as_list(paths: Paths) -> str | None:
    """How to write the list that such a text means; None where something is missing at one of its parts."""
    parts = [part.strip() for part in paths.split(",")] if isinstance(paths, str) else []
    means_several = len(parts) > 1 and all(parts) and exists(parts)
    return f"write several paths as a list: [{', '.join(parts)}]" if means_several else None
