"""The squares that LivePortrait's networks look at: around a face, upright or turned with it.

Coordinates are pixels as the published code counts them: the centre of the first pixel is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.checks import check_shape
from omote.errors import InputError

Array = NDArray[Any]

FACE_SIZE = 512
"""Side of a crop, and of the face that the published networks draw, px."""
NETWORK_SIZE = 256
"""Side of what the published networks look at, px."""
_MIN_LENGTH = 1e-3

# Landmark count -> points whose mean is the image-left eye, the image-right eye and the lips.
_ANCHORS: dict[int, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    5: ((0,), (1,), (3, 4)),
    9: ((2, 3), (0, 1), (5, 6)),  # animals
    68: ((36, 39), (42, 45), (48, 54)),
    101: ((39, 42, 45, 48), (51, 54, 57, 60), (75, 81)),
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
    478: ((468,), (473,), (14,)),  # MediaPipe
}


@dataclass(frozen=True)
class Placement:
    """Where a square lies about a face.

    Attributes:
        scale: its side, in sides of the landmarks' own square.
        vx: shift along the face's x axis, in sides.
        vy: shift along the face's y axis (towards the chin), in sides.
    """

    scale: float
    vx: float = 0.0
    vy: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.scale, self.vx, self.vy]).all() and self.scale > 0):
            what = f"got scale {self.scale}, vx {self.vx}, vy {self.vy}"
            raise InputError(what, where="crop", remedy="Give finite numbers and a scale above 0.")


SOURCE = Placement(2.3, vy=-0.125)
"""A source, rotated with the face; 512 px."""
EDIT = Placement(2.5, vy=-0.125)
"""A photo that is edited by sliders, rotated; 512 px."""
DRIVER = Placement(2.2, vy=-0.1)
"""A driving video, not rotated; 512 px."""
LANDMARKS = Placement(1.5, vy=-0.1)
"""What the published landmark model looks at, rotated; 224 px."""


@dataclass(frozen=True)
class Sizes:
    """Sides of the square pictures that networks work on, px; by default those of the published ones.

    Attributes:
        seen: what F and M look at.
        made: what G draws.
    """

    seen: int = NETWORK_SIZE
    made: int = FACE_SIZE

    @property
    def cut(self) -> int:
        """What is cut out of pictures, to be looked at: no smaller than the published crop."""
        return max(FACE_SIZE, self.made)

    def to_face(self, to_crop: Array) -> NDArray[np.float32]:
        """(..., 3, 3) maps from image to crop pixels, as maps to the pixels of the drawn face."""
        share = self.made / self.cut
        middle = 0.5 * share - 0.5  # pixels are counted from the middle of the first one
        scale = np.array([[share, 0, middle], [0, share, middle], [0, 0, 1]])
        matrix: NDArray[np.float32] = (scale @ to_crop).astype(np.float32)
        return matrix


@dataclass(frozen=True)
class Square:
    """Squares in an image, one a frame (``...`` leading axes, or none).

    Attributes:
        centre: (..., 2) px.
        side: (...) px.
        angle: (...) radians by which the x axis is turned, from image x towards image y.
    """

    centre: Array
    side: Array
    angle: Array

    def at(self, frames: Array) -> Square:
        """The squares of some of the frames (N,), in any order."""
        return Square(self.centre[frames], self.side[frames], self.angle[frames])

    def scaled(self, factor: float) -> Square:
        """The same squares in an image that is so many times as large."""
        # Pixels are counted from the middle of the first one, images grow from their corner.
        return replace(self, centre=(self.centre + 0.5) * factor - 0.5, side=self.side * factor)

    def upright(self) -> Square:
        """The same squares not turned."""
        return replace(self, angle=np.zeros_like(self.angle))

    def corners(self) -> Array:
        """(..., 4, 2) px: upper left, upper right, lower right, lower left, each as seen in the square."""
        half = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        return self.centre[..., None, :] + self.side[..., None, None] * half @ _turn(-self.angle)

    def box(self) -> Array:
        """(..., 4) left, top, right, bottom of the squares not turned, px."""
        half = self.side[..., None] / 2
        return np.concatenate([self.centre - half, self.centre + half], -1)

    def to_crop(self, size: int = FACE_SIZE) -> NDArray[np.float32]:
        """(..., 3, 3) maps from image to crop pixels; their inverse is `np.linalg.inv`.

        Args:
            size: of the crop, px.
        """
        linear = (size / self.side)[..., None, None] * _turn(-self.angle)
        matrix = np.zeros((*self.side.shape, 3, 3))
        matrix[..., :2, :2] = linear
        matrix[..., :2, 2] = size / 2 - (linear @ self.centre[..., None])[..., 0]
        matrix[..., 2, 2] = 1
        return matrix.astype(np.float32)


def _turn(angle: Array) -> Array:
    """(..., 2, 2) rotation of column vectors."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def face_square(landmarks: Array, placement: Placement, *, use_lips: bool = True) -> Square:
    """The square about each face, turned with it.

    Its size and centre come from all landmarks, its angle from the line between eyes and lips.

    Args:
        landmarks: (..., N, 2) px; N is 203, 106, 101, 68, 5, 9 (animals) or 478 (MediaPipe), or any other number above
            101 of which the first 101 are used for the angle.
        placement: size and shift.
        use_lips: otherwise the angle comes from the eyes alone.

    Raises:
        InputError: landmarks of another kind, not finite, or in one point.
    """
    points = np.asarray(landmarks, np.float64)
    if points.ndim < 2 or points.shape[-1] != 2 or not np.isfinite(points).all():
        raise InputError(f"got shape {points.shape}, expected finite (..., N, 2)", where="landmarks")
    left, right, lips = _anchors(points)
    if use_lips:
        down = lips - (left + right) / 2
    else:
        across = right - left
        down = np.stack([-across[..., 1], across[..., 0]], -1)
    length = np.linalg.norm(down, axis=-1, keepdims=True)
    y = np.where(length > _MIN_LENGTH, down / np.maximum(length, _MIN_LENGTH), [0.0, 1.0])
    x = np.stack([y[..., 1], -y[..., 0]], -1)
    axes = np.stack([x, y], -1)  # columns

    mean = points.mean(-2)
    turned = (points - mean[..., None, :]) @ axes
    low, high = turned.min(-2), turned.max(-2)
    side = placement.scale * (high - low).max(-1)
    if not (side > 0).all():
        raise InputError("the landmarks lie in one point", where="landmarks")
    shift = (low + high) / 2 + side[..., None] * (placement.vx, placement.vy)
    centre = mean + (axes @ shift[..., None])[..., 0]
    return Square(centre, side, np.arctan2(x[..., 1], x[..., 0]))


