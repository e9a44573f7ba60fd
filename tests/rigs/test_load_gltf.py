"""glTF, GLB and VRM files with morph targets become rigs; hostile and broken ones are refused in one clear line."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.rigs.rig_files import little_glb, little_head, little_shapes, write_glb_file

from omote.controls import ARKIT52, FACS102
from omote.errors import FormatError, OmoteError
from omote.export.glb import GlbBuilder
from omote.export.gltf import write_glb
from omote.performance import Camera, Performance
from omote.rigs.blendshapes import BlendshapeRig
from omote.rigs.facs import FacsRig
from omote.rigs.load_gltf import read_gltf
from omote.rigs.open import open_rig


def _neutral_take() -> Performance:
    return Performance(
        space=ARKIT52,
        controls=np.zeros((1, 52), np.float32),
        head_rotation=np.zeros((1, 3), np.float32),
        head_translation=np.zeros((1, 3), np.float32),
        confidence=np.ones(1, np.float32),
        times=np.zeros(1),
        identity={},
        camera=Camera(focal=900.0, principal=(256, 256), size=(512, 512)),
        source={},
    )


def test_embedded_rig_written_as_arkit_glb_comes_back_to_a_thousandth_of_a_millimetre(
    tmp_path: Path, rig: FacsRig
) -> None:
    path = tmp_path / "facs.glb"
    options: dict[str, Any] = {"targets": "arkit", "eyes": "morphs", "albedo": None, "max_residuals": 0}
    write_glb(_neutral_take(), path, **options, morph_normals=False)
    made = open_rig(path)
    assert set(made.space.names) == set(ARKIT52.names)
    for name in ARKIT52.names:
        assert (
            made.space.controls[made.space.index(name)].mirror == ARKIT52.controls[ARKIT52.index(name)].mirror
        )
    chosen = ["jawOpen", "mouthSmileLeft", "eyeBlinkRight", "browInnerUp", "noseSneerLeft"]
    for name in chosen:
        values = np.zeros((1, 52), np.float32)
        values[0, ARKIT52.index(name)] = 1
        facs = torch.from_numpy(ARKIT52.convert(values, to=FACS102)).float()
        wanted = rig(facs, torch.zeros(1, len(rig.identity_space)))[0].numpy()
        own = torch.zeros(1, 52)
        own[0, made.space.index(name)] = 1
        got = made(own, torch.zeros(1, 0))[0].numpy()
        # The file has the same vertices in another order, part by part.
        order = [np.unique(rig.faces.numpy()[rig.face_part.numpy() == k]) for k in range(len(rig.part_names))]
        parts = [rig.part_names.index(part.rpartition("/")[2]) for part in made.part_names]
        expected = wanted[np.concatenate([order[k] for k in parts])]
        assert np.abs(got - expected).max() < 1e-6


def test_what_closes_the_lips_keeps_its_own_weight_in_a_file_of_ours(tmp_path: Path, rig: FacsRig) -> None:
    path = tmp_path / "facs.glb"
    write_glb(_neutral_take(), path, targets="arkit", eyes="morphs", albedo=None, morph_normals=False)
    made = open_rig(path)
    assert isinstance(made, BlendshapeRig)
    controls = torch.zeros(1, len(made.space))
    for name in ("jawOpen", "mouthClose"):
        controls[0, made.space.index(name)] = 0.3
    weights = dict(zip(made.shape_names, made.activate(controls)[0].tolist(), strict=True))
    assert weights["mouthClose"] == pytest.approx(0.3)


def test_sparse_dense_and_empty_targets_are_read(tmp_path: Path) -> None:
    vertices, _ = little_head()
    shapes = read_gltf(write_glb_file(tmp_path / "head.glb", little_glb()))
    np.testing.assert_allclose(shapes.vertices, vertices, atol=1e-7)
    for shape in shapes.shapes:
        dense = np.zeros_like(vertices)
        dense[shape.index] = shape.delta
        np.testing.assert_allclose(dense, little_shapes(vertices)[shape.name], atol=1e-7)


def opened(change: Callable[[dict[str, Any]], None], folder: Path) -> Path:
    """The little head as text, changed."""
    data = little_glb().to_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    tree, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    change(tree)
    (folder / "changed.gltf").write_text(json.dumps(tree))
    return folder / "changed.gltf"


@pytest.mark.parametrize("count", [None, 1, -3, True, "1", 10**30])
def test_what_one_take_of_ours_lacked_is_no_control(tmp_path: Path, count: object) -> None:
    names: list[str] = []

    def change(tree: dict[str, Any]) -> None:
        names[:] = tree["meshes"][0]["extras"]["targetNames"]
        names[-1] = "residual_00"
        tree["meshes"][0]["extras"]["targetNames"] = names
        tree["asset"]["extras"] = {"omote": {"residual_targets": count}}

    found = [shape.name for shape in read_gltf(opened(change, tmp_path)).shapes]
    assert found == (names[:-1] if count in (1, 10**30) else names)


def test_materials_of_one_mesh_are_welded_meshes_are_not(tmp_path: Path) -> None:
    def again(tree: dict[str, Any]) -> None:
        tree["meshes"][0]["primitives"] *= 2

    def beside(tree: dict[str, Any]) -> None:
        node = next(node for node in tree["nodes"] if "mesh" in node)
        tree["nodes"].append(dict(node))
        tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)

    for change, parts in ((again, 1), (beside, 2)):
        shapes = read_gltf(opened(change, tmp_path))
        half = len(shapes.vertices) // 2
        assert len(np.unique(shapes.weld)) == parts * half


def test_compressed_meshes_are_refused_where_they_are(tmp_path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        tree["extensionsUsed"] = ["KHR_draco_mesh_compression"]
        tree["meshes"][0]["primitives"][0]["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0}}

    with pytest.raises(FormatError, match="compressed with Draco"):
        read_gltf(opened(change, tmp_path))


def test_names_that_are_given_are_kept_where_some_are_not(tmp_path: Path) -> None:
    names = list(little_shapes(little_head()[0]))

    def change(tree: dict[str, Any]) -> None:
        del tree["meshes"][0]["extras"]["targetNames"][-1]

    last = f"target_{len(names) - 1:03d}"
    assert [shape.name for shape in read_gltf(opened(change, tmp_path)).shapes] == [*names[:-1], last]


def test_gltf_with_data_uri_and_with_a_file_beside_it_say_the_same(tmp_path: Path) -> None:
    data = little_glb().to_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    tree, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    (tmp_path / "inside.gltf").write_text(json.dumps(tree))
    tree["buffers"][0]["uri"] = "the%20data.bin"
    (tmp_path / "the data.bin").write_bytes(binary)
    (tmp_path / "beside.gltf").write_text(json.dumps(tree))
    inside, beside = read_gltf(tmp_path / "inside.gltf"), read_gltf(tmp_path / "beside.gltf")
    np.testing.assert_array_equal(inside.vertices, beside.vertices)
    assert (
        [s.name for s in inside.shapes]
        == [s.name for s in beside.shapes]
        == list(little_shapes(little_head()[0]))
    )


def test_normalised_integers_are_shares(tmp_path: Path) -> None:
    builder = little_glb()
    raw = np.tile(np.array([[127, 0, -127, 0]], np.int8), (25, 1))
    view = builder.view(raw.tobytes())
    builder.tree["bufferViews"] = []
    accessor = {"bufferView": view, "componentType": 5120, "count": 25, "type": "VEC3", "normalized": True}
    builder.tree["meshes"][0]["primitives"][0]["targets"][2]["POSITION"] = builder.add("accessors", accessor)
    builder._views[view][0]["byteStride"] = 4
    builder.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    shapes = read_gltf(write_glb_file(tmp_path / "head.glb", builder))
    np.testing.assert_allclose(shapes.shapes[2].delta, np.tile([[1.0, 0, -1.0]], (25, 1)))


def test_node_transforms_move_vertices_and_turn_shapes(tmp_path: Path) -> None:
    builder = little_glb()
    half = float(np.sqrt(0.5))  # a quarter turn about y takes x to -z
    builder.tree["nodes"][0].update(
        {"rotation": [0, half, 0, half], "translation": [0, 1, 0], "scale": [2, 2, 2]}
    )
    builder.tree["nodes"].append({"children": [0], "translation": [0, 0, 3]})
    builder.tree["scenes"][0]["nodes"] = [1]
    shapes = read_gltf(write_glb_file(tmp_path / "head.glb", builder))
    x, y, z = little_head()[0].T
    np.testing.assert_allclose(shapes.vertices, np.stack([2 * z, 2 * y + 1, 3 - 2 * x], axis=1), atol=1e-6)
    smile = next(shape for shape in shapes.shapes if shape.name == "mouthSmileLeft")
    dx, dy, dz = little_shapes(little_head()[0])["mouthSmileLeft"][smile.index].T
    np.testing.assert_allclose(smile.delta, 2 * np.stack([dz, dy, -dx], axis=1), atol=1e-6)


def test_skinned_mesh_stands_as_its_joints_do(tmp_path: Path) -> None:
    builder = little_glb()
    joints = np.zeros((25, 4), np.uint16)
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (25, 1))
    attributes = builder.tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = builder.accessor(joints, "joints", component=5123)
    attributes["WEIGHTS_0"] = builder.accessor(weights, "weights")
    builder.tree["nodes"][0].update(
        {"skin": 0, "translation": [9, 9, 9]}
    )  # a skinned mesh's own node counts nothing
    builder.tree["nodes"].append({"translation": [0, 1.5, 0]})
    builder.tree["skins"] = [{"joints": [1]}]
    builder.tree["scenes"][0]["nodes"] = [0, 1]
    shapes = read_gltf(write_glb_file(tmp_path / "head.glb", builder))
    np.testing.assert_allclose(shapes.vertices, little_head()[0] + [0, 1.5, 0], atol=1e-6)


def test_two_meshes_with_targets_of_one_name_are_one_control(tmp_path: Path) -> None:
    builder = little_glb()
    mesh = dict(builder.tree["meshes"][0], name="teeth", extras={"targetNames": ["a", "b", "jawOpen", "c"]})
    builder.tree["meshes"].append(mesh)
    builder.tree["nodes"].append({"mesh": 1, "translation": [0, 0, -0.05]})
    builder.tree["scenes"][0]["nodes"] = [0, 1]
    rig = open_rig(write_glb_file(tmp_path / "head.glb", builder), unit="m")
    assert rig.part_names == ("head", "teeth")
    assert len(rig.neutral) == 50
    values = torch.zeros(1, len(rig.space))
    values[0, rig.space.index("jawOpen")] = 1
    moved = (rig(values, torch.zeros(1, 0))[0] - rig.neutral).norm(dim=1) > 0
    assert moved[:25].any()
    assert torch.equal(moved[:25], moved[25:])


def test_seams_are_welded_where_vertices_move_alike(tmp_path: Path) -> None:
    builder = GlbBuilder("tests")
    points = np.array(
        [[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0.1, 0, 0], [0, 0.1, 0], [0.1, 0.1, 0]], np.float32
    )
    move = np.zeros((6, 3), np.float32)
    move[3] = [0, 0, 0.1]
    primitive = {
        "attributes": {"POSITION": builder.accessor(points, "positions", bounds=True)},
        "indices": builder.accessor(np.array([0, 1, 2, 3, 5, 4]), "indices", component=5123),
        "targets": [{"POSITION": builder.deltas(move)}],
    }
    builder.add("nodes", {"mesh": builder.add("meshes", {"primitives": [primitive]})})
    shapes = read_gltf(write_glb_file(tmp_path / "seam.glb", builder))
    assert shapes.weld.tolist() == [0, 1, 2, 3, 2, 5]  # 1 and 3 part when the shape opens
    assert [shape.name for shape in shapes.shapes] == ["target_000"]


def _painted(builder: GlbBuilder, image: bytes, **texture: Any) -> GlbBuilder:
    """The little head with a texture whose left half is red and right half blue, its u along x."""
    vertices, _ = little_head()
    primitive = builder.tree["meshes"][0]["primitives"][0]
    uv = np.stack([vertices[:, 0] / 0.2 + 0.5, np.full(25, 0.5)], axis=1)
    primitive["attributes"]["TEXCOORD_0"] = builder.accessor(uv, "uv")
    primitive["material"] = 0
    builder.add("images", {"mimeType": "image/png", "bufferView": builder.view(image), "name": "skin"})
    builder.add("textures", {"source": 0})
    surface = {"baseColorTexture": {"index": 0, **texture}, "baseColorFactor": [1.0, 1.0, 0.0, 1.0]}
    builder.add("materials", {"pbrMetallicRoughness": surface})
    return builder


def test_textures_and_factors_colour_the_vertices(tmp_path: Path) -> None:
    halves = np.zeros((8, 16, 3), np.uint8)
    halves[:, :8], halves[:, 8:] = (255, 100, 255), (0, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(halves).save(stream, "PNG")
    shapes = read_gltf(write_glb_file(tmp_path / "head.glb", _painted(little_glb(), stream.getvalue())))
    assert shapes.colours is not None
    assert shapes.colours[[0, 1]].tolist() == [[255, 100, 0], [255, 100, 0]]  # the factor takes the blue away
    assert shapes.colours[[3, 4]].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_texture_that_cannot_be_read_is_noted(tmp_path: Path) -> None:
    shapes = read_gltf(write_glb_file(tmp_path / "head.glb", _painted(little_glb(), b"KTX 20")))
    assert shapes.notes == ("texture skin is not read",)
    assert shapes.colours is not None
    assert shapes.colours[0].tolist() == [255, 255, 0]


def _tree(change: Callable[[dict[str, Any]], None]) -> bytes:
    builder = little_glb()
    change(builder.tree)
    return builder.to_bytes()


def _shrink(tree: dict[str, Any]) -> None:
    target = tree["meshes"][0]["primitives"][0]["targets"][0]["POSITION"]
    tree["accessors"][target]["count"] = 24


def _loop(tree: dict[str, Any]) -> None:
    tree["nodes"][0]["children"] = [0]


def _steal(tree: dict[str, Any]) -> None:
    tree["accessors"][0]["count"] = 10_000


def _vast(tree: dict[str, Any]) -> None:
    tree["accessors"][0]["count"] = 1 << 40


def _twice(tree: dict[str, Any]) -> None:
    tree["meshes"][0]["extras"]["targetNames"] = ["jawOpen", "b", "jawOpen", "d"]


def _draco(tree: dict[str, Any]) -> None:
    tree["extensionsRequired"] = ["KHR_draco_mesh_compression"]


def _unknown(tree: dict[str, Any]) -> None:
    tree["extensionsRequired"] = ["ACME_secret"]


def _bare(tree: dict[str, Any]) -> None:
    del tree["meshes"][0]["primitives"][0]["targets"]


def _old(tree: dict[str, Any]) -> None:
    tree["asset"]["version"] = "1.0"


def _corner(tree: dict[str, Any]) -> None:
    tree["meshes"][0]["primitives"][0]["indices"] = 77


def _bad_node(tree: dict[str, Any]) -> None:
    tree["nodes"][0]["rotation"] = "up"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_shrink, "target 'browOuterUpLeft' has 24 vertices, its mesh 25"),
        (_loop, "its nodes form a loop"),
        (_steal, "is too short for what points to it"),
        (_vast, "entries"),
        (_twice, "target names used twice: jawOpen"),
        (_draco, "compressed with Draco"),
        (_unknown, "needs ACME_secret, which is not read"),
        (_bare, "holds a mesh but no blend shapes"),
        (_old, "glTF version 1.0, expected 2.0"),
        (_corner, r"there is no accessors\[77\]"),
        (_bad_node, "malformed transform"),
    ],
)
def test_broken_files_are_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    path = tmp_path / "head.glb"
    path.write_bytes(_tree(change))
    with pytest.raises(FormatError, match=said) as caught:
        open_rig(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["../secret.bin", "/etc/passwd", "https://example.com/a.bin", "a%2F..%2F..%2Fb.bin"]
)
def test_data_outside_of_the_folder_is_not_read(tmp_path: Path, uri: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(5000))
    folder = tmp_path / "rig"
    folder.mkdir()
    data = little_glb().to_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    tree = json.loads(data[20 : 20 + length])
    tree["buffers"][0]["uri"] = uri
    (folder / "head.gltf").write_text(json.dumps(tree))
    with pytest.raises(FormatError, match="outside of its folder"):
        open_rig(folder / "head.gltf")


@pytest.mark.parametrize("cut", [0, 3, 11, 19, 40, 600, 2000])
def test_files_cut_short_and_noise_never_end_in_a_traceback(tmp_path: Path, cut: int) -> None:
    data = little_glb().to_bytes()
    path = tmp_path / "head.glb"
    path.write_bytes(data[:cut])
    with pytest.raises(OmoteError):
        open_rig(path)
    rng = np.random.default_rng(cut)
    noisy = np.frombuffer(data, np.uint8).copy()
    noisy[rng.integers(12, len(noisy), 20)] = rng.integers(0, 256, 20)
    path.write_bytes(noisy.tobytes())
    try:
        open_rig(path)
    except OmoteError:
        pass
