"""Text that a model or a record wrote, made safe to show: what a terminal would obey becomes what a person can read (law 13)."""

from __future__ import annotations

import re

# C0 and C1 controls but newline and tab; line and paragraph separators; the marks that turn the direction of writing; halves
# of surrogate pairs, which no encoding can write.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""``text`` with every control character but newline and tab written out: the escape character as ``\x1b``."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
