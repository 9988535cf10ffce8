"""Does a template look into what people say? A proof, by watching it print.

A chat template puts contents between its own words. Whether it prints *these* words for every content cannot be told from what it
prints for one: it may look for ``</think>`` and print something else. So it prints contents under watch: strings that know
everything that is done with them. Joining and printing them, asking whether there is one, and trimming white space that is not
there, tell a template nothing. Asking whether a content holds, begins with or equals a text tells it one thing, which is
noted (:class:`weft.data.watched.Watch`): contents without that text are all alike to it. Whatever else is done with a content, or
with a text that holds one, is looking into it, and proves nothing (:class:`weft.data.watched.LookedInto`). The same holds for
whatever else a record says; and for objects, as calls of tools have for arguments: writing them as JSON tells nothing.

Every value that a template makes passes through its environment (:mod:`weft.data.sandbox`), which is where texts with contents in
them stay under watch: where parts are joined, functions, filters and tests called. What Python would do there without a trace
(searching a content in a text, putting it into a format, writing it as JSON) counts as looking. So does whatever leads to texts
that are compared or joined by rules of their own (HTML markup), or to other words in every render (``random``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from jinja2 import nodes
from jinja2.compiler import Frame
from jinja2.runtime import Context, LoopContext, Macro, Undefined
from markupsafe import Markup

from weft.data.jinja import ChatSandbox, JinjaTemplate
from weft.data.sandbox import ChargingCodeGenerator, LimitedSandbox
from weft.data.watched import LookedInto, Written
from weft.data.watched_object import Held, WatchedArguments, WatchedObject, watch_of, write_watched
from weft.data.watched_safe import OF_SAFE, SafeWords, added, made_safe
from weft.data.watched_text import Watched, WatchedLength, unwatched
from weft.errors import TemplateError


class _WatchingCodeGenerator(ChargingCodeGenerator):
    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802 - Jinja's naming
        """``a in b == c`` compares ``b`` as well, which then is no mere holder."""
        if len(node.ops) > 1 and any(operand.op.endswith("in") for operand in node.ops):
            self.write("environment.give_up()")
        else:
            super().visit_Compare(node, frame)

    def visit_ScopedEvalContextModifier(self, node: nodes.ScopedEvalContextModifier, frame: Frame) -> None:  # noqa: N802
        """``{% autoescape %}`` prints contents as HTML."""
        self.writeline("environment.give_up()")
        super().visit_ScopedEvalContextModifier(node, frame)

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:  # noqa: N802
        """``in`` and ``not in`` tell what is searched in what."""
        if not node.op.endswith("in"):
            super().visit_Operand(node, frame)
            return
        self.write(" in environment.searched(" if node.op == "in" else " not in environment.searched(")
        self.visit(node.expr, frame)
        self.write(")")


class _Searched:
    """A text in which something is searched."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __contains__(self, part: object) -> bool:
        if isinstance(part, Watched):
            part.look()
        return part in self._text  # type: ignore[operator]  # as without a watch, also where it fails


_OF_JINJA = frozenset({"_loop_vars", "_block_vars"})
"""What compiled templates hand to every call."""
_HOLDERS = (list, tuple, dict, WatchedArguments, LoopContext, Macro)
"""Their methods, and calls of them, do nothing with texts but to hold, return and compare them."""
_OF_TEXTS: dict[str, Callable[..., Any]] = {
    "count": Watched.measured,
    "length": Watched.measured,
    "replace": lambda text, *others: text.replace(*others),
    "safe": made_safe,
    "string": Watched.__str__,
    "trim": lambda text, *others: text.strip(*others),
}
"""Filters of a text that it sees itself."""
_OF_LISTS = frozenset({"count", "first", "last", "length", "list", "reverse"})
"""Filters that do nothing with the items of a list."""
_OF_DICTS = frozenset({"dictsort", "items"})
"""Filters that do nothing with the values of a dict."""
_OF_ARGUMENTS = frozenset({"get", "items", "keys", "values"})
"""Methods of arguments that do nothing with them but to hand them out."""
_OF_KINDS = frozenset(
    {"boolean", "callable", "defined", "false", "float", "integer", "iterable", "mapping", "none", "number"}
)
_OF_KINDS |= {"sequence", "string", "true", "undefined"}
"""Tests of what a value is, whatever it says."""
_CHOOSING = frozenset({"rejectattr", "selectattr"})
"""Filters of lists that do nothing with the items but to test an attribute of each."""
_SEEN = frozenset({"!=", "==", "eq", "equalto", "in", "ne"})
"""Tests that a text under watch sees itself."""


