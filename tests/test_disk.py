"""Digests of files."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from weft.disk import shared_digest

PART = 2**20


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART - 1])
def test_a_shared_digest_is_that_of_the_digests_of_parts(tmp_path: Path, size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    parts = [content[start : start + PART] for start in range(0, size, PART)]
    assert shared_digest(path) == sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()
