"""Chat templates in Jinja, compiled and rendered as Transformers does it (5.23), in a sandbox with limits.

What a template may rely on: the ``messages`` and the other variables that it is rendered with; the ``tojson`` filter, which
does not escape HTML; ``raise_exception``, ``strftime_now``, ``namespace`` and ``dict``; loop controls; and
``{% generation %}`` around what the model is to produce. The reference is ``transformers/utils/chat_template_utils.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.utils import Namespace

from weft.data.limits import (
    LimitExceeded,
    TimeLimitExceeded,
    check_percent_format,
    check_printed,
    time_limit,
)
from weft.data.pace import Pace
from weft.data.sandbox import LimitedSandbox
from weft.errors import TemplateError, TemplateTooSlow

Marks = tuple[str, str]
"""What to print where a ``{% generation %}`` block begins and ends."""
NO_MARKS: Marks = ("", "")
Places = Sequence[tuple[int, str]]
"""Where a template was read: each place with the number of its first line in the template, in their order."""

_LONGEST_WORDS = 500
_MEND_THE_TEMPLATE = "correct the template there, or choose another one with data.template_path"
_GIVE_WHAT_IS_MISSING = (
    "give what it asks for there, in the record's messages, tools or chat_template_kwargs, "
    "or choose another template with data.template_path"
)
_MAKE_IT_QUICKER = (
    "take out of the template what makes it slow (templates of known models print a conversation in less than a thousandth of a "
    "second), or choose another one with data.template_path"
)


class TemplateFailure(TemplateError):
    """The template does not refuse a conversation: it stumbles over it."""


class ChatSandbox(LimitedSandbox):
    """What chat templates run in; its clock stands still, so that all renders of one template agree on the date."""

    generation_marks = NO_MARKS

    def __init__(self, moment: datetime) -> None:
        super().__init__(
            filters={"tojson": to_json},
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_GenerationTag, jinja2.ext.loopcontrols],
        )

        def strftime_now(format: str) -> str:
            check_percent_format(format)
            return moment.strftime(format)

        self.globals.update(
            raise_exception=_raise_exception, strftime_now=strftime_now, namespace=_Namespace, dict=_Dict()
        )


class JinjaTemplate:
    """One compiled chat template, for one thread at a time.

    Args:
        source: the Jinja text.
        name: what it is called: its path, or words for where it came from.
        moment: what it takes for the present, where it prints the date; None for now.
        places: where it was read, for errors; the name where there are none.
        pace: adds up what its renders take, where it shares that with others.

    Raises:
        TemplateError: where the source is not valid Jinja.
    """

    sandbox: type[ChatSandbox] = ChatSandbox

    def __init__(
        self,
        source: str,
        name: str,
        moment: datetime | None = None,
        places: Places = (),
        pace: Pace | None = None,
    ) -> None:
        self.source, self.name, self.moment, self.places = source, name, moment or datetime.now(), places
        self.place = " and ".join(place for _, place in places) or name
        """Where it was read, as a whole."""
        self.pace = pace or Pace()
        self._environment = self.sandbox(self.moment)
        try:
            with time_limit():
                code = self._environment.compile(source, filename=name)
                tree = self._environment.parse(source)
                self.variables = frozenset(jinja2.meta.find_undeclared_variables(tree))
                """The names that the template expects from outside."""
                self.is_tagged = any(map(_is_generation_tag, tree.find_all(nodes.CallBlock)))
                """Whether ``{% generation %}`` marks what is trained."""
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"the chat template is not valid Jinja: {error.message}",
                where=self._line(error.lineno),
                fix="correct the template at that line",
            ) from error
        except Exception as error:  # Python's compiler has limits of its own
            raise TemplateError(
                f"the chat template cannot be compiled: {error}", where=self.place, fix=_MEND_THE_TEMPLATE
            ) from error
        self._template = jinja2.Template.from_code(self._environment, code, self._environment.make_globals(None))

    def render(self, variables: Mapping[str, Any], generation_marks: Marks = NO_MARKS) -> str:
        """What the template prints.

        Args:
            variables: the names that the template sees.
            generation_marks: what to print around ``{% generation %}`` blocks.

        Raises:
            TemplateError: where the template refuses (``raise_exception``), fails, or makes too much.
            TemplateTooSlow: it ran for too long, in this render or in all that there were. It is not run again: a mask takes many
                renders, a file many masks.
        """
        if self.pace.stopped:
            raise self._too_slow(*self.pace.stopped)
        self._environment.generation_marks = generation_marks
        self._environment.start_budget()
        started = time.thread_time()
        try:
            with time_limit():
                text = self._template.render(variables)
            check_printed(text, variables)
            return text
        except _Refusal as error:
            raise TemplateError(
                f"the chat template refused the conversation: {_shortened(str(error.message))}",
                where=self._place(error),
                fix="change the record to suit the template, or choose another template with data.template_path",
            ) from error
        except TimeLimitExceeded as error:
            self.pace.stopped = str(error), self._place(error)
            raise self._too_slow(*self.pace.stopped) from error
        except LimitExceeded as error:
            raise TemplateError(
                f"the chat template was stopped: {error}", where=self._place(error), fix=_MEND_THE_TEMPLATE
            ) from error
        except Exception as error:  # a template can raise anything that Python can
            raise TemplateFailure(
                f"the chat template failed ({type(error).__name__}: {_shortened(str(error))})",
                where=self._place(error),
                fix=_GIVE_WHAT_IS_MISSING if isinstance(error, jinja2.UndefinedError) else _MEND_THE_TEMPLATE,
            ) from error
        finally:
            self.pace.add(time.thread_time() - started, variables, self.place)

    def _too_slow(self, what: str, place: str) -> TemplateTooSlow:
        return TemplateTooSlow(f"the chat template was stopped: {what}", where=place, fix=_MAKE_IT_QUICKER)

    def _place(self, error: Exception) -> str:
        """The innermost line of the template that the error passed through."""
        line, traceback = None, error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self.name:
                line = traceback.tb_lineno
            traceback = traceback.tb_next
        return self.place if line is None else self._line(line)

    def _line(self, number: int) -> str:
        """A line where it was read."""
        first, place = next((each for each in reversed(self.places) if each[0] <= number), (1, self.place))
        return f"{place}:{number - first + 1}"


def _shortened(words: str) -> str:
    """What a template says about itself, which may be all that it could print."""
    return words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + " …"


class _Refusal(jinja2.TemplateError):
    """``raise_exception`` was called."""


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}…{% endgeneration %}``, which prints the environment's ``generation_marks`` around its body.

    Marks within the text stay right where a block is rendered inside a macro or a ``{% set %}``; counted offsets do not.
    """

    tags = {"generation"}  # noqa: RUF012 - Jinja's declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Callable[[], str]) -> str:
        begin, end = self.environment.generation_marks  # type: ignore[attr-defined]  # a ChatSandbox
        return f"{begin}{caller()}{end}"


def _is_generation_tag(block: nodes.CallBlock) -> bool:
    return isinstance(block.call.node, nodes.ExtensionAttribute)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter ``tojson``."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise _Refusal(message)


class _Dict:
    """``dict`` with its constructor and ``fromkeys`` only."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """Jinja's ``namespace`` without attributes that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # No ``self`` in the signature, as in Jinja's own, so that ``namespace(self=…)`` works.
        self, *pairs = args
        attributes = dict(*pairs, **kwargs)
        for name in attributes:
            _refuse_underscore(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def _refuse_underscore(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace attribute may not begin with an underscore: {name!r}")
