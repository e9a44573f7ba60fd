"""A head and its named shapes as a GLB: one mesh, a primitive for each part, morph targets in order.

Source: Khronos glTF 2.0; the targetNames convention that three.js, Blender, Godot, Unity and Unreal read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.export import evaluate as ev
from omote.export.files import write_bytes
from omote.export.glb import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GlbBuilder, index_type
from omote.rigs.shapes import ShapeSet

Array = npt.NDArray[Any]

_CLAY = (0.72, 0.55, 0.47)


def write_shapes_glb(shapes: ShapeSet, path: str | Path, *, extras: dict[str, Any] | None = None) -> Path:
    """Write a neutral head with its shapes as morph targets, all weights 0.

    Args:
        shapes: metres, +y up, facing +z.
        path: the file to write.
        extras: goes to ``asset.extras.omote``, beside the shapes' gates.

    Returns:
        The path.

    Raises:
        OutputError: the file cannot be written.
    """
    from omote import __version__

    builder = GlbBuilder(f"omote {__version__}")
    points = shapes.vertices.astype(np.float32)
    bend = ev.Normals(points, shapes.faces, shapes.weld)
    dense = np.zeros((len(shapes.shapes), *points.shape), np.float32)
    for row, shape in zip(dense, shapes.shapes, strict=True):
        row[shape.index] = shape.delta
    bends = [bend.change(row) for row in dense]
    primitives = []
    for index, name in enumerate(shapes.part_names):
        used, corners = np.unique(shapes.faces[shapes.face_part == index], return_inverse=True)
        if not len(used):
            continue
        attributes = {
            "POSITION": builder.accessor(points[used], "positions", target=ARRAY_BUFFER, bounds=True),
            "NORMAL": builder.accessor(bend.rest[used], "normals", target=ARRAY_BUFFER),
        }
        if shapes.uv is not None:
            attributes["TEXCOORD_0"] = builder.accessor(shapes.uv[used], "uvs", target=ARRAY_BUFFER)
        if shapes.colours is not None:
            attributes["COLOR_0"] = builder.accessor(
                _linear(shapes.colours[used]), "colours", target=ARRAY_BUFFER
            )
        primitives.append(
            {
                "attributes": attributes,
                "indices": builder.accessor(
                    corners.reshape(-1),
                    "indices",
                    component=index_type(len(used)),
                    target=ELEMENT_ARRAY_BUFFER,
                ),
                "material": _material(builder, name, plain=shapes.colours is None),
                "targets": [
                    {
                        "POSITION": builder.deltas(move[used]),
                        "NORMAL": builder.deltas(turn[used], threshold=0.03),
                    }
                    for move, turn in zip(dense, bends, strict=True)
                ],
            }
        )
    mesh = {
        "name": shapes.name,
        "primitives": primitives,
        "weights": [0.0] * len(dense),
        "extras": {"targetNames": [shape.name for shape in shapes.shapes]},
    }
    node = builder.add("nodes", {"name": shapes.name, "mesh": builder.add("meshes", mesh)})
    builder.add("scenes", {"nodes": [node]})
    builder.tree["scene"] = 0
    told = {**(extras or {}), **({"multiplied_by": dict(shapes.gates)} if shapes.gates else {})}
    if told:
        builder.tree["asset"]["extras"] = {"omote": told}
    return write_bytes(path, builder.to_bytes())


def _material(builder: GlbBuilder, name: str, *, plain: bool) -> int:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.6}
    if plain:
        surface["baseColorFactor"] = [float(c) for c in _linear(np.array([_CLAY]) * 255)[0]] + [1.0]
    return builder.add("materials", {"name": name, "pbrMetallicRoughness": surface, "doubleSided": True})


def _linear(colours: Array) -> Array:
    """(N, 3) sRGB 0..255 to linear 0..1 float32."""
    share = colours.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear, np.float32)
