"""``omote rig inspect`` and ``omote rig map``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.rigs.rig_files import little_glb, little_head, write_glb_file, write_obj, write_obj_folder

from omote.cli import main
from omote.controls import ARKIT52
from omote.performance import Camera, Performance
from omote.rigs.gltf_data import GltfFile


def _glb(tmp_path: Path) -> Path:
    return write_glb_file(tmp_path / "head.glb", little_glb())


def _take(tmp_path: Path) -> Path:
    controls = np.zeros((3, 52), np.float32)
    controls[:, ARKIT52.index("jawOpen")] = [0, 0.5, 1]
    controls[:, ARKIT52.index("browOuterUpLeft")] = [1, 1, 0]
    take = Performance(
        space=ARKIT52,
        controls=controls,
        head_rotation=np.zeros((3, 3), np.float32),
        head_translation=np.zeros((3, 3), np.float32),
        confidence=np.ones(3, np.float32),
        times=1 + np.arange(3) / 25,
        identity={},
        camera=Camera(focal=900.0, principal=(256, 256), size=(512, 512)),
        source={},
    )
    take.save(tmp_path / "take.omote")
    return tmp_path / "take.omote"


def test_inspect_measures_every_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rig", "inspect", str(_glb(tmp_path)), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["vertices"], report["triangles"]) == (25, 32)
    rows = {row["name"]: row for row in report["controls"]}
    assert rows["browOuterUpLeft"]["partner"] == "browOuterUpRight"
    assert rows["jawOpen"]["vertices"] == 10
    assert rows["jawOpen"]["largest_mm"] == pytest.approx(200 * np.hypot(0.1, 0.02), rel=1e-4)
    assert report["problems"] == ["has no partner on the other side: mouthSmileLeft"]


def test_inspect_draws_a_picture_for_each_control(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["rig", "inspect", str(_glb(tmp_path)), "-o", str(sheet), "--size", "64"]) == 0
    assert str(sheet) in capsys.readouterr().out
    picture = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    neutral, brow = picture[3:67, 3:67], picture[3:67, 70:134]
    assert np.ptp(neutral) > 60
    assert np.abs(neutral - brow).max() > 20


def test_problems_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_obj_folder(tmp_path / "shapes")
    vertices, quads = little_head()
    write_obj(folder / "tongueOut.obj", vertices, quads)
    (folder / "open.obj").write_bytes((folder / "jawOpen.obj").read_bytes())
    (folder / "smirk.obj").write_bytes((folder / "mouthSmileLeft.obj").read_bytes())
    assert main(["rig", "inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "problem: moves nothing by itself: tongueOut" in out
    assert "problem: are the same shape: jawOpen and open" in out
    assert "problem: is not the same in a mirror: smirk" in out


def test_map_writes_what_load_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "map.json"
    rig = str(_glb(tmp_path))
    assert main(["rig", "map", rig, "--to", "facs102", "-o", str(target)]) == 0
    assert "jaw_open" in capsys.readouterr().out
    document = json.loads(target.read_text())
    assert document["controls"]["browOuterUpLeft"] == {"brow_outer_up_L": 1.0}
    assert main(["rig", "map", rig, "--mapping", str(target), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["controls"] == document["controls"]
    assert again["to"] == "facs102"


def test_take_on_the_rig_is_its_own_glb_with_an_animation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig, take, target = _glb(tmp_path), _take(tmp_path), tmp_path / "out.glb"
    assert main(["rig", "map", str(rig), "--take", str(take), "-o", str(target)]) == 0
    before, after = GltfFile(rig), GltfFile(target)
    assert after.tree["meshes"] == before.tree["meshes"]
    (animation,) = after.tree["animations"]
    (channel,) = animation["channels"]
    assert channel["target"] == {"node": 0, "path": "weights"}
    sampler = animation["samplers"][channel["sampler"]]
    np.testing.assert_allclose(after.accessor(sampler["input"]), [0, 0.04, 0.08], atol=1e-6)
    weights = after.accessor(sampler["output"]).reshape(3, 4)
    np.testing.assert_allclose(weights, [[1, 0, 0, 0], [1, 0, 0.5, 0], [0, 0, 1, 0]], atol=1e-6)
    np.testing.assert_array_equal(after.accessor(0), before.accessor(0))
    assert str(target) in capsys.readouterr().out


def test_take_on_the_rig_as_json_and_as_omote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, take = write_obj_folder(tmp_path / "shapes"), _take(tmp_path)
    assert main(["rig", "map", str(folder), "--take", str(take), "-o", str(tmp_path / "w.json")]) == 0
    document = json.loads((tmp_path / "w.json").read_text())
    assert document["weights"]["jawOpen"] == [0.0, 0.5, 1.0]
    assert (
        main(["rig", "map", str(folder), "--take", str(take), "-o", str(tmp_path / "r.omote"), "--json"]) == 0
    )
    assert Performance.load(tmp_path / "r.omote").space.names[:1] == ("browOuterUpLeft",)
    capsys.readouterr()
    assert main(["rig", "map", str(folder), "--take", str(take), "-o", str(tmp_path / "w.glb")]) == 2
    assert "only a .glb can be copied with an animation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "missing.glb"], "missing.glb: there is no such rig"),
        (["map", "HEAD", "--take", "missing.omote", "-o", "x.glb"], "missing.omote"),
        (["map", "HEAD", "-o", "map.txt"], "a mapping is written as .json"),
        (["map", "facs"], "facs: the embedded head has the FACS controls themselves"),
        (["inspect", "HEAD", "--unit", "ell"], "unknown unit 'ell'"),
        (["inspect", "HEAD", "--axes", "up"], "'up' is no pair of axes"),
        (["inspect", "HEAD", "-o", "sheet.png", "--size", "5"], "pictures of 5 px"),
    ],
)
def test_what_goes_wrong_is_one_line(
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = str(_glb(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["rig", *(rig if a == "HEAD" else a for a in arguments)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
