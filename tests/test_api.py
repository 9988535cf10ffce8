"""The Python interface: the same steps as the commands, from records to an answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import weft
from weft.cli import main
from weft.errors import WeftError


def test_importing_weft_loads_nothing_heavy() -> None:
    code = "import sys, weft; print([name for name in ('torch', 'pydantic', 'pyarrow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_from_records_to_an_answer(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"prompt": f"Say {word}.", "response": word * 3}) for word in "abcdefgh"]
    Path("raw.jsonl").write_text("\n".join(rows) + "\n")
    Path("my.yaml").write_text(f"model: {{name: {json.dumps(str(tiny_model_dir))}}}\ndata: {{raw_path: raw.jsonl}}\n")
    same = {"train.max_steps": 2, "train.output_dir": "run", "gen.max_new_tokens": 4}

    prepared = weft.prepare("my.yaml")
    assert (prepared.records, prepared.kept) == (8, 8)
    checked = weft.check("my.yaml")
    assert [one.records for one in checked.sets] == [one.records for one in prepared.splits.values()]
    trained = weft.train("my.yaml", **same)
    assert trained.summary["steps"] == 2
    assert weft.train("my.yaml", **same).already_finished
    (report,) = weft.evaluate("my.yaml", sets=["train"], **same)
    assert report.evaluated == prepared.splits["train"].records
    talk = weft.chat("my.yaml", system="Be brief.", **same)
    assert talk.system == "Be brief."
    answer = "".join(talk.ask("Say a."))
    assert answer
    capsys.readouterr()
    overrides = ["data.system_prompt=Be brief.", *(f"{key}={value}" for key, value in same.items())]
    assert main(["infer", "my.yaml", *overrides, "--prompt", "Say a.", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["response"] == answer


def test_two_underscores_stand_for_the_dot_and_values_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(WeftError, match=r"train\.epochs.*must be"):
        weft.prepare(train__epochs="many")
    with pytest.raises(WeftError, match="it's: here"):
        weft.prepare(data__raw_path=str(tmp_path / "it's: here.jsonl"))
