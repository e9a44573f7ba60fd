"""What the inversion network looks at: an upright face of standard size, and both eyes in full resolution.

The crops come from landmarks that expressions hardly move (eye corners and the base of the nose). In normal maps
the vectors are turned together with the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from omote.checks import check_shape
from omote.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

FACE_SPAN = 0.200
"""Metres of an average head that the face crop spans: from the hairline to below an open jaw."""
EYE_SPAN = 0.052
"""Metres of an average head that the width of an eye crop spans."""
FLAT = (128, 128, 255)
"""The encoded normal of nothing: facing the camera."""
BLANK = (127, 127, 127)

# Landmark -> (x, y) of the average head, metres, head space: x to the subject's left, y up from between the eyes.
_ANCHORS = {
    33: (-0.0451, -0.0016),
    133: (-0.0171, -0.0035),
    362: (0.0171, -0.0035),
    263: (0.0451, -0.0016),
    168: (0.0, 0.0016),
    2: (0.0, -0.0505),
    98: (-0.0158, -0.0479),
    327: (0.0158, -0.0479),
}
_TOP = 0.052  # metres above the eyes
_EYES = ((362, 263), (33, 133))  # corners of the subject's left and right eye


class CropConfig(Protocol):
    """The part of `omote.models.inversion.InversionConfig` that decides the crops."""

    @property
    def align(self) -> str:
        """Either "face" (from landmarks) or "center" (the largest centred square, as published)."""

    @property
    def size(self) -> int:
        """Side of the face crop, px."""

    @property
    def eye_size(self) -> tuple[int, int]:
        """Width and height of an eye crop, px."""


class Crops(NamedTuple):
    """Affine maps from image to crop pixels, continuous coordinates: face (2, 3), eyes (2, 2, 3).

    The subject's left eye comes first; the right eye's map mirrors, so that both look like left eyes.
    """

    face: np.ndarray
    eyes: np.ndarray


def head_similarity(landmarks: np.ndarray) -> np.ndarray:
    """(2, 3) map from the average head's frontal plane (metres, x left, y up) to image pixels, without reflection.

    Args:
        landmarks: (478, 2) MediaPipe landmarks, px.

    Raises:
        InputError: landmarks that are not finite or lie in one point.
    """
    check_shape("landmarks", landmarks, 478, 2)
    image = np.asarray(landmarks, np.float64)[list(_ANCHORS)]
    head = np.array(list(_ANCHORS.values())) * (
        1,
        -1,
    )  # y down, as in the image; x left is x right in the image
    centre, middle = head.mean(0), image.mean(0)
    a, b = head - centre, image - middle
    power = (a * a).sum()
    cos, sin = (a * b).sum() / power, (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / power
    if not np.isfinite(cos + sin) or np.hypot(cos, sin) < 1.0:  # less than 1 px a metre
        raise InputError("the landmarks of the face lie in one point or are not finite", where="face crop")
    turn = np.array([[cos, -sin], [sin, cos]])
    linear = turn * (1, -1)  # columns for (x left, y up)
    return np.column_stack([linear, middle - turn @ centre])


def crops(config: CropConfig, landmarks: np.ndarray | None, image_size: tuple[int, int]) -> Crops:
    """Where the network looks in an image.

    Args:
        config: how the network was trained.
        landmarks: (478, 2) px; with "center" they only place the eyes and may be None (the whole picture's middle).
        image_size: (w, h) px.
    """
    if config.align == "face":
        if landmarks is None:
            raise InputError("the network needs landmarks of the face", where="face crop")
        face = _inverse(head_similarity(landmarks), (-FACE_SPAN / 2, _TOP), config.size / FACE_SPAN)
    else:
        width, height = image_size
        side = min(width, height)
        scale = config.size / side
        face = np.array([[scale, 0, -scale * (width - side) / 2], [0, scale, -scale * (height - side) / 2]])
    return Crops(face, _eye_maps(landmarks, config, image_size))


def _eye_maps(landmarks: np.ndarray | None, config: CropConfig, image_size: tuple[int, int]) -> np.ndarray:
    width, height = config.eye_size
    if landmarks is None:  # where the eyes are in a centred portrait
        side = min(image_size)
        head = np.array([[side / 0.3, 0, image_size[0] / 2], [0, -side / 0.3, 0.4 * image_size[1]]])
        centres = np.array([[0.0311, -0.0025], [-0.0311, -0.0025]])
    else:
        head = head_similarity(landmarks)
        middles = np.array([np.asarray(landmarks, np.float64)[list(corners)].mean(0) for corners in _EYES])
        centres = (middles - head[:, 2]) @ np.linalg.inv(head[:, :2]).T
    scale = width / EYE_SPAN
    maps = []
    for side_index, centre in enumerate(centres):
        corner = (centre[0] - EYE_SPAN / 2, centre[1] + EYE_SPAN * height / width / 2)
        eye = _inverse(head, corner, scale)
        maps.append(eye if side_index == 0 else np.array([[-1, 0, width], [0, 1, 0]]) @ _homogeneous(eye))
    return np.stack(maps)


def _homogeneous(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 1]])


def _inverse(head: np.ndarray, corner: tuple[float, float], scale: float) -> np.ndarray:
    """(2, 3) image px to crop px; the crop's upper left lies at ``corner`` (metres), ``scale`` px a metre."""
    to_crop = np.array([[scale, 0, -scale * corner[0]], [0, -scale, scale * corner[1]]])
    result: np.ndarray = to_crop @ np.linalg.inv(_homogeneous(head))
    return result


def warp(
    picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int], fill: Sequence[int] = BLANK
) -> np.ndarray:
    """Resample (H, W, 3) uint8 by an affine map of continuous pixel coordinates to (h, w, 3); smooth when shrinking."""
    import cv2

    shrink = 1 / max(1e-6, float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))))
    if shrink > 1.5:  # bilinear sampling would alias: blur first, over the part that is seen
        picture = cv2.GaussianBlur(picture, (0, 0), 0.35 * shrink)
    centred = matrix.copy()  # cv2 puts pixel centres at integers
    centred[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    warped: np.ndarray = cv2.warpAffine(
        picture,
        centred,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=tuple(fill),
    )
    return warped


def warp_normals(picture: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`warp` for an encoded normal map: the vectors turn (and mirror) with the picture."""
    warped = warp(picture, matrix, size, FLAT)
    turn = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if np.abs(turn - np.eye(2)).max() < 0.01:
        return warped
    flip = np.array([[1.0, -1.0], [-1.0, 1.0]])  # picture y points down, normal y up
    values = warped[..., :2].astype(np.float32) - 127.5
    turned = values @ (turn * flip).T.astype(np.float32) + 127.5
    return np.concatenate([np.rint(np.clip(turned, 0, 255)).astype(np.uint8), warped[..., 2:]], -1)


def network_images(
    config: CropConfig,
    rgb: np.ndarray | None,
    normal: np.ndarray | None,
    landmarks: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Crop what there is for the network.

    Args:
        config: sizes and alignment.
        rgb: (H, W, 3) uint8 sRGB, or None.
        normal: (H, W, 3) uint8 encoded camera-space normals of the same view, or None.
        landmarks: (478, 2) px, or None where ``config.align`` is "center".

    Returns:
        "rgb", "normal" (size, size, 3) and "eyes_rgb", "eyes_normal" (2, h, w, 3), uint8, of what was given.

    Raises:
        InputError: neither picture, pictures of different size, or no landmarks where they are needed.
    """
    pictures = [p for p in (rgb, normal) if p is not None]
    if not pictures:
        raise InputError("an image or a normal map is needed", where="face crop")
    height, width = pictures[0].shape[:2]
    if rgb is not None and normal is not None and normal.shape != rgb.shape:
        what = f"the normal map is {normal.shape[1]} × {normal.shape[0]} px, the image {width} × {height}"
        raise InputError(what, remedy="Render both from the same camera at the same size.")
    where = crops(config, landmarks, (width, height))
    square = (config.size, config.size)
    result = {}
    if rgb is not None:
        result["rgb"] = warp(rgb, where.face, square, BLANK)
        result["eyes_rgb"] = np.stack([warp(rgb, eye, config.eye_size, BLANK) for eye in where.eyes])
    if normal is not None:
        result["normal"] = warp_normals(normal, where.face, square)
        result["eyes_normal"] = np.stack([warp_normals(normal, eye, config.eye_size) for eye in where.eyes])
    return result


def to_tensors(samples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Tensor]:
    """Batch crops for the network: ImageNet statistics, channels first.

    Returns:
        "rgb", "normal" (B, 3, S, S), "eyes_rgb", "eyes_normal" (B, 2, 3, h, w), float32; only those that every sample
        has.
    """
    import torch

    from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD

    result: dict[str, Any] = {}
    mean, std = (255 * torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    for name in ("rgb", "normal", "eyes_rgb", "eyes_normal"):
        if all(name in sample for sample in samples):
            stacked = torch.from_numpy(np.stack([sample[name] for sample in samples]))
            channels_first = stacked.movedim(-1, -3).contiguous()  # while a value is one byte
            result[name] = channels_first.float().sub_(mean).div_(std)
    return result
