"""The store by one process and by several: the same bytes, the same errors, and nothing left behind."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from conftest import CHATML
from store_files import Open, Row, opener, qa, write
from weft.config.load import load_config
from weft.data.block_files import BlockFiles
from weft.data.conversation_reader import ConversationReader
from weft.data.example_file import ExampleWriter
from weft.data.held_out import held_out_places
from weft.data.in_parallel import may_fork
from weft.data.reading import Reading
from weft.data.render import Renderer
from weft.data.rendering import Overlong
from weft.data.split import Portion
from weft.data.store import ExampleStore, NoExamplesError, SourceFile
from weft.data.store_build import Share, Source, Work
from weft.data.store_helper import Helper, start_helper
from weft.data.template import ChatTemplate
from weft.data.tokenizer import Tokenizer, load_tokenizer
from weft.errors import DataError, Problems, TemplateError, WeftError
from weft.types import Location


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer_dir: Path) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_dir)


@pytest.fixture
def renderer(tokenizer: Tokenizer) -> Renderer:
    source = "{% if messages[0].content == 'refused' %}{{ raise_exception('never') }}{% endif %}" + CHATML
    template = ChatTemplate(source, "t", tokenizer.control, tokenizer.stops, tokenizer.bos, tokenizer.eos)
    return Renderer(tokenizer, template, 128)


@pytest.fixture
def opened(tmp_path: Path, renderer: Renderer) -> Open:
    return opener(tmp_path, renderer)


@pytest.fixture(params=["fresh", "forked"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the helpers: all of one, and then of the other."""
    if request.param == "forked" and sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")
    monkeypatch.setattr("weft.data.store_helper.may_fork", lambda: request.param == "forked")
    return str(request.param)


Started = Callable[[Share, Helper], None]


@pytest.fixture
def helpers(kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Helper], list[Started]]:
    """Those that were started, and what is to be done when one is."""
    started: list[Helper] = []
    then: list[Started] = []

    @contextmanager
    def remembered(share: Share) -> Iterator[Helper]:
        with start_helper(share) as helper:
            started.append(helper)
            for do in then:
                do(share, helper)
            yield helper

    monkeypatch.setattr("weft.data.store_jobs.start_helper", remembered)
    return started, then


Helpers = tuple[list[Helper], list[Started]]


