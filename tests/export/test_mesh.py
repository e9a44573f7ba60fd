"""OBJ and PLY, read back by trimesh."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from omote.controls import FACS102
from omote.errors import InputError
from omote.export import write
from omote.export.evaluate import Normals, identity_of, rig_evaluator
from omote.export.mesh import select_frames


def vertices_of(rig, performance, frame):
    return rig_evaluator(rig, identity_of(performance, rig), FACS102)(performance.controls)[frame]


def test_ply_is_the_rig(rig, take, tmp_path):
    performance = take(4)
    (path,) = write(performance, tmp_path / "frame.ply", rig=rig, frames=2)
    mesh = trimesh.load(path, process=False)
    np.testing.assert_allclose(mesh.vertices, vertices_of(rig, performance, 2), atol=1e-7)
    np.testing.assert_array_equal(mesh.faces, rig.faces)


def test_obj_is_the_rig_with_groups_texture_and_uv(rig, take, tmp_path):
    performance = take(4)
    paths = write(performance, tmp_path / "frame.obj", rig=rig, pose=True)
    assert [p.name for p in paths] == ["frame.obj", "frame.mtl", "frame.albedo.png"]
    wanted = vertices_of(rig, performance, 0)
    wanted = (
        wanted @ Rotation.from_rotvec(performance.head_rotation[0]).as_matrix().T
        + performance.head_translation[0]
    )
    lines = paths[0].read_text().splitlines()
    points = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    np.testing.assert_allclose(points, wanted, atol=1e-6)
    assert [line for line in lines if line.startswith("g ")] == [f"g {name}" for name in rig.part_names]
    scene = trimesh.load(paths[0], process=False, force="scene", split_object=False, group_material=True)
    assert sum(len(g.faces) for g in scene.geometry.values()) == len(rig.faces)
    uv = np.concatenate([g.visual.uv for g in scene.geometry.values()])
    assert uv.min() >= -1e-6
    assert uv.max() <= 1 + 1e-6
    np.testing.assert_array_equal(np.asarray(Image.open(paths[2])), rig.albedo_texture())


def test_sequences_are_numbered_by_frame(rig, take, tmp_path):
    paths = write(take(9), tmp_path / "take.ply", rig=rig, frames="2:8:3")
    assert [p.name for p in paths] == ["take.000002.ply", "take.000005.ply"]


@pytest.mark.parametrize(
    ("frames", "wanted"),
    [
        (None, [0]),
        ("all", [0, 1, 2, 3]),
        (-1, [3]),
        ("1,3", [1, 3]),
        ("1:3", [1, 2]),
        (slice(None, None, 2), [0, 2]),
    ],
)
def test_frame_selection(frames, wanted):
    assert select_frames(frames, 4) == wanted


@pytest.mark.parametrize("frames", ["x", "4", 9, "7:9", [1.5], "", "1:2:0"])
def test_bad_frame_selection(frames):
    with pytest.raises(InputError, match="frames:"):
        select_frames(frames, 4)


def test_normals_agree_with_trimesh_and_across_the_seam(rig, take):
    points, faces, weld = rig.template.numpy(), rig.faces.numpy(), rig.weld.numpy()
    normals = Normals(points, faces, weld)
    np.testing.assert_allclose(normals.rest[weld], normals.rest, atol=1e-6)
    plain = trimesh.Trimesh(points, weld[faces], process=False)
    wanted = trimesh.geometry.weighted_vertex_normals(
        len(points), plain.faces, plain.face_normals, np.repeat(plain.area_faces[:, None], 3, axis=1)
    )
    inner = np.unique(weld[faces])
    np.testing.assert_allclose(normals.rest[inner], wanted[inner], atol=1e-5)
    delta = rig.shapes[rig.jaw].numpy()
    slow = Normals(points + delta, faces, weld).rest - normals.rest
    np.testing.assert_allclose(normals.change(delta), slow, atol=1e-6)
