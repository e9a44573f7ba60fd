"""How far predicted controls are from true ones: per region, as gaze, and as millimetres of the face."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.checks import check_shape
from omote.controls import ControlSpace
from omote.errors import InputError
from omote.evaluation.inversion_regions import REGIONS, hard_indices, region_indices
from omote.rigs.constants import GAZE_PITCH, GAZE_YAW

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Floats = NDArray[np.float64]

CLOSE = 0.1
"""Control units within which a control counts as right."""
OPEN_EYE = 0.5
"""``lid_close`` below which an eye is open and its gaze counts."""
_BATCH = 32
_BEHIND = 0.01  # metres that the face goes on behind its rearmost landmark


@dataclass(frozen=True)
class RegionScore:
    """One group of controls; NaN where the truth does not vary, or there are no such controls.

    Attributes:
        mae: mean absolute error, control units.
        r2: explained share of the truth's variance about each control's own mean; below 0 is worse than that mean.
        correlation: Pearson, pooled over samples and controls.
    """

    mae: float
    r2: float
    correlation: float


@dataclass(frozen=True)
class Scores:
    """One method on N samples.

    Attributes:
        control_mae: mean absolute error over all controls, control units.
        correlation: Pearson, pooled over all samples and controls.
        r2: see `RegionScore`, over all controls.
        within_percent: percent of the controls that are within `CLOSE` of the truth.
        gaze_degrees: mean angle between true and predicted direction of the open eyes; NaN for a rig without gaze.
        vertex_median_mm: median over samples of the mean distance of the face's skin vertices, both heads turned as in
            truth: pose is not expression, and the landmark fit keeps it apart from the controls.
        vertex_all_mm: median distance over all of these vertices and samples.
        vertex_turned_mm: as ``vertex_median_mm``, but with the predicted turn of the head.
        hard_mae: mean absolute error of the controls that landmarks see badly.
        regions: the same per region of the face.
        control: (C,) mean absolute error of each control.
        samples: N.
    """

    control_mae: float
    correlation: float
    r2: float
    within_percent: float
    gaze_degrees: float
    vertex_median_mm: float
    vertex_all_mm: float
    vertex_turned_mm: float
    hard_mae: float
    regions: dict[str, RegionScore]
    control: Floats
    samples: int

    def overall(self) -> dict[str, float]:
        """The numbers of the whole face by name."""
        names = (
            *("control_mae", "correlation", "r2", "within_percent", "gaze_degrees"),
            *("vertex_median_mm", "vertex_all_mm", "vertex_turned_mm", "hard_mae"),
        )
        return {name: getattr(self, name) for name in names}

    def flat(self) -> dict[str, float]:
        """`overall`, and the regions' as ``brow_mae``, ``brow_r2``, ``brow_correlation``, ..."""
        values = self.overall()
        for region, score in self.regions.items():
            parts = {"mae": score.mae, "r2": score.r2, "correlation": score.correlation}
            values |= {f"{region}_{name}": value for name, value in parts.items()}
        return values


def measure(
    predicted: NDArray[np.floating], true: NDArray[np.floating], identity: NDArray[np.floating], rig: Rig
) -> Scores:
    """Every metric of predicted controls.

    Args:
        predicted: (N, C) in the rig's control space.
        true: (N, C).
        identity: (N, I) the true identity, under which both are turned into vertices.
        rig: whose controls they are.

    Raises:
        InputError: shapes that do not fit, no samples, or values that are not finite.
    """
    space = rig.space
    check_shape("true", true, "N", len(space))
    check_shape("predicted", predicted, len(true), len(space))
    check_shape("identity", identity, len(true), len(rig.identity_space))
    if not len(true) or not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        what = "no samples" if not len(true) else "controls that are not finite"
        raise InputError(what, where="inversion metrics")
    ours, truth = predicted.astype(np.float64), true.astype(np.float64)
    everything = group_score(ours, truth)
    regions = {name: region_indices(space, name) for name in REGIONS}
    hard = hard_indices(space)
    away = vertex_distances(head_given(ours, truth, space), truth, identity, rig)
    turned = vertex_distances(ours, truth, identity, rig)
    gaze = gaze_angles(ours, truth, space)
    return Scores(
        control_mae=everything.mae,
        correlation=everything.correlation,
        r2=everything.r2,
        within_percent=100 * float((np.abs(ours - truth) <= CLOSE).mean()),
        gaze_degrees=float(gaze.mean()) if len(gaze) else math.nan,
        vertex_median_mm=float(np.median(away.mean(1))),
        vertex_all_mm=float(np.median(away)),
        vertex_turned_mm=float(np.median(turned.mean(1))),
        hard_mae=group_score(ours[:, hard], truth[:, hard]).mae,
        regions={name: group_score(ours[:, i], truth[:, i]) for name, i in regions.items()},
        control=np.abs(ours - truth).mean(0),
        samples=len(truth),
    )


