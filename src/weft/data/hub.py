"""Datasets of the Hugging Face hub, and directories that are laid out like one, through the optional ``datasets`` library.

A whole split becomes the Arrow files of the library's cache. Of a sample only the sample is kept: the split is read once in a
stream, and may be larger than the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from weft.data.files import StagedFiles
from weft.data.readers import kind
from weft.data.sample import sample_rows
from weft.disk import file_digest, value_digest
from weft.errors import DataError
from weft.types import Location, Record

_NAME = re.compile(r"(?P<path>[^:@]+)(:(?P<config>[\w.-]+))?(@(?P<split>[\w.-]+))?")
_ON_THE_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_dataset(name: str) -> bool:
    """Whether ``name``, which is no file or directory, may mean ``org/name[:config][@split]`` or ``directory:config@split``.

    A bare ``data/val`` is a path where the directory ``data`` lies here: nobody wants a slip in it to be looked up on the hub.
    """
    match = _NAME.fullmatch(name)
    if match is None or kind(Path(name)):
        return False
    path, is_bare = Path(match["path"]), match["path"] == name
    return path.is_dir() or (bool(_ON_THE_HUB.fullmatch(match["path"])) and not (is_bare and path.parent.is_dir()))


def dataset_files(name: str, sample: int | None, seed: int) -> tuple[Path, ...]:
    """The files that hold a split (``train`` by default) of the dataset ``name``, or a sample of it.

    Raises:
        DataError: the ``datasets`` library is not installed, or cannot load this.
    """
    match = _NAME.fullmatch(name)
    assert match is not None, "is_dataset said that it is one"
    try:
        import datasets
    except ImportError:
        raise DataError(
            "there is no such file or directory, and reading a dataset of the Hugging Face hub needs the datasets library",
            where=name,
            fix="correct the path; or, for the hub, pip install 'weft[datasets]'",
        ) from None
    path, config, split = match["path"], match["config"], match["split"] or "train"
    try:
        if sample is None:
            return (_files if Path(path).is_dir() else _files_of_the_hub)(path, config, split)
        digest = value_digest([path, _content(Path(path)), config, split, sample, seed])
        kept = Path(datasets.config.HF_DATASETS_CACHE, "weft-samples", f"{digest[:24]}.arrow")
        if not kept.exists():
            streamed = datasets.load_dataset(path, config, split=split, streaming=True)
            _keep(kept, _sampled(streamed, name, sample, seed))
        return (kept,)
    except DataError:
        raise
    # The library raises its own errors, those of the hub's client, of HTTP, of pyarrow and pandas, ValueError and OSError.
    except Exception as error:
        raise _load_error(name, error) from error


def _files(path: str, config: str | None, split: str) -> tuple[Path, ...]:
    import datasets

    whole = datasets.load_dataset(path, config, split=split, keep_in_memory=False)
    return tuple(Path(file["filename"]) for file in whole.cache_files)


_files_of_the_hub = cache(_files)
"""A command asks for them several times; each time would go to the network, and might find another version."""


def _content(directory: Path) -> list[tuple[str, str]]:
    """What a dataset that lies here holds; nothing for one of the hub, of which the library keeps a version."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [(str(path), file_digest(path)) for path in files]


def _sampled(rows: Iterable[dict[str, Any]], name: str, sample: int, seed: int) -> Iterator[Any]:
    records = (Record(data=row, location=Location(path=name, record=number)) for number, row in enumerate(rows, 1))
    for row in sample_rows(records, sample, seed, name=name, notices=[]):
        assert isinstance(row, Record)
        yield row.data


def _keep(path: Path, rows: Iterable[Any]) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(list(rows))
    content = pa.BufferOutputStream()
    with pa.ipc.new_file(content, table.schema) as writer:
        writer.write_table(table)
    with StagedFiles() as staged:
        staged.write(path, [content.getvalue().to_pybytes()])
        staged.commit()


def _load_error(name: str, error: Exception) -> DataError:
    said = " ".join(str(error).partition("Example of usage")[0].split())
    nothing_here = "" if Path(name.partition(":")[0].partition("@")[0]).is_dir() else "there is no such path here, and "
    return DataError(
        f"{nothing_here}the dataset cannot be loaded: {said[:300] or type(error).__name__}",
        where=name,
        fix="write org/name:config@split; a private one needs the environment variable HF_TOKEN, and a new one the network",
    )
