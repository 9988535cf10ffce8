"""Shortcuts: what need not be done for every record, because it was shown beforehand that it changes nothing."""

from __future__ import annotations


class ShortcutWrong(Exception):
    """A sample shows that a shortcut was not the same, as was thought; the text says which and where.

    It is not taken again. What was made with it so far is to be made anew.
    """