def group_score(predicted: Floats, true: Floats) -> RegionScore:
    """`RegionScore` of (N, K) controls."""
    if not true.size:
        return RegionScore(math.nan, math.nan, math.nan)
    away = predicted - true
    spread = float(((true - true.mean(0)) ** 2).sum())
    r2 = 1 - float((away * away).sum()) / spread if spread > 1e-12 else math.nan
    return RegionScore(float(np.abs(away).mean()), r2, correlation(predicted, true))


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's correlation of all entries of two arrays; 0 where only one varies, NaN where neither does."""
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if max(norms) < 1e-9:
        return math.nan
    return float(a @ b / (norms[0] * norms[1])) if min(norms) >= 1e-9 else 0.0


def gaze_directions(controls: Floats, space: ControlSpace) -> Floats:
    """(N, 2, 3) unit vectors, head space: where the left and the right eye look; as `FacsRig.eye_rotations`."""
    both = []
    for side in ("L", "R"):
        yaw = controls[:, space.index(f"gaze_yaw_{side}")] * GAZE_YAW
        pitch = controls[:, space.index(f"gaze_pitch_{side}")] * GAZE_PITCH
        both.append(np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], 1))
    return np.stack(both, 1)


def gaze_angles(predicted: Floats, true: Floats, space: ControlSpace) -> Floats:
    """(M,) degrees between true and predicted gaze, of every eye that is open in truth; none without gaze controls."""
    if any(f"gaze_{way}_{side}" not in space for way in ("yaw", "pitch") for side in ("L", "R")):
        return np.empty(0)
    ours, theirs = gaze_directions(predicted, space), gaze_directions(true, space)
    # The angle by its tangent: arccos cannot tell small angles.
    sine, cosine = np.linalg.norm(np.cross(ours, theirs), axis=2), (ours * theirs).sum(2)
    angles = np.degrees(np.arctan2(sine, cosine))
    seen = [
        true[:, space.index(n)] < OPEN_EYE if (n := f"lid_close_{s}") in space else np.full(len(true), True)
        for s in ("L", "R")
    ]
    opened: Floats = angles[np.stack(seen, 1)]
    return opened


def head_given(predicted: Floats, true: Floats, space: ControlSpace) -> Floats:
    """(N, C) predicted controls with the true turn of the head, where the rig has controls for it."""
    head = [i for i, name in enumerate(space.names) if name.startswith("head_")]
    given = predicted.copy()
    given[:, head] = true[:, head]
    return given


def vertex_distances(
    predicted: Floats, true: Floats, identity: NDArray[np.floating], rig: Rig, *, batch: int = _BATCH
) -> Floats:
    """(N, K) mm between the `face_vertices` of both controls, under the same identity (N, I); nothing is aligned."""
    import torch

    key: Any = rig
    chosen = torch.from_numpy(face_vertices(key))
    rows = []
    with torch.no_grad():
        for start in range(0, len(true), batch):
            part = slice(start, start + batch)
            who = torch.from_numpy(np.asarray(identity[part], np.float32))
            ours, theirs = (
                rig(torch.from_numpy(values[part].astype(np.float32)), who)[:, chosen]
                for values in (predicted, true)
            )
            rows.append(1000 * (ours - theirs).norm(dim=2).numpy().astype(np.float64))
    return np.concatenate(rows)


@lru_cache(maxsize=8)
def face_vertices(rig: Any) -> NDArray[np.int64]:
    """(K,) the face's skin: what lies within the outline of the landmarks, from the front, of the average neutral head.

    Seams count once. Of the embedded rig only its skin; of a rig without landmarks every vertex that a face uses.
    """
    import torch
    from scipy.spatial import Delaunay

    neutral = torch.from_numpy(np.array(rig.space.neutral, np.float32))[None]
    with torch.no_grad():
        points = rig(neutral, torch.zeros(1, len(rig.identity_space)))[0].numpy()
    faces = rig.faces.numpy()
    part, names = getattr(rig, "face_part", None), getattr(rig, "part_names", ())
    if part is not None and "skin" in names:
        faces = faces[part.numpy() == names.index("skin")]
    used = np.unique(rig.weld.numpy()[faces])
    if rig.landmarks is None:
        return used.astype(np.int64)
    marks = rig.landmarks.apply(points)
    within = Delaunay(marks[:, :2]).find_simplex(points[used, :2]) >= 0
    within &= points[used, 2] > marks[:, 2].min() - _BEHIND
    return used[within].astype(np.int64)
