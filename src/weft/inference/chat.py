"""Chat: a conversation with a memory as long as the model's context, and the loop that reads and prints it."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from io import TextIOWrapper
from typing import TextIO

from weft.config.schema import Config, GenConfig
from weft.data.seeds import derive_seed
from weft.data.style import effective_system_prompt
from weft.errors import DataError, WeftError
from weft.escape import visible
from weft.inference.generate import Answerer
from weft.inference.load import load_answerer
from weft.types import Completion, Message

HELP = """\
/reset         forget the conversation
/system TEXT   start afresh with TEXT as the system prompt; without TEXT, show it
/help          show this
/exit          leave (so do Ctrl-D and, between answers, Ctrl-C)
Ctrl-C while the model answers stops that answer."""

_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?")


class Chat:
    """One conversation. A question is answered with the whole history before it, as far as the context reaches."""

    def __init__(self, answerer: Answerer, gen: GenConfig, *, system: str | None, seed: int):
        """Start with ``system`` as the system prompt."""
        self.system = system
        self.remarks: list[str] = []
        """What the user must not miss about the last answer: that it was cut off, or given without the oldest turns."""
        self._answerer = answerer
        self._gen = gen
        self._seed = seed
        self._history: list[Message] = []
        self._asked = 0

    def reset(self) -> None:
        """Forget every turn; the system prompt stays."""
        self._history.clear()

    def ask(self, question: str) -> Generator[str, None, Completion]:
        """Answer ``question`` piece by piece; what has been said enters the history, also when the caller stops early.

        When it ends, :attr:`remarks` are about this answer, and the completion is returned.

        Raises:
            WeftError: the question alone fills the context; the history is then as it was.
        """
        self.remarks.clear()
        asked = Message(role="user", content=question)
        history = self._seen_with(asked)
        seed = derive_seed(self._seed, "chat", self._asked)
        self._asked += 1
        said: list[str] = []
        stream = self._answerer.stream(self._messages(history, asked), seed=seed, **self._gen.model_dump())
        try:
            completion = yield from _heard(stream, said)
        finally:
            if said:
                self._forget_all_but(history)
                self._history += [asked, Message(role="assistant", content="".join(said))]
        if completion.finish == "length":
            self.remarks.append(
                f"cut off after {completion.tokens:,} tokens (gen.max_new_tokens, or the end of the context)"
            )
        elif not completion.text:
            self.remarks.append("the model ended its turn without a word")
        return completion

    def _seen_with(self, question: Message) -> list[Message]:
        """The newest turns of the history that leave room in the context for ``question`` and a whole answer."""
        history, context = self._history, self._answerer.context
        if context is not None:
            room = context - min(self._gen.max_new_tokens, context // 2)
            while history and len(self._answerer.prompt_ids(self._messages(history, question))) > room:
                history = history[2:]
        return list(history)

    def _forget_all_but(self, history: list[Message]) -> None:
        if turns := (len(self._history) - len(history)) // 2:
            self.remarks.append(
                f"the conversation has outgrown the model's context of {self._answerer.context:,} tokens: the oldest "
                f"{'turn is' if turns == 1 else f'{turns} turns are'} forgotten, and this answer was given without"
            )
        self._history = history

    def _messages(self, history: list[Message], question: Message) -> list[Message]:
        system = [Message(role="system", content=self.system)] if self.system else []
        return [*system, *history, question]


def chat(config: Config) -> None:
    """Talk with the model of ``config`` on standard input and output until one side leaves."""

    def notify(text: str) -> None:
        print(f"({text})", file=sys.stderr, flush=True)

    answerer = load_answerer(config)
    if answerer.notice:
        notify(answerer.notice)
    session = Chat(answerer, config.gen, system=effective_system_prompt(config), seed=config.seed)
    typed = sys.stdin.isatty()
    if not typed and isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")  # some locales let bytes through that are no UTF-8
    if typed:
        notify("/help lists the commands, /exit leaves")
    try:
        talk(session, _typed_lines() if typed else sys.stdin, sys.stdout, notify, forgiving=typed)
    except UnicodeDecodeError as error:
        raise DataError("a question is not valid UTF-8", where="standard input", fix="convert it to UTF-8") from error


def talk(session: Chat, lines: Iterable[str], out: TextIO, notify: Callable[[str], None], *, forgiving: bool) -> None:
    """Answer every line on ``out``, until there is none, ``/exit``, or Ctrl-C between two answers.

    Raises:
        WeftError: a question cannot be answered; with ``forgiving`` that is told, and the conversation goes on.
    """
    try:
        for line in filter(None, map(str.strip, lines)):
            command = _COMMAND.fullmatch(line)
            if command and command[1] == "exit":
                return
            try:
                if command:
                    _obey(session, command[1], command[2], out, notify)
                else:
                    _print_answer(session, line, out, notify)
            except WeftError as error:
                if not forgiving:
                    raise
                notify(str(error))
    except KeyboardInterrupt:
        print(file=out)


def _typed_lines() -> Iterator[str]:
    """Lines from the keyboard, with line editing where Python has it, until Ctrl-D."""
    with suppress(ImportError):
        importlib.import_module("readline")
    while True:
        try:
            yield input("you: " if sys.stdout.isatty() else "")
        except EOFError:
            print()
            return


def _obey(session: Chat, command: str, text: str | None, out: TextIO, notify: Callable[[str], None]) -> None:
    match command:
        case "reset":
            session.reset()
            notify("the conversation is forgotten")
        case "system" if text:
            session.system = text
            session.reset()
            notify("a new conversation with this system prompt")
        case "system":
            notify(f"system prompt: {session.system}" if session.system else "there is no system prompt")
        case "help":
            print(HELP, file=out, flush=True)
        case _:
            notify(f"there is no command /{command}; /help lists them")


def _print_answer(session: Chat, question: str, out: TextIO, notify: Callable[[str], None]) -> None:
    with closing(session.ask(question)) as pieces:
        stopped = False
        try:
            for piece in pieces:
                out.write(visible(piece))
                out.flush()
        except KeyboardInterrupt:
            stopped = True
    print(file=out, flush=True)
    for remark in [*session.remarks, *(["stopped"] if stopped else [])]:
        notify(remark)


def _heard(stream: Generator[str, None, Completion], said: list[str]) -> Generator[str, None, Completion]:
    """``stream``, with every piece kept in ``said``."""
    while True:
        try:
            piece = next(stream)
        except StopIteration as end:
            return end.value
        said.append(piece)
        yield piece