def _anchors(points: Array) -> tuple[Array, Array, Array]:
    """(..., 2) each: left eye, right eye, lips."""
    count = points.shape[-2]
    known = count if count in _ANCHORS else 101
    if count < known:
        kinds = ", ".join(str(n) for n in sorted(_ANCHORS))
        raise InputError(f"got {count} landmarks", where="landmarks", remedy=f"Give one of {kinds}.")
    left, right, lips = (points[..., list(group), :].mean(-2) for group in _ANCHORS[known])
    return left, right, lips


def driving_box(landmarks: Array, placement: Placement = DRIVER) -> Array:
    """(4,) left, top, right, bottom px: the one box a driving video is cropped by, the mean over its frames.

    Args:
        landmarks: (T, N, 2) px of the frames.
        placement: size and shift.
    """
    check_shape("landmarks", landmarks, "T", "N", 2)
    mean: Array = face_square(landmarks, placement).box().mean(0)
    return mean


def box_to_crop(box: Array, size: int = FACE_SIZE) -> NDArray[np.float32]:
    """(..., 3, 3) maps from image to crop pixels.

    Args:
        box: (..., 4) left, top, right, bottom px; a square.
        size: of the crop, px.
    """
    box = np.asarray(box, np.float64)
    check_shape("box", box, "...", 4)
    low, high = box[..., :2], box[..., 2:]
    side = (high - low).max(-1)
    if not (np.isfinite(box).all() and (side > 0).all()):
        raise InputError(f"got {box.tolist()}, expected left, top, right, bottom", where="crop box")
    return Square((low + high) / 2, side, np.zeros_like(side)).to_crop(size)


def to_points(matrix: Array, points: Array) -> Array:
    """(..., N, 2) points through (..., 3, 3) or (..., 2, 3) affine maps."""
    mapped: Array = points @ np.swapaxes(matrix[..., :2, :2], -1, -2) + matrix[..., None, :2, 2]
    return mapped


def crop_image(image: NDArray[np.uint8], matrix: Array, size: int = FACE_SIZE) -> NDArray[np.uint8]:
    """(size, size, 3) the image through a map from `Square.to_crop`: bilinear, black outside.

    Args:
        image: (H, W, 3) uint8.
        matrix: (3, 3).
        size: px.
    """
    import cv2

    warped = cv2.warpAffine(image, np.asarray(matrix[:2], np.float32), (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8)


def reduction(size: tuple[int, int], longest: int) -> float:
    """By what factor an image of (width, height) px is made smaller so that its longer side is ``longest``; 0: not."""
    return longest / max(size) if 0 < longest < max(size) else 1.0


def limit_size(image: NDArray[np.uint8], longest: int = 1280, division: int = 2) -> NDArray[np.uint8]:
    """The image at most ``longest`` px long, its right and lower edges cut so that ``division`` divides both sides.

    Args:
        image: (H, W, 3) uint8.
        longest: px; 0 leaves the size.
        division: px, at least 1.

    Raises:
        InputError: an image smaller than that.
    """
    import cv2

    height, width = image.shape[:2]
    if min(height, width) < max(2, division) or division < 1:
        what = f"got {width} x {height} px to be divided by {division}"
        raise InputError(what, where="image", remedy="Give a larger image.")
    factor = reduction((width, height), longest)
    if factor < 1:
        sides = (longest, int(height * factor)) if width >= height else (int(width * factor), longest)
        image = np.asarray(cv2.resize(image, (max(division, sides[0]), max(division, sides[1]))), np.uint8)
        height, width = image.shape[:2]
    return image[: height - height % division, : width - width % division]


def network_image(picture: NDArray[np.uint8], *, area: bool, size: int = NETWORK_SIZE) -> NDArray[np.uint8]:
    """(size, size, 3) what the networks look at, whatever the picture's aspect.

    Args:
        picture: (H, W, 3) uint8 crop of a source, or frame or crop of a driver.
        area: mean over areas, as published of sources; otherwise bilinear, as of drivers, unless the networks see less
            than the published ones do: then that would pass over pixels.
        size: px.
    """
    import cv2

    how = cv2.INTER_AREA if area or size < NETWORK_SIZE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (size, size), interpolation=how), np.uint8)
