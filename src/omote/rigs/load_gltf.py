"""A glTF, GLB or VRM file with morph targets, as a neutral mesh and its shapes.

All meshes of the scene become one mesh in the scene's space (metres, +y up, facing +z by the format); targets of the
same name in several meshes become one shape. Source: Khronos glTF 2.0, sections 3.5.3 (transforms), 3.7.2.1 (meshes),
3.7.2.2 (morph targets), 3.7.3 (skins); the ``targetNames`` convention of three.js and Blender.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import FormatError
from omote.rigs.gltf_data import GltfFile, refuse_compressed
from omote.rigs.gltf_surface import Surfaces
from omote.rigs.shapes import MAX_SHAPES, MAX_VERTICES, Shape, ShapeSet, listed, repeated

Array = npt.NDArray[Any]

MAX_DEPTH = 512
_TRIANGLES = {4, 5, 6}


def read_gltf(path: Path) -> ShapeSet:
    """The neutral and the shapes of a file, in metres.

    Node transforms are applied; skinned meshes are taken in the pose of the file. Materials and textures give the
    colours of vertices.

    Raises:
        InputError: unreadable or too large.
        FormatError: malformed, compressed, without triangles, or targets that do not fit their mesh.
    """
    try:
        return _read(path)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        # Any value of the JSON may be of any type; this stands for a check of each against the schema.
        raise FormatError(f"its JSON is not as glTF has it ({error})", where=path) from error


def _read(path: Path) -> ShapeSet:
    file = GltfFile(path)
    merged = _Merged(Surfaces(file))
    for node, matrix in _nodes(file):
        if "mesh" in node:
            merged.add_node(file, node, matrix)
    told = _own_notes(file.tree)
    residuals = told.get("residual_targets")
    for number in range(min(residuals, MAX_SHAPES) if isinstance(residuals, int) else 0):
        merged.shapes.pop(f"residual_{number:02d}", None)  # what one take lacked: no control of the rig
    if not merged.points:
        raise FormatError("holds no triangles", where=path, remedy="Export the head as a polygon mesh.")
    axes = ("+y", "-z") if "VRM" in file.tree.get("extensions", {}) else ("+y", "+z")  # VRM 0 looks along -z
    return ShapeSet(
        name=path.stem,
        vertices=np.concatenate(merged.points).astype(np.float32),
        faces=np.concatenate(merged.faces),
        shapes=merged.all_shapes(),
        uv=np.concatenate(merged.uv).astype(np.float32) if merged.textured else None,
        weld=_welded(merged),
        face_part=np.concatenate(merged.parts),
        part_names=tuple(merged.part_names),
        colours=np.concatenate(merged.colours) if merged.coloured else None,
        metres=1.0,
        axes=axes,
        gates=_gates(told),
        notes=tuple(dict.fromkeys(merged.surfaces.notes)),
    )


def _own_notes(tree: dict[str, Any]) -> dict[str, Any]:
    """What Omote's own files say of themselves (``asset.extras.omote``)."""
    told: Any = tree.get("asset")
    for key in ("extras", "omote"):
        told = told.get(key) if isinstance(told, dict) else None
    return told if isinstance(told, dict) else {}


