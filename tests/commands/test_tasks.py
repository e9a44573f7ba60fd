"""Which files are made for which inputs, what counts as complete, two runs at once; the capture is faked."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omote.commands import work
from omote.commands.capture import CaptureArgs
from omote.commands.tasks import Busy, Task, expand, locked, parse_face, plan
from omote.controls import FACS102
from omote.errors import InputError, NoFaceError
from omote.media import write_image
from omote.media.paths import sha256_of
from omote.performance import Camera, Performance


def made(frames: int = 1) -> Performance:
    return Performance(
        space=FACS102,
        controls=np.zeros((frames, len(FACS102))),
        head_rotation=np.zeros((frames, 3)),
        head_translation=np.tile([0.0, 0.0, -0.6], (frames, 1)),
        confidence=np.full(frames, 0.75),
        times=np.arange(frames) / 25,
        camera=Camera(focal=800.0, principal=(32.0, 24.0), size=(64, 48)),
        source={"method": "made"},
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "me.png"
    write_image(path, np.full((8, 8, 3), 90, np.uint8))
    return path


@pytest.fixture
def task(photo: Path, tmp_path: Path) -> Task:
    return Task(photo, tmp_path / "out" / "me", "largest", 0.5, True, ("arkit-csv",), False)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """A capture that finds one face, or two with --face all; the list holds the tasks it was asked for."""
    asked: list[Task] = []

    def captured(task: Task, report: Callable[[int, int | None], None]) -> list[Performance]:
        asked.append(task)
        report(1, 1)
        if task.overlay:
            write_image(work.overlay_path(task), np.zeros((4, 4, 3), np.uint8))
        logging.getLogger("omote.capture").warning("one eye is hidden")
        return [made()] * (2 if task.face == "all" else 1)

    monkeypatch.setattr(work, "_run_pipeline", captured)
    return asked


def capture(task: Task) -> dict[str, Any]:
    return work.capture_task(task, lambda *_: None)


# ---- planning ----


def test_a_folder_gives_its_media_in_natural_order(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.png", "a.jpg"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    names = [path.name for path in expand((tmp_path, tmp_path / "a.jpg"), tmp_path / "out")]
    assert names == ["a.jpg", "b2.png", "b10.png"]


def test_overlays_of_earlier_runs_are_not_inputs(tmp_path: Path) -> None:
    for name in ("me.png", "me_overlay.png", "red_overlay.png"):
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    made().save(tmp_path / "me.omote")
    assert [path.name for path in expand((tmp_path,), tmp_path / "out")] == ["me.png", "red_overlay.png"]
    assert [path.name for path in expand((tmp_path,), tmp_path)] == ["me.png"]


def test_same_stems_get_different_names(tmp_path: Path) -> None:
    for name in ("me.png", "me.jpg", "you.png"):
        write_image(tmp_path / "in" / name, np.zeros((4, 4, 3), np.uint8))
    tasks = plan(CaptureArgs(paths=(tmp_path / "in",), output=tmp_path / "out"))
    assert [task.stem.name for task in tasks] == ["me-jpg", "me-png", "you"]


def test_same_names_from_two_folders_are_refused(tmp_path: Path) -> None:
    paths = (tmp_path / "a" / "me.png", tmp_path / "b" / "me.png")
    for path in paths:
        write_image(path, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="same name"):
        plan(CaptureArgs(paths=paths, output=tmp_path / "out"))


def test_face_choices() -> None:
    assert [parse_face(text) for text in ("largest", "all", "0", "12")] == ["largest", "all", 0, 12]
    with pytest.raises(InputError, match="Did you mean 'all'"):
        parse_face("al")


def test_paths_of_results(task: Task) -> None:
    assert task.performance_path(0).name == "me.omote"
    every = replace(task, face="all", stem=task.stem.with_name("v1.2"))
    assert [every.performance_path(index).name for index in (0, 1)] == [
        "v1.2_face0.omote",
        "v1.2_face1.omote",
    ]


# ---- running ----


def test_what_a_capture_leaves(task: Task, pipeline: list[Task]) -> None:
    result = capture(task)
    assert (result["status"], result["exit_code"], result["error"]) == ("captured", 0, None)
    assert (result["frames"], result["faces"], result["confidence"]) == (1, 1, 0.75)
    assert result["warnings"] == ["one eye is hidden"]
    assert [Path(path).name for path in result["outputs"]] == ["me.omote", "me.arkit.csv", "me_overlay.png"]
    assert sorted(p.name for p in task.stem.parent.iterdir()) == [
        "me.arkit.csv",
        "me.omote",
        "me_overlay.png",
    ]
    source = Performance.load(task.performance_path(0)).source
    assert source["sha256"] == sha256_of(task.source)
    assert source["method"] == "made"


def test_a_complete_result_is_kept(task: Task, pipeline: list[Task]) -> None:
    first = capture(task)
    before = task.performance_path(0).stat().st_mtime_ns
    again = capture(task)
    assert again["status"] == "complete"
    assert again["outputs"] == first["outputs"]
    assert len(pipeline) == 1
    assert task.performance_path(0).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        lambda task: replace(task, smooth=0.9),
        lambda task: replace(task, face=0),
        lambda task: replace(task, overwrite=True),
        lambda task: work.overlay_path(task).unlink() or task,
        lambda task: task.performance_path(0).write_bytes(b"cut off") and task,
        lambda task: write_image(task.source, np.zeros((9, 9, 3), np.uint8)) or task,
    ],
    ids=["smooth", "face", "overwrite", "no overlay", "damaged", "other input"],
)
def test_what_makes_it_anew(task: Task, pipeline: list[Task], change: Callable[[Task], Task]) -> None:
    capture(task)
    assert capture(change(task))["status"] == "captured"
    assert len(pipeline) == 2


def test_only_missing_exports_are_written(task: Task, pipeline: list[Task]) -> None:
    capture(task)
    table = task.beside(".arkit.csv")
    kept = table.stat().st_mtime_ns
    result = capture(replace(task, formats=("arkit-csv", "npz"), overlay=False))
    assert result["status"] == "complete"
    assert task.beside(".npz").is_file()
    assert table.stat().st_mtime_ns == kept
    os.utime(table, ns=(0, 0))  # older than the performance: of an earlier one
    capture(task)
    assert table.stat().st_mtime_ns > kept
    assert len(pipeline) == 1


def test_all_faces(task: Task, pipeline: list[Task]) -> None:
    every = replace(task, face="all")
    result = capture(every)
    names = [Path(path).name for path in result["outputs"]]
    assert names == [
        "me_face0.omote",
        "me_face0.arkit.csv",
        "me_face1.omote",
        "me_face1.arkit.csv",
        "me_overlay.png",
    ]
    assert capture(every)["status"] == "complete"
    every.performance_path(1).unlink()
    assert capture(every)["status"] == "captured"


def test_mistakes_become_results(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(task: Task, report: object) -> None:
        raise NoFaceError("there is no face", where=task.source)

    def broken(task: Task, report: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(work, "_run_pipeline", nobody)
    result = capture(task)
    assert (result["status"], result["exit_code"]) == ("failed", 2)
    assert result["error"] == f"{task.source}: there is no face"
    monkeypatch.setattr(work, "_run_pipeline", broken)
    result = capture(task)
    assert (result["status"], result["exit_code"]) == ("failed", 1)
    assert "ZeroDivisionError: by nothing" in result["error"]
    assert not list(task.stem.parent.iterdir()), "no lock is left"
    assert capture(replace(task, source=task.source.with_name("gone.png")))["exit_code"] == 2


# ---- two runs at once ----


def test_a_lock_keeps_others_off(task: Task, pipeline: list[Task]) -> None:
    code = (
        "import sys, time; from pathlib import Path; from filelock import SoftFileLock\n"
        "path = Path(sys.argv[1]); path.parent.mkdir(parents=True, exist_ok=True)\n"
        "with SoftFileLock(path): print('held', flush=True); sys.stdin.read()\n"
    )
    path = task.stem.with_name(".me.omote-lock")
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        result = capture(task)
        assert (result["status"], result["exit_code"]) == ("busy", 2)
        assert f"process {other.pid}" in result["error"]
        assert pipeline == []
        timer = threading.Timer(0.6, lambda: other.communicate(""))
        timer.start()
        began = time.monotonic()
        assert capture(replace(task, wait=True))["status"] == "captured"
        assert time.monotonic() - began > 0.4
        timer.join()
    finally:
        other.kill()


def test_the_lock_of_a_dead_process_is_taken_over(task: Task, pipeline: list[Task]) -> None:
    code = (
        "import os, sys; from pathlib import Path; from filelock import SoftFileLock\n"
        "path = Path(sys.argv[1]); path.parent.mkdir(parents=True, exist_ok=True)\n"
        "lock = SoftFileLock(path); lock.acquire(); os._exit(1)\n"
    )
    path = task.stem.with_name(".me.omote-lock")
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=30)
    assert path.exists()
    assert capture(task)["status"] == "captured"
    assert not path.exists()


def test_the_lock_goes_when_the_work_fails(task: Task) -> None:
    with pytest.raises(RuntimeError), locked(task):
        raise RuntimeError
    with locked(task):
        pass
    assert issubclass(Busy, Exception)