def until_at_work(share: Share, helper: Helper) -> None:
    """Wait until a helper has claimed a block: this process would claim all of them before it is there."""
    deadline = time.monotonic() + 60
    while not list(share.claims.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.fixture
def patient(helpers: Helpers) -> None:
    """The helpers have something to do."""
    helpers[1].append(until_at_work)


def talk(number: int, turns: int) -> Row:
    messages = [
        {"role": role, "content": f"{role} says {number} in turn {turn}"}
        for turn in range(turns)
        for role in ("user", "assistant")
    ]
    return {"messages": messages}


def some_of_each(number: int) -> Row:
    """Good rows, and now and then one of every kind that is not."""
    odd: dict[int, Row] = {
        7: "{broken",
        8: {"prompt": "no answer", "response": ""},
        9: qa(number, "long " * 200),
        10: {"prompt": "refused", "response": "by the template"},
        11: talk(number, 9),
        12: {"unknown": "shape"},
        13: talk(number, 3),
    }
    return odd.get(number % 97, qa(number))


def entry_bytes(cache: Path) -> dict[str, dict[str, bytes]]:
    return {entry.name: {path.name: path.read_bytes() for path in entry.iterdir()} for entry in cache.iterdir()}


def same_for_all(
    tmp_path: Path, opened: Open, *files: Path | SourceFile, jobs: tuple[int, ...] = (2,), **options: Any
) -> ExampleStore:
    """The store that one process makes, of which several make the same bytes."""
    expected = opened(*files, **options)
    alone = entry_bytes(tmp_path / "cache-1")
    assert all(sorted(entry) == ["examples.arrow", "report.json"] for entry in alone.values())
    for number in jobs:
        store = opened(*files, jobs=number, **options)
        assert entry_bytes(tmp_path / f"cache-{number}") == alone
        assert store.report == expected.report
        assert store.fingerprint == expected.fingerprint
    return expected


@pytest.mark.usefixtures("patient")
def test_several_processes_write_what_one_writes(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "a.jsonl", [some_of_each(number) for number in range(1200)])
    write(folder / "b.jsonl", [some_of_each(number) for number in range(1200, 2100)])
    store = same_for_all(tmp_path, opened, folder, jobs=(2, 3))
    report = store.report
    assert report.records == 2100
    assert sum(map(len, report.dropped.values())) + report.examples == 2100
    assert len(report.dropped) == 5
    lines = [
        (place.path, place.line) for place in report.dropped["the chat template refused the conversation: never (t:1)"]
    ]
    assert lines == [
        (str(folder / ("a" if number < 1200 else "b")) + ".jsonl", number % 1200 + 1) for number in range(10, 2100, 97)
    ]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("overlong", ["truncate", "split_turns"])
def test_what_is_too_long_is_treated_alike(overlong: Any, opened: Open, tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "talks.jsonl", [talk(number, 1 + number % 9) for number in range(700)])
    shorter = Renderer(renderer.tokenizer, renderer.template, 150, overlong=overlong)
    store = same_for_all(tmp_path, opened, path, renderer=shorter)
    assert store.report.shortened


@pytest.mark.usefixtures("patient")
def test_portions_samples_and_custom_fields_are_the_same(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(1300)])
    (places,) = held_out_places([SourceFile(path=path, name="both")], 0.1, 3, tmp_path / "kept")
    portions = [
        SourceFile(path=path, name=name, portion=Portion(held_out=name == "val", places=places))
        for name in ("train", "val")
    ]
    sample = SourceFile(path=f"{path}#900", name="sample", seed=5)
    reading = Reading(format="custom", instruction_field="q", response_field="a", context_field="c")
    rows: list[Row] = [{"q": f"question {number}", "a": f"answer {number}"} for number in range(1100)]
    rows[1050] = {"q": "the only", "a": "one", "c": "with a context"}
    custom = SourceFile(path=write(tmp_path / "custom.jsonl", rows), name="custom", format=reading)
    store = same_for_all(tmp_path, opened, *portions, sample, custom)
    counts = {name: numbers.examples for name, numbers in store.report.sources.items()}
    assert counts == {"train": 1170, "val": 130, "sample": 900, "custom": 1100}


@pytest.mark.usefixtures("patient")
def test_tables_are_read_beside_threads_of_arrow(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.Table.from_pylist([qa(number) for number in range(5000)]), path, row_group_size=700)
    assert parquet.read_table(path, use_threads=True).num_rows == 5000  # and so there are some
    assert same_for_all(tmp_path, opened, path, jobs=(2, 3)).report.examples == 5000


@pytest.mark.usefixtures("patient")
def test_message_trees_are_read_by_one_process(opened: Open, tmp_path: Path) -> None:
    rows: list[Row] = []
    for number in range(600):
        rows.append({"message_id": f"p{number}", "parent_id": None, "role": "prompter", "text": f"what is {number}?"})
        rows.append(
            {"message_id": f"a{number}", "parent_id": f"p{number}", "role": "assistant", "text": f"it is {number}"}
        )
    rows[700:700] = [qa(number) for number in range(600)]
    store = same_for_all(tmp_path, opened, write(tmp_path / "trees.jsonl", rows))
    assert store.report.examples == 1200


def test_one_date_is_printed_by_all_processes(tokenizer: Tokenizer) -> None:
    source = "{{ strftime_now('%f') }}"
    template = ChatTemplate(source, "t", tokenizer.control, tokenizer.stops, "", tokenizer.eos)
    again = pickle.loads(pickle.dumps(template))
    assert again._arguments == template._arguments
    assert any(isinstance(each, datetime) for each in template._arguments)
    printed = [each._examples._printer.template.render({}) for each in (template, again)]
    assert printed[0] == printed[1]


# ---- errors ------------------------------------------------------------------------------------------------------------


def error_of(opened: Open, *files: Path | SourceFile, kind: type[WeftError], **options: Any) -> WeftError:
    with pytest.raises(kind) as caught:
        opened(*files, **options)
    return caught.value


def same_error(
    tmp_path: Path, opened: Open, *files: Path | SourceFile, kind: type[WeftError] = Problems, **options: Any
) -> WeftError:
    """The error that one process and two raise, leaving nothing."""
    expected = error_of(opened, *files, kind=kind, **options)
    found = error_of(opened, *files, kind=kind, jobs=2, **options)
    assert type(found) is type(expected)
    assert str(found) == str(expected)
    assert list((tmp_path / "cache-2").iterdir()) == []
    return found


