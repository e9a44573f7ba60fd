"""A rig made of blend shapes: any head with named shapes, in metres, differentiable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omote.checks import check_shape
from omote.controls import Control, ControlSpace
from omote.errors import InputError
from omote.rigs.combinations import combination_factors
from omote.rigs.landmarks import LandmarkEmbedding
from omote.rigs.names import other_side, side_of
from omote.rigs.shapes import Shape, ShapeSet

DENSE = 0.2
"""Share of moved coordinates above which one matrix of all shapes is faster than a sparse one."""


class BlendshapeRig(nn.Module):
    """vertices = neutral + sum_i w_i shape_i + sum_j (prod_(k in j) w_k) combination_j, + identity shapes.

    Combination (corrective) shapes are driven by the product of their factors' weights, held at 0 where a factor
    is negative (Lewis et al., "Practice and Theory of Blendshape Facial Models", 2014, section 3).

    Args:
        shapes: in head space, metres (`omote.rigs.units.to_head_space`).
        combinations: combination shape -> its factors; default: found by name (`combination_factors`).

    Attributes:
        name, space, identity_space, faces, uv, weld, landmarks: as in `omote.rigs.protocol.Rig`.
        neutral: (V, 3) float32 metres, the head at rest.
        face_part (F,): index into ``part_names``, the meshes and materials of the file.
        colours: (V, 3) uint8 sRGB, or None where the file has none.
        combinations: combination shape -> the controls it is the product of.
        notes: what was noticed on reading.
    """

    faces: Tensor
    weld: Tensor
    neutral: Tensor
    face_part: Tensor
    _factor: Tensor
    _deltas: Tensor
    _identity: Tensor

    def __init__(self, shapes: ShapeSet, combinations: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__()
        self.name = shapes.name
        self.part_names = shapes.part_names
        self.notes = shapes.notes
        self.colours = shapes.colours
        self.landmarks: LandmarkEmbedding | None = None
        self.identity_space = shapes.identity
        driven = [shape for shape in shapes.shapes if shape.name not in set(shapes.identity)]
        found = (
            combination_factors([shape.name for shape in driven]) if combinations is None else combinations
        )
        unknown = sorted(set(found) - {shape.name for shape in driven})
        if unknown:
            what = f"has no shapes called {', '.join(unknown)}, which are said to be combinations"
            raise InputError(what, where=shapes.name, remedy="Mend their names in the mapping.")
        self.combinations = {name: tuple(factors) for name, factors in found.items()}
        names = [shape.name for shape in driven if shape.name not in self.combinations]
        self.space = space_of(shapes.name, names)
        self.shape_names = tuple(shape.name for shape in driven)

        self.register_buffer("faces", torch.as_tensor(np.ascontiguousarray(shapes.faces, np.int64)))
        self.register_buffer("weld", torch.as_tensor(np.ascontiguousarray(shapes.weld, np.int64)))
        self.register_buffer("uv", None if shapes.uv is None else torch.as_tensor(np.float32(shapes.uv)))
        self.register_buffer("neutral", torch.as_tensor(np.float32(shapes.vertices)))
        self.register_buffer("face_part", torch.as_tensor(np.int64(shapes.face_part)))
        one = len(names)  # the constant that stands in for factors a shape does not have
        gates = {shape: other for shape, other in shapes.gates if {shape, other} <= set(names)}
        acting = [
            (*self.combinations.get(s.name, (s.name,)), *([gates[s.name]] if s.name in gates else []))
            for s in driven
        ]
        factors = [[self.space.index(factor) for factor in row] for row in acting]
        most = max((len(row) for row in factors), default=1)
        filled = [row + [one] * (most - len(row)) for row in factors]
        self.register_buffer("_factor", torch.tensor(filled, dtype=torch.int64))
        count = len(shapes.vertices)
        by_name = {shape.name: shape for shape in shapes.shapes}
        self.register_buffer("_deltas", _matrix(driven, count), persistent=False)
        self.register_buffer(
            "_identity", _matrix([by_name[n] for n in shapes.identity], count), persistent=False
        )

    uv: Tensor | None

    def activate(self, controls: Tensor) -> Tensor:
        """(B, S) weight of each shape, in the order of ``shape_names``."""
        one = controls.new_ones(len(controls), 1)
        values = torch.cat([controls, one], dim=1)
        weights = values[:, self._factor]
        if weights.shape[2] == 1:
            return weights[..., 0]
        combined = (self._factor[:, 1] < controls.shape[1])[None, :]
        return torch.where(combined, torch.relu(weights).prod(dim=2), weights[..., 0])

    def forward(self, controls: Tensor, identity: Tensor) -> Tensor:
        """Vertices of the head.

        Args:
            controls: (B, C) control units; values outside 0..1 extrapolate.
            identity: (B, I) or (1, I) weights of the identity shapes; (1, 0) where there are none.

        Returns:
            (B, V, 3) metres, head space: +y up, face towards +z, +x the subject's left.
        """
        check_shape("controls", controls, "B", len(self.space))
        check_shape("identity", identity, "B", len(self.identity_space))
        moved = self.neutral + _blend(self.activate(controls), self._deltas)
        if self.identity_space:
            moved = moved + _blend(identity, self._identity)
        return moved

    def displacements(self) -> np.ndarray:
        """(S, V) metres that each shape of ``shape_names`` moves each vertex at weight 1."""
        dense = self._deltas.to_dense() if self._deltas.is_sparse else self._deltas
        return dense.reshape(len(self.shape_names), -1, 3).norm(dim=2).cpu().numpy()


def space_of(name: str, names: Sequence[str]) -> ControlSpace:
    """The control space of shapes: 0..1 each, left and right paired by name."""
    known = set(names)
    controls = []
    for shape in names:
        partner = other_side(shape, known)
        side = side_of(shape) if partner else "C"
        controls.append(Control(shape, 0.0, 1.0, 0.0, partner or shape, side=side))
    return ControlSpace(name, tuple(controls))


def _matrix(shapes: Sequence[Shape], count: int) -> Tensor:
    """(S, 3V) deltas: dense, or sparse where most of it would be zero."""
    moved = sum(len(shape.index) for shape in shapes)
    if moved > DENSE * count * len(shapes) or not shapes:
        dense = torch.zeros(len(shapes), count, 3)
        for row, shape in zip(dense, shapes, strict=True):
            row[torch.as_tensor(shape.index)] = torch.as_tensor(shape.delta)
        return dense.reshape(len(shapes), 3 * count)
    rows = np.repeat(np.arange(len(shapes)), [3 * len(shape.index) for shape in shapes])
    columns = np.concatenate([(shape.index[:, None] * 3 + np.arange(3)).ravel() for shape in shapes])
    values = np.concatenate([shape.delta.ravel() for shape in shapes])
    indices = torch.as_tensor(np.stack([rows, columns]))
    size = (len(shapes), 3 * count)
    made: Any = torch.sparse_coo_tensor(indices, torch.as_tensor(values), size, check_invariants=False)
    return made.coalesce()


def _blend(weights: Tensor, deltas: Tensor) -> Tensor:
    """(B, V, 3) of weights (B, S) and deltas (S, 3V)."""
    if deltas.is_sparse:
        summed = torch.sparse.mm(deltas.t(), weights.t()).t()
    else:
        summed = weights @ deltas
    return summed.reshape(len(weights), deltas.shape[1] // 3, 3)
