"""``omote capture --texture``: what exported heads wear."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omote import export
from omote.commands import work
from omote.commands.capture import CaptureArgs
from omote.commands.tasks import Task, plan
from omote.controls import FACS102
from omote.errors import InputError
from omote.media import write_image
from omote.performance import Camera, Performance

BLUE = (40, 90, 210)


def still() -> Performance:
    return Performance(
        space=FACS102,
        controls=np.zeros((1, len(FACS102))),
        head_rotation=np.zeros((1, 3)),
        head_translation=np.array([[0.0, 0.0, -0.7]]),
        confidence=np.ones(1),
        times=np.zeros(1),
        camera=Camera(focal=300.0, principal=(80.0, 60.0), size=(160, 120)),
    )


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The options that each format was written with, by its ending."""
    asked: dict[str, dict[str, Any]] = {}

    def write(take: Performance, path: Path, **options: Any) -> list[Path]:
        asked[path.suffix] = options
        return [path]

    monkeypatch.setattr(export, "write", write)
    return asked


def test_exported_head_wears_the_photo(tmp_path: Path, written: dict[str, dict[str, Any]]) -> None:
    photo = tmp_path / "me.png"
    write_image(photo, np.full((120, 160, 3), BLUE, np.uint8))
    task = Task(
        photo, tmp_path / "me", "largest", 0.5, False, ("glb", "obj", "ply"), False, texture="photo-lit"
    )
    still().save(task.performance_path(0))
    work.export_missing(task, 0, still(), fresh=False)
    albedo = written[".glb"]["albedo"]
    np.testing.assert_allclose(albedo[470:490, 330:350].reshape(-1, 3).mean(0), BLUE, atol=8)
    assert written[".obj"]["albedo"] is albedo
    assert "albedo" not in written[".ply"]


def test_paint_needs_no_photo(tmp_path: Path, written: dict[str, dict[str, Any]]) -> None:
    task = Task(
        tmp_path / "gone.png", tmp_path / "me", "largest", 0.5, False, ("glb",), False, texture="paint"
    )
    still().save(task.performance_path(0))
    work.export_missing(task, 0, still(), fresh=False)
    assert "albedo" not in written[".glb"]


def test_obj_comes_with_the_given_texture(tmp_path: Path) -> None:
    albedo = np.full((16, 16, 3), BLUE, np.uint8)
    paths = export.write(still(), tmp_path / "me.obj", albedo=albedo)
    np.testing.assert_array_equal(np.asarray(Image.open(paths[-1].with_name("me.albedo.png"))), albedo)
    with pytest.raises(InputError, match="uint8"):
        export.write(still(), tmp_path / "me.obj", albedo=albedo / 255)


def test_texture_decides_whether_a_capture_is_complete(tmp_path: Path) -> None:
    task = Task(tmp_path / "me.png", tmp_path / "me", "largest", 0.5, False, (), False)
    other = Task(tmp_path / "me.png", tmp_path / "me", "largest", 0.5, False, (), False, texture="paint")
    assert work.marker(task, 1) != work.marker(other, 1)


def test_consent_is_planned_and_decides_whether_a_capture_is_complete(tmp_path: Path) -> None:
    write_image(tmp_path / "me.png", np.zeros((8, 8, 3), np.uint8))
    wanted = CaptureArgs((tmp_path / "me.png",), output=tmp_path / "out", consent=" Ada agreed ")
    (task,) = plan(wanted)
    assert task.consent == "Ada agreed"
    assert work.marker(task, 1)["consent"] == "Ada agreed"
    with pytest.raises(InputError, match="consent"):
        plan(CaptureArgs((tmp_path / "me.png",), output=tmp_path / "out", consent=""))


def test_unknown_texture_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "me.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="photo-lit"):
        plan(CaptureArgs((tmp_path / "me.png",), output=tmp_path / "out", texture="photo-lit2"))
    assert plan(CaptureArgs((tmp_path / "me.png",), output=tmp_path / "out"))[0].texture == "photo"