@pytest.mark.usefixtures("patient")
def test_bad_rows_are_named_in_order(opened: Open, tmp_path: Path) -> None:
    rows: list[Row] = [qa(number) for number in range(1800)]
    rows[3], rows[600], rows[1700] = "{broken", {"prompt": "q", "response": ""}, {"unknown": "shape"}
    error = same_error(tmp_path, opened, write(tmp_path / "bad.jsonl", rows), on_bad_row="error")
    assert isinstance(error, Problems)
    places = [problem.where for problem in error.problems[:-1]]
    assert places == [Location(path=str(tmp_path / "bad.jsonl"), line=line) for line in (4, 601, 1701)]
    assert "3 of 1800 records cannot be used" in str(error)


@pytest.mark.usefixtures("patient")
def test_errors_of_rendering_and_of_length_cross_the_border(opened: Open, tmp_path: Path, renderer: Renderer) -> None:
    rows: list[Row] = [qa(number) for number in range(1100)]
    rows[1000] = {"prompt": "refused", "response": "by the template"}
    error = same_error(tmp_path, opened, write(tmp_path / "refused.jsonl", rows), on_bad_row="error")
    assert str(error).startswith(
        f"{tmp_path / 'refused.jsonl'}:1001: the chat template refused the conversation: never"
    )
    rows[1000] = qa(5, "long " * 100)
    strict = Renderer(renderer.tokenizer, renderer.template, 128, overlong="error")
    error = same_error(tmp_path, opened, write(tmp_path / "long.jsonl", rows), renderer=strict)
    assert isinstance(error, Problems)
    assert isinstance(error.problems[0], Overlong)
    assert error.problems[0].tokens > error.problems[0].limit == 128


@pytest.mark.usefixtures("patient")
def test_nothing_left_and_missing_fields_are_the_same_errors(opened: Open, tmp_path: Path, renderer: Renderer) -> None:
    path = write(tmp_path / "long.jsonl", [qa(number) for number in range(600)])
    tiny = Renderer(renderer.tokenizer, renderer.template, 8)
    same_error(tmp_path, opened, path, kind=NoExamplesError, renderer=tiny)
    reading = Reading(format="custom", instruction_field="prompt", response_field="response", context_field="nowhere")
    reading = reading._replace(own=("context_field",))
    error = same_error(tmp_path, opened, SourceFile(path=path, name="custom", format=reading), kind=DataError)
    assert "nowhere" in str(error)
    same_error(tmp_path, opened, write(tmp_path / "bad.jsonl", ["{broken"] * 600), kind=Problems)


@pytest.mark.parametrize(
    "error",
    [
        Overlong(9, 8, Location(path="a.jsonl", line=3)),
        TemplateError("what", where=Location(path="a.jsonl", line=3), fix="fix"),
        Problems([DataError("one", where="a", fix="b"), Overlong(9, 8, Location(path="a.jsonl", line=3))]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: WeftError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.fix, str(again.where)) == (str(error), error.fix, str(error.where))
    assert {**vars(again), "problems": None} == {**vars(error), "problems": None}


@pytest.mark.parametrize(("moment", "jobs"), [("at once", 3), ("at work", 2)])
def test_a_helper_that_is_killed_is_told_and_leaves_nothing(
    moment: str, jobs: int, helpers: Helpers, opened: Open, tmp_path: Path
) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(2500)])
    started, then = helpers
    if moment == "at work":
        then.append(until_at_work)
    then.append(lambda share, helper: helper.stop() if helper is started[0] else None)
    error = error_of(opened, path, kind=DataError, jobs=jobs)
    assert error.what == "a helper process ended with status -9: it said nothing"
    assert error.fix == "run it again, or set data.jobs=1 to do without helpers"
    assert list((tmp_path / f"cache-{jobs}").iterdir()) == []
    assert len(started) == jobs - 1
    assert started[0].wait() == -9


