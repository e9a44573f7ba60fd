"""An animated face put back into its image, under a mask with a soft edge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.checks import check_shape
from omote.drive.liveportrait.crops import FACE_SIZE, to_points
from omote.errors import InputError

Array = NDArray[Any]

_FEATHER = 16
"""Pixels of the published crop over which its mask fades, beside its edge."""
_BETWEEN = 0.02
"""Over about so much of a crop's side one face gives way to the next."""


@cache
def paste_mask(size: int = FACE_SIZE) -> NDArray[np.uint8]:
    """(size, size) the published mask, for faces of any size: 255 inside, fading to 0 at the crop's edge."""
    feather = size * _FEATHER / FACE_SIZE
    index = np.arange(size, dtype=np.float64)
    outside = np.maximum(np.maximum(feather - index, index - (size - feather)), 0)
    distance = np.hypot(outside[:, None], outside[None])
    mask = np.floor(255 * np.maximum(0, 1 - distance / feather)).astype(np.uint8)
    mask.setflags(write=False)
    return mask


def to_bytes(faces: Array) -> NDArray[np.uint8]:
    """Pictures of 0..1 as uint8 of the same shape, cut off rather than rounded, as published."""
    return (np.clip(faces, 0, 1) * 255).astype(np.uint8)


class Paste:
    """One place of an image that faces are pasted into; what does not depend on the face is made once."""

    def __init__(
        self,
        to_crop: Array,
        image_size: tuple[int, int],
        mask: NDArray[np.uint8] | None = None,
        beside: Sequence[Array] = (),
    ) -> None:
        """Lay the mask into the image.

        Args:
            to_crop: (3, 3) map from image to crop pixels, see `omote.drive.liveportrait.crops.Square.to_crop`.
            image_size: width and height, px.
            mask: (S, S) uint8 of the crop; the published one if None.
            beside: maps (3, 3) of other faces of the image, whose crops overlap this one where people stand close: each
                place belongs to the face that it is nearer to, in sides of its crop.
        """
        mask = paste_mask() if mask is None else mask
        if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
            raise InputError(f"got shape {mask.shape}, expected (S, S)", where="paste mask")
        self._size = mask.shape[0]
        to_image = np.linalg.inv(np.asarray(to_crop, np.float64))
        edge = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * self._size
        seen = to_points(to_image, edge - 0.5)
        limits = np.array(image_size)
        low = np.clip(np.floor(seen.min(0)) - 1, 0, limits).astype(int)
        high = np.clip(np.ceil(seen.max(0)) + 2, 0, limits).astype(int)
        self._where = (slice(low[1], high[1]), slice(low[0], high[0]))
        self._shape = (int(high[0] - low[0]), int(high[1] - low[1]))
        self._to_place = to_image[:2].copy()
        self._to_place[:, 2] -= low
        self._weight = (
            self._warp(mask)[..., None].astype(np.float32) / 255
            if min(self._shape)
            else np.zeros((0, 0, 1), np.float32)
        )
        near = [other for other in beside if min(self._shape) and self._meets(other, low, high)]
        if near:
            own = self._distance(to_crop, low)
            for other in near:
                away = self._distance(other, low) - own
                self._weight /= 1 + np.exp(np.clip(-away / _BETWEEN, -80, 80))[..., None]

    def _meets(self, other: Array, low: Array, high: Array) -> bool:
        """Whether another crop reaches into this place."""
        edge = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * self._size - 0.5
        seen = to_points(np.linalg.inv(np.asarray(other, np.float64)), edge)
        return bool((seen.min(0) < high).all() and (seen.max(0) > low).all())

    def _distance(self, to_crop: Array, low: Array) -> NDArray[np.float32]:
        """(h, w) how far each pixel of the place is from the middle of a crop, in sides of it."""
        columns, rows = np.meshgrid(np.arange(self._shape[0]) + low[0], np.arange(self._shape[1]) + low[1])
        crop = to_points(np.asarray(to_crop, np.float64), np.stack([columns, rows], -1).reshape(-1, 2))
        off = np.linalg.norm(crop - (self._size - 1) / 2, axis=1) / self._size
        return np.asarray(off, np.float32).reshape(rows.shape)

    def _warp(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        import cv2

        return np.asarray(
            cv2.warpAffine(picture, self._to_place, self._shape, flags=cv2.INTER_LINEAR), np.uint8
        )

    def __call__(self, image: NDArray[np.uint8], face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of the image with the face in it.

        Args:
            image: (H, W, 3) uint8 of the size given before.
            face: (S, S, 3) uint8, the animated crop.
        """
        check_shape("face", face, self._size, self._size, 3)
        result = image.copy()
        if min(self._shape):  # else the square lies outside the image
            under = result[self._where]
            mixed = self._weight * self._warp(face) + (1 - self._weight) * under
            result[self._where] = np.clip(mixed, 0, 255).astype(np.uint8)
        return result
