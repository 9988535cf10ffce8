"""What a chat template prints for a list of messages, and what it prints before the model speaks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from weft.data.answer_header import AnswerHeaders
from weft.data.call_ids import NAMING
from weft.data.jinja import NO_MARKS, JinjaTemplate, Marks, TemplateFailure
from weft.data.message_form import CALL_FORMS, MessageForm
from weft.data.not_printed import not_printed
from weft.data.pieces import shared_length
from weft.data.placeholders import placeholder, placeholder_call, placeholder_tool
from weft.data.taken_for_given import STAND_INS, lack_of, variables
from weft.errors import TemplateError
from weft.types import Message, Setting, ToolCall

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
        self._taken_ids: dict[str | None, bool] = {}

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
        reads ``Assistant:`` and writes `` Hello``, as tokenizers cut it. What it prints for the ``messages`` of a loop stays as
        it is, for that is what servers feed.

        Raises:
            TemplateError: where the template does not print it.
        """
        if not self.ignores_generation_prompt or self.standing_prompt:
            return self._print(messages, NO_MARKS, add_generation_prompt=True, **dict(variant))
        header = self._headers.behind(messages)
        text = self._headers.before_answer(messages) if header.text is None else self.dialogue(messages) + header.text
        return text[: len(text) - header.space]

    @cached_property
    def ignores_generation_prompt(self) -> bool:
        """Whether ``add_generation_prompt`` changes nothing."""
        for messages in ([placeholder("user")], [placeholder("system"), placeholder("user", 1)]):
            opening = self._with_what_is_needed(messages)
            try:
                return self.dialogue(opening) == self._print(opening, add_generation_prompt=True)
            except TemplateError:
                continue
        return False

    @cached_property
    def standing_prompt(self) -> str:
        """How a conversation ends where the template prints a generation prompt behind it unasked; else nothing.

        Of that prompt, it is what follows the characters that the next question would begin with as well.
        """
        if not self.ignores_generation_prompt:
            return ""
        (question,) = self._with_what_is_needed([placeholder("user")])
        answer, another = placeholder("assistant", 1), placeholder("user", 2)
        try:
            asked, answered, again = map(self.dialogue, ([question], [question, answer], [question, answer, another]))
        except TemplateError:
            return ""
        prompt = answered[shared_length(answered, again) :]
        opening = answered.partition(answer.content)[0][len(asked) - len(prompt) :]
        return prompt if asked.endswith(prompt) and prompt[: shared_length(opening, prompt)].strip() else ""

    def lacks_header(self, messages: Sequence[Message]) -> bool:
        """Whether servers that use the template alone stop short of the prompt, before words that announce the answer."""
        if not self.ignores_generation_prompt or self.standing_prompt:
            return False
        header = self._headers.behind(messages).text
        return header is None or header.strip() != ""

    @cached_property
    def _headers(self) -> AnswerHeaders:
        return AnswerHeaders(self.dialogue, prints_variables=self._names_roles)

    def _print(self, messages: Sequence[Message], marks: Marks = NO_MARKS, **arguments: bool) -> str:
        if not self._names_roles:
            calls = any(message.tool_calls for message in messages)
            return self._print_list(messages, self._form if calls else self._text_form, marks, **arguments)
        if any(message.tool_calls for message in messages):
            raise not_printed("assistant", calls=True)
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
        self, messages: Sequence[Message], form: MessageForm, marks: Marks = NO_MARKS, **arguments: bool
    ) -> str:
        setting = (messages[0].setting if messages else None) or Setting()
        given = {"messages": [form.variables(message, self._as_json) for message in messages], **variables(setting)}
        try:
            return self._render({**given, **arguments}, marks)
        except TemplateFailure as failure:
            raise (
                lack_of(lambda more: self._render({**given, **more, **arguments}, NO_MARKS), given) or failure
            ) from failure

    def _render(self, variables: Mapping[str, object], marks: Marks) -> str:
        return self.template.render({**variables, **self._tokens}, marks)

    def _as_json(self, arguments: object) -> str:
        """The arguments of a call for templates that print them as they get them."""
        return json.dumps(arguments, ensure_ascii=False)

    @cached_property
    def _form(self) -> MessageForm:
        """The form in which the template prints calls of tools, their arguments as JSON; the usual one where it prints none.

        Contents are handed over as without calls, if calls can be printed so: some templates look into the first part of a
        content only where there is a call.
        """
        as_usual = self._call_form(contents_as_parts=self._wraps_contents)
        return as_usual or self._call_form(contents_as_parts=not self._wraps_contents) or self._text_form

    def _call_form(self, *, contents_as_parts: bool) -> MessageForm | None:
        """The form of calls with these contents; None where the template prints none so.

        Of forms that print the same up to the call, that which prints the least behind it: some templates print an empty answer
        there for a content of ``""``.
        """
        call = placeholder_call(1)
        name, ((key, value),) = call.name, call.arguments.items()
        told = replace(call, id=NAMING.replace("{name}", name))
        printed: list[tuple[str, MessageForm]] = []
        not_json = (f"{{'{key}'", "'type'", f'\\"{key}\\"')
        for form in (replace(each, contents_as_parts=contents_as_parts) for each in CALL_FORMS):
            for each in (call, told):
                answer = Message(role="assistant", content="", tool_calls=(each,))
                text = self._tried([placeholder("user"), answer], form)
                if all(word in text for word in (name, key, value)) and not any(word in text for word in not_json):
                    printed.append((text, form))
                    break
        if not printed:
            return None
        usual = printed[0][0].partition(name)[0]
        return min((each for each in printed if each[0].partition(name)[0] == usual), key=lambda each: len(each[0]))[1]

    def takes_call_id(self, ident: str | None) -> bool:
        """Whether the template prints a call of a tool, and its result, under this id, or under none.

        In the id, ``{name}`` stands for the name of the tool.
        """
        if ident not in self._taken_ids:
            name, result, speaker = (placeholder("assistant", number).content for number in (1, 2, 3))
            given = ident and ident.replace("{name}", name)
            call = ToolCall(name=name, arguments={}, id=given)
            messages = [
                placeholder("user"),
                Message(role="assistant", content="", tool_calls=(call,)),
                Message(role="tool", content=result, tool_call_id=given, name=speaker),
            ]
            text = "" if self._names_roles else self._tried(messages, self._form)
            self._taken_ids[ident] = name in text and result in text
        return self._taken_ids[ident]

    @cached_property
    def _text_form(self) -> MessageForm:
        """The form in which the template prints contents."""
        return MessageForm(contents_as_parts=self._wraps_contents)

    @cached_property
    def _wraps_contents(self) -> bool:
        """Whether the template prints contents only as lists of typed parts, as those of multimodal models do."""
        exchange = [placeholder("user"), placeholder("assistant", 1)]
        for messages in (exchange, [placeholder("system", 2), *exchange]):
            for as_parts in (False, True):
                text = self._tried(messages, MessageForm(contents_as_parts=as_parts))
                printed = all(message.content in text for message in exchange)
                if printed and "'type'" not in text and '"type"' not in text:  # not a list printed as Python or JSON
                    return as_parts
        return False

    @cached_property
    def within_answers(self) -> str:
        """What the template prints between the parts of one answer: its reasoning, its content, one call and the next."""
        if self._names_roles:
            return ""
        why, what = (placeholder("assistant", number).content for number in (1, 2))
        one, other = placeholder_call(3), placeholder_call(6)
        between = []
        for reasoning, content, calls in (
            (why, what, ()),
            (why, "", (one,)),
            ("", what, (one,)),
            ("", "", (one, other)),
        ):
            answer = Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls)
            text = self._tried([placeholder("user"), answer], self._form)
            parts = [part for part in (reasoning, content, *(call.name for call in calls)) if part and part in text]
            places = [place for part in parts for place in (text.find(part), text.rfind(part))]
            between.append(text[min(places, default=0) : max(places, default=0)])
        return "".join(between)

    def _tried(self, messages: Sequence[Message], form: MessageForm) -> str:
        """What the template prints, if need be with tools or documents that stand in for some; nothing where it refuses."""
        if messages[0].setting is None:
            messages = self._with_what_is_needed(messages)
        return self._tried_as_given(messages, form)

    def _tried_as_given(self, messages: Sequence[Message], form: MessageForm) -> str:
        try:
            return self._print_list(messages, form, add_generation_prompt=False)
        except TemplateError:
            return ""

    def _with_what_is_needed(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Placeholders, with tools or documents where the template prints nothing without them."""
        return [replace(messages[0], setting=self._needed), *messages[1:]]

    @cached_property
    def _needed(self) -> Setting | None:
        for setting in () if self._names_roles else (None, *STAND_INS):
            for opening in ([placeholder("user")], [placeholder("system"), placeholder("user", 1)]):
                opening[0] = replace(opening[0], setting=setting)
                if any(self._tried_as_given(opening, MessageForm(contents_as_parts=parts)) for parts in (False, True)):
                    return setting
        return None

    @cached_property
    def prints_tools(self) -> bool:
        """Whether the template prints definitions of tools."""
        name = placeholder("user", 1).content
        setting = placeholder_tool(name)
        exchange = [placeholder("user"), placeholder("assistant", 2)]
        return not self._names_roles and any(
            name in self._tried([replace(messages[0], setting=setting), *messages[1:]], self._form)
            for messages in (exchange[:1], exchange, [placeholder("system", 3), *exchange])
        )
