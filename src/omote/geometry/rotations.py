"""Rotations in three notations, for numpy arrays (float64) and torch tensors (by roma, differentiable).

Axis-angle (..., 3) radians; quaternions (..., 4) xyzw; matrices (..., 3, 3) that turn column vectors. Yaw,
pitch and roll of a head: yaw + turns to the subject's left, pitch + up, roll + tilts to its left shoulder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from omote.performance import interpolation

__all__ = [
    "axis_angle_to_matrix",
    "axis_angle_to_quaternion",
    "geodesic_angle",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "matrix_to_yaw_pitch_roll",
    "project_to_so3",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
    "rodrigues_derivative",
    "skew",
    "slerp",
    "yaw_pitch_roll_to_matrix",
]

Array = npt.NDArray[Any]
Rotations = Any  # a torch tensor, which gives a tensor, or anything array-like, which gives a numpy array


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "torch"


def axis_angle_to_matrix(rotation: Rotations) -> Rotations:
    """(..., 3) axis-angle to (..., 3, 3) matrices (Rodrigues' formula)."""
    if _is_tensor(rotation):
        import roma

        return roma.rotvec_to_rotmat(rotation)
    w = np.asarray(rotation, np.float64)
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    cross = skew(w)
    half = np.sinc(angle / (2 * np.pi))
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * half**2 * (cross @ cross)


def matrix_to_axis_angle(matrix: Rotations) -> Rotations:
    """(..., 3, 3) rotation matrices to (..., 3) axis-angle of at most pi."""
    if _is_tensor(matrix):
        import roma

        return roma.rotmat_to_rotvec(matrix)
    return interpolation.quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def axis_angle_to_quaternion(rotation: Rotations) -> Rotations:
    """(..., 3) axis-angle to (..., 4) unit quaternions xyzw."""
    if _is_tensor(rotation):
        import roma

        return roma.rotvec_to_unitquat(rotation)
    return interpolation.axis_angle_to_quaternion(rotation)


def quaternion_to_axis_angle(quaternion: Rotations) -> Rotations:
    """(..., 4) unit quaternions xyzw to (..., 3) axis-angle of at most pi."""
    if _is_tensor(quaternion):
        import roma

        return roma.unitquat_to_rotvec(quaternion)
    return interpolation.quaternion_to_axis_angle(quaternion)


def quaternion_to_matrix(quaternion: Rotations) -> Rotations:
    """(..., 4) unit quaternions xyzw to (..., 3, 3) matrices."""
    if _is_tensor(quaternion):
        import roma

        return roma.unitquat_to_rotmat(quaternion)
    q = np.asarray(quaternion, np.float64)
    vector, w = q[..., :3], q[..., 3, None, None]
    outer = vector[..., :, None] * vector[..., None, :]
    square = (vector**2).sum(-1)[..., None, None]
    return (w**2 - square) * np.eye(3) + 2 * outer + 2 * w * skew(vector)


def matrix_to_quaternion(matrix: Rotations) -> Rotations:
    """(..., 3, 3) rotation matrices to (..., 4) unit quaternions xyzw with w >= 0.

    Source: Shepperd 1978, the branch with the largest component of the quaternion.
    """
    if _is_tensor(matrix):
        import roma

        return roma.rotmat_to_unitquat(matrix)
    m = np.asarray(matrix, np.float64)
    x, y, z = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    square = np.stack([1 + x - y - z, 1 - x + y - z, 1 - x - y + z, 1 + x + y + z], -1)  # 4 q_i^2
    # Row i of "products" is 4 q_i q_j: dividing the row of the largest q_i by its length gives q.
    products = np.empty((*m.shape[:-2], 4, 4))
    for i in range(4):
        products[..., i, i] = square[..., i]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        products[..., i, j] = products[..., j, i] = m[..., i, j] + m[..., j, i]
        k, sign = 3 - i - j, -1.0 if (i, j) == (0, 2) else 1.0
        products[..., k, 3] = products[..., 3, k] = sign * (m[..., j, i] - m[..., i, j])
    largest = square.argmax(-1)
    q = np.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., 3:] < 0, -q, q)


