"""Chat templates: conversations into text that is marked as context or trained, and answers back into contents.

A template is any Jinja chat template: the tokenizer's own, one of :data:`BUILT_IN`, or a file. What is trained is derived from
what it prints (:mod:`weft.data.derive`); no template needs tags, and none has code of its own here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from weft.config.data_schema import PromptMismatch
from weft.data.control import ControlTokens, Span
from weft.data.derive import Printed, Rendered
from weft.data.jinja import JinjaTemplate, Places
from weft.data.own_template import TemplatePart
from weft.data.placeholders import PLACEHOLDER, placeholder, placeholder_call, placeholder_tool
from weft.data.printer import Printer
from weft.data.shape_plan import Planner
from weft.data.taken_for_given import STAND_INS
from weft.errors import TemplateError, TemplateTooSlow
from weft.types import Conversation, Message, Role, Segment

__all__ = ["BUILT_IN", "ChatTemplate", "Printed", "Rendered", "built_in_source", "load_template"]

BUILT_IN: dict[str, tuple[str, ...]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "instruct": (),
    "chat": (),
    "alpaca": (),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "mistral": (),  # whose [INST] is text in the first models and a control token in later ones
    "phi3": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    "qwen3": ("<|im_start|>", "<|im_end|>"),
    "plain": (),
}
"""Templates that come with weft, in ``templates/<name>.jinja``: the control tokens that each is made of; the last ends
a turn."""
_FALLBACK = "chatml"

_SHAPES: tuple[tuple[Role, ...], ...] = (
    ("user", "assistant"),
    ("system", "user", "assistant"),
    ("user", "assistant", "user", "assistant"),
)
"""The conversations that a template is tried on before it meets any data."""


class ChatTemplate:
    """A chat template, together with the control tokens of the tokenizer that will read what it prints.

    Args:
        source: the Jinja text.
        name: what it is called: a path, or words for where it came from.
        control: the strings of the special added tokens.
        stops: the strings that end generation.
        bos: the begin-of-text token, or ``""``.
        eos: the end-of-text token, or ``""``.
        prompt_mismatch: what an answer follows where the generation prompt is not what is printed before it.
        moment: what it takes for the present, where it prints the date; None for now.
        places: where it was read, for errors; its name where there are none.

    Raises:
        TemplateError: where the source is not valid Jinja.
    """

    def __init__(
        self,
        source: str,
        name: str,
        control: frozenset[str],
        stops: frozenset[str],
        bos: str,
        eos: str,
        prompt_mismatch: PromptMismatch = "template",
        moment: datetime | None = None,
        places: Places = (),
    ) -> None:
        self.source, self.name, self.eos, self.prompt_mismatch = source, name, eos, prompt_mismatch
        template = JinjaTemplate(source, name, moment, places)
        self._place = template.place
        self._arguments = (source, name, control, stops, bos, eos, prompt_mismatch, template.moment, places)
        printer, tokens = Printer(template, bos=bos, eos=eos), ControlTokens(control, stops)
        plan = partial(Planner, printer, tokens, mismatch=prompt_mismatch)
        self._examples, self._last_turns = plan(), plan(last_turn=True)
        self._turns = plan(by_tag=False) if template.is_tagged else self._examples
        self._planners = (self._examples, self._last_turns, self._turns)

    def __reduce__(self) -> tuple[type[ChatTemplate], tuple[Any, ...]]:
        return ChatTemplate, self._arguments  # for another process, which compiles it anew, and prints the same date

    @property
    def disproved(self) -> str | None:
        """What showed that the shortcuts taken so far were none; None where nothing did."""
        return next((planner.disproved for planner in self._planners if planner.disproved), None)

    def take_no_shortcuts(self, reason: str) -> None:
        """Derive every example in full."""
        for planner in self._planners:
            planner.disproved = reason

    def examples(self, conversation: Conversation, *, last_turn: bool = False) -> tuple[Printed, ...]:
        """The training examples of a conversation, in the order of their turns; or the one that trains its ``last_turn`` only.

        A template that prints earlier turns exactly as the model said them gives one example; one that rewrites its history
        (or never closes a turn) gives one for each turn of the assistant.

        Raises:
            TemplateError: where no exact mask can be derived; placed at the conversation's record.
            TemplateTooSlow: the template takes too long.
        """
        try:
            planner = self._last_turns if last_turn else self._examples
            return self._with_stop(planner.examples(conversation.messages))
        except TemplateError as error:
            place = "" if error.where is None else f" ({error.where})"
            raise TemplateError(error.what + place, where=conversation.location, fix=error.fix) from error
        except TemplateTooSlow as error:
            what = f"{error.what}, until {conversation.location}"
            raise TemplateTooSlow(what, where=error.where, fix=error.fix) from error

    def prompt(self, messages: Sequence[Message]) -> tuple[Segment, ...]:
        """What the model reads before it answers ``messages``: the context of a training example, all untrained.

        The segments are cut where those of the training example are, so that they become the same ids.

        Raises:
            TemplateError: where the template does not print the messages.
        """
        examples = self._turns.examples([*messages, placeholder("assistant", len(messages))])
        turns = sum(segment.trained for example in examples for segment in example.segments)
        is_exact = not any("closed-within" in example.notes for example in examples)
        if messages and messages[-1].role == "assistant" and not (is_exact and turns > _count_answers(messages)):
            raise TemplateError(
                "the chat template prints two answers in a row as one turn, so there is no prompt between them",
                fix="end the messages with a question",
            )
        return tuple(replace(segment, trained=False) for segment in examples[-1].segments[:-1])

    def parse(self, text: str) -> str:
        """The content of an answer, from the text that the model wrote after a prompt, without its stop.

        What the template itself prints around a content inside the model's turn is taken away: the space after ``Assistant:``,
        an empty reasoning block; also where its control tokens were left out in decoding.
        """
        for before in self._before_content:
            if text.startswith(before):
                text = text[len(before) :]
                break
        return text.removesuffix(self._after_content)

    @property
    def stop_strings(self) -> frozenset[str]:
        """The control strings that close a turn of this template, and the end-of-text token."""
        return self.closing_strings | ({self.eos} - {""})

    @cached_property
    def closing_strings(self) -> frozenset[str]:
        """The control strings that close a turn of this template."""
        closed = (example for example in (*self._tried, *self._calls_tried()) if not example.append_eos)
        lasts = [example.segments[-1] for example in closed]
        return frozenset(last.text[start:end] for last in lasts for start, end in last.control if end == len(last.text))

    def validate(self) -> None:
        """Try the template on placeholders.

        Raises:
            TemplateError: where it cannot print a question and its answer, or no exact mask can be derived from them.
        """
        assert self._tried

    @cached_property
    def _tried(self) -> list[Printed]:
        """The examples of placeholder conversations, of those shapes that the template takes."""
        problems: list[TemplateError] = []
        for setting in (None, *STAND_INS):
            examples: list[Printed] = []
            for roles in _SHAPES:
                messages = [placeholder(role, number) for number, role in enumerate(roles)]
                messages[0] = replace(messages[0], setting=setting)
                try:
                    self._with_stop(self._examples.examples(messages))
                    examples += self._turns.examples(messages)
                except TemplateError as error:
                    problems.append(error)
            if examples:
                return examples
        raise TemplateError(problems[0].what, where=problems[0].where or self._place, fix=problems[0].fix)

    def _calls_tried(self) -> Iterator[Printed]:
        """The examples of placeholder conversations that call a tool, where the template takes them: it may close calls apart."""
        call = placeholder_call(4)
        question, result = placeholder("user"), replace(placeholder("tool", 2), tool_call_id=call.id, name=call.name)
        calling = replace(placeholder("assistant", 1), content="", tool_calls=(call,))
        for setting in (None, placeholder_tool(call.name)):
            asked = replace(question, setting=setting)
            for messages in ([asked, calling], [asked, calling, result, placeholder("assistant", 3)]):
                with suppress(TemplateError):
                    yield from self._with_stop(self._turns.examples(messages))

    @cached_property
    def _answer(self) -> tuple[Segment, Span]:
        """The model's turn in an example, and where its content is; the whole turn where the template alters contents."""
        turn = self._tried[0].segments[-1]
        content = PLACEHOLDER.search(turn.text)
        return turn, content.span() if content else (0, len(turn.text))

    @cached_property
    def _before_content(self) -> tuple[str, str]:
        """What stands before the content in the model's turn: with its control tokens, and without them."""
        turn, (content_start, _) = self._answer
        text, position = "", 0
        for start, end in turn.control:
            if end <= content_start:
                text, position = text + turn.text[position:start], end
        return turn.text[:content_start], text + turn.text[position:content_start]

    @cached_property
    def _after_content(self) -> str:
        """What stands between the content and the stop in the model's turn."""
        turn, (_, content_end) = self._answer
        return turn.text[content_end : next((start for start, _ in turn.control if start >= content_end), None)]

    def _with_stop(self, examples: tuple[Printed, ...]) -> tuple[Printed, ...]:
        if not self.eos and any(example.append_eos for example in examples):
            raise TemplateError(
                "the chat template does not end an answer with a token that stops generation, and the tokenizer has no "
                "end-of-text token to put there",
                fix="end answers with a control token of the tokenizer, or give the tokenizer an eos_token",
            )
        return examples


