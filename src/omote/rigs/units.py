"""From a file's units and axes to head space: metres, +y up, face towards +z, +x the subject's left."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import InputError
from omote.geometry.meshes import face_normals
from omote.rigs.names import side_of
from omote.rigs.shapes import Shape, ShapeSet

Array = npt.NDArray[Any]

UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001, "in": 0.0254}
_GUESSED = ("m", "dm", "cm", "mm")
FACE_HEIGHT = 0.2
"""Metres that what moves in a face spans from brow to chin, neck and forehead included, about."""
_SPAN = FACE_HEIGHT / math.sqrt(10), FACE_HEIGHT * math.sqrt(10)
_PERSON = 1.3, 2.2
"""Metres that a whole body is high."""
_CLEAR = 0.5  # cosine above which the face is said to look along an axis
_ONE_WAY = 0.05
"""Share of the moving surface's area that faces one way on balance, from where on that way is clear; heads with eyes
and the inside of a mouth have 0.2."""
_INWARDS = -0.3
"""Flux through the surface, of the most there could be, below which its triangles face inwards."""
_WHOLE = 0.9
"""Share of all vertices that a shape moves which is not of the face: a neck, a body, a scan that was not held still."""
_AXES = re.compile(r"([+-]?[xyz])[ ,]?([+-]?[xyz])")


def to_head_space(shapes: ShapeSet, *, unit: str = "auto", axes: str = "auto") -> ShapeSet:
    """The same head in metres, +y up and facing +z, its middle where its file has it.

    The unit is taken from the file where the format says it and it makes a face of a face's size; else it is the one
    of m, dm, cm and mm in which what the shapes move is nearest to 0.2 m high. A mesh that is none of these sizes is
    scaled to it, and a note says so. The axes are taken from the file, else +y and +z; a face that clearly looks the
    other way (the surface its shapes move) is turned about the vertical axis; triangles that face inwards are turned
    over.

    Args:
        shapes: as read.
        unit: "auto" or one of `UNITS`.
        axes: "auto", or up and forward such as "+z-y".

    Raises:
        InputError: an unknown unit, or axes that are no two different ones.
    """
    if unit != "auto" and unit not in UNITS:
        raise InputError(f"unknown unit '{unit}'", where="unit", remedy=f"Use auto, {', '.join(UNITS)}.")
    notes = []
    if _faces_inwards(shapes):
        shapes = replace(shapes, faces=np.ascontiguousarray(shapes.faces[:, ::-1]))
        notes.append("its triangles faced inwards and were turned over")
    up, forward = _parsed(axes) if axes != "auto" else (shapes.axes or ("+y", "+z"))
    turn = _turn(up, forward)
    if axes == "auto":
        looks = looking(shapes) @ turn.T
        looks /= max(float(np.linalg.norm(looks)), _ONE_WAY)
        if looks[2] < -_CLEAR:
            turn = np.diag([-1.0, 1.0, -1.0]) @ turn
            notes.append("faced backwards and was turned to face +z")
        elif looks[2] < _CLEAR and np.abs(looks).max() > _CLEAR:
            side = "xyz"[int(np.abs(looks).argmax())]
            notes.append(f"seems to face its {side} axis, not +z: give its axes if the pictures look wrong")
    scale, note = _scale(shapes, unit, turn)
    notes += [note] if note else []
    matrix = (scale * turn).astype(np.float32)
    turned = replace(
        shapes,
        vertices=np.ascontiguousarray(shapes.vertices @ matrix.T, np.float32),
        shapes=tuple(Shape(s.name, s.index, (s.delta @ matrix.T).astype(np.float32)) for s in shapes.shapes),
        metres=1.0,
        axes=("+y", "+z"),
    )
    if swapped_sides(turned):
        notes.append("shapes named left move the subject's right: its names seem to mean the viewer's sides")
    return turned.noted(*notes)


def motion(shapes: ShapeSet) -> Array:
    """(V,) how far each vertex moves at most, as a share of the largest movement of the shape that moves it.

    Shapes that move nearly all of it (`_WHOLE`) do not count, unless there are no others.
    """
    count = len(shapes.vertices)
    of_face, of_all = np.zeros(count), np.zeros(count)
    for shape in shapes.shapes:
        if shape.name not in shapes.identity and shape.size > 0:
            share = np.linalg.norm(shape.delta, axis=1) / shape.size
            most = of_all if (share > 0.1).sum() > _WHOLE * count else of_face
            most[shape.index] = np.maximum(most[shape.index], share)
    return of_face if of_face.any() else of_all


def looking(shapes: ShapeSet) -> Array:
    """(3,) the direction that the moving surface faces, in the axes of the file; 1 long where all of it does."""
    moved = motion(shapes) > 0.1
    chosen = shapes.faces[moved[shapes.faces].all(axis=1)]
    if not len(chosen):
        return np.zeros(3)
    areas = face_normals(shapes.vertices.astype(np.float64), chosen, unit=False)
    whole = float(np.linalg.norm(areas, axis=1).sum())
    return np.asarray(areas.sum(0)) / (whole or 1.0)


def _faces_inwards(shapes: ShapeSet) -> bool:
    """Whether the surface, mostly closed, has its triangles clockwise seen from outside."""
    vertices = shapes.vertices.astype(np.float64)
    areas = face_normals(vertices, shapes.faces, unit=False)
    size, centres = np.linalg.norm(areas, axis=1), vertices[shapes.faces].mean(1)
    if not size.sum() > 0:
        return False
    away = centres - np.average(centres, axis=0, weights=size)
    most = float((size * np.linalg.norm(away, axis=1)).sum())
    return float((areas * away).sum()) < _INWARDS * most


def swapped_sides(shapes: ShapeSet) -> bool:
    """Whether shapes named left move mostly what lies at -x, the subject's right, and those named right the other."""
    votes = []
    middle = float(np.median(shapes.vertices[motion(shapes) > 0.1, 0])) if shapes.shapes else 0.0
    for shape in shapes.shapes:
        side = side_of(shape.name)
        lowered = shape.name.lower()
        if (
            side == "C"
            or not shape.size
            or lowered.startswith(("jaw", "mouthl", "mouthr", "mouth_l", "mouth_r"))
        ):
            continue
        far = np.linalg.norm(shape.delta, axis=1)
        where = float((far * (shapes.vertices[shape.index, 0] - middle)).sum() / far.sum())
        votes.append(where if side == "L" else -where)
    return len(votes) >= 4 and sum(vote < 0 for vote in votes) > 0.8 * len(votes)


