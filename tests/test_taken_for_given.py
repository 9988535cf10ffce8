"""Templates that print no conversation without tools, or without documents, though a record may hold neither."""

from __future__ import annotations

import pytest

from template_families import PLACE, from_source, shown
from weft.errors import TemplateError
from weft.types import Conversation, Message, Setting, ToolCall

TOOLS = """
{%- for tool in tools %}{{- tool.function.name + ' ' }}{% endfor %}
{%- for message in messages %}
    {{- message.role + ': ' + message.content }}
    {%- for call in message.tool_calls or [] %}{{- call.function.name + ' ' + call.function.arguments }}{% endfor %}
    {{- '<|im_end|>' }}
{%- endfor %}
"""
"""Has no generation prompt, and takes arguments as text: both are found out without a record."""
DOCUMENTS = """
{%- for document in documents %}{{- document['title'] + ': ' + document['text'] + '\n' }}{% endfor %}
{%- for message in messages %}{{- message.role + ': ' + message.content + '<|im_end|>' }}{% endfor %}
{{- 'assistant:' if add_generation_prompt }}
"""
LOOP = "{% for message in messages %}{{ message.role + ': ' + message.content + '<|im_end|>' }}{% endfor %}"
TOOL = {"type": "function", "function": {"name": "clock", "parameters": {}}}


def conversation(*messages: Message, setting: Setting | None = None) -> Conversation:
    question = Message(role="user", content="Q", setting=setting)
    return Conversation(messages=(question, *messages), location=PLACE)


ANSWER = Message(role="assistant", content="A")
CALL = Message(
    role="assistant", content="", tool_calls=(ToolCall(name="clock", arguments={"zone": "UTC"}, id="call_1"),)
)


@pytest.mark.parametrize(("source", "name"), [(TOOLS, "tools"), (DOCUMENTS, "documents")])
def test_a_record_without_them_is_refused_by_their_name(source: str, name: str) -> None:
    template = from_source(source)
    template.validate()
    with pytest.raises(TemplateError, match=rf"no record without `{name}`, and this one has none") as caught:
        template.examples(conversation(ANSWER))
    assert caught.value.where == PLACE
    assert caught.value.fix is not None
    assert name in caught.value.fix or "add them" in caught.value.fix


def test_with_tools_the_template_prints_as_others_do() -> None:
    template = from_source(TOOLS)
    examples = template.examples(conversation(CALL, setting=Setting(tools=(TOOL,))))
    assert shown(examples) == ['clock user: Q<|im_end|>assistant:⟦ clock {"zone": "UTC"}<|im_end|>⟧']


def test_with_documents_the_template_prints_as_others_do() -> None:
    documents = [{"title": "Time", "text": "It is late."}]
    examples = from_source(DOCUMENTS).examples(
        conversation(ANSWER, setting=Setting(arguments={"documents": documents}))
    )
    assert shown(examples) == ["Time: It is late.\nuser: Q<|im_end|>assistant:⟦ A<|im_end|>⟧"]


def test_what_else_a_template_stumbles_over_is_told_as_it_is() -> None:
    template = from_source("{% for tool in tools %}{{ tool.function.description + '' }}{% endfor %}" + LOOP)
    with pytest.raises(TemplateError, match="has no attribute 'description'") as caught:
        template.examples(conversation(ANSWER, setting=Setting(tools=(TOOL,))))
    assert caught.value.fix is not None
    assert "in the record's messages, tools or chat_template_kwargs" in caught.value.fix
