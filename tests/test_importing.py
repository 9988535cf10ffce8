"""Imports: the garbage collector sleeps meanwhile, and only then; Transformers looks once, and finds what it finds otherwise."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from weft.importing import importing_libraries

LOOKING = """
import contextlib, json, sys
from weft.importing import importing_libraries

def note(event, args):
    if event == "open" and "modeling_bert.py" in str(args[0]):
        opened.append(args[0])

def names(module):
    missing = {name: sorted(map(str, backends)) for name, backends in module._object_missing_backend.items()}
    return [{name: sorted(found) for name, found in module._import_structure.items()}, sorted(module._modules), missing]

opened = []
sys.addaudithook(note)
with %s():
    import transformers.models
from transformers.utils import import_utils
left = [import_utils.create_import_structure_from_path.cache_parameters()["maxsize"], import_utils.fetch__all__.__name__]
print(json.dumps([len(opened), left, names(sys.modules["transformers"]), names(transformers.models)], sort_keys=True))
"""


def printed(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_transformers_looks_once_and_finds_the_same() -> None:
    once, left, *found = json.loads(printed(LOOKING % "importing_libraries"))
    twice, untouched, *expected = json.loads(printed(LOOKING % "contextlib.nullcontext"))
    assert (once, twice) == (1, 2)
    assert left == untouched == [128, "fetch__all__"]
    assert found == expected
    (of_all, *_), (of_models, *_) = expected
    assert "BertModel" in of_all["models.bert.modeling_bert"]
    assert "BertModel" in of_models["bert.modeling_bert"]


def test_a_version_that_looks_otherwise_is_left_alone(tmp_path: Path) -> None:
    for name in ("transformers/__init__.py", "transformers/utils/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "transformers/utils/import_utils.py").write_text("names = ['name']\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom weft.importing import importing_libraries\n"
        "with importing_libraries():\n    from transformers.utils import import_utils\nprint(vars(import_utils)['names'])"
    )
    assert printed(code) == "['name']\n"


def test_it_sleeps_inside_and_forgets_what_was_made_there():
    try:
        with importing_libraries():
            assert not gc.isenabled()
            made: list[object] = []
            made.append(made)
        assert gc.isenabled()
        assert not any(found is made for found in gc.get_objects())  # it is frozen
    finally:
        gc.unfreeze()


def test_it_wakes_after_an_error_too():
    with pytest.raises(ImportError), importing_libraries():
        raise ImportError
    gc.unfreeze()
    assert gc.isenabled()


def test_who_has_turned_it_off_finds_it_off():
    gc.disable()
    try:
        with importing_libraries():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
