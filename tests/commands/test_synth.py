"""``omote synth``: renders, resumes, refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.rigs.rig_files import embedded_head

from omote.cli import main
from omote.export.shapes_glb import write_shapes_glb
from omote.rigs.facs import load_rig
from omote.training.datasets.shards import complete_shards, read_shard

SMALL = ["--count", "5", "--per-shard", "3", "--size", "64", "--jobs", "1"]


def test_makes_a_data_set_and_only_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    command = ["synth", "-o", str(out), "--recipe", "paper", *SMALL, "--json"]
    assert main(command) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["samples"], facts["rendered"], facts["shards"]) == (5, 5, 2)
    assert (out / "contact_sheet.png").stat().st_size > 10_000
    first, second = complete_shards(out)
    before = second.read_bytes()
    second.unlink()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 2
    assert second.read_bytes() == before
    members = next(read_shard(first))
    assert {"rgb.png", "normal.png", "mask.png", "controls.npy", "identity.npy", "landmarks.npy"} < set(
        members
    )
    assert "vertices.npy" in members
    assert main(["synth", "-o", str(out), "--recipe", "paper", *SMALL]) == 0
    assert "already complete (5 samples)" in capsys.readouterr().out


def test_renders_again_what_was_cut_off_and_sweeps_up_after_the_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    command = ["synth", "-o", str(out), "--recipe", "paper", *SMALL, "--no-vertices", "--json"]
    assert main(command) == 0
    first, second = complete_shards(out)
    before = [first.read_bytes(), second.read_bytes()]
    first.write_bytes(b"")
    second.write_bytes(before[1][:20480])
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    names = [f".omote-{gone.pid}-0123abcd.tar", f".omote-{os.getpid()}-0123abcd.tar", ".omote-notes"]
    for name in names:
        (out / name).write_bytes(b"half")
        os.utime(out / name, (0, 0))
    fresh = out / f".omote-{gone.pid}-4567cdef.tar"  # of another machine, maybe
    fresh.write_bytes(b"half")
    capsys.readouterr()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["rendered"] == 5
    assert [first.read_bytes(), second.read_bytes()] == before
    assert {path.name for path in out.glob(".omote-*")} == {*names[1:], fresh.name}


def test_a_rig_that_was_edited_is_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = tmp_path / "hero.glb"
    write_shapes_glb(embedded_head(np.zeros(len(load_rig().identity_space))), rig)
    command = ["synth", "-o", str(tmp_path / "data"), "--rig", str(rig), *SMALL, "--no-vertices"]
    assert main(command) == 0
    assert main(command) == 0
    rig.write_bytes(rig.read_bytes() + bytes(4))  # what follows the last chunk is not read
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "an older or newer 'hero': the rig's file is not what it was" in error


def test_refuses_another_data_set_in_the_same_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "data")
    assert main(["synth", "-o", out, *SMALL, "--no-vertices"]) == 0
    assert main(["synth", "-o", out, *SMALL, "--no-vertices", "--seed", "1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "already holds a data set with other seed (0, now 1)" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "count 0 is not possible"),
        (["--size", "9"], "size 9 is not possible"),
        (["--rig", "missing.glb"], "missing.glb"),
    ],
)
def test_bad_options_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synth", "-o", str(tmp_path / "data"), *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "data").exists()


def test_a_file_in_the_way_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("mine")
    assert main(["synth", "-o", str(tmp_path / "data"), *SMALL]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "data" in line
    assert (tmp_path / "data").read_text() == "mine"


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tarfile

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    assert main(["synth", "-o", str(tmp_path / "data"), *SMALL]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "No space left on device" in lines[0]
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["dataset.json"]
