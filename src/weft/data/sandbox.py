"""A Jinja sandbox in which a template can use up neither memory nor time.

Jinja's own sandbox keeps a template away from Python's internals, but lets ``{{ 'a' * 10**9 }}`` fill the memory. Here every
string or list that a template makes counts towards one budget per render, and the operations that can grow a value at will are
judged before they run (:mod:`weft.data.limits`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from typing import Any

from jinja2 import Environment, nodes, pass_environment
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from weft.data.limits import (
    FILTER_CHECKS,
    METHOD_CHECKS,
    check_joined,
    check_percent_format,
    check_power,
    check_product,
    check_size,
    size,
)

_HOLDERS = (list, tuple, dict)
_NESTING_FILTERS = {"batch", "groupby", "slice"}
"""Filters whose results hold their argument's items in further lists."""


class ChargingCodeGenerator(CodeGenerator):
    """Compiles what Jinja does not let an environment intercept: ``a ~ b``, ``a[1:]``, and lists, tuples and dicts as written."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802 - Jinja's naming
        """``a ~ b``."""
        self.write("environment.concat(map(str, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        """``a[1:]``."""
        is_slice = isinstance(node.arg, nodes.Slice)
        self.write("environment.charge(" if is_slice else "")
        super().visit_Getitem(node, frame)
        self.write(")" if is_slice else "")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        """``[a, b]``."""
        self.write("environment.charge_nested(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        """``(a, b)``."""
        is_target = node.ctx != "load"  # of an assignment
        self.write("" if is_target else "environment.charge_nested(")
        super().visit_Tuple(node, frame)
        self.write("" if is_target else ")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        """``{a: b}``."""
        self.write("environment.charge_nested(")
        super().visit_Dict(node, frame)
        self.write(")")


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates stay within the limits; :class:`weft.data.limits.LimitExceeded` where they would not.

    Args:
        filters: filters to add to Jinja's own, or to replace them with; the limits hold for all of them.
        options: as for :class:`jinja2.Environment`.
    """

    code_generator_class = ChargingCodeGenerator
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
            self._spend(size(value))
            if not isinstance(value, str):
                self._spend(sum(len(item) for item in value if isinstance(item, str)))
        return value

    def charge_nested(self, value: Any) -> Any:
        """Count a container with all that it holds, as often as it holds it, and return it.

        Lists that hold others twice grow without making anything new, and nothing can interrupt their comparison.
        """
        waiting = [value]
        while waiting:
            held = waiting.pop()
            self._spend(32 * len(held))  # walking takes longer than slicing
            waiting += [
                item for item in (held.values() if isinstance(held, dict) else held) if isinstance(item, _HOLDERS)
            ]
        return value

    def _spend(self, characters: int) -> None:
        self.spent += characters
        check_size(self.spent)

    def concat(self, chunks: Iterable[str]) -> str:
        """What Jinja joins every block, macro and template with."""
        parts = list(chunks)
        self._spend(sum(map(len, parts)))
        return "".join(parts)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What Jinja computes the intercepted operators with."""
        if operator == "*":
            check_product(left, right)
        elif operator == "**":
            check_power(left, right)
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
            _judge(METHOD_CHECKS.get(method.__name__), (owner, *args), kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        return __self.charge_nested(result) if isinstance(result, dict) else __self.charge(result)

    def _limited_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        check = FILTER_CHECKS.get(name)
        takes_context = hasattr(function, "jinja_pass_arg")

        @wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            _judge(check, args[takes_context:], kwargs)
            result = function(*args, **kwargs)
            if name in _NESTING_FILTERS:
                result = self.charge_nested(list(result))
            return self.charge(result)

        return limited


@pass_environment
def _join(environment: Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's ``join`` filter (without HTML escaping), which judges its result first."""
    items = value if attribute is None else map(make_attrgetter(environment, attribute), value)
    parts = list(map(str, items))
    check_joined(str(d), parts)
    return str(d).join(parts)


def _judge(check: Callable[..., None] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Judge a call; arguments that do not fit are left to the call itself to refuse."""
    if check is not None:
        with suppress(TypeError, AttributeError, ValueError):
            check(*args, **kwargs)
