"""Errors for people: one message that says where, what and how to fix it (law 11).

Every error that a user can cause is a :class:`WeftError`. The command line prints it without a traceback and leaves with
its ``exit_code``; ``--debug`` shows the traceback. Mistakes of ours stay ordinary exceptions (``assert``, ``TypeError``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.types import Location


class WeftError(Exception):
    """A problem that the user can mend.

    Args:
        what: one sentence, without the place.
        where: a file with line, or a configuration key with the place that set it; None where no place exists.
        fix: what to do about it, as an instruction.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: Location | str | None = None, fix: str | None = None):
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where is not None else ""
        return f"{place}{self.what}" + (f"\n  fix: {self.fix}" if self.fix else "")


def _again(kind: type[WeftError], args: tuple[Any, ...], state: dict[str, Any]) -> WeftError:
    """An error that came from another process."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(WeftError):
    """A configuration value that cannot be used."""


class DataError(WeftError):
    """A file or record that cannot be used."""


class TemplateError(WeftError):
    """A chat template that does not compile, does not render, or of which no exact mask can be derived."""


class TemplateTooSlow(WeftError):
    """A chat template that takes too long. No record is at fault, so that none is left out for it."""


class ModelError(WeftError):
    """A model or tokenizer directory that cannot be used."""


class RunError(WeftError):
    """An output directory or checkpoint that cannot be used."""


class Problems(WeftError):
    """Several problems, reported together so that they can be mended together."""

    def __init__(self, problems: Sequence[WeftError]):
        self.problems = tuple(problems)
        super().__init__(f"{len(self.problems)} problems")

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class Interrupted(WeftError):
    """The user pressed Ctrl-C; what had been done is saved and ``what`` says how to go on."""

    exit_code = 130
