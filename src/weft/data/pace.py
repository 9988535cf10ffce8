"""How long a template may take over all its renders, of which a file of records takes very many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.data.limits import given_characters

GRANTED_SECONDS = 0.01
"""The work of a render that is granted: a hundred times that of a short conversation."""
GRANTED_SECONDS_A_CHARACTER = 2e-6
"""And so much for each character that is given: ten times that of a conversation of very many short messages."""
MAX_DEBT_SECONDS = 10.0
"""How much more all renders of a template may take than is granted to them."""


class Pace:
    """Adds up what the renders of one template take.

    What one takes beyond what is granted is a debt, which quicker ones pay back. So a few long records, a pause that Python
    makes, and a slow machine stop nothing; what stops a template is that its renders are slow on the whole.
    """

    def __init__(self) -> None:
        self._renders, self._seconds, self._debt = 0, 0.0, 0.0
        self.stopped: tuple[str, str] | None = None
        """Why no more is rendered, and where the template was then."""

    def add(self, seconds: float, variables: Mapping[str, Any], place: str) -> None:
        """One more render, which took so many seconds of work."""
        self._renders += 1
        self._seconds += seconds
        granted = GRANTED_SECONDS
        if seconds > granted:
            granted += GRANTED_SECONDS_A_CHARACTER * given_characters(variables)
        self._debt = max(self._debt + seconds - granted, 0.0)
        if self._debt > MAX_DEBT_SECONDS and self.stopped is None:
            self.stopped = f"it is too slow, {self._renders} renders took {self._seconds:.1f} seconds", place
