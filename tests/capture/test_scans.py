"""Scans from files to pictures: what is read, what is refused, and that unit, axes and side do not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image

from omote.capture import scan_files, scans
from omote.capture.detect import FaceDetector
from omote.capture.scan_files import CLAY, Scan, is_scan, load_scan
from omote.capture.scans import ScanView, front_camera, render_scan, view_scan
from omote.controls import FACS102
from omote.errors import InputError, NoFaceError
from omote.geometry.alignment import Similarity
from omote.render import decode_normals
from omote.rigs.facs import load_rig

Array = NDArray[Any]
AHEAD = Similarity(1.0, np.eye(3), np.array([0.0, 0.0, -0.6]))


def saved(path: Path, mesh: Any) -> Path:
    mesh.export(path)
    return path


def square(z: float = 0.0, half: float = 0.1, **visual: Any) -> trimesh.Trimesh:
    corners = np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False, **visual)


def painted(mesh: trimesh.Trimesh, colour: tuple[int, ...], **material: Any) -> trimesh.Trimesh:
    """The mesh under a texture of one colour on the left half and black on the right."""
    picture = Image.new("RGBA" if len(colour) == 4 else "RGB", (8, 4), colour)
    picture.paste((0, 0, 0, 0) if len(colour) == 4 else (0, 0, 0), (4, 0, 8, 4))
    uv = (mesh.vertices[:, :2] - mesh.vertices[:, :2].min(0)) / np.ptp(mesh.vertices[:, :2], axis=0)
    pbr = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, **material)
    mesh.visual = trimesh.visual.TextureVisuals(uv=uv, material=pbr)
    return mesh


# ---- files -----------------------------------------------------------------------------------------------------------


def test_what_is_named_like_a_scan() -> None:
    assert [is_scan(n) for n in ("a.OBJ", "b.ply", "c.glb", "d.png", "obj")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_vertex_colours(tmp_path: Path) -> None:
    colours = np.array([[200, 10, 0, 255], [10, 200, 0, 255], [0, 0, 90, 255], [7, 7, 7, 255]], np.uint8)
    scan = load_scan(saved(tmp_path / "a.ply", square(vertex_colors=colours)))
    assert scan.coloured
    (part,) = scan.parts
    assert part.uv is None
    np.testing.assert_array_equal(part.albedo, colours[:, :3])


def test_one_grey_is_no_colour(tmp_path: Path) -> None:
    scan = load_scan(saved(tmp_path / "a.obj", square()))
    assert not scan.coloured
    picture = render_scan(scan, AHEAD, front_camera(64))
    middle = picture.rgb[32, 32].astype(int)
    assert np.ptp(middle) < 25, "clay"
    assert middle.min() > 60


def test_a_scene_is_merged_and_placed(tmp_path: Path) -> None:
    """A textured skin, an eye of another material moved by its node, and a see-through cornea before both."""
    scene = trimesh.Scene()
    scene.add_geometry(painted(square(), (250, 40, 30)))
    move = trimesh.transformations.translation_matrix([-0.05, 0, 0.05])
    eye = square(half=0.03)
    eye.visual = trimesh.visual.TextureVisuals(
        uv=np.zeros((4, 2)), material=trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 0, 1.0, 1.0])
    )
    scene.add_geometry(eye, transform=move)
    scene.add_geometry(painted(square(z=0.08), (255, 255, 255, 40), alphaMode="BLEND"))
    scan = load_scan(saved(tmp_path / "a.glb", scene))
    assert scan.coloured
    assert sorted(len(part.vertices) for part in scan.parts) == [4, 4]
    assert scan.vertices[:, 2].max() == pytest.approx(0.05)
    picture = render_scan(scan, AHEAD, front_camera(128))
    left, right, eye_pixel = picture.rgb[95, 36], picture.rgb[64, 90], picture.rgb[64, 43]
    assert left[0] > 120 > 60 > left[1], "the texture's left half, on the left"
    assert right.max() < 60
    assert eye_pixel[2] > 100 > 60 > eye_pixel[0], "in front of the skin"


def ply(vertices: Array, faces: list[list[int]]) -> bytes:
    data: bytes = trimesh.Trimesh(vertices, faces, process=False).export(file_type="ply")
    return data


CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])
BAD: list[tuple[str, Callable[[], bytes], str]] = [
    ("empty.obj", lambda: b"", "empty"),
    ("noise.glb", lambda: bytes(range(256)) * 4, "damaged"),
    ("cut.glb", lambda: trimesh.Scene(square()).export(file_type="glb")[:200], "damaged"),
    ("points.obj", lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no triangles|damaged"),
    ("nan.ply", lambda: ply(CORNERS * (1, np.nan, 1), [[0, 1, 2]]), "not numbers"),
    ("far.ply", lambda: ply(CORNERS, [[0, 1, 9]]), "not there|damaged"),
    ("text.ply", lambda: b"ply\nformat ascii 1.0\nelement vertex 99999999999\n", "damaged"),
    ("me.stl", lambda: b"solid", "not a scan"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[name for name, *_ in BAD])
def test_bad_files(tmp_path: Path, name: str, content: Callable[[], bytes], message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(InputError, match=message) as caught:
        load_scan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_points_alone(tmp_path: Path) -> None:
    cloud = trimesh.PointCloud(np.random.default_rng(0).normal(size=(20, 3)))
    with pytest.raises(InputError, match="no triangles"):
        load_scan(saved(tmp_path / "cloud.ply", cloud))


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.obj", square())
    monkeypatch.setattr(scan_files, "MOST_TRIANGLES", 1)
    with pytest.raises(InputError, match="2 triangles"):
        load_scan(path)
    monkeypatch.setattr(scan_files, "MOST_BYTES", 10)
    with pytest.raises(InputError, match="too large"):
        load_scan(path)


@pytest.mark.parametrize(
    "named", ["tex.png", "-s 1 1 1 tex.png", "-clamp on -bm 0.5 tex.png", "maps\\TEX.PNG", '"tex.png"']
)
def test_textures_are_found_as_programs_name_them(
    named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 200
    Image.fromarray(pixels).save(tmp_path / "tex.png")
    (tmp_path / "a.mtl").write_text(f"newmtl a\nmap_Kd {named}\n")
    rows = ["mtllib a.mtl", "usemtl a", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "vt 1 0", "vt 0 1"]
    (tmp_path / "a.obj").write_text("\n".join([*rows, "f 1/1 2/2 3/3"]))
    assert load_scan(tmp_path / "a.obj").coloured
    (tmp_path / "tex.png").unlink()
    assert not load_scan(tmp_path / "a.obj").coloured
    assert "tex.png is not there" in caplog.text.lower()


def test_textures_come_from_the_scan_s_folder_only(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "secret.png")
    (inside / "a.mtl").write_text("newmtl a\nmap_Kd ../secret.png\n")
    rows = ["mtllib a.mtl", "usemtl a", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "vt 1 0", "vt 0 1"]
    (inside / "a.obj").write_text("\n".join([*rows, "f 1/1 2/2 3/3"]) + "\n")
    scan = load_scan(inside / "a.obj")
    assert all(part.albedo is None or part.albedo.ndim == 2 for part in scan.parts)


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_normals_of_a_plane(tmp_path: Path) -> None:
    scan = load_scan(saved(tmp_path / "a.ply", square()))
    facing = render_scan(scan, AHEAD, front_camera(64))
    np.testing.assert_array_equal(facing.normals[32, 32], (128, 128, 255))
    np.testing.assert_array_equal(facing.normals[1, 1], (128, 128, 255))
    assert facing.depth[32, 32] == pytest.approx(0.6)
    assert facing.depth[1, 1] == 0
    lean = np.radians(30)  # its left side, our right, comes forward: the normal turns to our left
    turned = np.array([[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]]).T
    leaning = render_scan(scan, Similarity(1.0, turned, AHEAD.translation), front_camera(64))
    assert decode_normals(leaning.normals)[32, 32] == pytest.approx((-0.5, 0, np.sqrt(0.75)), abs=0.01)


@pytest.mark.parametrize("inside_out", [False, True])
def test_normals_of_a_sphere(tmp_path: Path, inside_out: bool) -> None:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=80.0)  # millimetres
    if inside_out:
        ball.invert()
    scan = load_scan(saved(tmp_path / "a.ply", ball))
    camera = front_camera(96)
    picture = render_scan(scan, Similarity(0.001, np.eye(3), AHEAD.translation), camera)
    rows, columns = np.nonzero(picture.alpha == 1)
    x = (columns + 0.5 - 48) / camera.focal
    y = -(rows + 0.5 - 48) / camera.focal
    rays = np.stack([x, y, -np.ones_like(x)], -1)
    a, b = (rays**2).sum(1), rays @ -AHEAD.translation
    near = (-b - np.sqrt(np.maximum(b**2 - a * (0.36 - 0.08**2), 0))) / a
    expected = (rays * near[:, None] - AHEAD.translation) / 0.08
    away = np.linalg.norm(decode_normals(picture.normals)[rows, columns] - expected, axis=1)
    assert np.quantile(away, 0.95) < 0.05
    assert np.median(away) < 0.02


def test_sides_are_the_rotations_of_a_cube() -> None:
    sides = scans._sides()
    assert len({side.tobytes() for side in sides}) == 24
    for side in sides:
        np.testing.assert_allclose(side @ side.T, np.eye(3))
        assert np.linalg.det(side) == pytest.approx(1)


# ---- faces -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def head() -> trimesh.Trimesh:
    """The embedded head with an open, crooked mouth, metres."""
    rig = load_rig()
    controls = torch.zeros(1, len(FACS102))
    controls[0, FACS102.index("jaw_open")], controls[0, FACS102.index("corner_pull_L")] = 0.5, 0.8
    identity = 0.7 * torch.randn(1, 90, generator=torch.Generator().manual_seed(3))
    return trimesh.Trimesh(rig(controls, identity)[0].numpy(), rig.faces.numpy(), process=False)


@pytest.fixture(scope="module")
def detector(photo: Path) -> FaceDetector:
    return FaceDetector("image")


@pytest.fixture(scope="module")
def straight(
    head: trimesh.Trimesh, detector: FaceDetector, tmp_path_factory: pytest.TempPathFactory
) -> ScanView:
    return view_scan(saved(tmp_path_factory.mktemp("scan") / "head.ply", head), detector)


def test_a_head_from_the_front(straight: ScanView) -> None:
    assert (straight.unit, straight.coloured, straight.rgb.shape) == ("m", False, (512, 512, 3))
    np.testing.assert_allclose(straight.placement.rotation, np.eye(3), atol=0.03)
    middle = (np.array(straight.face.box[:2]) + straight.face.box[2:]) / 2
    assert middle == pytest.approx((256, 256), abs=25)
    assert straight.face.eye_distance == pytest.approx(0.09 * straight.camera.focal / 0.65, rel=0.15)
    cheek = decode_normals(straight.normals)[250, 215:300:84]
    assert cheek[0, 0] < -0.1 < 0.1 < cheek[1, 0], (
        "normals of the subject's right cheek look to the image's left"
    )


@pytest.mark.parametrize("name", ["cm, z up", "no unit, on its side, turned, far away"])
def test_unit_and_axes_do_not_matter(
    name: str, head: trimesh.Trimesh, straight: ScanView, detector: FaceDetector, tmp_path: Path
) -> None:
    turn = np.array([[np.cos(0.61), 0, np.sin(0.61)], [0, 1, 0], [-np.sin(0.61), 0, np.cos(0.61)]])
    lie = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    scale, rotation, offset, unit = {
        "cm, z up": (100, np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]), (0, 0, 0), "cm"),
        "no unit, on its side, turned, far away": (4, lie @ turn, (50, -200, 9), ""),
    }[name]
    moved = head.copy()
    moved.vertices = scale * head.vertices @ np.asarray(rotation).T + offset
    view = view_scan(saved(tmp_path / "head.ply", moved), detector)
    assert view.unit == unit
    assert view.placement.scale == pytest.approx(1 / scale, rel=0.03 if unit == "" else 1e-9)
    both = (view.alpha == 1) & (straight.alpha == 1)
    assert both.sum() > 0.93 * (straight.alpha == 1).sum()
    assert np.abs(view.normals[both].astype(int) - straight.normals[both]).mean() < 6
    assert np.abs(view.face.landmarks[:468, :2] - straight.face.landmarks[:468, :2]).mean() < 4


def test_the_hollow_inside_of_a_face_is_no_face(
    head: trimesh.Trimesh, detector: FaceDetector, tmp_path: Path
) -> None:
    """The front of the head alone, looking away: from behind it looks like a face, but its relief is wrong."""
    kept = head.vertices[head.faces].mean(1)[:, 2] > -0.03
    mask = trimesh.Trimesh(head.vertices * (-1, 1, -1), head.faces[kept], process=False)
    view = view_scan(saved(tmp_path / "mask.ply", mask), detector)
    np.testing.assert_allclose(view.placement.rotation, np.diag([-1, 1, -1]), atol=0.05)


@pytest.mark.parametrize("shape", ["ball", "line"])
def test_no_face(shape: str, detector: FaceDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "_sides", lambda: (np.eye(3),))
    mesh = trimesh.creation.icosphere(subdivisions=3) if shape == "ball" else square(half=0.0)
    path = saved(tmp_path / "no.ply", mesh)
    with pytest.raises((NoFaceError, InputError), match=r"no face was found|one point") as caught:
        view_scan(path, detector)
    assert str(path) in str(caught.value)


def test_what_is_behind_the_camera_is_left_out() -> None:
    corners = np.array(
        [[0, 0, 5], [1, 0, 5], [0, 1, 5], [-0.1, -0.1, 0], [0.1, -0.1, 0], [0, 0.1, 0]], np.float32
    )
    part = scan_files.Part(corners, np.array([[0, 1, 2], [3, 4, 5]]), None, None)
    picture = render_scan(Scan((part,), False), AHEAD, front_camera(32))
    assert 0 < (picture.alpha > 0).sum() < 32 * 32
    assert np.abs(picture.rgb[16, 16] / 255 - CLAY).max() < 0.4