def _count_answers(messages: Sequence[Message]) -> int:
    return sum(message.role == "assistant" for message in messages)


class _Tokenizer(Protocol):
    """What a template needs of a tokenizer (:class:`weft.data.tokenizer.Tokenizer`)."""

    @property
    def control(self) -> frozenset[str]: ...
    @property
    def stops(self) -> frozenset[str]: ...
    @property
    def bos(self) -> str: ...
    @property
    def eos(self) -> str: ...
    @property
    def chat_template(self) -> str | None: ...
    @property
    def template_parts(self) -> Sequence[TemplatePart]: ...


def load_template(
    template_path: str | None,
    tokenizer: _Tokenizer,
    *,
    separator: str | None = None,
    prompt_mismatch: PromptMismatch = "template",
) -> ChatTemplate:
    """The chat template that a configuration asks for, tried on placeholders.

    Args:
        template_path: a file, or a name of :data:`BUILT_IN`; None for ``plain`` where a separator is given, else for the
            tokenizer's own template, else for ``chatml`` if the tokenizer has its control tokens.
        tokenizer: its control tokens decide what closes a turn.
        separator: what ``plain`` prints between an instruction and its response, where that is not the usual one.
        prompt_mismatch: see :class:`ChatTemplate`.

    Raises:
        TemplateError: where there is no such template, or it cannot be used.
    """
    if separator is not None:
        template_path = _require_plain(template_path)
    places: Places = ()
    if template_path is None and tokenizer.chat_template is not None:
        source, name = tokenizer.chat_template, "the tokenizer's chat template"
        places = _places(tokenizer.template_parts)
    elif template_path is None or template_path in BUILT_IN:
        name = template_path or _FALLBACK
        if template_path is None:
            _require_fallback(tokenizer)
        assert tokenizer.control.issuperset(BUILT_IN[name]), "whoever loads the tokenizer adds them"
        source = built_in_source(name) if separator is None else plain_source(separator)
    else:
        source, name = _read(Path(template_path)), template_path
    strings = tokenizer.control, tokenizer.stops, tokenizer.bos, tokenizer.eos
    template = ChatTemplate(source, name, *strings, prompt_mismatch, places=places)
    template.validate()
    return template


