"""What a rig holds, measured: each control's reach, its partner, and what looks wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.rigs.blendshapes import BlendshapeRig
from omote.rigs.names import side_of
from omote.rigs.protocol import Rig
from omote.rigs.reach import control_ends
from omote.rigs.shapes import listed
from omote.rigs.symmetry import unlike_in_a_mirror

Array = npt.NDArray[Any]

MOVED = 1e-5
"""Metres: a vertex that moves less counts as still."""
_FAR = 0.15  # metres; no part of a face moves further
_LOPSIDED = 3.0  # ratio of the reach of two partners from which they are called unequal


@dataclass(frozen=True)
class ControlReport:
    """One control or combination shape.

    Attributes:
        name: of it.
        low, high: its range; 0 and 1 for a combination.
        vertices: how many move by more than 0.01 mm at either end of the range.
        largest_mm: how far the one that moves most moves.
        partner: the control of the other side, or None.
        factors: of a combination: the controls whose product drives it.
    """

    name: str
    low: float
    high: float
    vertices: int
    largest_mm: float
    partner: str | None
    factors: tuple[str, ...] = ()


@dataclass(frozen=True)
class RigReport:
    """What `inspect_rig` found: sizes, one `ControlReport` each, and problems, one clause each."""

    name: str
    vertices: int
    triangles: int
    height_m: float
    parts: tuple[str, ...]
    identity: tuple[str, ...]
    controls: tuple[ControlReport, ...]
    combinations: tuple[ControlReport, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def inspect_rig(rig: Rig) -> RigReport:
    """Move every control to the ends of its range and measure."""
    neutral, ends = control_ends(rig)
    controls = []
    for control, moved in zip(rig.space.controls, ends, strict=True):
        far = np.linalg.norm(moved - neutral, axis=2).max(0)
        partner = control.mirror if control.mirror != control.name else None
        count, most = int((far > MOVED).sum()), 1e3 * float(far.max())
        controls.append(ControlReport(control.name, control.low, control.high, count, most, partner))
    combinations = []
    if isinstance(rig, BlendshapeRig) and rig.combinations:
        far = rig.displacements()
        for name, factors in rig.combinations.items():
            own = far[rig.shape_names.index(name)]
            row = ControlReport(
                name, 0.0, 1.0, int((own > MOVED).sum()), 1e3 * float(own.max()), None, factors
            )
            combinations.append(row)
    return RigReport(
        name=rig.name,
        vertices=len(neutral),
        triangles=len(rig.faces),
        height_m=float(np.ptp(neutral[:, 1])),
        parts=tuple(getattr(rig, "part_names", ())),
        identity=rig.identity_space,
        controls=tuple(controls),
        combinations=tuple(combinations),
        notes=tuple(getattr(rig, "notes", ())),
        problems=tuple(_problems(rig, controls, combinations, neutral, ends)),
    )


def _problems(
    rig: Rig,
    controls: list[ControlReport],
    combinations: list[ControlReport],
    neutral: Array,
    ends: Array,
) -> list[str]:
    found = []
    empty = [row.name for row in (*controls, *combinations) if not row.vertices]
    if empty:
        found.append(f"moves nothing by itself: {listed(empty)}")
    alone = [row.name for row in controls if side_of(row.name) != "C" and row.partner is None]
    if alone:
        found.append(f"has no partner on the other side: {listed(alone)}")
    told = {*alone, *empty, *(row.name for row in controls if row.partner in empty)}
    unlike = [name for name in unlike_in_a_mirror(rig.space, neutral, ends) if name not in told]
    if unlike:
        found.append(f"is not the same in a mirror: {listed(unlike)}")
    far = [row.name for row in controls if row.largest_mm > 1e3 * _FAR and row.largest_mm < np.inf]
    if far:
        found.append(f"moves further than {100 * _FAR:g} cm: {listed(far)}")
    reach = {row.name: row.largest_mm for row in controls}
    unequal = [
        f"{row.name} {row.largest_mm:.1f} mm, {row.partner} {reach[row.partner]:.1f} mm"
        for row in controls
        if row.partner in reach and row.largest_mm > _LOPSIDED * reach[row.partner] > 0
    ]
    if unequal:
        found.append(f"partners move unequally: {listed(unequal, 3)}")
    twins = [f"{controls[i].name} and {controls[j].name}" for i, j in _twins((ends - neutral)[:, 0])]
    if twins:
        found.append(f"are the same shape: {listed(twins, 3)}")
    return found


def _twins(moved: Array) -> list[tuple[int, int]]:
    """Pairs of controls that move everything alike."""
    flat = moved.reshape(len(moved), -1)
    length = np.linalg.norm(flat, axis=1)
    alike = flat @ flat.T
    pairs = np.argwhere(np.triu(alike > 0.99999 * np.outer(length, length), 1) & (alike > 0))
    return [(int(i), int(j)) for i, j in pairs if abs(length[i] - length[j]) < 1e-4 * length[i]]
