"""Rigid parts and rotations: which parts of a face turn without deforming, and about which point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RIGID_TOLERANCE = 5e-6  # metres; float32 evaluation of a head is good to about 1e-7


@dataclass(frozen=True)
class RigidPart:
    """A part that moves rigidly.

    ``rest`` (n, 3) is the part at rest relative to ``centre`` (3,), both metres in head space.
    """

    name: str
    vertices: np.ndarray
    centre: np.ndarray
    rest: np.ndarray


def fit_rigid(rest: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Best rotations and translations that carry ``rest`` to ``moved`` (Kabsch 1976).

    Args:
        rest: (n, 3).
        moved: (B, n, 3).

    Returns:
        rotations (B, 3, 3), translations (B, 3) with ``moved = R rest + t``, and the largest vertex error.
    """
    source = rest.astype(np.float64)
    target = moved.astype(np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=1)
    covariance = np.einsum("ni,bnj->bij", source - source_mean, target - target_mean[:, None])
    u, _, vt = np.linalg.svd(covariance)
    flip = np.ones((len(target), 3))
    flip[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotations = np.einsum("bki,bk,bjk->bij", vt, flip, u)
    translations = target_mean - np.einsum("bij,j->bi", rotations, source_mean)
    error = np.einsum("bij,nj->bni", rotations, source) + translations[:, None] - target
    return rotations, translations, float(np.linalg.norm(error, axis=2).max(initial=0.0))


def fixed_point(rotations: np.ndarray, translations: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The point that the motions move least, metres; ``near`` decides along directions they leave open."""
    rows = (rotations - np.eye(3)).reshape(-1, 3)
    ridge = 1e-4 * np.eye(3)
    return np.linalg.lstsq(
        np.concatenate([rows, ridge]), np.concatenate([-translations.reshape(-1), 1e-4 * near]), rcond=None
    )[0]


def matrix_to_quaternion(matrices: np.ndarray) -> np.ndarray:
    """Rotation matrices (B, 3, 3) to unit quaternions (B, 4), xyzw, neighbours on one side of the sphere."""
    from scipy.spatial.transform import Rotation

    return continuous(Rotation.from_matrix(matrices).as_quat())


def axis_angle_to_quaternion(rotations: np.ndarray) -> np.ndarray:
    """Axis-angle (B, 3) radians to unit quaternions (B, 4), xyzw, sign-continuous."""
    from scipy.spatial.transform import Rotation

    return continuous(Rotation.from_rotvec(rotations.astype(np.float64)).as_quat())


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (B, 4) with signs such that neighbours agree (dot product >= 0); the first has w >= 0."""
    out = np.array(quaternions, dtype=np.float64)
    if len(out) and out[0, 3] < 0:
        out[0] = -out[0]
    dots = np.einsum("bi,bi->b", quaternions[1:], quaternions[:-1])
    start = 1.0 if not len(out) or np.dot(out[0], quaternions[0]) >= 0 else -1.0
    signs = start * np.cumprod(np.where(dots < 0, -1.0, 1.0))
    out[1:] = quaternions[1:] * signs[:, None]
    return out
