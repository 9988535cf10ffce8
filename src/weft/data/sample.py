"""A sample of records that depends on what they say and on the seed, not on their order."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator

from weft.data.rows import BadRow
from weft.data.seeds import derive_seed
from weft.types import Record


def sample_rows(
    rows: Iterable[Record | BadRow], count: int, seed: int, *, name: str, notices: list[str]
) -> Iterator[Record | BadRow]:
    """``count`` of the rows, in their order; all of them, with a notice, where there are no more.

    Rows are ranked by a keyed hash of what they say and of how often it was said before, and the first ``count`` of the ranking
    are taken: so another order of the same rows gives the same sample, a further row changes at most one place of it, and equal
    rows are as likely as different ones. In memory are the sample and a count for each content.

    Args:
        rows: usable or not.
        count: how many are wanted, at least 1.
        seed: another seed takes other rows.
        name: of what is sampled, for the notice.
        notices: a notice is added when the rows are read.
    """
    key = f"{derive_seed(seed, 'sample')}:".encode()
    said: Counter[bytes] = Counter()
    chosen: list[tuple[int, int, Record | BadRow]] = []
    total = 0
    for total, row in enumerate(rows, 1):
        content = hashlib.sha256(key + _content(row)).digest()[:16]
        said[content] += 1
        rank = int.from_bytes(hashlib.sha256(content + said[content].to_bytes(8, "big")).digest()[:16], "big")
        item = (-rank, -total, row)
        if len(chosen) < count:
            heapq.heappush(chosen, item)
        else:
            heapq.heappushpop(chosen, item)
    if total < count:
        notices.append(f"{name} asks for a sample of {count:,} records, and there are {total:,}: all of them are taken")
    yield from (row for _, _, row in sorted(chosen, key=lambda item: -item[1]))


def _content(row: Record | BadRow) -> bytes:
    if isinstance(row, BadRow):
        return row.raw.encode(errors="replace")
    return json.dumps(row.data, sort_keys=True, ensure_ascii=False, default=repr).encode()
