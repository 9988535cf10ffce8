"""Limits for templates that nobody has vouched for: characters, widths, integers, seconds.

One string operation can fill the memory, and cannot be interrupted while it runs. So those that can blow a value up in one step
(``*``, ``center``, ``replace``, …) are judged by the size of their result beforehand. Every ``check_…`` takes the arguments of
the operation that it judges.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from string import Formatter
from typing import Any

MAX_CHARACTERS = 2**26
"""Characters that one render may make in all, intermediate values included; an item of a list counts for eight."""
MAX_WIDTH = 10_000
"""The widest padding, indentation or precision that a template may ask for."""
MAX_INTEGER_BITS = 10_000
"""The largest integer that ``*`` and ``**`` may make."""
MAX_SECONDS = 10.0
"""Wall-clock seconds that one render may take."""
MAX_OWN_CHARACTERS = 2**18
"""Characters that a template may print of its own, however little it is given; the longest known templates have 20,000."""
MAX_COPIES = 64
"""How often it may print what it is given; words of its own for each of very many short messages are within that."""


class LimitExceeded(Exception):
    """A template asked for more than a limit allows; the message says which limit."""


class TimeLimitExceeded(LimitExceeded):
    """A template ran for too long."""


@contextmanager
def time_limit(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Raise :class:`TimeLimitExceeded` in the block when it takes longer than ``seconds`` of wall-clock time.

    The clock is the process's ``SIGALRM`` timer, which only the main thread can use: in other threads, and on systems
    without it, the block runs unlimited. A handler and timer that were set before are restored.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    running = True

    def stop(*_: object) -> None:
        if running:
            raise TimeLimitExceeded(f"it ran for more than {seconds:g} seconds")

    started = time.monotonic()
    handler_before = signal.signal(signal.SIGALRM, stop)
    delay_before, interval_before = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        running = False
        remaining = max(delay_before - (time.monotonic() - started), 1e-3) if delay_before else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler_before)
        signal.setitimer(signal.ITIMER_REAL, remaining, interval_before)


def given_characters(variables: Mapping[str, Any]) -> int:
    """About as many characters as what a template is given would have as JSON."""
    characters, waiting = 0, [variables]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            characters += str.__len__(value)
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        characters += 4
    return characters


def check_printed(text: str, variables: Mapping[str, Any]) -> None:
    """What a template printed when it was given ``variables``."""
    printed = str.__len__(text)  # which one under watch does not notice
    if printed > MAX_OWN_CHARACTERS:
        given = given_characters(variables)
        if printed > MAX_OWN_CHARACTERS + MAX_COPIES * given:
            raise LimitExceeded(f"it prints {printed:,} characters of a conversation of {given:,}")


def size(value: str | list[Any] | tuple[Any, ...]) -> int:
    """What a value counts for, in characters."""
    return len(value) if isinstance(value, str) else 8 * len(value)


def check_size(characters: int) -> None:
    """A value that counts for so much."""
    if characters > MAX_CHARACTERS:
        raise LimitExceeded(f"it makes more than {MAX_CHARACTERS:,} characters")


def _check_width(width: int | str) -> None:
    if (len(width) if isinstance(width, str) else width) > MAX_WIDTH:
        raise LimitExceeded(f"it asks for a width of more than {MAX_WIDTH:,}")


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise LimitExceeded(f"it computes an integer of more than {MAX_INTEGER_BITS:,} bits")


def check_product(left: Any, right: Any) -> None:
    """``left * right``."""
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            check_size(size(sequence) * times)


def check_power(base: Any, exponent: Any) -> None:
    """``base ** exponent``."""
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * max(exponent, 0))


_PERCENT_FIELD = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?")


def check_percent_format(template: str, *values: Any, **named: Any) -> None:
    """``'%10d' % x``; a width of ``*`` comes from the values and is always refused."""
    fields = _PERCENT_FIELD.findall(template)
    for width in filter(None, (width for field in fields for width in field)):
        _check_width(MAX_WIDTH + 1 if width == "*" else int(width))
    check_size(len(fields) * _longest(values, named))


def _check_brace_format(template: str, *values: Any, **named: Any) -> None:
    """``'{:10}'.format(x)``; a width of ``{}`` comes from the values and is always refused."""
    fields = [specification for _, _, specification, _ in Formatter().parse(template) if specification is not None]
    for width in re.findall(r"\d+|\{", " ".join(fields)):
        _check_width(MAX_WIDTH + 1 if width == "{" else int(width))
    check_size(len(fields) * _longest(values, named))


def _longest(values: tuple[Any, ...], named: dict[str, Any]) -> int:
    return max((len(str(value)) for value in (*values, *named.values())), default=0)


def _check_numbers(value: Any, *args: Any, **named: Any) -> None:
    """For operations whose numbers are all widths or counts."""
    for number in (*args, *named.values()):
        if isinstance(number, int):
            _check_width(number)


def _check_json(value: Any, *args: Any, **named: Any) -> None:
    """An indentation stands on every line, so a hundredth of the greatest width is enough."""
    for indent in (*args, *named.values()):
        if isinstance(indent, (int, str)):
            _check_width(100 * (len(indent) if isinstance(indent, str) else indent))


def _check_indented(text: Any, width: int | str = 4, *_: Any, **__: Any) -> None:
    _check_width(width)
    check_size((str(text).count("\n") + 1) * (len(width) if isinstance(width, str) else width))


def _check_replaced(text: Any, old: str, new: str, *_: Any, **__: Any) -> None:
    check_size(str(text).count(old) * len(new))


def _check_summed(values: Any, attribute: Any = None, start: Any = 0) -> None:
    """Adding lists copies all of them again for each, and cannot be interrupted."""
    if not isinstance(start, (int, float)):
        raise LimitExceeded("it sums other things than numbers")


def _check_wrapped(text: Any, width: int = 79, _: bool = True, wrapstring: str = "", *__: Any, **___: Any) -> None:
    check_size(len(str(text)) // max(width, 1) * len(wrapstring))


def check_joined(separator: str, parts: list[str]) -> None:
    """``separator.join(parts)``."""
    check_size(sum(map(len, parts)) + len(separator) * len(parts))


FILTER_CHECKS: dict[str, Callable[..., None]] = {
    "batch": _check_numbers,
    "center": _check_numbers,
    "format": check_percent_format,
    "indent": _check_indented,
    "replace": _check_replaced,
    "round": _check_numbers,
    "slice": _check_numbers,
    "sum": _check_summed,
    "tojson": _check_json,
    "wordwrap": _check_wrapped,
}
METHOD_CHECKS: dict[str, Callable[..., None]] = {
    "center": _check_numbers,
    "format": _check_brace_format,
    "format_map": _check_brace_format,
    "join": check_joined,
    "ljust": _check_numbers,
    "replace": _check_replaced,
    "rjust": _check_numbers,
    "zfill": _check_numbers,
}
