"""``omote rig transfer`` as a person runs it: heads of the same and of another topology, found and given landmarks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from tests.rigs.rig_files import SOME_CONTROLS, embedded_head

from omote.cli import main
from omote.export.rig_transfer import neutral_of, transfer_rig
from omote.export.shapes_glb import write_shapes_glb
from omote.geometry.meshes import subdivide
from omote.media import read_image
from omote.rigs.blendshapes import BlendshapeRig
from omote.rigs.facs import load_rig
from omote.rigs.open import open_rig
from omote.rigs.shapes import Shape, ShapeSet


@pytest.fixture(scope="module")
def heads() -> tuple[ShapeSet, ShapeSet]:
    """The average head and another person's."""
    size = len(load_rig().identity_space)
    return embedded_head(np.zeros(size)), embedded_head(np.random.default_rng(4).normal(0, 0.8, size))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write_obj(path: str, vertices: np.ndarray, faces: np.ndarray) -> None:
    trimesh.Trimesh(vertices, faces, process=False).export(path)


def lying_in_cm(vertices: np.ndarray) -> np.ndarray:
    """As another program exports it: centimetres, z up, facing -y, elsewhere."""
    return 100 * vertices @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0.0]]) + [3, -2, 150]


def written_rig(path: str) -> tuple[BlendshapeRig, np.ndarray]:
    """The rig of a GLB and the displacements (S, V, 3) of its shapes."""
    rig = open_rig(path)
    assert isinstance(rig, BlendshapeRig)
    controls = torch.eye(len(rig.space))
    moved = rig(controls, torch.zeros(1, 0)).numpy() - neutral_of(rig)
    return rig, moved


def dense(shapes: ShapeSet) -> np.ndarray:
    made = np.zeros((len(shapes.shapes), *shapes.vertices.shape))
    for row, shape in zip(made, shapes.shapes, strict=True):
        row[shape.index] = shape.delta
    return made


