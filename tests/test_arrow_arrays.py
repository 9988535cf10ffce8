"""Arrow arrays made and read without pandas are those that Arrow makes and reads itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.data.arrow_arrays import number_array, places_of_nulls, text_array, values_of

numbers = st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)), max_size=40)


@given(numbers)
def test_numbers_and_nulls(values: list[int | None]) -> None:
    filled = np.array([value or 0 for value in values], np.int64)
    made = number_array(filled, np.array([value is not None for value in values], bool))
    assert made.to_pylist() == values
    assert made.type == pa.int64()
    assert number_array(filled).to_pylist() == filled.tolist()


@given(numbers, st.integers(0, 20), st.integers(0, 20))
def test_values_and_nulls_of_a_slice(values: list[int | None], start: int, length: int) -> None:
    part = pa.array(values, pa.int32()).slice(min(start, len(values)), length)
    expected = values[start : start + length]
    nulls = [place for place, value in enumerate(expected) if value is None]
    assert places_of_nulls(part).tolist() == nulls
    found = values_of(part)
    assert [None if place in nulls else value for place, value in enumerate(found.tolist())] == expected
    assert found.dtype == np.int32


@given(st.lists(st.text(max_size=9), max_size=20))
def test_texts(texts: list[str]) -> None:
    assert text_array(texts).equals(pa.array(texts, pa.large_string()))


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        text_array(["fine", "\ud83d"])


def test_encoding_a_file_imports_neither_pandas_nor_torch(tiny_tokenizer_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(json.dumps({"prompt": "one two", "response": "three four"}) + "\n")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from weft.data.render import Renderer\n"
        "from weft.data.store import SourceFile, open_stores\n"
        "from weft.data.template import load_template\n"
        "from weft.data.tokenizer import load_tokenizer\n"
        "tokenizer = load_tokenizer(Path(sys.argv[1]))\n"
        "renderer = Renderer(tokenizer, load_template(None, tokenizer), 64)\n"
        "file = SourceFile(path=Path('records.jsonl'), name='records')\n"
        "stores, _ = open_stores({'train': [file]}, renderer, Path('cache'), on_bad_row='error', system_prompt=None)\n"
        "assert len(stores['train']) == 1 and tokenizer.known_chunks < 1\n"
        "print(sorted({'pandas', 'torch', 'datasets'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", program, str(tiny_tokenizer_dir)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
