"""Faces of people who stand close are put back without one covering the other."""

from __future__ import annotations

import numpy as np
import pytest

from omote.drive.liveportrait.crops import Square
from omote.drive.liveportrait.paste import Paste, paste_mask

SIDE, SIZE = 460.0, 128


def place(x: float) -> np.ndarray:
    return Square(np.array([x, 230.0]), np.array(SIDE), np.array(0.0)).to_crop(SIZE)


def faces(first: int, second: int, *, apart: float) -> np.ndarray:
    """Row 230 of an image of 100, into which two faces of one brightness each were pasted."""
    image, both = np.full((460, 1000, 3), 100, np.uint8), [place(300), place(300 + apart)]
    for index, value in enumerate((first, second)):
        paste = Paste(both[index], (1000, 460), paste_mask(SIZE), both[:index] + both[index + 1 :])
        image = paste(image, np.full((SIZE, SIZE, 3), value, np.uint8))
    return image[230, :, 0]


@pytest.mark.parametrize(("first", "second"), [(250, 100), (100, 250)])
def test_each_face_stays_on_its_side(first: int, second: int) -> None:
    row = faces(first, second, apart=240)
    middle = 420
    assert np.abs(row[200 : middle - 45].astype(int) - first).max() <= 2
    assert np.abs(row[middle + 45 : 640].astype(int) - second).max() <= 2
    steps = np.abs(np.diff(row[200:640].astype(int)))
    assert steps.max() < 20, "no seam"


def test_faces_far_apart_are_pasted_as_if_alone() -> None:
    alone = Paste(place(300), (2000, 460), paste_mask(SIZE))
    beside = Paste(place(300), (2000, 460), paste_mask(SIZE), [place(1600)])
    image, face = np.full((460, 2000, 3), 100, np.uint8), np.full((SIZE, SIZE, 3), 250, np.uint8)
    assert np.abs(alone(image, face).astype(int) - beside(image, face)).max() <= 1
