"""Shortcuts: what need not be done for every record, because it was shown beforehand that it changes nothing."""

from __future__ import annotations


class ShortcutWrong(Exception):
    """A sample showed that a shortcut was not the same, as was thought; the text says which and where.

    What was made so far is to be made anew, without shortcuts (:meth:`weft.data.render.Renderer.take_no_shortcuts`).
    """
