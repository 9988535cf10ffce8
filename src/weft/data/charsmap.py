"""Is a compiled table of SentencePiece's normaliser whole? The library that runs it trusts every number in it.

The table is a length, a trie of that many bytes (a double array of 32-bit units, as the Darts-clone library packs them), and the
texts that the trie's leaves point into, each ended by a NUL.
"""

from __future__ import annotations

import numpy as np

_LEAF = np.uint32(1 << 31)
_BLOCK = 256


def damage(table: bytes) -> str | None:
    """What is wrong with a table, None where nothing is."""
    size = int.from_bytes(table[:4], "little")
    if len(table) < 4 or size % (4 * _BLOCK) or not 0 < size <= len(table) - 4:
        return "its trie has another length than it says"
    texts = table[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError:
        return "its texts are not UTF-8"
    units = np.frombuffer(table, "<u4", size // 4, offset=4)
    is_leaf = (units & _LEAF) != 0
    steps = (units >> 10) << ((units & 512) >> 6)
    children = np.arange(len(units), dtype=np.uint32) ^ steps
    if (children[~is_leaf] // _BLOCK >= len(units) // _BLOCK).any():
        return "its trie points outside itself"
    starts = units[is_leaf] & ~_LEAF
    begins = (np.frombuffer(texts + b"\0", np.uint8) & 0xC0) != 0x80
    if (starts > len(texts)).any() or not begins[starts].all():
        return "its trie points outside its texts"
    return None