def test_a_head_of_the_same_topology_lying_in_centimetres(
    heads: tuple[ShapeSet, ShapeSet], capsys: pytest.CaptureFixture[str]
) -> None:
    average, other = heads
    write_shapes_glb(replace(average, face_part=0 * average.face_part, part_names=("all",)), "source.glb")
    write_obj("actor.obj", lying_in_cm(other.vertices), other.faces)
    arguments = ["rig", "transfer", "source.glb", "actor.obj", "-o", "actor.glb", "--same-topology"]
    assert main([*arguments, "--size", "64"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "actor: 3 shapes on 5360 vertices",
        "actor.glb",
        "actor_sheet.png",
    ]
    rig, moved = written_rig("actor.glb")
    assert rig.space.names == SOME_CONTROLS
    middle = neutral_of(rig).mean(0) - other.vertices.mean(0)
    np.testing.assert_allclose(neutral_of(rig), other.vertices + middle, atol=1e-5)
    error = np.linalg.norm(moved - dense(other), axis=2) * 1e3
    size = np.linalg.norm(dense(other), axis=2) * 1e3
    assert np.median(error) <= 0.02
    assert np.median(error[size > 0.1]) <= 0.5, "mm, of vertices that move"
    sheet = read_image("actor_sheet.png")
    assert sheet.shape[1] > 2 * 64
    assert sheet.std() > 10


def test_triangles_in_another_order_are_not_the_same_topology(
    heads: tuple[ShapeSet, ShapeSet], capsys: pytest.CaptureFixture[str]
) -> None:
    average, other = heads
    write_shapes_glb(replace(average, face_part=0 * average.face_part, part_names=("all",)), "source.glb")
    write_obj(
        "actor.obj", other.vertices, other.faces[np.random.default_rng(0).permutation(len(other.faces))]
    )
    assert main(["rig", "transfer", "source.glb", "actor.obj", "--same-topology"]) == 2
    assert "actor.obj: its triangles are not those of the source in the same order" in capsys.readouterr().err


def test_lips_held_together_act_on_the_open_jaw_alone(heads: tuple[ShapeSet, ShapeSet]) -> None:
    """What the embedded head's own product is comes back from the file, at half open jaws too."""
    average, _ = heads
    facs = load_rig()
    made = transfer_rig(facs, replace(average, shapes=()), None)
    write_shapes_glb(made.shapes, "whole.glb")
    rig = open_rig("whole.glb")
    values = 0.5 * torch.ones(1, len(rig.space))
    assert float((rig.activate(values) - BlendshapeRig(made.shapes).activate(values)).abs().max()) == 0
    lips = [name for name in rig.space.names if name.startswith("lips_together")]
    assert len(lips) == 4
    nobody = torch.zeros(1, len(facs.identity_space))
    for jaw in (0.0, 0.05, 0.5, 1.0):
        ours, theirs = torch.zeros(1, len(facs.space)), torch.zeros(1, len(rig.space))
        for values, space in ((ours, facs.space), (theirs, rig.space)):
            values[0, space.index("jaw_open")] = jaw
            for name in lips:
                values[0, space.index(name)] = 1
        skin = average.face_part == average.part_names.index("skin")
        seen = np.unique(average.faces[skin])
        wanted, found = facs(ours, nobody)[0].numpy(), rig(theirs, torch.zeros(1, 0))[0].numpy()
        near = cKDTree(found).query(wanted[seen])[0]
        assert np.quantile(near, 0.99) < 0.0015, f"metres, at a jaw of {jaw}"


def test_combination_shapes_are_transferred(heads: tuple[ShapeSet, ShapeSet]) -> None:
    """Two shapes and what both do together, onto the same head half as large: everything is half as large."""
    average, _ = heads
    jaw, smile = average.shapes[:2]
    both = np.zeros_like(average.vertices)
    both[jaw.index[:200]] = (0.001, 0.002, 0.003)
    named = (replace(jaw, name="jawOpen"), replace(smile, name="mouthSmile_L"))
    shapes = (*named, Shape.of("jawOpen_mouthSmile_L", both))
    rig = BlendshapeRig(replace(average, shapes=shapes))
    assert rig.combinations == {"jawOpen_mouthSmile_L": ("jawOpen", "mouthSmile_L")}
    small = replace(average, vertices=0.5 * average.vertices, shapes=())
    made = transfer_rig(rig, small, None).shapes
    assert [shape.name for shape in made.shapes] == [shape.name for shape in shapes]
    again = BlendshapeRig(made)
    values = torch.tensor([[1.0, 0.0], [0.7, 0.4], [1.0, 1.0]])
    wanted = 0.5 * rig(values, torch.zeros(1, 0))
    assert float((again(values, torch.zeros(1, 0)) - wanted).abs().max()) < 2e-5


def test_landmarks_given_by_hand_and_another_topology(
    heads: tuple[ShapeSet, ShapeSet], capsys: pytest.CaptureFixture[str]
) -> None:
    average, other = heads
    write_shapes_glb(average, "source.glb")
    finer = subdivide(other.weld[other.faces], len(other.vertices))
    write_obj("fine.ply", 1000 * finer.apply(other.vertices.astype(np.float64)), finer.faces)
    marks = load_rig().landmarks
    chosen = slice(0, 468, 4)
    pairs = {
        "source": marks.apply(average.vertices)[chosen].tolist(),
        "target": (1000 * marks.apply(other.vertices)[chosen]).tolist(),
    }
    Path("pairs.json").write_text(json.dumps(pairs))
    arguments = ["rig", "transfer", "source.glb", "fine.ply", "-o", "fine.glb", "--landmarks", "pairs.json"]
    assert main([*arguments, "--size", "0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outputs"] == ["fine.glb"]
    assert report["shapes"] == list(SOME_CONTROLS)
    assert report["still"] == []
    assert report["fit"]["surface_median"] < 0.2
    assert report["fit"]["landmarks_median"] < 1.0
    assert report["fit"]["followed"] > 0.9
    assert not Path("fine_sheet.png").exists()
    rig, moved = written_rig("fine.glb")
    used = np.unique(finer.faces)
    wanted = finer.apply(dense(other))[:, used]
    assert len(neutral_of(rig)) == len(used)
    error = np.linalg.norm(moved - wanted, axis=2) * 1e3
    assert np.median(error[np.linalg.norm(wanted, axis=2) > 1e-4]) < 0.6, "mm, of vertices that move"


def test_a_scan_finds_its_own_landmarks(
    heads: tuple[ShapeSet, ShapeSet], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mediapipe")
    from omote.errors import WeightsError
    from omote.weights import locate

    try:
        locate("face_landmarker", download=False)
    except WeightsError as missing:
        pytest.skip(str(missing))
    average, other = heads
    write_shapes_glb(average, "source.glb")
    write_obj("scan.obj", lying_in_cm(other.vertices), other.weld[other.faces])
    assert main(["rig", "transfer", "source.glb", "scan.obj", "-o", "scan.glb", "--size", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("fit: 0.")
    rig, moved = written_rig("scan.glb")
    used = np.unique(other.weld[other.faces])
    wanted = dense(other)[:, used]
    assert np.ptp(neutral_of(rig)[:, 1]) == pytest.approx(np.ptp(other.vertices[used, 1]), rel=1e-4), "metres"
    error = np.linalg.norm(moved - wanted, axis=2) * 1e3
    assert np.median(error[np.linalg.norm(wanted, axis=2) > 1e-4]) < 1.0, "mm, of vertices that move"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["facs", "none.obj"], "none.obj: there is no such file"),
        (["none.glb", "head.obj"], "none.glb: there is no such rig"),
        (["facs", "head.obj", "-o", "head.fbx"], "head.fbx: the rigged head is written as .glb. Name it so."),
        (["facs", "head.obj", "--size", "9"], "--size: pictures of 9 px. Use 48 to 1024, or 0."),
        (
            ["facs", "head.obj", "--same-topology"],
            "head.obj: 2 triangles, the source has 9980. Leave out --same-topology.",
        ),
        (
            ["facs", "head.obj", "--same-topology", "--landmarks", "pairs.json"],
            "--landmarks: heads of the same topology need no landmarks",
        ),
        (["facs", "head.obj", "--landmarks", "pairs.json"], "pairs.json: holds no pairs of points. Write"),
        (
            ["facs", "head.obj", "--landmarks", "few.json"],
            "few.json: needs at least 4 pairs of finite points",
        ),
        (
            ["facs", "head.obj", "--landmarks", "odd.json"],
            "odd.json: holds points of shapes (2, 3) and (1, 3)",
        ),
        (["facs", "mine.glb", "-o", "mine.glb"], "mine.glb: would be written over what it is made from"),
        (["facs", "head.obj", "--sheet", "./head.obj"], "head.obj: would be written over"),
        (["facs", "nan.ply"], "nan.ply: the scan has vertices that are not numbers"),
        (["facs", "flat.obj", "--landmarks", "apart.json"], "target: the points are all in one place"),
    ],
)
def test_what_goes_wrong_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    write_obj("head.obj", square, np.array([[0, 1, 2], [0, 2, 3]]))
    bad = square.copy()
    bad[1] = np.nan
    trimesh.Trimesh(bad, [[0, 1, 2], [0, 2, 3]], process=False).export("nan.ply")
    Path("pairs.json").write_text('{"pairs": 3}')
    points = np.random.default_rng(0).normal(0, 0.05, (9, 3))
    Path("few.json").write_text(json.dumps({"source": points[:3].tolist(), "target": points[:3].tolist()}))
    Path("odd.json").write_text(json.dumps({"source": points[:2].tolist(), "target": points[:1].tolist()}))
    Path("apart.json").write_text(json.dumps({"source": points.tolist(), "target": points.tolist()}))
    write_obj("flat.obj", 1e-4 * square + 0.3, np.array([[0, 1, 2], [0, 2, 3]]))
    assert main(["rig", "transfer", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
