"""``omote capture`` and ``omote demo`` on real photographs, as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from omote.controls import FACS102
from omote.media import VideoWriter, open_video, read_image, write_image
from omote.performance import Performance


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omote.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def demo(
    photo: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo") / "出力 1"
    return folder, run("demo", "-o", folder)


def test_the_demo_makes_what_it_promises(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    assert names == [
        "astronaut.glb",
        "astronaut.livelink.csv",
        "astronaut.livelink.json",
        "astronaut.omote",
        "astronaut_look-around.mp4",
        "astronaut_overlay.png",
    ]
    for name in names[:2] + names[3:]:
        assert str(folder / name) in done.stdout
    assert (folder / "astronaut.glb").read_bytes()[:4] == b"glTF"


def test_the_demo_smiles(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    take = Performance.load(demo[0] / "astronaut.omote")
    assert take.confidence[0] > 0.9
    smile = take.controls[0, FACS102.match("corner_pull_*")]
    assert smile.min() > 0.3
    assert take.camera.size == (512, 512)
    assert take.source["omote"]


def test_the_demo_moves(demo: tuple[Path, subprocess.CompletedProcess[str]], photo: Path) -> None:
    frames = [frame for _, frame in open_video(demo[0] / "astronaut_look-around.mp4")]
    assert len(frames) == 91
    still = read_image(photo).astype(float)
    face, edge = (slice(70, 170), slice(170, 270)), (slice(None), slice(0, 20))
    moved = [float(np.abs(frame[face] - still[face]).mean()) for frame in frames]
    assert max(moved) > 2 * moved[0] + 4
    assert max(float(np.abs(frame[edge] - still[edge]).mean()) for frame in frames) < 4, (
        "far from it nothing moves"
    )


def test_the_overlay_shows_the_photo_and_the_head(
    demo: tuple[Path, subprocess.CompletedProcess[str]], photo: Path
) -> None:
    sheet = read_image(demo[0] / "astronaut_overlay.png")
    height, width = sheet.shape[:2]
    assert height == 768
    assert width % 4 == 0
    panels = sheet.reshape(height, 4, width // 4, 3).transpose(1, 0, 2, 3).astype(float)
    assert panels[1].mean() < 0.75 * panels[0].mean()  # dimmed, with dots
    middle = (slice(height // 4, 3 * height // 4), slice(width // 16, 3 * width // 16))
    changed = np.abs(panels[3] - panels[0]).mean(2) > 12
    assert changed[middle].mean() > 0.4  # the head lies over the face
    assert changed[: height // 12].mean() < 0.02  # and not over what is above it


def test_a_second_run_has_nothing_to_do(
    photo: Path, demo: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    folder = demo[0]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    done = run("capture", photo, "-o", folder, "--to", "glb,livelink", "--json")
    assert json.loads(done.stdout)["results"][0]["status"] == "complete"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_folder_in_two_processes(photo: Path, tmp_path: Path) -> None:
    media = tmp_path / "in"
    media.mkdir()
    picture = read_image(photo)
    shutil.copy(photo, media / "a.png")
    write_image(media / "b.jpg", np.ascontiguousarray(picture[:, ::-1]))
    write_image(media / "c.png", np.full((200, 300, 3), 120, np.uint8))
    (media / "d.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50))
    done = run("capture", media, "-o", tmp_path / "out", "--jobs", "2", "--no-overlay", "--json")
    assert done.returncode == 2
    results = {Path(r["input"]).name: r for r in json.loads(done.stdout)["results"]}
    assert [results[name]["status"] for name in ("a.png", "b.jpg", "c.png", "d.jpg")] == [
        "captured",
        "captured",
        "failed",
        "failed",
    ]
    assert "no face" in results["c.png"]["error"]
    assert "damaged" in results["d.jpg"]["error"]
    assert len([line for line in done.stderr.splitlines() if line.startswith("omote: error: ")]) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.omote", "b.omote"]
    one, other = (Performance.load(tmp_path / "out" / f"{name}.omote") for name in "ab")
    turned = one.mirror()
    assert other.head_rotation == pytest.approx(turned.head_rotation, abs=0.05)
    table = run("capture", media, "-o", tmp_path / "out", "--no-overlay", "--jobs", "1")
    assert table.stdout.count("complete") == 2
    assert table.stdout.count("failed") == 2


@pytest.fixture(scope="module")
def clip(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds in which the photograph drifts to the right."""
    path = tmp_path_factory.mktemp("clip") / "drift.mp4"
    picture = read_image(photo)
    with VideoWriter(path, (256, 256), fps=25) as writer:
        for frame in range(50):
            writer.write(np.ascontiguousarray(picture[:256, 90 + frame // 2 : 346 + frame // 2]))
    return path


def test_a_video(clip: Path, tmp_path: Path) -> None:
    done = run("capture", clip, "-o", tmp_path, "--to", "arkit-csv", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["results"][0]
    assert (result["frames"], result["faces"]) == (50, 1)
    assert result["confidence"] > 0.9
    with open_video(tmp_path / "drift_overlay.mp4") as overlay:
        assert overlay.size[0] == 2 * overlay.size[1]
        assert overlay.fps == pytest.approx(25, rel=0.02)
        assert sum(1 for _ in overlay) == 50
    take = Performance.load(tmp_path / "drift.omote")
    assert take.head_translation[-1, 0] < take.head_translation[0, 0] - 0.01  # the picture moves left


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_ctrl_c_and_on_again(clip: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "omote.cli", "capture", str(clip), "-o", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".drift.omote-lock")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    # Python itself ends by the signal where the interrupt fell into an import; shells show 130 for both.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert errors == "stopped; run the same command again to resume\n"
    assert list(tmp_path.iterdir()) == []
