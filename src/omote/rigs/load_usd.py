"""A USD file with blend shapes, as a neutral mesh and its shapes.

All meshes of the stage become one; blend shapes of the same name in several meshes become one shape. Source: the
UsdSkel schema (Pixar), ``UsdSkelBlendShape``: offsets, pointIndices, inbetweens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import FormatError
from omote.rigs.shapes import MAX_SHAPES, MAX_VERTICES, Shape, ShapeSet, listed, repeated

Array = npt.NDArray[Any]


def read_usd(path: Path) -> ShapeSet:
    """The neutral and the shapes of a stage at its default time, in its own unit and axes, which are noted.

    Transforms are applied, instances read where they stand. In-between shapes and hidden meshes are left out and noted,
    guides left out, and stand-ins where there is what they stand for. Points that are animated alone are those of the
    first frame. Layers outside of the file's folder are refused.

    Raises:
        FormatError: malformed, without triangles, or shapes that do not fit their mesh.
    """
    from pxr import Tf

    try:
        return _read(path)
    except (Tf.ErrorException, RuntimeError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise FormatError(f"this is not USD, or damaged ({_said(error)})", where=path) from None


def _said(error: Exception) -> str:
    """The end of what an error says; USD quotes the file, which need not be text."""
    try:
        return " ".join(str(error).split())[-200:]
    except UnicodeDecodeError:
        return "it holds bytes that are no text"


def _read(path: Path) -> ShapeSet:
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path), Usd.Stage.LoadAll)
    folder = path.parent.resolve()
    for layer in stage.GetUsedLayers():
        place = str(layer.realPath).partition("[")[0]
        if not layer.anonymous and place and not Path(place).resolve().is_relative_to(folder):
            remedy = "Flatten the stage, or copy its layers beside it."
            raise FormatError(f"refers to {place}, outside of its folder", where=path, remedy=remedy)
    merged = _Merged(path)
    cache = UsdGeom.XformCache()
    meshes = [prim for prim in stage.Traverse(Usd.TraverseInstanceProxies()) if prim.IsA(UsdGeom.Mesh)]
    purposes = [UsdGeom.Imageable(mesh).ComputePurpose() for mesh in meshes]
    unwanted = {UsdGeom.Tokens.guide} | (
        {UsdGeom.Tokens.proxy} if UsdGeom.Tokens.render in purposes else set()
    )
    for mesh, purpose in zip(meshes, purposes, strict=True):
        if purpose in unwanted:
            continue
        if UsdGeom.Imageable(mesh).ComputeVisibility() == UsdGeom.Tokens.invisible:
            merged.notes.append(f"{mesh.GetName()} is hidden and was left out")
            continue
        merged.add(mesh, cache)
    if not merged.points:
        raise FormatError("holds no polygon mesh", where=path, remedy="Export the head as a mesh.")
    up = "+z" if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.z else "+y"
    origin = np.concatenate(merged.origin)
    return ShapeSet(
        name=path.stem,
        vertices=np.concatenate(merged.points).astype(np.float32),
        faces=np.concatenate(merged.faces),
        shapes=merged.all_shapes(),
        uv=np.concatenate(merged.uv).astype(np.float32) if merged.textured else None,
        weld=origin,
        face_part=np.concatenate(merged.parts),
        part_names=tuple(merged.part_names),
        metres=float(UsdGeom.GetStageMetersPerUnit(stage)),
        axes=(up, "-y" if up == "+z" else "+z"),
        notes=tuple(dict.fromkeys(merged.notes)),
    )


@dataclass
class _Merged:
    """What the meshes of a stage add up to."""

    path: Path
    points: list[Array] = field(default_factory=list)
    faces: list[Array] = field(default_factory=list)
    uv: list[Array] = field(default_factory=list)
    origin: list[Array] = field(default_factory=list)
    parts: list[Array] = field(default_factory=list)
    part_names: list[str] = field(default_factory=list)
    shapes: dict[str, list[tuple[Array, Array]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    count: int = 0
    textured: bool = False

    def add(self, prim: Any, cache: Any) -> None:
        """Add the mesh of ``prim``."""
        from pxr import UsdGeom

        mesh = UsdGeom.Mesh(prim)
        points = _array(_value(mesh.GetPointsAttr()), 3, np.float64)
        counts = np.asarray(_value(mesh.GetFaceVertexCountsAttr()) or [], np.int64)
        corners = np.asarray(_value(mesh.GetFaceVertexIndicesAttr()) or [], np.int64)
        if not len(points) or not len(corners):
            return
        where = f"{self.path}:{prim.GetPath()}"
        if (
            counts.sum() != len(corners)
            or (counts < 0).any()
            or corners.min() < 0
            or corners.max() >= len(points)
        ):
            raise FormatError("has faces that do not fit its points", where=where)
        if self.count + len(points) + len(corners) > MAX_VERTICES:
            raise FormatError(f"holds more than {MAX_VERTICES} vertices", where=self.path)
        matrix = _placement(prim, cache)
        linear = matrix[:3, :3]
        left_handed = mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded
        flip = left_handed != (np.linalg.det(linear) < 0)
        order = _fans(counts)
        if flip:
            order = order[:, ::-1]
        uv, keys = self._texture(prim, len(points), corners)
        faces, own = corners[order], np.arange(len(points))
        if (
            keys is not None
        ):  # each (point, texture coordinate) pair is a vertex; the points keep their places
            faces, own, uv = _split(corners, keys, uv, len(points), order)
        self._add_shapes(prim, where, own, len(points), linear)
        self.points.append((points @ linear.T + matrix[:3, 3])[own])
        self.faces.append(faces + self.count)
        self.origin.append(own + self.count)
        self.uv.append(uv if uv is not None else np.zeros((len(own), 2)))
        self.textured |= uv is not None
        self.part_names.append(prim.GetName())
        self.parts.append(np.full(len(faces), len(self.part_names) - 1, np.int64))
        self.count += len(own)

    def _add_shapes(self, prim: Any, where: str, own: Array, count: int, linear: Array) -> None:
        from pxr import UsdSkel

        binding = UsdSkel.BindingAPI(prim)
        names = [str(name) for name in binding.GetBlendShapesAttr().Get() or []]
        targets = binding.GetBlendShapeTargetsRel().GetForwardedTargets()
        if len(names) != len(targets):
            raise FormatError(f"names {len(names)} blend shapes and points to {len(targets)}", where=where)
        twice = repeated(names)
        if twice or len(names) > MAX_SHAPES:
            what = f"shape names used twice: {listed(twice)}" if twice else f"holds {len(names)} shapes"
            raise FormatError(what, where=where)
        for name, target in zip(names, targets, strict=True):
            shape = UsdSkel.BlendShape(prim.GetStage().GetPrimAtPath(target))
            if not shape:
                raise FormatError(f"blend shape '{name}' is missing at {target}", where=where)
            offsets = _array(shape.GetOffsetsAttr().Get(), 3, np.float64)
            listed_points = shape.GetPointIndicesAttr().Get()
            if listed_points is not None and not len(listed_points) and len(offsets) == count:
                listed_points = None  # of all points, as UsdSkel has it
            index = np.arange(len(offsets)) if listed_points is None else np.asarray(listed_points, np.int64)
            fits = len(index) == len(offsets) and (listed_points is not None or len(offsets) in (0, count))
            if not fits or (len(index) and (index.min() < 0 or index.max() >= count)):
                what = f"shape '{name}' has {len(offsets)} offsets that do not fit the {count} points"
                raise FormatError(what, where=where, remedy="Export it again.")
            if shape.GetInbetweens():
                self.notes.append(f"inbetweens are left out: {name}")
            delta = np.zeros((count, 3))
            np.add.at(delta, index, offsets)
            delta = (delta @ linear.T)[own]
            moved = np.flatnonzero((delta != 0).any(axis=1))
            self.shapes.setdefault(name, []).append((moved + self.count, delta[moved].astype(np.float32)))

    def _texture(self, prim: Any, count: int, corners: Array) -> tuple[Array | None, Array | None]:
        """Texture coordinates (N, 2) of points or corners, and for those of corners the index of each (K,)."""
        from pxr import UsdGeom

        primvar = UsdGeom.PrimvarsAPI(prim).GetPrimvar("st")
        values = primvar.Get() if primvar and primvar.HasValue() else None
        if values is None:
            return None, None
        uv = _array(values, 2, np.float64) * (1, -1) + (0, 1)  # USD counts v from below
        kind = str(primvar.GetInterpolation())
        index = np.asarray(primvar.GetIndices(), np.int64) if primvar.IsIndexed() else np.arange(len(uv))
        if len(index) and (index.min() < 0 or index.max() >= len(uv)):
            return None, None
        if kind in ("vertex", "varying") and len(index) == count:
            return uv[index], None
        if kind == "faceVarying" and len(index) == len(corners):
            unique, same = np.unique(uv, axis=0, return_inverse=True)
            return unique, same.ravel()[index]
        return None, None

    def all_shapes(self) -> tuple[Shape, ...]:
        """One shape a name, over all meshes."""
        made = []
        for name, pieces in self.shapes.items():
            index = np.concatenate([rows for rows, _ in pieces])
            made.append(Shape.of(name, np.concatenate([values for _, values in pieces]), index))
        return tuple(made)


def _placement(prim: Any, cache: Any) -> Array:
    """(4, 4) from a mesh's points to the stage; that of a skinned one is where it was bound to its skeleton.

    As UsdSkel has it, a skinned mesh's own transform does not count. The joints are taken to be where they were bound.
    """
    from pxr import UsdSkel

    binding = UsdSkel.BindingAPI(prim)
    skeleton = binding.GetInheritedSkeleton() if binding.GetJointIndicesPrimvar().HasValue() else None
    if not skeleton:
        return np.array(cache.GetLocalToWorldTransform(prim), np.float64).T  # USD multiplies rows
    placed = np.array(cache.GetLocalToWorldTransform(skeleton.GetPrim()), np.float64).T
    bound = binding.GetGeomBindTransformAttr().Get()
    return placed if bound is None else placed @ np.array(bound, np.float64).T


def _value(attribute: Any) -> Any:
    """What an attribute is at the default time, else at its first time sample."""
    from pxr import Usd

    value = attribute.Get()
    return attribute.Get(Usd.TimeCode.EarliestTime()) if value is None else value


def _array(values: Any, width: int, dtype: type) -> Array:
    return np.zeros((0, width), dtype) if values is None else np.array(values, dtype).reshape(-1, width)


def _fans(counts: Array) -> Array:
    """(F, 3) positions in the list of corners: each polygon cut into a fan from its first corner."""
    starts = np.cumsum(counts) - counts
    many = np.maximum(counts - 2, 0)
    start = np.repeat(starts, many)
    step = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    return np.stack([start, start + step + 1, start + step + 2], axis=1)


def _split(
    corners: Array, keys: Array, uv: Array | None, count: int, order: Array
) -> tuple[Array, Array, Array]:
    """Faces (F, 3), origin (V',) and uv (V', 2) where each (point, texture coordinate) pair is one vertex."""
    unique, inverse = np.unique(np.stack([corners, keys], axis=1), axis=0, return_inverse=True)
    first = np.ones(len(unique), bool)
    first[1:] = unique[1:, 0] != unique[:-1, 0]
    place = np.where(first, unique[:, 0], count + np.cumsum(~first) - 1)
    origin = np.concatenate([np.arange(count), unique[~first, 0]])
    spread = np.zeros((len(origin), 2))
    if uv is not None:
        spread[place] = uv[unique[:, 1]]
    return place[inverse.ravel()][order], origin, spread