class _Stream(Iterator[Any]):
    """What a filter makes of a list one by one: those of its items that a test chooses, or an attribute of each."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)

    def __next__(self) -> Any:
        return next(self._items)


class WatchingSandbox(ChatSandbox):
    """A sandbox in which contents stay under watch."""

    code_generator_class = _WatchingCodeGenerator

    def __init__(self, moment: datetime) -> None:
        super().__init__(moment)
        tests: dict[str, Any] = {**self.tests, "in": lambda value, sequence: value in self.searched(sequence)}
        self.tests.update({name: partial(_tested, name, test) for name, test in tests.items()})  # type: ignore[misc]
        self._holding = (self.globals["namespace"], self.globals["dict"])

    def give_up(self) -> Any:
        """What follows cannot be watched."""
        raise LookedInto

    def searched(self, holder: Any) -> Any:
        """What stands on the right of ``in``."""
        return _Searched(holder) if type(holder) is str else holder

    def concat(self, chunks: Iterable[str]) -> str:
        """What Jinja joins every block, macro and template with."""
        parts = list(chunks)
        text = super().concat(map(unwatched, parts))
        watched = next((part for part in parts if isinstance(part, Watched)), None)
        return text if watched is None else watched.within(text)

    def charge(self, value: Any) -> Any:
        """Count a value, without asking one under watch for its length."""
        super().charge(unwatched(value) if isinstance(value, Watched) else _counted(value))
        return value

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """A text under watch has the attributes of any other."""
        return super().is_safe_attribute(obj, attr, value) and not (isinstance(obj, Watched) and not hasattr(str, attr))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What ``a.b`` is."""
        if isinstance(obj, WatchedObject) or (isinstance(obj, WatchedArguments) and attribute not in _OF_ARGUMENTS):
            obj.open()
        if isinstance(obj, Held | _Stream):
            self.give_up()
        if isinstance(obj, Watched) and not hasattr(Markup, attribute):
            return self.undefined(obj=unwatched(obj), name=attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """What ``a[b]`` is."""
        if isinstance(obj, WatchedObject):
            obj.open()
        if isinstance(obj, Held | _Stream):
            self.give_up()
        if isinstance(obj, Watched) and type(argument) is str and not hasattr(Markup, argument):
            return self.undefined(obj=unwatched(obj), name=argument)
        return super().getitem(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """What Jinja computes the intercepted operators with."""
        if isinstance(left, SafeWords) or isinstance(right, SafeWords):
            return self.charge(added(left, right) if operator == "+" else self.give_up())
        if operator != "+" or isinstance(left, WatchedObject) or isinstance(right, WatchedObject):
            _look_for_watched((left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        """What Jinja calls methods, macros and functions with."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, Watched):
            return super(LimitedSandbox, __self).call(__context, __obj, *args, **kwargs)
        holds = isinstance(owner, _HOLDERS) or isinstance(__obj, _HOLDERS) or __obj in __self._holding
        if not holds:
            _look_for_watched((args, {name: value for name, value in kwargs.items() if name not in _OF_JINJA}))
        return super().call(__context, __obj, *args, **kwargs)

    def _limited_filter(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        limited = super()._limited_filter(name, function)

        def watching(*args: Any, **kwargs: Any) -> Any:
            value, *others = args[hasattr(function, "jinja_pass_arg") :] or (None,)
            if isinstance(value, Watched) and name in _OF_TEXTS and not kwargs:
                return _OF_TEXTS[name](value, *others)
            if name in ("default", "d") and isinstance(value, Watched | WatchedObject):
                return value
            if name == "string" and isinstance(value, WatchedObject):
                return str(value)
            if name == "safe" and type(value) is str:
                return SafeWords(value)
            if isinstance(value, SafeWords) and name not in OF_SAFE:
                self.give_up()
            is_list = isinstance(value, list | tuple | _Stream)
            if name == "map" and is_list and not others and kwargs.keys() == {"attribute"}:
                return _Stream(limited(*args, **kwargs))
            if name in _CHOOSING and is_list and not kwargs:
                return _Stream(limited(*args))
            if name == "list" and isinstance(value, _Stream):
                return list(value)
            if name == "tojson" and (watch := watch_of(value)):
                _look_for_watched((others, kwargs))
                how = Written(tuple(others), tuple(sorted(kwargs.items())))
                return write_watched(watch, value, how, lambda each: limited(each, *others, **kwargs))
            of_list = name in _OF_LISTS and isinstance(value, list | tuple | dict)
            of_dict = name in _OF_DICTS and isinstance(value, dict) and not (others or kwargs)
            of_dict = of_dict or (name in ("count", "items", "length") and isinstance(value, WatchedArguments | Held))
            if not (of_list or of_dict):
                _look_for_watched((value, others, kwargs))
            result = limited(*args, **kwargs)
            if name == "random" or isinstance(result, Markup):
                raise LookedInto
            return result

        for mark in ("jinja_pass_arg", "jinja_async_variant"):
            if hasattr(limited, mark):
                setattr(watching, mark, getattr(limited, mark))
        return watching


def _tested(name: str, test: Callable[..., bool], *args: Any) -> bool:
    if name in _OF_KINDS and isinstance(args[0], Watched):
        return test(unwatched(args[0]))
    if name in _OF_KINDS and isinstance(args[0], WatchedObject):
        return test(args[0].example)
    if name not in _OF_KINDS | _SEEN or isinstance(args[0], WatchedLength | _Stream):
        _look_for_watched(args)
    return test(*args)


def _counted(value: Any) -> Any:
    """``value`` with its texts not under watch."""
    if isinstance(value, list | tuple):
        return [unwatched(item) if isinstance(item, Watched) else item for item in value]
    return value


def _look_for_watched(value: Any) -> None:
    """A value is handed to what leaves no trace: that is looking, if there is a text under watch in it, or may be."""
    if isinstance(value, Watched):
        value.look()
    elif isinstance(value, WatchedArguments):
        value.open()
    elif isinstance(value, Mapping):
        _look_for_watched((*value.keys(), *value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            _look_for_watched(item)
    elif not (value is None or isinstance(value, str | int | float | Undefined | Macro)):
        raise LookedInto


class WatchingTemplate(JinjaTemplate):
    """A template that prints contents under watch."""

    sandbox = WatchingSandbox

    def render(self, variables: Mapping[str, Any], *marks: Any) -> str:
        """As :meth:`weft.data.jinja.JinjaTemplate.render`.

        Raises:
            LookedInto: where the template looks into a value.
        """
        try:
            return unwatched(super().render(variables, *marks))
        except TemplateError as error:
            if isinstance(error.__cause__, LookedInto):
                raise LookedInto from error
            raise
