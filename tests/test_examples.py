"""The examples run as their first line of commands says, and print and write what they promise."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from omote.controls import FACS102

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name: str, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture(autouse=True)
def _needs() -> None:
    pytest.importorskip("skimage", reason="the examples' photograph comes with scikit-image")


@pytest.fixture(scope="module")
def photo_take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first example makes; the later ones start from it."""
    folder = tmp_path_factory.mktemp("examples") / "made"
    with pytest.MonkeyPatch.context() as patch:
        run("01_photo_to_glb.py", "-o", folder, monkeypatch=patch)
    return folder / "astronaut.omote"


def test_photo_to_glb(photo_take: Path) -> None:
    folder = photo_take.parent
    assert {p.name for p in folder.iterdir()} == {"astronaut.omote", "astronaut.glb", "astronaut_overlay.png"}
    assert (folder / "astronaut.glb").read_bytes()[:4] == b"glTF"


def test_video_to_livelink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("02_video_to_livelink.py", "-o", tmp_path, monkeypatch=monkeypatch)
    printed = capsys.readouterr().out
    assert "sway.mp4: 24 frames, 24 a second" in printed
    assert len((tmp_path / "sway.livelink.csv").read_text().splitlines()) == 25
    assert (tmp_path / "sway_overlay.mp4").stat().st_size > 10_000


def test_edit_and_export(
    photo_take: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import omote

    module = runpy.run_path(str(EXAMPLES / "03_edit_and_export.py"))
    take = module["smile_and_back"](omote.load(photo_take), seconds=0.5)
    assert len(take) == 15
    take.save(tmp_path / "take.omote")
    run("03_edit_and_export.py", tmp_path / "take.omote", "-o", tmp_path, monkeypatch=monkeypatch)
    edited = omote.load(tmp_path / "edited.omote")
    assert edited.fps == pytest.approx(12)
    assert edited.track("corner_pull_L").max() > take.track("corner_pull_L").max()
    assert "edited.glb" in capsys.readouterr().out


def test_render_the_rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("04_render_the_rig.py", "--size", "128", "-o", tmp_path / "head.png", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert (tmp_path / "head.png").is_file()
    assert lines[1].split()[0] in FACS102.names


def test_convert_formats(
    photo_take: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("05_convert_formats.py", photo_take, "-o", tmp_path, monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert all(float(line.split()[-1]) < 1e-4 for line in lines[:5])


def test_animate_a_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMOTE_CONFIG", str(tmp_path / "config"))
    run("06_animate_a_photo.py", "-o", tmp_path, monkeypatch=monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        "animated.mp4: 21 frames, 320 x 320 px",
        "brow.gif: 21 frames, signed: True",
    ]
    assert (tmp_path / "animated.mp4").stat().st_size > 10_000
    assert (tmp_path / "brow.gif").read_bytes()[:6] == b"GIF89a"
