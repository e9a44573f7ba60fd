"""Implicit keypoints (arXiv 2407.03168, sections 3.1-3.3): what the motion extractor says, and where its points are.

Image axes: x right, y down, z into the image, the crop spans -1..1. Points are row vectors: a rotation is applied as
``points @ rotation``. Angles are degrees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from omote.checks import check_shape
from omote.errors import InputError

POINTS = 21
"""Implicit keypoints of a face."""
POSE_BINS = 66
"""Classes of a pose head, 3 degrees each."""
_BIN_DEGREES = 3.0
_FIRST_BIN = -97.5
"""Degrees of class 0 (face vid2vid starts at -99)."""
_TINY = 1e-6

EYE_RATIOS = {
    203: (((6, 18), (0, 12)), ((30, 42), (24, 36))),
    478: (((159, 145), (33, 133)), ((386, 374), (362, 263))),
}
"""Landmark count -> for the eye on the image's left, then right: (upper lid, lower lid), (corner, corner).

203 is the published landmark model; 478 is MediaPipe's face mesh, the nearest points (our choice).
"""
LIP_RATIOS = {203: ((90, 102), (48, 66)), 478: ((13, 14), (61, 291))}
"""Landmark count -> (upper lip, lower lip), (corner, corner), inner contour of the 478, as published of the 203."""


@dataclass(frozen=True)
class Motion:
    """Motion parameters of B frames (or one frame that broadcasts against others).

    Attributes:
        kp: (B, 21, 3) canonical keypoints x_c.
        rotation: (B, 3, 3) head rotation R for row vectors, see `rotation_matrix`.
        t: (B, 3) translation; z is part of the published format but does not move the points.
        scale: (B, 1).
        exp: (B, 21, 3) expression offsets, added before the scale and not rotated.
    """

    kp: Tensor
    rotation: Tensor
    t: Tensor
    scale: Tensor
    exp: Tensor

    def __post_init__(self) -> None:
        check_shape("kp", self.kp, "B", POINTS, 3)
        check_shape("rotation", self.rotation, "B", 3, 3)
        check_shape("t", self.t, "B", 3)
        check_shape("scale", self.scale, "B", 1)
        check_shape("exp", self.exp, "B", POINTS, 3)

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, Tensor]) -> Motion:
        """From the motion extractor's dictionary.

        Args:
            outputs: "pitch", "yaw", "roll" (B, 66) logits or (B, 1) degrees, "t" (B, 3), "scale" (B, 1), "exp" and
                "kp" (B, 63) or (B, 21, 3).
        """
        return cls(
            kp=outputs["kp"].reshape(-1, POINTS, 3),
            rotation=rotation_matrix(*(degrees(outputs[name]) for name in ("pitch", "yaw", "roll"))),
            t=outputs["t"],
            scale=outputs["scale"],
            exp=outputs["exp"].reshape(-1, POINTS, 3),
        )

    def __len__(self) -> int:
        return max(len(getattr(self, field.name)) for field in fields(self))

    def __getitem__(self, frames: slice) -> Motion:
        """A run of the frames; what is one for all stays so."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        count = len(self)
        return Motion(**{name: x[frames] if len(x) == count else x for name, x in values.items()})

    @classmethod
    def join(cls, parts: Sequence[Motion]) -> Motion:
        """One after the other in time."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def points(self) -> Tensor:
        """(B, 21, 3) keypoints in the image."""
        return transform(self.kp, self.rotation, self.exp, self.scale, self.t)


def degrees(angle: Tensor) -> Tensor:
    """(B,) degrees of a pose head: the expectation over its classes.

    Args:
        angle: (B, 66) logits; or (B,) or (B, 1) degrees, which pass through.
    """
    if angle.ndim == 2 and angle.shape[1] == POSE_BINS:
        classes = torch.arange(POSE_BINS, dtype=angle.dtype, device=angle.device)
        return (angle.softmax(1) * classes).sum(1) * _BIN_DEGREES + _FIRST_BIN
    check_shape("angle", angle.reshape(len(angle), -1), "B", 1)
    return angle.reshape(-1)


def rotation_matrix(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """(B, 3, 3) head rotation for row vectors, the transpose of Rz(roll) Ry(yaw) Rx(pitch).

    Args:
        pitch: (B,) or (B, 1) degrees about x.
        yaw: of the same shape, about y.
        roll: of the same shape, about z.
    """
    x, y, z = (torch.deg2rad(angle.reshape(-1)) for angle in (pitch, yaw, roll))
    cx, sx, cy, sy, cz, sz = x.cos(), x.sin(), y.cos(), y.sin(), z.cos(), z.sin()
    rows = (
        (cy * cz, cy * sz, -sy),
        (sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy),
        (cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def pose_angles(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pitch, yaw and roll, (B,) degrees each, of (B, 3, 3) rotations; inverse of `rotation_matrix` for |yaw| < 90."""
    check_shape("rotation", rotation, "B", 3, 3)
    pitch = torch.atan2(rotation[:, 1, 2], rotation[:, 2, 2])
    yaw = torch.atan2(-rotation[:, 0, 2], torch.hypot(rotation[:, 0, 0], rotation[:, 0, 1]))
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 0, 0])
    return torch.rad2deg(pitch), torch.rad2deg(yaw), torch.rad2deg(roll)