def _gates(told: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """Shapes whose weight is a product, with what multiplies them."""
    products = told.get("multiplied_by")
    pairs = products.items() if isinstance(products, dict) else ()
    return tuple((shape, other) for shape, other in pairs if isinstance(other, str))


@dataclass
class _Merged:
    """What the meshes of a scene add up to."""

    surfaces: Surfaces
    points: list[Array] = field(default_factory=list)
    faces: list[Array] = field(default_factory=list)
    uv: list[Array] = field(default_factory=list)
    colours: list[Array] = field(default_factory=list)
    parts: list[Array] = field(default_factory=list)
    part_names: list[str] = field(default_factory=list)
    shapes: dict[str, list[tuple[Array, Array]]] = field(default_factory=dict)
    nodes: list[int] = field(default_factory=list)
    count: int = 0
    textured: bool = False
    coloured: bool = False

    def add_node(self, file: GltfFile, node: dict[str, Any], matrix: Array) -> None:
        """Add the mesh of a node whose global transform is ``matrix`` (4, 4)."""
        mesh = file.item("meshes", node["mesh"])
        primitives = [p for p in _list(file, mesh, "primitives") if p.get("mode", 4) in _TRIANGLES]
        names = mesh_target_names(file, mesh)
        twice = repeated(names)
        if twice:
            what = f"mesh '{mesh.get('name', node['mesh'])}' has target names used twice: {listed(twice)}"
            raise FormatError(what, where=file.path, remedy="Rename one of each.")
        number = 1 + max(self.nodes, default=0)
        for primitive in primitives:
            self._add_primitive(file, node, mesh, primitive, names, matrix)
        self.nodes += [number] * (len(self.points) - len(self.nodes))

    def _add_primitive(
        self,
        file: GltfFile,
        node: dict[str, Any],
        mesh: dict[str, Any],
        primitive: dict[str, Any],
        names: list[str],
        matrix: Array,
    ) -> None:
        refuse_compressed(primitive.get("extensions", {}), file.path)
        attributes = primitive.get("attributes", {})
        if "POSITION" not in attributes:
            return
        points = _vectors(file, attributes["POSITION"], 3)
        count = len(points)
        if self.count + count > MAX_VERTICES:
            raise FormatError(f"holds more than {MAX_VERTICES} vertices", where=file.path)
        frames = _skin_frames(file, node, attributes, count)
        if frames is None:
            frames = np.broadcast_to(matrix, (1, 4, 4))
        linear = frames[:, :3, :3]
        moved = np.einsum("nij,nj->ni", np.broadcast_to(linear, (count, 3, 3)), points) + frames[:, :3, 3]
        faces = _triangles(file, primitive, count)
        if np.linalg.det(linear[0]) < 0:  # a mirrored node: counter-clockwise stays outside
            faces = faces[:, ::-1]
        for name, target in zip(names, _list(file, primitive, "targets"), strict=False):
            if "POSITION" in target:
                delta = _vectors(file, target["POSITION"], 3)
                if len(delta) != count:
                    what = f"target '{name}' has {len(delta)} vertices, its mesh {count}"
                    raise FormatError(what, where=file.path, remedy="Export it again.")
                rows = np.flatnonzero((delta != 0).any(axis=1))
                turned = np.einsum(
                    "nij,nj->ni", np.broadcast_to(linear, (count, 3, 3))[rows], delta[rows].astype(np.float64)
                )
                self.shapes.setdefault(name, []).append((rows + self.count, turned.astype(np.float32)))
        for name in names:
            self.shapes.setdefault(name, [])
        self.points.append(moved)
        self.faces.append(faces + self.count)
        self._add_surface(file, mesh, primitive, count, len(faces))
        self.count += count

    def _add_surface(
        self, file: GltfFile, mesh: dict[str, Any], primitive: dict[str, Any], count: int, faces: int
    ) -> None:
        attributes = primitive["attributes"]
        uv = np.zeros((count, 2), np.float32)
        if "TEXCOORD_0" in attributes:
            uv, self.textured = _vectors(file, attributes["TEXCOORD_0"], 2)[:count], True
        colours, known = self.surfaces.colours(primitive, count)
        self.coloured |= known
        self.colours.append(colours)
        material = file.item("materials", primitive["material"]) if "material" in primitive else {}
        self.uv.append(uv)
        name = str(mesh.get("name") or "mesh")
        part = f"{name}/{material['name']}" if material.get("name") else name
        if part not in self.part_names:
            self.part_names.append(part)
        self.parts.append(np.full(faces, self.part_names.index(part), np.int64))

    def all_shapes(self) -> tuple[Shape, ...]:
        """One shape a name, over all meshes."""
        made = []
        for name, pieces in self.shapes.items():
            index = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in pieces)])
            delta = np.concatenate([np.zeros((0, 3), np.float32), *(values for _, values in pieces)])
            made.append(Shape.of(name, delta, index))
        return tuple(made)


def _nodes(file: GltfFile) -> Iterator[tuple[dict[str, Any], Array]]:
    """Every node of the default scene with its global transform (4, 4)."""
    for index, matrix in _placed(file).items():
        yield file.item("nodes", index), matrix


def _placed(file: GltfFile) -> dict[int, Array]:
    """Node index -> (4, 4) global transform, for the nodes of the default scene."""
    nodes, scenes = file.items("nodes"), file.items("scenes")
    if scenes:
        roots = _list_of_ints(file, file.item("scenes", file.tree.get("scene", 0)), "nodes")
    else:
        below = {child for node in nodes for child in _list_of_ints(file, node, "children")}
        roots = [index for index in range(len(nodes)) if index not in below]
    placed: dict[int, Array] = {}
    waiting = [(root, np.eye(4), 0) for root in reversed(roots)]
    while waiting:
        index, above, depth = waiting.pop()
        node = file.item("nodes", index)
        if index in placed or depth > MAX_DEPTH:
            raise FormatError("its nodes form a loop", where=file.path)
        placed[index] = above @ _local(file, node)
        waiting += [(c, placed[index], depth + 1) for c in reversed(_list_of_ints(file, node, "children"))]
    return placed


def _local(file: GltfFile, node: dict[str, Any]) -> Array:
    """(4, 4) transform of a node."""
    try:
        if "matrix" in node:
            return np.array(node["matrix"], np.float64).reshape(4, 4).T
        x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
        turn = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        matrix = np.eye(4)
        matrix[:3, :3] = np.array(turn) * np.array(node.get("scale", (1, 1, 1)), np.float64)
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
    except (ValueError, TypeError) as error:
        raise FormatError(f"a node has a malformed transform ({error})", where=file.path) from None
    return matrix


