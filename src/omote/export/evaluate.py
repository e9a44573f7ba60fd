"""The rig as the exporters see it: numpy in, numpy out, in the control space of the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import InputError

if TYPE_CHECKING:
    from omote.controls import ControlSpace
    from omote.performance import Performance

BATCH = 32
KEPT_FRAMES = 384  # about 25 MB of the embedded head

Evaluate = Callable[[np.ndarray], np.ndarray]
"""Control values (B, C) -> vertices (B, V, 3) float32, metres, head space."""


def default_rig() -> Any:
    """The embedded 102-control head."""
    from omote.rigs.facs import load_rig

    return load_rig()


def identity_of(performance: Performance, rig: Any) -> np.ndarray:
    """The take's identity coefficients for ``rig`` (I,), zeros where the take has none.

    Raises:
        InputError: the take's identity has another size than the rig's.
    """
    size = len(rig.identity_space)
    name = getattr(rig, "name", "facs")
    given = performance.identity.get(name)
    if given is None:
        return np.zeros(size, np.float32)
    values = np.asarray(given, np.float32)
    if values.shape != (size,):
        raise InputError(
            f"the identity '{name}' has {values.size} coefficients, the rig has {size}",
            where="performance.identity",
            remedy="Export with the rig the take was captured on",
        )
    return values


def rig_evaluator(rig: Any, identity: np.ndarray, space: ControlSpace) -> Evaluate:
    """A function from control values in ``space`` to vertices of ``rig`` with a fixed identity.

    Args:
        rig: satisfies the Rig contract (``space``, ``forward(controls, identity)``).
        identity: (I,) coefficients.
        space: the space of the values given to the returned function; converted to the rig's where they
            differ.
    """
    import torch

    person = torch.from_numpy(np.array(identity, dtype=np.float32))[None]
    convert = space.name != rig.space.name

    def evaluate(values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, np.float32)
        controls = space.convert(values, to=rig.space) if convert else values
        out = []
        with torch.no_grad():
            for start in range(0, len(controls), BATCH):
                block = torch.from_numpy(np.array(controls[start : start + BATCH], dtype=np.float32))
                out.append(rig(block, person).cpu().numpy())
        return np.concatenate(out).astype(np.float32, copy=False)

    return evaluate


class TakeVertices:
    """The rig over a take, a block of frames at a time.

    Short takes are evaluated once and kept; of long ones only the ``watched`` vertices (eyeballs) are.
    """

    def __init__(self, evaluate: Evaluate, values: np.ndarray, watched: np.ndarray) -> None:
        self._evaluate, self._values, self._watched = evaluate, values, watched
        self._kept = evaluate(values) if len(values) <= KEPT_FRAMES else None
        self._seen = np.full((len(values), len(watched), 3), np.nan, np.float32)

    def __len__(self) -> int:
        return len(self._values)

    def __call__(self, frames: slice) -> np.ndarray:
        """Vertices (B, V, 3) float32 of a slice."""
        found = self._evaluate(self._values[frames]) if self._kept is None else self._kept[frames]
        self._seen[frames] = found[:, self._watched]
        return found

    def watched(self, frames: slice) -> np.ndarray:
        """The watched vertices (B, W, 3) of a slice."""
        if np.isnan(self._seen[frames]).any():
            self(frames)
        return self._seen[frames]


def batches(count: int, size: int = BATCH) -> Iterator[slice]:
    """Consecutive slices that cover ``range(count)``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def rig_array(rig: Any, name: str) -> np.ndarray:
    """A tensor or array attribute of the rig as numpy."""
    value = getattr(rig, name)
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def rig_albedo(rig: Any) -> np.ndarray | None:
    """The rig's own texture, uint8 (H, W, 3) sRGB with row 0 at v = 0; None where it has none.

    A rig may have ``albedo_texture()``; the embedded head is painted by `omote.render.albedo`.
    """
    if hasattr(rig, "albedo_texture"):
        found = rig.albedo_texture()
        return found.detach().cpu().numpy() if hasattr(found, "detach") else np.asarray(found)
    from omote.rigs.facs import FacsRig

    return _painted() if isinstance(rig, FacsRig) else None


def chosen_albedo(rig: Any, albedo: Any) -> np.ndarray | None:
    """The texture that an exporter's ``albedo`` asks for: "rig" for `rig_albedo`, None, or uint8 (H, W, 3) itself.

    Raises:
        InputError: of another type or shape.
    """
    if isinstance(albedo, str):
        return rig_albedo(rig)
    if albedo is None:
        return None
    pixels = albedo.detach().cpu().numpy() if hasattr(albedo, "detach") else np.asarray(albedo)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"got {pixels.dtype} {pixels.shape}, expected uint8 (H, W, 3)", where="albedo")
    return np.asarray(pixels)


@cache
def _painted() -> np.ndarray:
    from omote.render.albedo import paint_albedo

    return paint_albedo()


class Normals:
    """Area-weighted vertex normals of a mesh and of meshes that differ from it in places.

    Args:
        vertices: (V, 3) of the mesh at rest.
        faces: (F, 3) indices.
        weld: (V,) index of the canonical vertex of each vertex, so that normals ignore UV seams;
            None: every vertex is its own.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, weld: np.ndarray | None = None) -> None:
        self._rest = vertices.astype(np.float64)
        self._weld = np.arange(len(vertices)) if weld is None else weld
        self._faces = self._weld[faces]
        self._cross = _cross(self._rest, self._faces)
        self._total = self._sum(self._cross, self._faces)
        self.rest = self._unit(self._total)

    def _sum(self, cross: np.ndarray, faces: np.ndarray) -> np.ndarray:
        corner, count = faces.ravel(), len(self._rest)
        return np.stack([np.bincount(corner, np.repeat(cross[:, k], 3), count) for k in range(3)], axis=1)

    def _unit(self, total: np.ndarray) -> np.ndarray:
        total = total[self._weld]
        length = np.linalg.norm(total, axis=1, keepdims=True)
        up = np.array([0.0, 0.0, 1.0])
        return np.where(length > 1e-20, total / np.maximum(length, 1e-20), up).astype(np.float32)

    def change(self, delta: np.ndarray) -> np.ndarray:
        """By how much unit normals change when the vertices move by ``delta`` (V, 3): (V, 3) float32."""
        moved = (delta != 0).any(axis=1)
        touched = moved[self._faces].any(axis=1)
        faces = self._faces[touched]
        cross = _cross(self._rest + delta, faces)
        normals = self._unit(self._total + self._sum(cross - self._cross[touched], faces))
        near = np.zeros(len(self._rest), bool)
        near[faces] = True
        return np.where(near[self._weld][:, None], normals - self.rest, 0.0).astype(np.float32)


def _cross(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    u, v = b - a, c - a
    return np.stack([u[:, i] * v[:, j] - u[:, j] * v[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)