def _places(parts: Sequence[TemplatePart]) -> Places:
    """Where the parts of a tokenizer's template were read, each of which is valid without the other."""
    if len(parts) > 1:
        for part in parts:
            JinjaTemplate(part.text, part.place)
    return tuple((part.first_line, part.place) for part in parts)


def built_in_source(name: str) -> str:
    """The Jinja text of a template of :data:`BUILT_IN`."""
    return (Path(__file__).parent / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


def plain_source(separator: str) -> str:
    """The Jinja text of ``plain`` with this separator, which its first line sets: a run's template is one file."""
    first, rest = built_in_source("plain").split("\n", 1)
    literal = separator.encode("unicode_escape").decode("ascii").replace("'", "\\'")
    return re.sub("'.*'", lambda _: f"'{literal}'", first) + "\n" + rest


def _require_plain(template_path: str | None) -> str:
    if template_path not in (None, "plain"):
        raise TemplateError(
            f"only the plain template has a separator, and data.template_path is {template_path}",
            where="data.instruction_response_separator",
            fix="remove it, or set data.template_path to plain",
        )
    return "plain"


def _require_fallback(tokenizer: _Tokenizer) -> None:
    """Refuse to take a template that nobody asked for where its control tokens would be plain text."""
    missing = [token for token in BUILT_IN[_FALLBACK] if token not in tokenizer.control]
    if missing:
        raise TemplateError(
            f"the tokenizer has no chat template, nor the control tokens of {_FALLBACK}: {' '.join(missing)}",
            where="data.template_path",
            fix="set data.template_path to a .jinja file that prints conversations as this model is to read them, to a built-in "
            f"template, whose control tokens are then added ({_FALLBACK}), or to one that needs none: {_needing_none()}",
        )


def _needing_none() -> str:
    return ", ".join(name for name, tokens in BUILT_IN.items() if not tokens)


def _read(path: Path) -> str:
    if path.exists() and not (path.is_file() or path.is_dir()):  # such as /dev/zero, which never ends
        raise TemplateError("this is no file", where=str(path), fix=_nearest(path))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TemplateError(
            f"the chat template is not UTF-8 text (byte {error.start})", where=f"{path}:{line}", fix="save it as UTF-8"
        ) from error
    except PermissionError as error:
        raise TemplateError("the chat template cannot be read", where=str(path), fix="check its permissions") from error
    except OSError as error:
        reason = "there is no such chat template" if isinstance(error, FileNotFoundError) else error.strerror
        raise TemplateError(reason or "cannot be read", where=str(path), fix=_nearest(path)) from error


def _nearest(path: Path) -> str:
    """Advice that names what the path may have been meant to be."""
    siblings = [each for each in path.parent.glob("*.jinja") if each.is_file()]
    names = {sibling.name: str(sibling) for sibling in siblings} | {name: name for name in BUILT_IN}
    near = [names[name] for name in get_close_matches(path.name, names, n=3, cutoff=0.5)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"set data.template_path to a .jinja file, or to one of: {', '.join(BUILT_IN)}"