def _skin_frames(
    file: GltfFile, node: dict[str, Any], attributes: dict[str, Any], count: int
) -> Array | None:
    """(N, 4, 4) transform of each vertex of a skinned mesh in the pose of the file; None where it has no skin."""
    if "skin" not in node or not {"JOINTS_0", "WEIGHTS_0"} <= attributes.keys():
        return None
    skin = file.item("skins", node["skin"])
    joints = _list_of_ints(file, skin, "joints")
    placed = _placed(file)
    bones = np.stack([placed.get(joint, np.eye(4)) for joint in joints])
    if "inverseBindMatrices" in skin:
        bind = file.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        if len(bind) < len(bones):
            raise FormatError("a skin has fewer matrices than joints", where=file.path)
        bones = bones @ bind[: len(bones)]
    index = _vectors(file, attributes["JOINTS_0"], 4).astype(np.int64)
    weight = _vectors(file, attributes["WEIGHTS_0"], 4).astype(np.float64)
    if len(index) != count or len(weight) != count or index.max() >= len(bones):
        raise FormatError("a skin does not fit its mesh", where=file.path)
    total = weight.sum(1, keepdims=True)
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1), np.array([1.0, 0, 0, 0]))
    return np.asarray(np.einsum("nk,nkij->nij", weight, bones[index]))


def _triangles(file: GltfFile, primitive: dict[str, Any], count: int) -> Array:
    """(F, 3) int64 of a primitive; strips and fans are unrolled, triangles without area left out."""
    corners = np.arange(count)
    if "indices" in primitive:
        corners = file.accessor(primitive["indices"])
        if corners.ndim != 1 or corners.dtype.kind != "u":
            raise FormatError("a mesh has indices that are no whole numbers", where=file.path)
        corners = corners.astype(np.int64)
    if len(corners) and corners.max() >= count:
        raise FormatError(f"a mesh's indices point outside of its {count} vertices", where=file.path)
    mode = primitive.get("mode", 4)
    if mode == 4:
        faces = corners[: len(corners) // 3 * 3].reshape(-1, 3)
    elif mode == 5:
        faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
        faces[1::2] = faces[1::2, ::-1]
    else:
        faces = np.stack([np.full(max(len(corners) - 2, 0), corners[0]), corners[1:-1], corners[2:]], axis=1)
    a, b, c = faces.T
    return np.asarray(faces[(a != b) & (b != c) & (a != c)])


def mesh_target_names(file: GltfFile, mesh: dict[str, Any]) -> list[str]:
    """Names of a mesh's targets: as the mesh says, else as a primitive does, else numbers.

    Raises:
        FormatError: there are absurdly many.
    """
    primitives = _list(file, mesh, "primitives")
    most = max((len(_list(file, p, "targets")) for p in primitives), default=0)
    if most > MAX_SHAPES:
        raise FormatError(f"holds {most} morph targets; at most {MAX_SHAPES} are read", where=file.path)
    for holder in (mesh, *primitives):
        extras = holder.get("extras")
        names = extras.get("targetNames") if isinstance(extras, dict) else None
        if isinstance(names, list) and names:
            told = [str(name) for name in names[:most]]
            return told + [f"target_{index:03d}" for index in range(len(told), most)]
    return [f"target_{index:03d}" for index in range(most)]


def _welded(merged: _Merged) -> Array:
    """(V,) the first of the vertices at one place that move alike: seams of texture and normals split them."""
    points = np.concatenate(merged.points)
    size = float(np.ptp(points, axis=0).max()) or 1.0
    probe = np.zeros_like(points)
    for number, shape in enumerate(
        merged.all_shapes()
    ):  # a hash of all displacements: what parts is not welded
        probe[shape.index] += shape.delta * np.sin(number + 1.0)
    keys = np.round(np.nan_to_num(np.concatenate([points, probe], axis=1) / size * 1e6)).clip(-1e15, 1e15)
    part = np.repeat(merged.nodes, [len(p) for p in merged.points])
    _, first, same = np.unique(np.column_stack([keys, part]), axis=0, return_index=True, return_inverse=True)
    return np.asarray(first[same.ravel()].astype(np.int64))


def _vectors(file: GltfFile, index: Any, width: int) -> Array:
    data = file.accessor(index)
    if data.ndim != 2 or data.shape[1] < width:
        raise FormatError(f"accessor {index} holds no vectors of {width}", where=file.path)
    return np.asarray(data[:, :width], np.float32 if data.dtype.kind == "f" else np.float64)


def _list(file: GltfFile, holder: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = holder.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FormatError(f"'{key}' is no list of objects", where=file.path)
    return found


def _list_of_ints(file: GltfFile, holder: dict[str, Any], key: str) -> list[int]:
    found = holder.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, int) for item in found):
        raise FormatError(f"'{key}' is no list of indices", where=file.path)
    return found
