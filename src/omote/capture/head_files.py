"""A neutral head from any file, in head space: what shapes are to be transferred to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.capture.scan_files import Part, is_scan, load_scan
from omote.geometry.alignment import Similarity
from omote.geometry.parts import weld_vertices
from omote.rigs.shapes import ShapeSet

Array = npt.NDArray[Any]

FOCUS = 0.16
"""Metres around the middle of the face in which landmarks are looked for, on heads with a body below."""
_SQUARE = 30.0
"""Degrees within which a head counts as standing along the axes of its file: it is then turned by right angles only."""
_UNITS = (1.0, 0.1, 0.01, 0.001, 0.0254)


@dataclass(frozen=True)
class Head:
    """A neutral head.

    Attributes:
        shapes: vertices in metres, +y up, facing +z, the file's origin; without shapes.
        focus: (V,) bool, what lies near the face; None where that was not looked for.
        to_head: from the file's coordinates.
    """

    shapes: ShapeSet
    focus: Array | None
    to_head: Similarity


def open_head(path: str | Path, stand: Callable[[Array, Array], Similarity] | None = None) -> Head:
    """Read a neutral head and stand it upright.

    Args:
        path: .obj, .ply or .glb; or a rig (a folder of .obj, .usd, .gltf, .vrm), whose neutral is taken.
        stand: of vertices (V, 3) in the file's coordinates and faces (F, 3) the similarity to head space; None: its
            face is looked for on renders.

    Raises:
        InputError: missing or damaged.
        NoFaceError: no side of it shows a face.
    """
    path = Path(path)
    if path.is_dir() or not is_scan(path):
        return _rig_head(path)
    parts = load_scan(path).parts
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float64)
    starts = np.cumsum([0, *[len(part.vertices) for part in parts]])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    if stand is None:
        from omote.capture.scans import view_scan

        placement = view_scan(path).placement
    else:
        placement = stand(vertices, faces)
    to_head = Similarity(_unit(placement.scale), _squared(placement.rotation), np.zeros(3))
    focus = None
    if stand is None:
        seen = placement.apply(vertices)
        middle = seen[:, 2] > np.percentile(seen[np.abs(seen[:, :2]).max(1) < FOCUS, 2], 99) - FOCUS
        focus = (np.abs(seen[:, :2]).max(1) < FOCUS) & middle
    colours = [_colours(part) for part in parts]
    coloured = any(colour is not None for colour in colours)
    grey = np.array([158, 158, 158], np.uint8)
    uvs = [np.zeros((len(p.vertices), 2), np.float32) if p.uv is None else p.uv for p in parts]
    shapes = ShapeSet(
        name=path.stem,
        vertices=to_head.apply(vertices).astype(np.float32),
        faces=faces,
        shapes=(),
        uv=np.concatenate(uvs) if any(part.uv is not None for part in parts) else None,
        weld=weld_vertices(vertices),
        face_part=np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts]),
        part_names=tuple(f"part_{k}" if len(parts) > 1 else path.stem for k in range(len(parts))),
        colours=np.concatenate(
            [
                np.broadcast_to(grey, part.vertices.shape) if colour is None else colour
                for part, colour in zip(parts, colours, strict=True)
            ]
        )
        if coloured
        else None,
        metres=1.0,
        axes=("+y", "+z"),
    )
    return Head(shapes, focus, to_head)


def _rig_head(path: Path) -> Head:
    """The neutral of a rig file."""
    from omote.rigs.open import open_blendshapes
    from omote.rigs.regions import face_region

    rig = open_blendshapes(path)
    uv = None if rig.uv is None else rig.uv.numpy()
    shapes = ShapeSet(
        name=rig.name,
        vertices=rig.neutral.numpy(),
        faces=rig.faces.numpy(),
        shapes=(),
        uv=uv,
        weld=weld_vertices(rig.neutral.numpy()),  # across its meshes too
        face_part=rig.face_part.numpy(),
        part_names=rig.part_names,
        colours=rig.colours,
        metres=1.0,
        axes=("+y", "+z"),
    )
    return Head(shapes, face_region(rig), Similarity(1.0, np.eye(3), np.zeros(3)))


def _unit(scale: float) -> float:
    """The nearest unit of length within a quarter, else the scale itself."""
    best = min(_UNITS, key=lambda unit: abs(np.log(scale / unit)))
    return best if 0.8 < scale / best < 1.25 else scale


def _squared(rotation: Array) -> Array:
    """The nearest rotation by right angles, where the head stands along the axes; else the rotation."""
    square = np.zeros((3, 3))
    rows = np.abs(rotation).argmax(1)
    square[range(3), rows] = np.sign(rotation[range(3), rows])
    if len(set(rows)) < 3 or np.linalg.det(square) < 0:
        return rotation
    angle = np.degrees(np.arccos(np.clip((np.trace(square.T @ rotation) - 1) / 2, -1, 1)))
    return square if angle < _SQUARE else rotation


def _colours(part: Part) -> Array | None:
    """(V, 3) uint8: vertex colours, or the texture at each vertex."""
    if part.albedo is None or part.albedo.ndim == 2:
        return part.albedo
    if part.uv is None:
        return None
    height, width = part.albedo.shape[:2]
    column = np.clip((part.uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip((part.uv[:, 1] * height).astype(int), 0, height - 1)
    return np.asarray(part.albedo[row, column])