def test_a_helper_that_breaks_is_told_by_its_last_words(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(600)])
    do, this = Share.do, os.getpid()

    def do_or_break(self: Share, *args: Any) -> Any:
        if os.getpid() != this:
            raise RuntimeError("nobody thought of this")
        return do(self, *args)

    monkeypatch.setattr(Share, "do", do_or_break)
    monkeypatch.setattr("weft.data.store_helper.may_fork", lambda: True)
    error = error_of(opened, path, kind=DataError, jobs=2)
    assert error.what == "a helper process ended with status 1: RuntimeError: nobody thought of this"
    assert capfd.readouterr() == ("", "")


def test_a_helper_that_has_no_room_to_write_says_so_as_one_process_does(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(600)])
    do, this = Share.do, os.getpid()

    def do_or_fill(self: Share, *args: Any) -> Any:
        if os.getpid() != this:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return do(self, *args)

    monkeypatch.setattr(Share, "do", do_or_fill)
    monkeypatch.setattr("weft.data.store_helper.may_fork", lambda: True)
    error = error_of(opened, path, kind=DataError, jobs=2)
    assert error.what == "the file cannot be written: No space left on device"
    assert error.where == str(tmp_path / "cache-2")


@pytest.mark.usefixtures("patient")
def test_a_block_that_is_lost_is_told(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(2500)])
    take = BlockFiles.take
    lost: list[int] = []

    def lose_first(self: BlockFiles, number: int) -> Any:
        found = take(self, number)
        if found is None or lost:
            return found
        lost.append(number)
        return None

    monkeypatch.setattr(BlockFiles, "take", lose_first)
    error = error_of(opened, path, kind=DataError, jobs=2)
    assert error.what == f"block {lost[0]} of 3 is gone before it was written"
    assert list((tmp_path / "cache-2").iterdir()) == []


_INTERRUPTED = """
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from store_files import opener
from chatml_by_hand import Chatml
from weft.data.render import Renderer
from weft.data.tokenizer import load_tokenizer

signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background would have ignored

fork, this = os.fork, os.getpid()

def interrupted_fork():
    child = fork()
    if not child:
        for process in {"helper": [os.getpid()], "both": [this, os.getpid()]}[sys.argv[4]]:
            os.kill(process, signal.SIGINT)
    return child

os.fork = interrupted_fork
folder = Path(sys.argv[3])
opened = opener(folder, Renderer(load_tokenizer(Path(sys.argv[2])), Chatml(), 256))
try:
    print(opened(folder / "records.jsonl", jobs=2).report.examples)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
@pytest.mark.parametrize(("whom", "said"), [("helper", "2500\n"), ("both", "interrupted\n")])
def test_an_interrupt_just_behind_a_fork_unwinds_nothing_twice(
    whom: str, said: str, tmp_path: Path, tiny_tokenizer_dir: Path
) -> None:
    write(tmp_path / "records.jsonl", [qa(number) for number in range(2500)])
    tests = str(Path(__file__).parent)
    command = [sys.executable, "-c", _INTERRUPTED, tests, str(tiny_tokenizer_dir), str(tmp_path), whom]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == (said, "")
    assert len(list((tmp_path / "cache-2").iterdir())) == (said != "interrupted\n")


def test_a_helper_whose_asker_was_gone_before_it_was_there_does_not_go_on(renderer: Renderer, tmp_path: Path) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(5000)])
    source = Source(reader=ConversationReader(path), portion=None, reports_bad_rows=True)
    share = Share.of(Work(source=source, renderer=renderer, on_bad_row="error"), tmp_path)
    gone = 2**22 + 1  # above the largest number of a process
    command = [sys.executable, "-m", "weft.data.store_helper"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = pickle.dumps((share, gone))
    helper = subprocess.run(command, env=environment, input=told, capture_output=True, check=False)
    assert helper.returncode == 1
    assert helper.stderr.decode() == "the process that asked for help is gone\n"
    assert len(list((tmp_path / "claims").iterdir())) == 1


def test_an_error_of_this_process_ends_the_helpers(helpers: Helpers, opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(5000)])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(path, jobs=2, progress=interrupt)
    assert [helper.wait() for helper in helpers[0]] in ([-9], [0])
    assert list((tmp_path / "cache-2").iterdir()) == []


def test_helpers_leave_the_environment_as_it_is(
    kind: str, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(600)])
    for value in ("true", None):
        if value is None:
            monkeypatch.delenv("TOKENIZERS_PARALLELISM")
        else:
            monkeypatch.setenv("TOKENIZERS_PARALLELISM", value)
        opened(path, jobs=2, system_prompt=value)
        assert os.environ.get("TOKENIZERS_PARALLELISM") == value


def test_a_process_that_is_too_large_to_be_forked_starts_fresh_helpers(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(600)])

    def refused(self: Any) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("multiprocessing.context.ForkProcess.start", refused)
    monkeypatch.setattr("weft.data.store_helper.may_fork", lambda: True)
    assert opened(path, jobs=2).report.examples == 600


def test_a_process_with_another_thread_is_not_forked() -> None:
    found = [may_fork()]
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    found.append(may_fork())
    go_on.set()
    thread.join()
    assert found == [threading.active_count() == 1 and sys.platform == "linux", False]


def test_modules_of_the_working_directory_are_not_the_helpers_own(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(600)])
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not the real one')")
    monkeypatch.chdir(tmp_path)
    assert opened(path, jobs=2).report.examples == 600


def test_what_disproved_a_shortcut_is_told_to_helpers(renderer: Renderer, tmp_path: Path) -> None:
    path = write(tmp_path / "records.jsonl", [qa(1)])
    source = Source(reader=ConversationReader(path), portion=None, reports_bad_rows=True)
    share = Share.of(Work(source=source, renderer=renderer, on_bad_row="error"), tmp_path)
    replace(share, disproved="it was wrong").do(lambda rows: None)
    assert renderer.disproved == "it was wrong"
    assert renderer.template._examples.disproved == "it was wrong"
    assert renderer.tokenizer._encoder.whole_because == "it was wrong"


# ---- memory, and the key -----------------------------------------------------------------------------------------------

_PEAK = """
import sys
from pathlib import Path
from weft.data.render import Renderer
from weft.data.store import SourceFile, open_stores
from weft.data.template import load_template
from weft.data.tokenizer import load_tokenizer
tokenizer = load_tokenizer(Path(sys.argv[1]))
renderer = Renderer(tokenizer, load_template(None, tokenizer), 512)
file = SourceFile(path=sys.argv[2], name="records")
sets, choices = {"train": [file]}, {"on_bad_row": "drop", "system_prompt": None, "jobs": int(sys.argv[4])}
stores, _ = open_stores(sets, renderer, Path(sys.argv[3]), **choices)
assert len(stores["train"]) > 0
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""
"""Prints its peak memory: not ``ru_maxrss``, which a process inherits from the one that started it."""


