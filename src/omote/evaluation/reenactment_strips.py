"""Frame strips: what each method made of some frames, one row a method, the truth on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from omote.evaluation.metrics import absolute_error
from omote.evaluation.reenactment_methods import Scene
from omote.evaluation.reenactment_scene import spread

Image = NDArray[np.uint8]

COLUMNS = 6
CELL = 384
"""px, most for the long side of a cell."""
_AROUND = 3.5
_ERROR_GAIN = 4.0
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


def strip_rows(scene: Scene, images: Mapping[int, Image], *, errors: bool = False) -> Image:
    """(h, w, 3) uint8: `COLUMNS` of the compared frames side by side; below, if asked for, how far they are off.

    Small faces are shown with what is around them, not in the whole frame. The second row is the mean absolute
    difference from the truth times four, black where there is none.
    """
    frames = spread(np.array(scene.take.shots), COLUMNS)
    marks = scene.targets if scene.is_truth or images is not scene.shown else scene.take.near
    box = _around([marks[f] for f in scene.take.shots], images[frames[0]].shape)
    rows = [[_cell(images[f], box) for f in frames]]
    if errors and scene.is_truth:
        maps = [absolute_error(images[f], scene.shown[f]) * np.float32(255 * _ERROR_GAIN) for f in frames]
        grey = [np.clip(m, 0, 255).astype(np.uint8) for m in maps]
        rows.append([_cell(np.repeat(g[..., None], 3, axis=2), box) for g in grey])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def _around(faces: Sequence[NDArray[np.floating]], shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 px within an image: all faces (478, 2), with `_AROUND` times the largest one's extent."""
    points = np.concatenate(faces)
    low, high = points.min(0), points.max(0)
    extent = max(float(np.ptp(face, axis=0).max()) for face in faces)
    half = max(_AROUND * extent, 1.2 * float((high - low).max())) / 2
    (x0, y0), (x1, y1) = (low + high) / 2 - half, (low + high) / 2 + half
    return max(0, round(x0)), max(0, round(y0)), min(shape[1], round(x1)), min(shape[0], round(y1))


def _cell(image: Image, box: tuple[int, int, int, int]) -> Image:
    drawn = Pillow.fromarray(image).crop(box)
    ratio = CELL / max(drawn.size)
    size = (max(1, round(drawn.width * ratio)), max(1, round(drawn.height * ratio)))
    return np.asarray(drawn.resize(size, Pillow.Resampling.LANCZOS))


def label_strip(parts: Sequence[tuple[str, Image]]) -> Image:
    """(H, W, 3) uint8: the rows under each other, each with its name above it."""
    font = ImageFont.load_default(18)
    width = max(part.shape[1] for _, part in parts)
    height = sum(part.shape[0] + 28 for _, part in parts)
    paper = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(paper)
    top = 0
    for name, part in parts:
        draw.text((4, top + 3), name, _INK, font)
        paper.paste(Pillow.fromarray(part), (0, top + 28))
        top += part.shape[0] + 28
    return np.asarray(paper)
