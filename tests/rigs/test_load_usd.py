"""USD files with blend shapes become rigs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.rigs.rig_files import little_head, little_shapes

from omote.errors import FormatError
from omote.rigs.load_usd import read_usd
from omote.rigs.open import open_rig

pxr = pytest.importorskip("pxr")


def write_usd(
    path: Path, *, metres: float = 1.0, up: str = "Y", sparse: bool = True, between: bool = False
) -> Any:
    """The little head as a stage, saved; the stage, to be spoilt."""
    from pxr import Gf, Usd, UsdGeom, UsdSkel, Vt

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, metres)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if up == "Z" else UsdGeom.Tokens.y)
    vertices, quads = little_head()
    turn = (
        np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]) if up == "Z" else np.eye(3)
    )  # y up to z up: y -> z, z -> -y

    def tuples(points: np.ndarray) -> Any:
        return Vt.Vec3fArray([Gf.Vec3f(*map(float, p)) for p in points @ turn.T / metres])

    mesh = UsdGeom.Mesh.Define(stage, "/person/head")
    mesh.CreatePointsAttr(tuples(vertices))
    mesh.CreateFaceVertexCountsAttr([4] * len(quads))
    mesh.CreateFaceVertexIndicesAttr([i for quad in quads for i in quad])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    targets = []
    for name, delta in little_shapes(vertices).items():
        shape = UsdSkel.BlendShape.Define(stage, f"/person/head/{name}")
        moved = np.flatnonzero((delta != 0).any(axis=1))
        shape.CreateOffsetsAttr(tuples(delta[moved] if sparse else delta))
        if sparse:
            shape.CreatePointIndicesAttr([int(i) for i in moved])
        if between:
            half = shape.CreateInbetween("half")
            half.SetWeight(0.5)
            half.SetOffsets(tuples(delta[moved] if sparse else delta))
        targets.append(shape.GetPath())
    binding.CreateBlendShapesAttr(list(little_shapes(vertices)))
    binding.CreateBlendShapeTargetsRel().SetTargets(targets)
    stage.GetRootLayer().Save()
    return stage


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("suffix", [".usda", ".usdc"])
def test_points_and_offsets_are_read(tmp_path: Path, sparse: bool, suffix: str) -> None:
    write_usd(tmp_path / f"head{suffix}", sparse=sparse)
    vertices, _ = little_head()
    shapes = read_usd(tmp_path / f"head{suffix}")
    np.testing.assert_allclose(shapes.vertices, vertices, atol=1e-7)
    assert shapes.faces[:2].tolist() == [[0, 5, 6], [0, 6, 1]]
    for shape in shapes.shapes:
        dense = np.zeros_like(vertices)
        dense[shape.index] = shape.delta
        np.testing.assert_allclose(dense, little_shapes(vertices)[shape.name], atol=1e-7)


def test_unit_and_up_axis_of_the_stage_are_followed(tmp_path: Path) -> None:
    write_usd(tmp_path / "head.usda", metres=0.01, up="Z")
    rig = open_rig(tmp_path / "head.usda")
    np.testing.assert_allclose(rig.neutral.numpy(), little_head()[0], atol=1e-6)


def test_instances_stand_where_they_are_and_hidden_meshes_are_left_out(tmp_path: Path) -> None:
    from pxr import UsdGeom

    vertices, _ = little_head()
    stage = write_usd(tmp_path / "head.usda")
    for name, shift in (("left", 1.0), ("right", -1.0)):
        eye = stage.DefinePrim(f"/eyes/{name}", "Xform")
        eye.GetReferences().AddInternalReference("/person")
        eye.SetInstanceable(True)
        UsdGeom.Xformable(eye).AddTranslateOp().Set((shift, 0, 0))
    mesh = UsdGeom.Mesh.Define(stage, "/hair")
    mesh.CreatePointsAttr([(0, 0, 0), (1, 0, 0), (0, 1, 0)])
    mesh.CreateFaceVertexCountsAttr([3])
    mesh.CreateFaceVertexIndicesAttr([0, 1, 2])
    mesh.MakeInvisible()
    stage.Save()
    shapes = read_usd(tmp_path / "head.usda")
    places = [vertices + (shift, 0, 0) for shift in (0, 1, -1)]
    np.testing.assert_allclose(shapes.vertices, np.concatenate(places), atol=1e-6)
    assert shapes.notes == ("hair is hidden and was left out",)
    for shape in shapes.shapes:
        one = np.flatnonzero((little_shapes(vertices)[shape.name] != 0).any(axis=1))
        assert shape.index.tolist() == [*one, *(one + len(vertices)), *(one + 2 * len(vertices))]
    mesh.MakeVisible()
    mesh.CreatePurposeAttr("proxy")
    stage.Save()
    assert len(read_usd(tmp_path / "head.usda").vertices) == 3 * len(vertices) + 3
    UsdGeom.Imageable(stage.GetPrimAtPath("/person/head")).CreatePurposeAttr("render")
    stage.Save()
    assert len(read_usd(tmp_path / "head.usda").vertices) == 3 * len(vertices)


def test_skinned_meshes_lie_where_they_were_bound(tmp_path: Path) -> None:
    from pxr import Gf, UsdGeom, UsdSkel

    vertices, _ = little_head()
    stage = write_usd(tmp_path / "head.usda")
    UsdSkel.Root.Define(stage, "/person")
    skeleton = UsdSkel.Skeleton.Define(stage, "/person/skeleton")
    UsdGeom.Xformable(skeleton).AddTranslateOp().Set((0, 0, 2))
    mesh = stage.GetPrimAtPath("/person/head")
    UsdGeom.Xformable(mesh).AddTranslateOp().Set((7, 7, 7))  # which does not count
    binding = UsdSkel.BindingAPI.Apply(mesh)
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d().SetTranslate((0, 0.5, 0)))
    binding.CreateJointIndicesPrimvar(True, 1).Set([0])
    stage.Save()
    found = read_usd(tmp_path / "head.usda")
    np.testing.assert_allclose(found.vertices, vertices + (0, 0.5, 2), atol=1e-6)


def test_points_that_are_animated_alone_are_those_of_the_first_frame(tmp_path: Path) -> None:
    from pxr import UsdGeom

    stage = write_usd(tmp_path / "head.usda")
    points = UsdGeom.Mesh(stage.GetPrimAtPath("/person/head")).GetPointsAttr()
    rest = points.Get()
    points.Clear()
    points.Set(rest, 1.0)
    points.Set([point * 2 for point in rest], 2.0)
    stage.Save()
    np.testing.assert_allclose(read_usd(tmp_path / "head.usda").vertices, little_head()[0], atol=1e-7)


def test_no_point_indices_mean_all_points(tmp_path: Path) -> None:
    from pxr import UsdSkel

    stage = write_usd(tmp_path / "head.usda", sparse=False)
    UsdSkel.BlendShape(stage.GetPrimAtPath("/person/head/jawOpen")).CreatePointIndicesAttr([])
    stage.GetRootLayer().Save()
    wanted = little_shapes(little_head()[0])["jawOpen"]
    (found,) = (shape for shape in read_usd(tmp_path / "head.usda").shapes if shape.name == "jawOpen")
    np.testing.assert_allclose(found.delta, wanted[found.index], atol=1e-7)
    assert len(found.index) == (wanted != 0).any(1).sum()


def test_inbetweens_are_left_out_and_noted(tmp_path: Path) -> None:
    write_usd(tmp_path / "head.usda", between=True)
    shapes = read_usd(tmp_path / "head.usda")
    assert "inbetweens are left out: jawOpen" in shapes.notes
    assert len(shapes.shapes) == 4


def test_texture_coordinates_of_corners_split_points(tmp_path: Path) -> None:
    from pxr import Sdf, UsdGeom

    stage = write_usd(tmp_path / "head.usda")
    mesh = UsdGeom.Mesh.Get(stage, "/person/head")
    corners = 4 * 16
    primvar = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, "faceVarying")
    primvar.Set(
        [(0.0, 0.0)] * (corners - 4) + [(0.5, 0.25)] * 4
    )  # the last quad lies elsewhere in the texture
    stage.GetRootLayer().Save()
    shapes = read_usd(tmp_path / "head.usda")
    assert len(shapes.vertices) == 25 + 3  # its three shared corners; the fourth is its own
    assert shapes.weld[25:].tolist() == [18, 19, 23]
    assert shapes.uv is not None
    np.testing.assert_allclose(shapes.uv[[24, 25]], [[0.5, 0.75], [0.5, 0.75]])


def _spoil(stage: Any, how: str) -> None:
    from pxr import UsdGeom, UsdSkel

    mesh = UsdGeom.Mesh.Get(stage, "/person/head")
    shape = UsdSkel.BlendShape.Get(stage, "/person/head/jawOpen")
    match how:
        case "indices outside":
            shape.GetPointIndicesAttr().Set([99] * len(shape.GetOffsetsAttr().Get()))
        case "too few offsets":
            shape.GetOffsetsAttr().Set([(0.0, 0.0, 0.0)])
        case "bad faces":
            mesh.GetFaceVertexCountsAttr().Set([3])
        case "no mesh":
            stage.RemovePrim("/person/head")
        case "target missing":
            stage.RemovePrim("/person/head/jawOpen")
        case "names twice":
            UsdSkel.BindingAPI(mesh).GetBlendShapesAttr().Set(["a", "b", "a", "c"])
    stage.GetRootLayer().Save()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("indices outside", "offsets that do not fit the 25 points"),
        ("too few offsets", "shape 'jawOpen' has 1 offsets"),
        ("bad faces", "faces that do not fit its points"),
        ("no mesh", "holds no polygon mesh"),
        ("target missing", "blend shape 'jawOpen' is missing"),
        ("names twice", "shape names used twice: a"),
    ],
)
def test_broken_stages_are_refused_in_one_line(tmp_path: Path, how: str, said: str) -> None:
    _spoil(write_usd(tmp_path / "head.usda"), how)
    with pytest.raises(FormatError, match=said) as caught:
        open_rig(tmp_path / "head.usda")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"not a stage", b"", b"#usda 1.0\ndef \xff\xfe", b"PXR-USDC" + bytes(80)])
def test_what_is_not_usd_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "head.usda").write_bytes(data)
    with pytest.raises(FormatError, match="this is not USD"):
        open_rig(tmp_path / "head.usda")


def test_layers_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    write_usd(tmp_path / "outside.usda")
    (tmp_path / "rig").mkdir()
    (tmp_path / "rig" / "head.usda").write_text("#usda 1.0\n(subLayers = [@../outside.usda@])\n")
    with pytest.raises(FormatError, match="outside of its folder"):
        open_rig(tmp_path / "rig" / "head.usda")
