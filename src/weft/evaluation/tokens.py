"""What ROUGE-L counts as a word, in any script."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Scripts written without spaces between words. Han with its extensions, hiragana, katakana, and 々〆〇. Hangul is not among
# them: Korean puts spaces between words.
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
# Thai, Lao, Myanmar, Khmer and their kin, but for their digits (Line_Break=Complex_Context in Unicode).
_THAI_AND_KIN = (
    "\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109f\u1780-\u17d7\u17dc\u17dd"
    "\u1950-\u19c9\u1a20-\u1a7f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaac2"
)
_NO_SPACES = _HAN + _KANA + _THAI_AND_KIN
_VARIATIONS = range(0xFE00, 0xFE10)
"""Marks that choose among the shapes of one character, and say nothing."""


def tokens(text: str) -> list[str]:
    """The lower-cased runs of letters and digits of a text, each with the marks that stand on them; of scripts without spaces
    each letter.

    Marks belong to the letter before them (UAX 29, rule WB4): vowels of Devanagari, points of Hebrew, accents written
    apart.
    """
    if text.isascii():
        return _ASCII.findall(text.lower())
    return _with_marks().findall(unicodedata.normalize("NFC", text.lower()))


_ASCII = re.compile("[a-z0-9]+")


@cache
def _with_marks() -> re.Pattern[str]:
    marks = "".join(_marks())
    return re.compile(f"(?=[^\\W_])(?:[{_NO_SPACES}][{marks}]*|(?:[^\\W_{_NO_SPACES}][{marks}]*)+)")


def _marks() -> list[str]:
    every = (chr(code) for code in range(0x300, 0x1F000) if code not in _VARIATIONS)
    return [character for character in every if unicodedata.category(character).startswith("M")]