LONGER = "some words more " * 8
"""So that a record's ids take more than is allowed of memory."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("jobs", [1, 2])
def test_memory_does_not_grow_with_the_records(jobs: int, tmp_path: Path, tiny_tokenizer_dir: Path) -> None:
    peaks = {}
    few, many = 12_000, 28_000  # both enough for all that is needed once, such as the block of another process
    for count in (few, many):
        path = write(tmp_path / f"{count}.jsonl", [qa(number % 1000, LONGER) for number in range(count)])
        command = [sys.executable, "-c", _PEAK, str(tiny_tokenizer_dir), str(path), str(tmp_path / "cache"), str(jobs)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert not found.returncode, found.stderr
        peaks[count] = int(found.stdout)
    assert (peaks[many] - peaks[few]) / (many - few) < 300


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "1.5"])
def test_a_number_of_processes_that_makes_no_sense_is_refused(jobs: str) -> None:
    with pytest.raises(Problems, match=r"data\.jobs must be auto or a whole number of at least 1"):
        load_config(None, [f"data.jobs={jobs}"])


def test_auto_shares_large_sources_only(opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path / "records.jsonl", [qa(number) for number in range(30)])
    asked: list[int] = []

    def together(writer: ExampleWriter, place: Path, work: Work, *, progress: Any, jobs: int) -> Any:
        asked.append(jobs)
        return work.do(lambda _, columns: writer.write(columns), progress=progress)

    monkeypatch.setattr("weft.data.store_entry.do_together", together)
    monkeypatch.setattr("weft.data.store.cores", lambda: 5)
    large = path.stat().st_size
    monkeypatch.setattr("weft.data.store._SHARED_FROM", large + 1)
    opened(path, jobs="auto")
    assert asked == []
    monkeypatch.setattr("weft.data.store._SHARED_FROM", large)
    opened(path, jobs="auto", system_prompt="Be brief.")
    assert asked == [5]
