"""A Jinja sandbox in which a template can use up neither memory nor time.

Jinja's own sandbox keeps a template away from Python's internals, but ``{{ 'a' * 10**9 }}`` still fills the memory, and one
such step cannot be interrupted from outside. So here

- every string or list that a template makes counts towards one budget per render (:data:`MAX_CHARACTERS`);
- an operation that can blow a string up in one step (``*``, ``**``, ``%``, ``center``, ``replace``, …) is judged by the
  size of its result before it runs;
- a clock ends loops that never end (:func:`time_limit`).
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from string import Formatter
from typing import Any

from jinja2 import Environment, nodes, pass_environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 2**26
"""Characters that one render may make in all, intermediate values included; an item of a list counts for eight."""
MAX_WIDTH = 10_000
"""The widest padding, indentation or precision that a template may ask for."""
MAX_INTEGER_BITS = 10_000
"""The largest integer that ``*`` and ``**`` may make."""
MAX_SECONDS = 10.0
"""Wall-clock seconds that one render may take."""


class LimitExceeded(Exception):
    """A template asked for more than a limit allows; the message says which limit."""


@contextmanager
def time_limit(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Raise :class:`LimitExceeded` in the block when it takes longer than ``seconds`` of wall-clock time.

    The clock is the process's ``SIGALRM`` timer, which only the main thread can use: in other threads, and on systems
    without it, the block runs unlimited. A handler and timer that were set before are restored.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise LimitExceeded(f"it ran for more than {seconds:g} seconds")

    started = time.monotonic()
    handler_before = signal.signal(signal.SIGALRM, stop)
    delay_before, interval_before = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        remaining = max(delay_before - (time.monotonic() - started), 1e-3) if delay_before else 0.0
        signal.setitimer(signal.ITIMER_REAL, remaining, interval_before)
        signal.signal(signal.SIGALRM, handler_before)


class _ChargingCodeGenerator(CodeGenerator):
    """Compiles the two string operations that Jinja does not let an environment intercept: ``a ~ b`` and ``a[1:]``."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's naming
        self.write("environment.concat(map(str, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        is_slice = isinstance(node.arg, nodes.Slice)
        self.write("environment.charge(" if is_slice else "")
        super().visit_Getitem(node, frame)
        self.write(")" if is_slice else "")


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates stay within the limits above; :class:`LimitExceeded` where they would not.

    Args:
        filters: filters to add to Jinja's own, or to replace them with; the limits hold for all of them.
        options: as for :class:`jinja2.Environment`.
    """

    code_generator_class = _ChargingCodeGenerator
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    refused_methods = frozenset({"encode", "expandtabs", "to_bytes", "translate"})
    """Methods that can grow a value, or lead to ones that can, and that no chat template has a use for."""

    def __init__(self, *, filters: dict[str, Callable[..., Any]], **options: Any) -> None:
        super().__init__(**options)
        every_filter = {**self.filters, "join": _join, **filters}
        self.filters = {name: self._limited_filter(name, function) for name, function in every_filter.items()}
        del self.globals["lipsum"]  # makes random text of any length
        self.spent = 0

    def start_budget(self) -> None:
        """Begin a render: nothing is spent yet."""
        self.spent = 0

    def charge(self, value: Any) -> Any:
        """Count a value that the template made, and return it."""
        if isinstance(value, (str, list, tuple)):
            self._spend(_size(value))
            if not isinstance(value, str):
                self._spend(sum(len(item) for item in value if isinstance(item, str)))
        return value

    def _spend(self, characters: int) -> None:
        self.spent += characters
        if self.spent > MAX_CHARACTERS:
            raise LimitExceeded(f"it makes more than {MAX_CHARACTERS:,} characters")

    def concat(self, chunks: Iterable[str]) -> str:
        """What Jinja joins every block, macro and template with."""
        parts = list(chunks)
        self._spend(sum(map(len, parts)))
        return "".join(parts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What Jinja computes the intercepted operators with."""
        if operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            check_percent_format(left, *(right if isinstance(right, tuple) else (right,)))
        return self.charge(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """What Jinja asks before it hands an attribute to a template."""
        return attr not in self.refused_methods and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """What Jinja calls methods, macros and functions with."""
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str):
            if method.__name__ == "join":
                args = tuple(map(list, args))  # a generator shows its size only when it has run
            _check_call(_METHOD_CHECKS.get(method.__name__), (owner, *args), kwargs)
        return __self.charge(super().call(__context, __obj, *args, **kwargs))

    def _limited_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        check = _FILTER_CHECKS.get(name)
        takes_context = hasattr(function, "jinja_pass_arg")

        @wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            _check_call(check, args[takes_context:], kwargs)
            return self.charge(function(*args, **kwargs))

        return limited


@pass_environment
def _join(environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's ``join`` filter (without HTML escaping), which judges its result first."""
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    parts = list(map(str, items))
    _check_joined(str(d), parts)
    return str(d).join(parts)


# ---- how large would the result be? ------------------------------------------------------------------------------------
# Every check takes the arguments of the operation that it judges.


def _size(value: str | list[Any] | tuple[Any, ...]) -> int:
    return len(value) if isinstance(value, str) else 8 * len(value)


def _check_size(characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise LimitExceeded(f"it makes more than {MAX_CHARACTERS:,} characters")


def _check_width(width: int | str | None) -> None:
    columns = len(width) if isinstance(width, str) else width or 0
    if columns > MAX_WIDTH:
        raise LimitExceeded(f"it asks for a width of more than {MAX_WIDTH:,}")


def _check_bits(bits: int) -> None:
    if bits > MAX_INTEGER_BITS:
        raise LimitExceeded(f"it computes an integer of more than {MAX_INTEGER_BITS:,} bits")


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
            _check_size(_size(sequence) * times)


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int):
        _check_bits(base.bit_length() * max(exponent, 0))


_PERCENT_FIELD = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?")


def check_percent_format(template: str, *values: Any, **named: Any) -> None:
    """``'%10d' % x``; a width of ``*`` comes from the values and is always refused."""
    fields = _PERCENT_FIELD.findall(template)
    for width in filter(None, (width for field in fields for width in field)):
        _check_width(MAX_WIDTH + 1 if width == "*" else int(width))
    _check_size(len(fields) * _longest(values, named))


def _check_brace_format(template: str, *values: Any, **named: Any) -> None:
    """``'{:10}'.format(x)``; a width of ``{}`` comes from the values and is always refused."""
    fields = [specification for _, _, specification, _ in Formatter().parse(template) if specification is not None]
    for width in re.findall(r"\d+|\{", " ".join(fields)):
        _check_width(MAX_WIDTH + 1 if width == "{" else int(width))
    _check_size(len(fields) * _longest(values, named))


def _longest(values: tuple[Any, ...], named: dict[str, Any]) -> int:
    return max((len(str(value)) for value in (*values, *named.values())), default=0)


def _check_padded(text: Any, width: int = 80, *_: Any) -> None:
    _check_width(width)


def _check_indented(text: Any, width: int | str = 4, *_: Any, **__: Any) -> None:
    _check_width(width)
    _check_size((str(text).count("\n") + 1) * (len(width) if isinstance(width, str) else width))


def _check_replaced(text: Any, old: str, new: str, *_: Any, **__: Any) -> None:
    _check_size(str(text).count(old) * len(new))


def _check_wrapped(text: Any, width: int = 79, break_long_words: bool = True, wrapstring: str = "", *_: Any) -> None:
    _check_size(len(str(text)) // max(width, 1) * len(wrapstring))


def _check_joined(separator: str, parts: list[str]) -> None:
    _check_size(sum(map(len, parts)) + len(separator) * len(parts))


def _check_grouped(value: Any, count: int, *_: Any, **__: Any) -> None:
    _check_width(count)


def _check_rounded(value: Any, precision: int = 0, *_: Any, **__: Any) -> None:
    _check_width(precision)


def _check_json(value: Any, ensure_ascii: bool = False, indent: int | str | None = None, *_: Any, **__: Any) -> None:
    _check_width(indent)


_FILTER_CHECKS: dict[str, Callable[..., None]] = {
    "batch": _check_grouped,
    "center": _check_padded,
    "format": check_percent_format,
    "indent": _check_indented,
    "replace": _check_replaced,
    "round": _check_rounded,
    "slice": _check_grouped,
    "tojson": _check_json,
    "wordwrap": _check_wrapped,
}
_METHOD_CHECKS: dict[str, Callable[..., None]] = {
    "center": _check_padded,
    "format": _check_brace_format,
    "format_map": _check_brace_format,
    "join": _check_joined,
    "ljust": _check_padded,
    "replace": _check_replaced,
    "rjust": _check_padded,
    "zfill": _check_padded,
}


def _check_call(check: Callable[..., None] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Judge a call; arguments that do not fit are left to the call itself to refuse."""
    if check is not None:
        with suppress(TypeError, AttributeError, ValueError):
            check(*args, **kwargs)