def slerp(first: Rotations, second: Rotations, share: Any) -> Rotations:
    """Between (..., 4) unit quaternions xyzw on the shorter arc; share (...) 0 is the first, 1 the second."""
    if _is_tensor(first):
        import roma
        import torch

        steps = torch.as_tensor(share, dtype=first.dtype, device=first.device)
        aligned = torch.where((first * second).sum(-1, keepdim=True) < 0, -second, second)
        relative = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(first), aligned))
        return roma.quat_product(first, roma.rotvec_to_unitquat(relative * steps[..., None]))
    return interpolation.slerp(first, second, share)


def geodesic_angle(first: Rotations, second: Rotations) -> Rotations:
    """(...) radians, 0..pi, between (..., 3, 3) rotation matrices; accurate also for tiny angles."""
    if _is_tensor(first):
        import roma

        return roma.rotmat_geodesic_distance(first, second)
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    chord = np.linalg.norm(a - b, axis=(-2, -1)) / np.sqrt(8)
    return 2 * np.arcsin(np.clip(chord, 0, 1))


def project_to_so3(matrix: Rotations) -> Rotations:
    """The rotations (..., 3, 3) nearest to any matrices (..., 3, 3), in the Frobenius norm."""
    if _is_tensor(matrix):
        import roma

        return roma.special_procrustes(matrix)
    u, _, v = np.linalg.svd(np.asarray(matrix, np.float64))
    u[..., :, 2] *= np.sign(np.linalg.det(u @ v))[..., None]
    return u @ v


def skew(vector: npt.ArrayLike) -> Array:
    """(..., 3) to (..., 3, 3) matrices whose product with a vector is the cross product."""
    v = np.asarray(vector)
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)


def rodrigues_derivative(rotation: npt.ArrayLike) -> Array:
    """How a matrix changes with its axis-angle.

    Args:
        rotation: (..., 3) radians.

    Returns:
        (..., 3, 3, 3) float64: ``[..., i, :, :]`` is dR / d rotation_i, exact also at 0. Source: dR/dw_i =
        [J e_i]x R with the left Jacobian J of SO(3) (Chirikjian 2012, eq. 10.86).
    """
    w = np.asarray(rotation, np.float64)
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    cross = skew(w)
    square = angle**2
    wide = angle > 1e-2
    safe = np.where(wide, angle, 1.0)
    series = 1 / 6 - square / 120 + square**2 / 5040
    third = np.where(wide, (safe - np.sin(safe)) / safe**3, series)
    left = np.eye(3) + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross + third * (cross @ cross)
    columns = np.swapaxes(left, -1, -2)
    return np.asarray(skew(columns) @ axis_angle_to_matrix(w)[..., None, :, :])


def yaw_pitch_roll_to_matrix(angles: npt.ArrayLike) -> Array:
    """(..., 3) yaw, pitch and roll of a head in radians to (..., 3, 3): R = Ry(yaw) Rx(-pitch) Rz(-roll)."""
    yaw, pitch, roll = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    zero = np.zeros_like(yaw)
    turns = ([zero, yaw, zero], [-pitch, zero, zero], [zero, zero, -roll])
    a, b, c = (axis_angle_to_matrix(np.stack(turn, -1)) for turn in turns)
    return np.asarray(a @ b @ c)


def matrix_to_yaw_pitch_roll(matrix: npt.ArrayLike) -> Array:
    """(..., 3, 3) to (..., 3) yaw, pitch and roll in radians, pitch within -pi/2..pi/2 (see the inverse)."""
    m = np.asarray(matrix, np.float64)
    yaw = np.arctan2(m[..., 0, 2], m[..., 2, 2])
    pitch = np.arctan2(m[..., 1, 2], np.hypot(m[..., 1, 0], m[..., 1, 1]))
    roll = np.arctan2(-m[..., 1, 0], m[..., 1, 1])
    return np.stack([yaw, pitch, roll], -1)
