"""Model directories: local ones, the hub's cache, and a hub that answers on a loopback port."""

from __future__ import annotations

import http.server
import inspect
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest

from weft.config.locate import model_directory, output_dir
from weft.config.schema import Config, ModelConfig, TrainConfig
from weft.errors import ModelError

SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"code",
    "onnx/config.json": b"{}",
}


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's answers for org/model (open), org/gated, and everything else (missing); `asked` lists the requests."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        type(self).asked.append(path)
        if "org/gated" in path:
            self.refuse(401, "GatedRepo")
        elif "org/model" not in path:
            self.refuse(401, "RepoNotFound")
        elif "/revision/v9" in path:
            self.refuse(404, "RevisionNotFound")
        elif "/tree/" in path:
            self.answer(json.dumps([{"type": "file", "path": p, "size": len(d), "oid": p} for p, d in FILES.items()]))
        elif path.startswith("/api/"):
            self.answer(json.dumps({"id": "org/model", "sha": SHA, "siblings": []}))
        else:
            self.answer(FILES[path.partition(f"/resolve/{SHA}/")[2]], {"ETag": '"etag"', "X-Repo-Commit": SHA})

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body: str | bytes, headers: dict[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub's client, which reaches no hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # only loopback is reached
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    reach(monkeypatch, port=9)  # "discard", where nobody listens
    return tmp_path / "cache"


def reach(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Send the client to a port of this machine."""
    endpoint = f"http://127.0.0.1:{port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub; gives the list of the paths that were asked for."""
    Hub.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    reach(monkeypatch, server.server_port)
    yield Hub.asked
    server.shutdown()
    server.server_close()


def put_in_cache(cache: Path, files: dict[str, str]) -> Path:
    """org/model in the layout of the hub's cache, as a complete or partial download leaves it."""
    repository = cache / "models--org--model"
    snapshot = repository / "snapshots" / SHA
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(SHA)
    for name, text in files.items():
        (snapshot / name).write_text(text)
    return snapshot


def test_a_local_directory_is_used_as_it_is(tmp_path: Path) -> None:
    assert model_directory(ModelConfig(name=str(tmp_path)), weights=True) == tmp_path
    with pytest.raises(ModelError, match=r"model\.revision: v1: .* is a local directory, which has no revisions"):
        model_directory(ModelConfig(name=str(tmp_path), revision="v1"), weights=True)


def test_local_dir_wins_over_the_name(tmp_path: Path) -> None:
    assert model_directory(ModelConfig(name="org/model", local_dir=str(tmp_path)), weights=True) == tmp_path


def test_a_relative_directory_that_looks_like_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("org/model").mkdir(parents=True)
    assert model_directory(ModelConfig(name="org/model"), weights=True) == Path("org/model")


@pytest.mark.parametrize("name", ["models/nano", "models/mine"])
def test_a_missing_model_of_ours_says_how_to_make_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        model_directory(ModelConfig(name=name), weights=False)
    assert f"weft init-model nano --text FILE --out {name}" in str(caught.value)


@pytest.mark.parametrize("name", ["./missing", "/missing", "missing/", "a/b/c", "~/missing-model"])
def test_a_missing_path_is_not_asked_of_the_hub(name: str, hub: list[str]) -> None:
    with pytest.raises(ModelError, match="there is no such model directory"):
        model_directory(ModelConfig(name=name), weights=False)
    assert hub == []


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ModelError, match="this is a file"):
        model_directory(ModelConfig(name=str(tmp_path / "model.gguf")), weights=True)


def test_the_cache_is_used_without_a_hub(cache: Path) -> None:
    snapshot = put_in_cache(cache, {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": ""})
    assert model_directory(ModelConfig(name="org/model"), weights=True) == snapshot
    assert model_directory(ModelConfig(name="org/model", revision=SHA), weights=False) == snapshot


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": "{}", "tokenizer.json": "{}"},
        {"config.json": "{}", "model.safetensors": ""},
        {"tokenizer.json": "{}", "model.safetensors": ""},
        {
            "config.json": "{}",
            "tokenizer.json": "{}",
            "model-1.safetensors": "",
            "model.safetensors.index.json": '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}',
        },
    ],
    ids=["no weights", "no tokenizer", "no config", "a shard missing"],
)
def test_a_partial_cache_is_completed_or_an_error(cache: Path, files: dict[str, str]) -> None:
    put_in_cache(cache, files)
    with pytest.raises(ModelError, match="cannot be fetched"):
        model_directory(ModelConfig(name="org/model"), weights=True)


def test_a_download_without_weights_and_then_with_them(hub: list[str]) -> None:
    model = ModelConfig(name="org/model")
    directory = model_directory(model, weights=False)
    light = {"config.json", "tokenizer.json", "chat_template.jinja"}
    assert {file.name for file in directory.iterdir()} == light
    assert model_directory(model, weights=True) == directory
    assert {file.name for file in directory.iterdir()} == light | {"model.safetensors"}
    hub.clear()
    assert model_directory(model, weights=True) == directory
    assert hub == [], "what is in the cache is not asked for again"


@pytest.mark.parametrize(
    ("model", "what", "fix"),
    [
        (ModelConfig(name="org/gated"), "gated", "HF_TOKEN"),
        (ModelConfig(name="org/missing"), "no such model", "HF_TOKEN"),
        (ModelConfig(name="org/model", revision="v9"), "no revision 'v9'", "model.revision"),
        (ModelConfig(name="not a name!"), "neither a directory nor", "model.name"),
    ],
)
def test_what_the_hub_refuses(hub: list[str], model: ModelConfig, what: str, fix: str) -> None:
    with pytest.raises(ModelError) as caught:
        model_directory(model, weights=False)
    assert what in caught.value.what
    assert fix in (caught.value.fix or "")
    assert caught.value.where == f"model.name: {model.name}"


def test_offline_by_wish(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        model_directory(ModelConfig(name="org/missing"), weights=False)


def test_no_network_fails_at_once(cache: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError, match="cannot be fetched") as caught:
        model_directory(ModelConfig(name="org/missing"), weights=False)
    assert time.monotonic() - start < 15
    assert "model.local_dir" in (caught.value.fix or "")


@pytest.mark.slow
def test_a_hub_that_never_answers_fails_within_a_limit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reach(monkeypatch, silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(ModelError, match="cannot be fetched"):
            model_directory(ModelConfig(name="org/missing"), weights=False)
        assert time.monotonic() - start < 15


def test_the_installed_client_takes_our_arguments() -> None:
    inspect.signature(huggingface_hub.snapshot_download).bind(
        "org/model", revision=None, allow_patterns=["*.json"], ignore_patterns=["*/*"], local_files_only=True
    )
    inspect.signature(huggingface_hub.HfApi.model_info).bind(None, "org/model", revision=None, timeout=5.0)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Config(), "outputs/run"),
        (Config(run_name="mine"), "outputs/mine"),
        (Config(run_name="mine", train=TrainConfig(output_dir="elsewhere/x")), "elsewhere/x"),
    ],
)
def test_output_dir(config: Config, expected: str) -> None:
    assert output_dir(config) == Path(expected)
