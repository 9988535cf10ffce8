"""The chat template that comes with a tokenizer: in a file of its own, or in ``tokenizer_config.json``; one, or several by name.

For records with tools there may be another one than for the rest. Those two become one that asks whether there are tools.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.errors import ModelError

FILES = {"default": "chat_template.jinja", "tool_use": "additional_chat_templates/tool_use.jinja"}
"""Those of the chat templates in files of their own that Transformers chooses from by itself."""
CONFIG = "tokenizer_config.json"

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_LAST_LINE_BREAK = re.compile(r"(\r\n|\r|\n)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePart:
    """One of the templates that a tokenizer's is made of."""

    text: str
    place: str
    """Where it was read."""
    first_line: int = 1
    """The line of the whole with which it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTemplate:
    """A tokenizer's chat template."""

    text: str
    parts: tuple[TemplatePart, ...]


def own_template(files: Mapping[str, str], configured: Any, directory: Path) -> OwnTemplate | None:
    """The template of a tokenizer; None where it has none, and where it has several and none of them is the default.

    Args:
        files: the texts of :data:`FILES` that there are, by the same names; they count before what is configured.
        configured: ``chat_template`` in ``tokenizer_config.json``.
        directory: where these files lie.

    Raises:
        ModelError: what is configured is no template.
    """
    if files:
        return _chosen(
            {name: TemplatePart(text=text, place=str(directory / FILES[name])) for name, text in files.items()}
        )
    place = f"{directory / CONFIG} (chat_template)"
    if configured is None:
        return None
    if isinstance(configured, str):
        return _alone(TemplatePart(text=configured, place=place))
    named = _named(configured)
    if named is None:
        raise ModelError(
            'it is neither a text nor a list such as [{"name": "default", "template": "…"}]',
            where=place,
            fix="correct it, or choose another template with data.template_path and remove this one",
        )
    return _chosen({name: TemplatePart(text=text, place=f"{place[:-1]} {name!r})") for name, text in named.items()})


def _named(configured: Any) -> dict[str, str] | None:
    """Templates by name; None where they are no such thing."""
    if isinstance(configured, list) and all(_is_named(each) for each in configured):
        pairs = [(each["name"], each["template"]) for each in configured]
    elif isinstance(configured, dict):
        pairs = list(configured.items())
    else:
        return None
    given = [(name, text) for name, text in pairs if text is not None]
    return dict(given) if all(isinstance(name, str) and isinstance(text, str) for name, text in given) else None


def _is_named(entry: Any) -> bool:
    return isinstance(entry, dict) and {"name", "template"} <= entry.keys()


def _chosen(named: Mapping[str, TemplatePart]) -> OwnTemplate | None:
    default, with_tools = named.get("default"), named.get("tool_use")
    if default is None:
        return _alone(*named.values()) if len(named) == 1 else None
    return _alone(default) if with_tools is None else _joined(default, with_tools)


def _alone(part: TemplatePart) -> OwnTemplate:
    return OwnTemplate(text=part.text, parts=(part,))


def _joined(default: TemplatePart, with_tools: TemplatePart) -> OwnTemplate:
    """Each begins a line and loses its last line break, as when it is read alone; an empty expression keeps space at its end."""
    text, parts = "", []
    for before, part in (("{% if not tools %}", default), ("{% else %}", with_tools)):
        text += before + "\n"
        parts.append(TemplatePart(text=part.text, place=part.place, first_line=len(_LINE_BREAK.findall(text)) + 1))
        text += _LAST_LINE_BREAK.sub("", part.text) + "{{ '' }}"
    return OwnTemplate(text=text + "{% endif %}", parts=tuple(parts))
