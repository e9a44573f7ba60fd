"""``omote capture --method``: which method each file gets, what is refused, and what counts as complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from omote.capture import inverter
from omote.capture.pipeline import Captured
from omote.cli import main
from omote.commands import work
from omote.commands.capture import CaptureArgs
from omote.commands.preview import write_preview
from omote.commands.tasks import Task, plan
from omote.controls import FACS102
from omote.errors import InputError
from omote.export import parse_formats
from omote.media import read_image, write_image
from omote.media.paths import sha256_of
from omote.performance import Camera, Performance


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A photo, another, a scan and a file that stands for weights."""
    made = {name: tmp_path / name for name in ("me.png", "normals.png", "head.ply", "net.safetensors")}
    write_image(made["me.png"], np.full((8, 8, 3), 90, np.uint8))
    write_image(made["normals.png"], np.full((8, 8, 3), (128, 128, 255), np.uint8))
    trimesh.creation.box().export(made["head.ply"])
    made["net.safetensors"].write_bytes(b"weights")
    return made


def planned(files: dict[str, Path], *names: str, **options: Any) -> list[Task]:
    paths = tuple(files[name] for name in names)
    return plan(CaptureArgs(paths=paths, output=paths[0].parent / "out", **options))


def test_scans_are_inverted_and_the_others_fitted(files: dict[str, Path]) -> None:
    tasks = planned(files, "me.png", "head.ply", weights=files["net.safetensors"])
    assert [(task.method, task.weights) for task in tasks] == [
        ("landmarks", None),
        ("inversion", files["net.safetensors"]),
    ]


@pytest.mark.parametrize("method", ["landmarks", "inversion"])
def test_the_method_that_is_asked_for(files: dict[str, Path], method: str) -> None:
    assert {task.method for task in planned(files, "me.png", "head.ply", method=method)} == {method}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["me.png"], {"method": "inverse"}, "Did you mean 'inversion'"),
        (["me.png"], {"weights": "net.safetensors"}, "--weights: only the method inversion"),
        (["me.png"], {"normals": "normals.png"}, "--normals: only the method inversion"),
        (["me.png", "head.ply"], {"normals": "normals.png"}, "one photo"),
        (["head.ply"], {"normals": "normals.png"}, "its own normals"),
        (["me.png"], {"method": "inversion", "weights": "gone"}, "gone: there is no such file"),
    ],
)
def test_what_is_refused(
    files: dict[str, Path], names: list[str], options: dict[str, str], message: str
) -> None:
    paths = {k: files.get(v, Path(v)) if k != "method" else v for k, v in options.items()}
    with pytest.raises(InputError, match=message):
        planned(files, *names, **paths)


def test_a_scan_is_not_overwritten(files: dict[str, Path]) -> None:
    scan = files["head.ply"]
    with pytest.raises(InputError, match="ply file would be written over it"):
        plan(CaptureArgs(paths=(scan,), output=scan.parent, to="glb,ply"))
    assert len(plan(CaptureArgs(paths=(scan,), output=scan.parent, to="glb"))) == 1


def take_of(task: Task) -> Performance:
    return Performance(
        space=FACS102,
        controls=np.zeros((1, len(FACS102))),
        head_rotation=np.zeros((1, 3)),
        head_translation=[[0.0, 0.0, -0.6]],
        confidence=[1.0],
        times=[0.0],
        camera=Camera(900.0, (256.0, 256.0), (512, 512)),
        identity={"facs": np.zeros(90)},
        source={"method": task.method},
    )


def test_what_makes_it_anew(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Task] = []

    def captured(task: Task, report: Any) -> list[Performance]:
        ran.append(task)
        return [take_of(task)]

    monkeypatch.setattr(work, "_run_pipeline", captured)
    shipped = files["me.png"].with_name("shipped.safetensors")
    monkeypatch.setattr(inverter, "shipped_weights", lambda: shipped)
    (task,) = planned(files, "me.png", method="inversion", overlay=False, normals=files["normals.png"])

    def status(task: Task) -> str:
        return str(work.capture_task(task, lambda *_: None)["status"])

    assert [status(task), status(task)] == ["captured", "complete"]
    mark = Performance.load(task.performance_path(0)).source["capture"]
    assert (mark["method"], mark["network"]) == ("inversion", None)
    assert mark["normals"] == sha256_of(files["normals.png"])
    shipped.write_bytes(b"a better network")
    assert [status(task), status(task)] == ["captured", "complete"]
    assert status(replace(task, weights=files["net.safetensors"])) == "captured"
    assert status(replace(task, method="landmarks", weights=None, normals=None)) == "captured"
    assert len(ran) == 4


def test_marks_of_the_landmark_method_are_as_they_were(files: dict[str, Path]) -> None:
    (task,) = planned(files, "me.png")
    assert work.marker(task, 1) == {"face": "largest", "smooth": 0.5, "faces": 1, "texture": "photo"}


def test_the_overlay_of_a_scan_shows_its_render(files: dict[str, Path], tmp_path: Path) -> None:
    (task,) = planned(files, "head.ply")
    picture = np.full((512, 512, 3), (10, 200, 30), np.uint8)
    marks = np.full((1, 478, 2), np.nan, np.float32)
    found = Captured(take_of(task), marks, np.zeros(1, np.float32), picture)
    marks[0] = 256 + 90 * np.stack([np.sin(np.arange(478)), np.cos(np.arange(478))], -1)
    target = work.overlay_path(task)
    assert target.name == "head_overlay.png"
    write_preview(task.source, [found], target, lambda *_: None)
    shown = read_image(target)
    np.testing.assert_array_equal(shown[40, 40], (10, 200, 30))


def test_arkit_is_a_format() -> None:
    assert [form.name for form in parse_formats("arkit,glb")] == ["arkit-csv", "glb"]


def test_a_network_that_is_none_is_one_line(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = str(files["net.safetensors"])
    arguments = ["capture", str(files["head.ply"]), "--weights", weights, "-o", str(tmp_path / "out")]
    assert main([*arguments, "--jobs", "1"]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert f"{weights}: not a safetensors file" in printed.err
    assert not list((tmp_path / "out").iterdir())
