r"""JSON as RFC 8259 means it: what the standard library lets through quietly is refused here with a reason.

Refused: NaN and infinity (also ``1e999``), an object that names a key twice (one of the values would vanish), lone surrogates
(``"\ud800"`` is no text and cannot be written again), and values nested so deeply that they cannot be written again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

NESTING_LIMIT = 100
TOO_DEEP = "the record is nested too deeply"

_SPACES = " \t\r\n"
_WHITESPACE = re.compile(f"[{_SPACES}]*")
_LENIENT = json.JSONDecoder(parse_int=float)  # only to find where a refused value ends


class InvalidJson(ValueError):
    """A text that cannot be used.

    Attributes:
        reason: the same for all texts with the same problem.
        detail: what tells them apart; may be empty.
        position: the character at which it shows, counted from 0 in the whole text; None: somewhere in the value.
    """

    def __init__(self, reason: str, detail: str = "", position: int | None = None):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.position = reason, detail, position


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InvalidJson("a key is given twice", repr(next(key for key in keys if keys.count(key) > 1)))
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidJson("a number is not finite", name)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidJson("a number is not finite", digits[:40])
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_float)


def parse(text: str) -> Any:
    """The one value that ``text`` holds.

    Raises:
        InvalidJson: it holds none, or more than one, or one that is refused.
    """
    value, end = parse_at(text, skip_whitespace(text, 0))
    if end < len(text) and (end := skip_whitespace(text, end)) < len(text):
        raise InvalidJson("broken JSON", "there is text after the end of the value", end)
    return value


def parse_at(text: str, start: int) -> tuple[Any, int]:
    """The value that starts at character ``start``, and where it ends.

    Raises:
        InvalidJson: there is none, or one that is refused.
    """
    try:
        value, end = _STRICT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise _broken(error) from None
    except RecursionError:
        raise InvalidJson(TOO_DEEP) from None
    except InvalidJson:
        raise
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise InvalidJson("a number has too many digits") from None
    if text.count("[", start, end) + text.count("{", start, end) > NESTING_LIMIT and depth(value) > NESTING_LIMIT:
        raise InvalidJson(TOO_DEEP, f"more than {NESTING_LIMIT} levels")
    if text.find("\\u", start, end) >= 0 and _escapes_surrogate(text, start, end) and not _is_text(value):
        raise InvalidJson("a string holds half of a surrogate pair", r"an escape such as \ud800 without its other half")
    return value, end


def end_of(text: str, start: int) -> int:
    """Where the value ends that starts at character ``start`` and is refused for what it says, not for how it is written.

    Raises:
        InvalidJson: it is broken, or nested too deeply to tell.
    """
    try:
        return _LENIENT.raw_decode(text, start)[1]
    except json.JSONDecodeError as error:
        raise _broken(error) from None
    except (ValueError, RecursionError):
        raise InvalidJson(TOO_DEEP) from None


def _broken(error: json.JSONDecodeError) -> InvalidJson:
    what = error.msg.removesuffix(" at").removesuffix(" starting")  # the place is said apart
    return InvalidJson("broken JSON", f"{what[0].lower()}{what[1:]}", error.pos)


def skip_whitespace(text: str, position: int) -> int:
    """The first position from ``position`` on that holds no JSON whitespace."""
    if text[position : position + 1] not in _SPACES:
        return position
    match = _WHITESPACE.match(text, position)
    assert match is not None
    return match.end()


def _escapes_surrogate(text: str, start: int, end: int) -> bool:
    return text.find("\\ud", start, end) >= 0 or text.find("\\uD", start, end) >= 0


def depth(value: Any) -> int:
    """How many levels a value has; a number has one."""
    levels, level = 0, [value]
    while level:
        levels += 1
        level = [child for item in level for child in _children(item)]
    return levels


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _is_text(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
