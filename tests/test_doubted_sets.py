"""A shortcut that the validation set shows to be none is none for the training set either, which is then encoded again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from small_run import configure, make_project
from weft.data.cache_upkeep import aside_of, forget
from weft.data.check import check
from weft.data.encoding import Encoder, Parts
from weft.data.flat_ids import FlatIds
from weft.training.preflight import open_inputs

DOUBT = "everything was encoded again, because it is wrong"


@pytest.fixture
def project(tmp_path: Path, tiny_model_dir: Path) -> Path:
    make_project(tmp_path, tiny_model_dir)
    return tmp_path


@pytest.fixture
def shown_by_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding by the chunk gives wrong ids, which nobody notices in the training records."""

    def agrees(self: Encoder, runs: Sequence[Parts], continues: Sequence[bool], ids: FlatIds) -> bool:
        ids.ids[:] = 7
        if any("figure" in part for parts in runs for part in parts):
            self.encode_whole("it is wrong")
        return self.disproved is None

    monkeypatch.setattr(Encoder, "_agrees_in_a_sample", agrees)


@pytest.fixture
def right(project: Path) -> str:
    """The digest of the training examples, encoded before anything goes wrong."""
    loaded = configure(project)
    data = loaded.config.data.model_copy(update={"cache_dir": str(project / "right")})
    inputs = open_inputs(type(loaded)(config=loaded.config.model_copy(update={"data": data}), provenance={}, files=()))
    return inputs.train.fingerprint


def test_training_takes_nothing_that_validation_showed_to_be_wrong(
    project: Path, right: str, shown_by_validation: None
) -> None:
    inputs = open_inputs(configure(project))
    assert inputs.train.fingerprint == right
    assert inputs.train.report.notes == {DOUBT: 1}
    assert f"1 training examples: {DOUBT}" in inputs.notices
    again = open_inputs(configure(project))
    assert again.train.report.cached
    assert again.train.fingerprint == right


def test_the_page_says_what_training_would_say(project: Path, right: str, shown_by_validation: None) -> None:
    train, val = check(configure(project).config).sets
    assert train.encoded
    assert train.encoded.notes == {DOUBT: 1}
    assert val.encoded
    assert val.encoded.notes == {DOUBT: 1}
    assert open_inputs(configure(project)).train.fingerprint == right


def test_all_entries_of_a_renderer_are_forgotten_and_nothing_else(tmp_path: Path) -> None:
    def entry(place: Path, report: str) -> Path:
        place.mkdir()
        (place / "report.json").write_text(report)
        return place

    mine, another = (json.dumps({"body": {"renderer": name}}) for name in ("mine", "another"))
    but = entry(tmp_path / ("a" * 64), mine)
    doubted = [entry(tmp_path / (letter * 64), mine) for letter in "bc"]
    staying = [
        but,
        entry(tmp_path / ("d" * 64), another),
        entry(tmp_path / ("e" * 64), "damaged"),
        entry(aside_of(tmp_path / ("f" * 64)), mine),  # another run is about to publish it
    ]
    forget(tmp_path, "mine", but=but)
    assert sorted(tmp_path.iterdir()) == sorted(staying)
    assert not any(place.exists() for place in doubted)
