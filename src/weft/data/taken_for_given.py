"""What some templates print no conversation without: tools, documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weft.data.placeholders import placeholder_tool
from weft.errors import TemplateError
from weft.types import Setting

_OR_ANOTHER_TEMPLATE = "or choose a template for records without them with data.template_path"
_TAKEN_FOR_GIVEN: Mapping[str, tuple[Setting, str]] = {
    "tools": (
        placeholder_tool("Qz9zQ"),
        f"add the definitions of the tools that the conversation is about, {_OR_ANOTHER_TEMPLATE}",
    ),
    "documents": (
        Setting(arguments={"documents": [{"title": "Qz8zQ", "text": "Qz9zQ"}]}),
        f"add them as chat_template_kwargs.documents, each with a title and a text, {_OR_ANOTHER_TEMPLATE}",
    ),
}
"""A stand-in for each, and what to do where a record lacks it."""
STAND_INS = tuple(stand_in for stand_in, _ in _TAKEN_FOR_GIVEN.values())


def variables(setting: Setting) -> dict[str, object]:
    """The setting as a template sees it."""
    return {"tools": list(setting.tools) or None, "documents": None, **setting.arguments}


def lack_of(render: Callable[[Mapping[str, object]], str], given: Mapping[str, object]) -> TemplateError | None:
    """The error for a record that lacks what alone keeps a template from printing it; None where that is something else.

    Args:
        render: prints the record with further variables.
        given: its own.
    """
    for name, (stand_in, fix) in _TAKEN_FOR_GIVEN.items():
        if given[name] is None:
            try:
                render({name: variables(stand_in)[name]})
            except TemplateError:
                continue
            return TemplateError(f"the chat template prints no record without `{name}`, and this one has none", fix=fix)
    return None
