"""The error for what a chat template leaves out."""

from __future__ import annotations

from weft.errors import TemplateError
from weft.types import Role


def not_printed(role: Role, number: int | None = None, *, calls: bool = False) -> TemplateError:
    """The error for a message that the template leaves out, or whose ``calls`` of tools it does."""
    which = "" if number is None else f" (message {number})"
    if calls:
        return TemplateError(
            f"the chat template does not print calls of tools (`tool_calls`){which}",
            fix="choose a template that does with data.template_path, or write the calls into the contents",
        )
    return TemplateError(
        f"the chat template does not print the {role} message{which}, or not as it was given",
        fix="print `message['content']` for every role, or choose another template with data.template_path",
    )
