"""Small heads written as rig files, for the tests of the readers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from omote.export.glb import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, U16, GlbBuilder
from omote.rigs.blendshapes import BlendshapeRig
from omote.rigs.facs import load_rig
from omote.rigs.shapes import Shape, ShapeSet


def little_head(size: float = 0.2) -> tuple[np.ndarray, list[list[int]]]:
    """A bulged 5 x 5 grid that faces +z: vertices (25, 3) metres and its 16 quads."""
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(0.5, -0.5, 5))
    z = 0.3 * np.cos(2 * x) * np.cos(2 * y)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3) * size
    quads = [
        [5 * row + column, 5 * row + 5 + column, 5 * row + 6 + column, 5 * row + 1 + column]
        for row in range(4)
        for column in range(4)
    ]
    return vertices, quads


SOME_CONTROLS = ("jaw_open", "corner_pull_L", "brow_outer_up_R")


def embedded_head(identity: np.ndarray) -> ShapeSet:
    """The embedded head of an identity with three shapes."""
    rig = load_rig()
    values = torch.zeros(len(SOME_CONTROLS) + 1, len(rig.space))
    for row, name in enumerate(SOME_CONTROLS, 1):
        values[row, rig.space.index(name)] = 1
    posed = rig(values, torch.as_tensor(identity, dtype=torch.float32)[None]).numpy()
    moved = posed[1:] - posed[0]
    return ShapeSet(
        name="head",
        vertices=posed[0],
        faces=rig.faces.numpy(),
        shapes=tuple(Shape.of(name, delta) for name, delta in zip(SOME_CONTROLS, moved, strict=True)),
        uv=None,
        weld=rig.weld.numpy(),
        face_part=rig.face_part.numpy(),
        part_names=rig.part_names,
    )


def little_shapes(vertices: np.ndarray) -> dict[str, np.ndarray]:
    """Four shapes of it, as deltas (25, 3): what is named Left moves +x."""
    size = float(np.ptp(vertices[:, 0]))
    high, low = vertices[:, 1] > 0.2 * size, vertices[:, 1] < -0.2 * size
    left, right = vertices[:, 0] > 0.1 * size, vertices[:, 0] < -0.1 * size
    made = {}
    for name, chosen, way in (
        ("browOuterUpLeft", high & left, (0, 0.05, 0.01)),
        ("browOuterUpRight", high & right, (0, 0.05, 0.01)),
        ("jawOpen", low, (0, -0.1, -0.02)),
        ("mouthSmileLeft", low & left, (0.03, 0.04, 0)),
    ):
        made[name] = np.where(chosen[:, None], np.array(way) * size, 0.0)
    return made


def little_rig(
    deltas: Mapping[str, np.ndarray],
    shift: float = 0.0,
    identity: tuple[str, ...] = (),
    combinations: Mapping[str, tuple[str, ...]] | None = None,
) -> BlendshapeRig:
    """The little head with shapes (25, 3) by name, moved along x by ``shift`` metres."""
    vertices, quads = little_head()
    faces = np.array([[q[0], q[1], q[2], q[0], q[2], q[3]] for q in quads]).reshape(-1, 3)
    return BlendshapeRig(
        ShapeSet(
            name="little",
            vertices=(vertices + [shift, 0, 0]).astype(np.float32),
            faces=faces,
            shapes=tuple(Shape.of(name, delta) for name, delta in deltas.items()),
            uv=None,
            weld=np.arange(25),
            face_part=np.zeros(len(faces), np.int64),
            part_names=("head",),
            identity=identity,
        ),
        combinations,
    )


def write_obj(path: Path, vertices: np.ndarray, polygons: list[list[int]], lines: str = "") -> Path:
    """One OBJ file; ``lines`` goes between the vertices and the faces."""
    rows = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices]
    rows += [lines] if lines else []
    rows += ["f " + " ".join(str(i + 1) for i in polygon) for polygon in polygons]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path


def write_obj_folder(folder: Path, scale: float = 1.0, neutral: str = "neutral") -> Path:
    """The little head and its shapes as a folder of OBJ files."""
    vertices, quads = little_head()
    write_obj(folder / f"{neutral}.obj", vertices * scale, quads)
    for name, delta in little_shapes(vertices).items():
        write_obj(folder / f"{name}.obj", (vertices + delta) * scale, quads)
    return folder


def little_glb(names: list[str] | None = None) -> GlbBuilder:
    """The little head as a GLB under way: one mesh, one node."""
    vertices, quads = little_head()
    shapes = little_shapes(vertices)
    builder = GlbBuilder("tests")
    corners = np.array([[q[0], q[1], q[2], q[0], q[2], q[3]] for q in quads]).ravel()
    primitive = {
        "attributes": {"POSITION": builder.accessor(vertices, "positions", target=ARRAY_BUFFER, bounds=True)},
        "indices": builder.accessor(corners, "indices", component=U16, target=ELEMENT_ARRAY_BUFFER),
        "targets": [{"POSITION": builder.deltas(delta.astype(np.float32))} for delta in shapes.values()],
    }
    named = list(shapes) if names is None else names
    mesh = {"name": "head", "primitives": [primitive], "extras": {"targetNames": named}}
    builder.add("nodes", {"name": "head", "mesh": builder.add("meshes", mesh)})
    builder.add("scenes", {"nodes": [0]})
    builder.tree["scene"] = 0
    return builder


def write_glb_file(path: Path, builder: GlbBuilder) -> Path:
    """Write what was built."""
    path.write_bytes(builder.to_bytes())
    return path
