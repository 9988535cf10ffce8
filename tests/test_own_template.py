"""The chat template that comes with a tokenizer: where its lines were read, and what is said where it is damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from refusing import TRAIN, VAL, write
from weft.data.own_template import own_template

DEFAULT, TOOL_USE = "model/chat_template.jinja", "model/additional_chat_templates/tool_use.jinja"
BROKEN = "fine\n{% if %}\n"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def configure(template: Any) -> None:
    """Put a template into the model's ``tokenizer_config.json``."""
    path = Path("model/tokenizer_config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))


@pytest.mark.parametrize("path", [DEFAULT, TOOL_USE])
@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (BROKEN, ":2: ", "not valid Jinja"),
        ("fine\n{{ 1 / 0 }}", ":2: ", "division by zero"),
        (b"fine\n{{ '\xff' }}", ":2: ", "it is not UTF-8 (byte 9)"),
        ("hello", ": ", "does not print the assistant message"),
        ("", ": ", "does not print the assistant message"),
    ],
)
def test_a_damaged_file_is_named(
    refused: Callable[..., str], path: str, content: str | bytes, place: str, said: str
) -> None:
    write(path, content)  # the one for tools is there alone then, and so the only one
    message = refused("check", "c.yaml")
    assert message.startswith(f"weft: {path}{place}")
    assert said in message


@pytest.mark.parametrize(
    ("default", "with_tools", "place"),
    [
        (CHATML, BROKEN, f"{TOOL_USE}:2"),
        (BROKEN, CHATML, f"{DEFAULT}:2"),
        ("{% if messages %}\n", "{% endif %}", f"{DEFAULT}:"),  # which would close what the other opens
    ],
)
def test_of_two_files_the_damaged_one_is_named(
    refused: Callable[..., str], default: str, with_tools: str, place: str
) -> None:
    write(DEFAULT, default)
    write(TOOL_USE, with_tools)
    assert refused("check", "c.yaml").startswith(f"weft: {place}")


@pytest.mark.parametrize("name", ["default", "tool_use"])
def test_of_several_named_ones_the_damaged_one_is_named(refused: Callable[..., str], name: str) -> None:
    named = {"default": CHATML, "tool_use": CHATML, "rag": "{% if %}"}
    configure([{"name": each, "template": BROKEN if each == name else text} for each, text in named.items()])
    place = f"model/tokenizer_config.json (chat_template '{name}'):2"
    assert refused("check", "c.yaml").startswith(f"weft: {place}: the chat template is not valid Jinja")


def test_what_fails_for_tools_only_is_found_in_its_own_line(refused: Callable[..., str]) -> None:
    configure({"default": CHATML, "tool_use": "\n{{ 1 / 0 }}"})
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for path in (TRAIN, VAL):
        write(path, json.dumps({"messages": turns, "tools": TOOLS}))
    message = refused("check", "c.yaml")
    assert message.startswith(f"weft: {TRAIN}:1: the chat template failed (ZeroDivisionError: ")
    assert "(model/tokenizer_config.json (chat_template 'tool_use'):2)" in message


@pytest.mark.parametrize(
    "template",
    [
        5,
        [1],
        ["x"],
        {"a": 5},
        [{"name": "default", "template": ["x"]}],
        [{"label": "default"}],
        [{"name": "a"}],
        [{"template": "a"}],
    ],
)
def test_what_is_no_template_at_all(refused: Callable[..., str], template: Any) -> None:
    configure(template)
    message = refused("check", "c.yaml")
    assert message.startswith("weft: model/tokenizer_config.json (chat_template): it is neither a text nor a list")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_first_line_of_each_part(newline: str) -> None:
    default, with_tools = newline.join(["a", "b", ""]), newline.join(["c", "d"])
    template = own_template({"default": default, "tool_use": with_tools}, None, Path("model"))
    assert template is not None
    lines = template.text.splitlines()
    assert [(part.place, lines[part.first_line - 1]) for part in template.parts] == [(DEFAULT, "a"), (TOOL_USE, "c")]
