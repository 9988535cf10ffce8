"""What a chat template prints for a list of messages, and what it prints before the model speaks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from weft.data.jinja import NO_MARKS, JinjaTemplate, Marks
from weft.data.pieces import unused_marks
from weft.errors import TemplateError
from weft.types import Message, Role

Variant = tuple[tuple[str, bool], ...]
"""Further arguments of the template under which it prints another generation prompt."""

VARIANTS: tuple[Variant, ...] = (
    (),
    (("enable_thinking", False),),
    (("enable_thinking", True),),
    (("thinking", False),),
    (("thinking", True),),
)
"""The arguments that reasoning templates are known to take; tried in this order."""

PLACEHOLDER = re.compile(r"Qz(\d+)zQ")
"""What :func:`placeholder` puts into a message; the group is its number."""


def placeholder(role: Role, number: int = 0) -> Message:
    """A message whose content is a plain word that occurs nowhere else."""
    return Message(role=role, content=f"Qz{number}zQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What a template that ignores ``add_generation_prompt`` prints between the messages and an answer."""

    text: str | None
    """None where an answer does not simply follow the messages, so that only what stands before it can be told."""
    space: int
    """Characters of white space at the end of a prompt that the template itself prints."""


class Printer:
    """One template with the names of its tokenizer.

    Args:
        template: the compiled template.
        bos: the string of the begin-of-text token, or ``""``.
        eos: the string of the end-of-text token, or ``""``.
    """

    def __init__(self, template: JinjaTemplate, *, bos: str, eos: str) -> None:
        self.template = template
        self._tokens = {name: token for name, token in (("bos_token", bos), ("eos_token", eos)) if token}
        names = template.variables
        self._names_roles = "messages" not in names and "user" in names
        """Whether the template prints the variables ``system``, ``user``, ``assistant`` instead of ``messages``."""
        self._prompt_only = self._names_roles and "assistant" not in names
        """… and leaves it to the caller to put the answer behind the prompt."""
        self._headers: dict[tuple[Role, ...], _Header] = {}

    def dialogue(self, messages: Sequence[Message], generation_marks: Marks = NO_MARKS) -> str:
        """The messages as the template prints them, without a generation prompt.

        Raises:
            TemplateError: where the template does not print them.
        """
        return self._print(messages, generation_marks, add_generation_prompt=False)

    def prompt(self, messages: Sequence[Message], variant: Variant = ()) -> str:
        """What the model reads before it answers ``messages``.

        That is what the template prints with ``add_generation_prompt``. A template that ignores this argument prints the
        messages only, and the header that it puts before an answer is added, without the white space at its end: a model
        reads ``Assistant:`` and writes `` Hello``, as tokenizers cut it.

        Raises:
            TemplateError: where the template does not print it.
        """
        if not self.ignores_generation_prompt:
            return self._print(messages, NO_MARKS, add_generation_prompt=True, **dict(variant))
        header = self._header(messages)
        text = self._before_answer(messages) if header.text is None else self.dialogue(messages) + header.text
        return text[: len(text) - header.space]

    @cached_property
    def ignores_generation_prompt(self) -> bool:
        """Whether ``add_generation_prompt`` changes nothing."""
        for opening in ([placeholder("user")], [placeholder("system"), placeholder("user", 1)]):
            try:
                return self.dialogue(opening) == self._print(opening, add_generation_prompt=True)
            except TemplateError:
                continue
        return False

    def lacks_header(self, messages: Sequence[Message]) -> bool:
        """Whether servers that use the template alone stop short of the prompt, before words that announce the answer."""
        if not self.ignores_generation_prompt:
            return False
        header = self._header(messages).text
        return header is None or header.strip() != ""

    def _before_answer(self, messages: Sequence[Message]) -> str:
        (mark,) = unused_marks(messages, 1)
        answer = f"0{mark}0"  # digits, which no filter turns into others
        text = self.dialogue([*messages, Message(role="assistant", content=answer)])
        before, found, _ = text.partition(answer)
        if not found:
            raise not_printed("assistant")
        return before

    def _header(self, messages: Sequence[Message]) -> _Header:
        """The header behind messages of these roles: read off placeholders, for a content may end in white space of its own."""
        roles = tuple(message.role for message in messages)
        if roles not in self._headers:
            stand_ins = [placeholder(role, number) for number, role in enumerate(roles)]
            text = self._header_text(stand_ins)
            if text is None:  # a history may be printed in two ways, and a single question in one
                text = self._header_text([placeholder("user")])
            prompt = self._before_answer(stand_ins) if text is None else self.dialogue(stand_ins) + text
            self._headers[roles] = _Header(text=text, space=len(prompt) - len(prompt.rstrip()))
        return self._headers[roles]

    def _header_text(self, messages: Sequence[Message]) -> str | None:
        try:
            history, before_answer = self.dialogue(messages), self._before_answer(messages)
        except TemplateError:
            return None
        return before_answer[len(history) :] if before_answer.startswith(history) else None

    def _print(self, messages: Sequence[Message], marks: Marks = NO_MARKS, **arguments: bool) -> str:
        if not self._names_roles:
            return self._print_list(messages, self._wraps_contents, marks, **arguments)
        by_role: dict[str, str] = {message.role: message.content for message in messages}
        if len(by_role) < len(messages):
            raise TemplateError(
                "the chat template prints the variables system, user and assistant, each once; the conversation has "
                f"{len(messages)} messages",
                fix="use a template that loops over `messages`, such as chat_templates/default.jinja",
            )
        if self._prompt_only and "assistant" in by_role:
            return self._render({**by_role, "add_generation_prompt": True}, marks) + by_role["assistant"]
        return self._render({**by_role, **arguments}, marks)

    def _print_list(
        self, messages: Sequence[Message], as_parts: bool, marks: Marks = NO_MARKS, **arguments: bool
    ) -> str:
        listed = [_as_dict(message, as_parts) for message in messages]
        return self._render({"messages": listed, "tools": None, "documents": None, **arguments}, marks)

    def _render(self, variables: Mapping[str, object], marks: Marks) -> str:
        return self.template.render({**variables, **self._tokens}, marks)

    @cached_property
    def _wraps_contents(self) -> bool:
        """Whether the template prints contents only as lists of typed parts, as those of multimodal models do."""
        exchange = [placeholder("user"), placeholder("assistant", 1)]
        for messages in (exchange, [placeholder("system", 2), *exchange]):
            for as_parts in (False, True):
                try:
                    text = self._print_list(messages, as_parts, add_generation_prompt=False)
                except TemplateError:
                    continue
                printed = all(message.content in text for message in exchange)
                if printed and "'type'" not in text and '"type"' not in text:  # not a list printed as Python or JSON
                    return as_parts
        return False


def not_printed(role: Role, number: int | None = None) -> TemplateError:
    """The error for a message that the template leaves out."""
    which = "" if number is None else f" (message {number})"
    return TemplateError(
        f"the chat template does not print the {role} message{which}, or not as it was given",
        fix="print `message['content']` for every role, or choose another template with data.template_path",
    )


def _as_dict(message: Message, as_parts: bool) -> Mapping[str, object]:
    content = [{"type": "text", "text": message.content}] if as_parts else message.content
    return {"role": message.role, "content": content}
