"""``omote parity`` as people meet it: table, JSON, exit codes, one line for what cannot be run."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest
from tests.evaluation.tiny_parity import TINY, change, write_folder

from omote.cli import main
from omote.evaluation.parity import SYSTEMS


@pytest.fixture(autouse=True)
def tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tiny_system")
    module.SYSTEM = TINY  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "tiny_system", module)
    monkeypatch.setitem(SYSTEMS, "tiny", "tiny_system")


def omote(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, out, err


def test_everything_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = omote(
        capsys, "parity", write_folder(tmp_path / "a"), write_folder(tmp_path / "b", seeds=(1,))
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    header = next(line for line in lines if "largest difference" in line)
    assert header.split("  ")[0].strip() == "case"
    for word in ("output", "tolerance", "verdict"):
        assert word in header
    assert sum(line.split()[:2] == ["tiny_s0", "y"] and line.split()[-1] == "pass" for line in lines) == 1
    assert "network tiny" in out
    assert lines[-1].startswith("pass: cases 3, outputs 6, ")


def test_a_failure_is_shown_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "a")
    change(folder, lambda m: m["cases"][1]["outputs"][1].update(mean=5.0))
    code, out, _ = omote(capsys, "parity", folder)
    assert code == 1
    assert "FAIL: its mean is" in out
    assert out.splitlines()[-1].startswith("FAIL (1): tiny_s7; cases 2, outputs 4, ")
    assert omote(capsys, "parity", folder, "--case", "tiny_s0")[0] == 0


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write_folder(tmp_path / "good"), write_folder(tmp_path / "bad")
    change(bad, lambda m: m["cases"][0]["outputs"][0].update(max_abs=float("nan")))
    code, out, err = omote(capsys, "parity", good, bad, "--json")
    assert (code, err) == (1, "")
    first, second = json.loads(out)
    assert first["passed"] is True
    assert first["folder"] == str(good)
    assert first["networks"] == [{"network": "tiny", "passed": True, "problems": []}]
    output = first["cases"][0]["outputs"][0]
    assert (output["output"], output["shape"], output["passed"]) == ("y", [5, 4], True)
    assert output["difference"] <= output["tolerance"]
    assert [case["passed"] for case in second["cases"]] == [False, True]
    assert second["cases"][0]["outputs"][0]["problems"] == ["the expected max_abs is nan"]


def test_a_system_without_networks_here_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "a")
    change(folder, lambda m: m.update(system="deca"))
    code, out, err = omote(capsys, "parity", folder)
    assert code == 1
    assert err.splitlines() == [
        f"omote: error: {folder}: there are no networks here for the system 'deca'. "
        "There are: liveportrait, tiny."
    ]
    assert out == ""


def test_what_could_not_be_run_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "a")
    code, _, err = omote(capsys, "parity", folder, "--case", "nothing*")
    assert (code, len(err.splitlines())) == (1, 1)
    (folder / "manifest.json").write_text("{")
    code, _, err = omote(capsys, "parity", write_folder(tmp_path / "b"), folder)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "is not a JSON document" in err


@pytest.mark.parametrize("words", [(), ("absent",)])
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, out, err = omote(capsys, "parity", *(tmp_path / word for word in words))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("omote: error: ")


def test_a_folder_without_a_manifest_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = omote(capsys, "parity", tmp_path)
    assert (code, out) == (2, "")
    assert "the folder has no manifest.json" in err