def transform(kp: Tensor, rotation: Tensor, exp: Tensor, scale: Tensor, t: Tensor) -> Tensor:
    """(B, 21, 3) keypoints ``scale * (kp @ rotation + exp) + (tx, ty, 0)`` (equation 2); a batch of 1 broadcasts.

    Args:
        kp: (B, 21, 3) canonical keypoints.
        rotation: (B, 3, 3).
        exp: (B, 21, 3).
        scale: (B, 1).
        t: (B, 3); its z is dropped, as published.
    """
    return scale[..., None] * (kp @ rotation + exp) + in_plane(t)[:, None]


def in_plane(t: Tensor) -> Tensor:
    """(..., 3) translations with z set to 0."""
    return torch.cat([t[..., :2], torch.zeros_like(t[..., 2:])], -1)


def eye_close_ratio(landmarks: Tensor) -> Tensor:
    """(B, 2) opening over width of the eye on the image's left, then right; free of scale and frame.

    Args:
        landmarks: (B, 203, 2) or (B, 478, 2), any unit. People's eyes lie in 0..0.57, mean 0.28 (203 points).

    Raises:
        InputError: landmarks of another kind.
    """
    pairs = EYE_RATIOS[_known(landmarks)]
    return torch.stack([_ratio(landmarks, *eye) for eye in pairs], -1)


def lip_close_ratio(landmarks: Tensor) -> Tensor:
    """(B, 1) opening over width of the lips, see `eye_close_ratio`; 0..0.67 (203 points)."""
    return _ratio(landmarks, *LIP_RATIOS[_known(landmarks)])[..., None]


def _known(landmarks: Tensor) -> int:
    count = landmarks.shape[-2] if landmarks.ndim == 3 and landmarks.shape[-1] == 2 else 0
    if count not in EYE_RATIOS:
        got = tuple(landmarks.shape)
        raise InputError(f"got shape {got}, expected (B, 203, 2) or (B, 478, 2)", where="landmarks")
    return count


def _ratio(landmarks: Tensor, opening: tuple[int, int], width: tuple[int, int]) -> Tensor:
    high, wide = (torch.linalg.norm(landmarks[:, a] - landmarks[:, b], dim=-1) for a, b in (opening, width))
    return high / (wide + _TINY)


def hull_volume(points: Tensor) -> Tensor:
    """(B,) volume of the convex hull of (B, N, 3) points, on the CPU.

    Raises:
        InputError: points that are not finite or lie in one plane.
    """
    from scipy.spatial import ConvexHull, QhullError

    check_shape("points", points, "B", "N", 3)
    try:
        volumes = [ConvexHull(frame).volume for frame in points.detach().cpu().double().numpy()]
    except (QhullError, ValueError) as error:
        raise InputError("the points span no volume or are not finite", where="keypoints") from error
    return torch.tensor(volumes, dtype=points.dtype, device=points.device)


def motion_multiplier(source: Tensor, driving: Tensor) -> Tensor:
    """(B,) by how much larger the source's face is: the square root of the ratio of the hulls' volumes.

    Args:
        source: (B, 21, 3) keypoints x_s.
        driving: (B, 21, 3) keypoints of the first driving frame.
    """
    return (hull_volume(source) / hull_volume(driving)).sqrt()
