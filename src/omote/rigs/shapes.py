"""A head as a file has it: a neutral mesh and named shapes, before it becomes a rig."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import FormatError

log = logging.getLogger("omote.rigs")

MAX_VERTICES = 4_000_000
MAX_SHAPES = 4096
_VAST = 1e12  # coordinates from here on count as not finite: their squares overflow float32
STILL = 1e-7
"""Share of the mesh's size below which a vertex counts as not moved."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """One shape: what it adds to some vertices at weight 1.

    Attributes:
        name: as in the file.
        index: (N,) int64, each vertex at most once, ascending.
        delta: (N, 3) float32, units of the file.
    """

    name: str
    index: Array
    delta: Array

    @classmethod
    def of(cls, name: str, delta: Array, index: Array | None = None) -> Shape:
        """Of dense deltas (V, 3), or of (N, 3) at vertices ``index`` (N,); vertices that stay are left out."""
        delta = np.asarray(delta, np.float32).reshape(-1, 3)
        if index is None:
            index = np.arange(len(delta))
        else:  # an index given twice adds up
            index, place = np.unique(np.asarray(index, np.int64), return_inverse=True)
            total = np.zeros((len(index), 3), np.float32)
            np.add.at(total, place.ravel(), delta)
            delta = total
        moved = (delta != 0).any(axis=1)
        return cls(name, index[moved].astype(np.int64), delta[moved])

    @property
    def size(self) -> float:
        """The largest displacement, units of the mesh; 0 for a shape that does nothing."""
        return float(np.linalg.norm(self.delta, axis=1).max()) if len(self.index) else 0.0


@dataclass(frozen=True)
class ShapeSet:
    """A neutral mesh and its shapes.

    Attributes:
        name: what the rig is called, usually the file's stem.
        vertices: (V, 3) float32; units and axes of the file until `omote.rigs.units.to_head_space`.
        faces: (F, 3) int64.
        shapes: in the order of the file.
        uv: (V, 2) float32, origin top-left, or None.
        weld: (V,) int64 canonical vertex of each vertex split by a seam.
        face_part: (F,) int64 index into ``part_names``: the meshes and materials of the file.
        part_names: what they are called.
        colours: (V, 3) uint8 sRGB of vertex colours or plain materials, or None.
        identity: names of those shapes that make another head rather than an expression.
        metres: metres in one unit where the format says so, else None.
        axes: (up, forward) such as ("+y", "+z") where the format says so, else None.
        gates: (shape, other shape): the first acts only as far as the control of the other does, as lips that are held
            together do on an open jaw.
        notes: what a reader of the file should know, one clause each.
    """

    name: str
    vertices: Array
    faces: Array
    shapes: tuple[Shape, ...]
    uv: Array | None
    weld: Array
    face_part: Array
    part_names: tuple[str, ...]
    colours: Array | None = None
    identity: tuple[str, ...] = ()
    metres: float | None = None
    axes: tuple[str, str] | None = None
    gates: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def noted(self, *notes: str) -> ShapeSet:
        """The same with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def check_shapes(shapes: ShapeSet, where: str | Path) -> ShapeSet:
    """Refuse what cannot be a rig; note what is odd.

    A shape that moves nothing is kept, so that the columns of a take keep their place; a warning names it.

    Raises:
        FormatError: no vertices or faces, no shapes, names used twice, numbers that are not finite, indices outside the
            mesh, or too much of anything.
    """
    count = len(shapes.vertices)
    if not count or not len(shapes.faces):
        raise FormatError("holds no triangles", where=where, remedy="Export the head as a polygon mesh.")
    if count > MAX_VERTICES or len(shapes.shapes) > MAX_SHAPES:
        what = f"{count} vertices and {len(shapes.shapes)} shapes"
        remedy = f"At most {MAX_VERTICES} and {MAX_SHAPES} are read."
        raise FormatError(f"holds {what}", where=where, remedy=remedy)
    if not shapes.shapes:
        remedy = "Export its shape keys (morph targets) with it."
        raise FormatError("holds a mesh but no blend shapes", where=where, remedy=remedy)
    twice = repeated([shape.name for shape in shapes.shapes])
    if twice:
        raise FormatError(
            f"shape names used twice: {listed(twice)}", where=where, remedy="Rename one of each."
        )
    if not _usable(shapes.vertices):
        raise FormatError("the neutral mesh has coordinates that are not finite numbers", where=where)
    if shapes.faces.min() < 0 or shapes.faces.max() >= count:
        raise FormatError(f"faces point outside of the {count} vertices", where=where)
    for shape in shapes.shapes:
        if not _usable(shape.delta):
            what = f"shape '{shape.name}' has coordinates that are not finite numbers"
            raise FormatError(what, where=where, remedy="Repair or leave out that shape.")
        if len(shape.index) and (shape.index[0] < 0 or shape.index[-1] >= count):
            raise FormatError(f"shape '{shape.name}' moves vertices the mesh does not have", where=where)
    still = STILL * float(np.ptp(shapes.vertices, axis=0).max())
    empty = [shape.name for shape in shapes.shapes if shape.size <= still]
    if len(empty) == len(shapes.shapes):
        raise FormatError("none of its shapes moves anything", where=where, remedy="Export it again.")
    if empty:
        log.warning("%s: shapes that move nothing: %s", where, listed(empty))
    return shapes


def _usable(coordinates: Array) -> bool:
    return bool(np.isfinite(coordinates).all() and (np.abs(coordinates) < _VAST).all())


def repeated(names: Sequence[str]) -> list[str]:
    """The names that occur more than once, sorted."""
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence: "a, b, c and 4 more"."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
