"""Chat: history, commands, interruption, the context's end; the model here is a script."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

import pytest

from weft.config.schema import GenConfig
from weft.errors import WeftError
from weft.inference.chat import HELP, Chat, talk
from weft.types import Completion, Message


class Scripted:
    """Answers with the pieces it was given, one list per question; every word counts as one token."""

    def __init__(self, *answers: Iterable[str], context: int | None = 1000, finish: str = "stop"):
        self.context = context
        self.asked: list[list[tuple[str, str]]] = []
        self.seeds: list[int] = []
        self._answers = iter(answers)
        self._finish = finish

    def prompt_ids(self, messages: Sequence[Message]) -> list[str]:
        return [word for message in messages for word in message.content.split()]

    def stream(self, messages: Sequence[Message], *, seed: int, **settings: float) -> Generator[str, None, Completion]:
        if self.context is not None and len(self.prompt_ids(messages)) >= self.context:
            raise WeftError("the prompt is too long")
        self.asked.append([(message.role, message.content) for message in messages])
        self.seeds.append(seed)
        said = ""
        for piece in next(self._answers):
            said += piece
            yield piece
        return Completion(text=said, finish=self._finish, tokens=len(said.split()))


def _talk(
    model: Scripted,
    lines: Iterable[str],
    *,
    forgiving: bool = False,
    system: str | None = None,
    max_new_tokens: int = 8,
) -> tuple[str, list[str]]:
    """What was printed, and what was told beside it: only between answers, never in the middle of a line."""
    out = io.StringIO()
    notices: list[str] = []

    def notify(text: str) -> None:
        assert out.getvalue()[-1:] in ("", "\n")
        notices.append(text)

    chat = Chat(model, GenConfig(max_new_tokens=max_new_tokens), system=system, seed=1)
    talk(chat, lines, out, notify, forgiving=forgiving)
    return out.getvalue(), notices


def test_every_question_sees_the_turns_before_it() -> None:
    model = Scripted(["Hel", "lo."], ["Fine."])
    out, notices = _talk(model, ["hi\n", "\n", "  how are you?  \n"], system="Be kind.")
    assert (out, notices) == ("Hello.\nFine.\n", [])
    first = [("system", "Be kind."), ("user", "hi")]
    assert model.asked == [first, [*first, ("assistant", "Hello."), ("user", "how are you?")]]
    assert len(set(model.seeds)) == 2


def test_reset_system_help_exit_and_what_only_looks_like_a_command() -> None:
    model = Scripted(["1"], ["2"], ["3"], ["4"])
    lines = [
        "a",
        "/reset",
        "b",
        "/system Be brief.",
        "c",
        "/system",
        "/help",
        "/nonsense",
        "/usr/bin is what?",
        "/exit",
        "d",
    ]
    out, notices = _talk(model, lines)
    assert out == f"1\n2\n3\n{HELP}\n4\n"
    assert model.asked[1] == [("user", "b")]
    assert model.asked[2] == [("system", "Be brief."), ("user", "c")]
    assert model.asked[3][-1] == ("user", "/usr/bin is what?")
    assert len(model.asked) == 4  # nothing after /exit
    assert notices[2:] == ["system prompt: Be brief.", "there is no command /nonsense; /help lists them"]


def test_without_a_system_prompt_it_says_so() -> None:
    assert _talk(Scripted(), ["/system"])[1] == ["there is no system prompt"]


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said() -> None:
    def interrupted() -> Iterator[str]:
        yield "The answer is"
        raise KeyboardInterrupt

    model = Scripted(interrupted(), ["More."])
    out, notices = _talk(model, ["a", "go on"])
    assert (out, notices) == ("The answer is\nMore.\n", ["stopped"])
    assert model.asked[1] == [("user", "a"), ("assistant", "The answer is"), ("user", "go on")]


def test_ctrl_c_before_the_first_word_forgets_the_question() -> None:
    def interrupted() -> Iterator[str]:
        raise KeyboardInterrupt
        yield

    model = Scripted(interrupted(), ["Yes."])
    _talk(model, ["a", "b"])
    assert model.asked[1] == [("user", "b")]


def test_ctrl_c_between_answers_ends_politely() -> None:
    def lines() -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt

    assert _talk(Scripted(["1"]), lines())[0] == "1\n\n"


def test_the_oldest_turns_are_forgotten_with_a_notice() -> None:
    """12 tokens of context, 4 of them for the answer: the prompt has room for 8."""
    model = Scripted(["a1 a1"], ["a2 a2"], ["a3"], context=12)
    _, notices = _talk(model, ["q1 q1", "q2 q2", "q3 q3"], max_new_tokens=4, system="s")
    assert model.asked[1] == [("system", "s"), ("user", "q1 q1"), ("assistant", "a1 a1"), ("user", "q2 q2")]  # 7
    assert model.asked[2] == [("system", "s"), ("user", "q2 q2"), ("assistant", "a2 a2"), ("user", "q3 q3")]  # not 11
    assert len(notices) == 1
    assert "context of 12 tokens: the oldest turn is forgotten" in notices[0]


def test_a_question_that_fills_the_context_is_an_error_or_told() -> None:
    too_long = "word " * 30
    with pytest.raises(WeftError, match="too long"):
        _talk(Scripted(["1"], context=20), ["a", too_long])
    model = Scripted(["1"], ["2"], context=20)
    out, notices = _talk(model, ["a", too_long, "b"], forgiving=True)
    assert (out, notices) == ("1\n2\n", ["the prompt is too long"])
    assert model.asked[1] == [("user", "a"), ("assistant", "1"), ("user", "b")]  # nothing was forgotten for it


@pytest.mark.parametrize(
    ("model", "notice"),
    [
        (
            lambda: Scripted(["cut"], finish="length"),
            "cut off after 1 tokens (gen.max_new_tokens, or the end of the context)",
        ),
        (lambda: Scripted([]), "the model ended its turn without a word"),
    ],
)
def test_unusual_endings_are_told(model: Callable[[], Scripted], notice: str) -> None:
    assert _talk(model(), ["a"])[1] == [notice]


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert _talk(Scripted(["\x1b[2J", "red\r"]), ["a"])[0] == "\\x1b[2Jred\\r\n"