def _scale(shapes: ShapeSet, unit: str, turn: Array) -> tuple[float, str]:
    """Metres in one unit of the file, and what to say about it."""
    if unit != "auto":
        return UNITS[unit], ""
    points = shapes.vertices[motion(shapes) > 0.1] @ turn.T
    height = float(np.ptp(points[:, 1])) if len(points) else 0.0
    height = height or float(np.ptp(shapes.vertices, axis=0).max()) or 1.0
    tall = float(np.ptp(shapes.vertices @ turn.T, axis=0)[1])
    if shapes.metres is not None and (
        _SPAN[0] <= height * shapes.metres <= _SPAN[1] or _PERSON[0] <= tall * shapes.metres <= _PERSON[1]
    ):
        return (
            shapes.metres,
            "" if shapes.metres == 1 else f"read in units of {shapes.metres:g} m, as it says",
        )
    best = min(_GUESSED, key=lambda u: abs(math.log(height * UNITS[u] / FACE_HEIGHT)))
    if _SPAN[0] <= height * UNITS[best] <= _SPAN[1]:
        said = shapes.metres is not None and shapes.metres != UNITS[best]
        note = f"taken to be in {best}" + (f", though it says {shapes.metres:g} m" if said else "")
        return UNITS[best], "" if UNITS[best] == shapes.metres else note
    return (
        FACE_HEIGHT / height,
        f"is of no size a head has: scaled so that what moves is {FACE_HEIGHT:g} m high",
    )


def _parsed(axes: str) -> tuple[str, str]:
    match = _AXES.fullmatch(axes.strip().lower())
    if match is None or match.group(1)[-1] == match.group(2)[-1]:
        remedy = 'Give up and forward, such as "+y+z" or "+z-y".'
        raise InputError(f"'{axes}' is no pair of axes", where="axes", remedy=remedy)
    up, forward = (axis if len(axis) == 2 else f"+{axis}" for axis in match.groups())
    return up, forward


def _turn(up: str, forward: str) -> Array:
    """(3, 3) rotation that takes the axes ``up`` and ``forward`` to +y and +z."""
    rows = np.zeros((3, 3))
    for row, axis in ((1, up), (2, forward)):
        rows[row, "xyz".index(axis[1])] = -1.0 if axis[0] == "-" else 1.0
    rows[0] = np.cross(rows[1], rows[2])
    return rows
