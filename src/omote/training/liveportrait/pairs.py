"""What LivePortrait is shown: two frames of one clip, of one person, alike but for motion.

From a video two frames are drawn. A still image is a clip of one frame, as published (arXiv 2407.03168, §3.2); how its
driver is made is not: ours is the same image, shifted, scaled and turned. Mirroring and colour jitter are face
vid2vid's; both frames get the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.errors import OmoteError
from omote.models.liveportrait.keypoints import pose_angles, rotation_matrix
from omote.training.datasets.clips import Clip, ClipFrame

Chance = np.random.Generator

_JITTER = 0.1
_SHIFT, _SCALE, _TURN = 0.08, 0.1, 10.0  # of a still image's driver: of half its side, logarithm, degrees


class PairSet(torch.utils.data.Dataset[Any]):
    """The pairs of one pass; each depends on seed, pass and position alone.

    Args:
        clips: to draw from.
        repeats: pairs of each clip in a pass.
        epoch: number of the pass.
        seed: of all choices.
    """

    def __init__(self, clips: Sequence[Clip], repeats: int, epoch: int, seed: int) -> None:
        self.clips, self.epoch, self.seed = list(clips), epoch, seed
        order = np.random.default_rng([seed, epoch, 1 << 40]).permutation(len(self.clips) * repeats)
        self.order = order % len(self.clips)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any] | OmoteError:
        """A pair; what goes wrong travels as a value, so that a worker process does not wrap it."""
        clip = self.clips[self.order[position]]
        try:
            return draw_pair(clip, np.random.default_rng([self.seed, self.epoch, position]))
        except OmoteError as error:
            return error


def draw_pair(clip: Clip, rng: Chance) -> dict[str, Any]:
    """Two frames of a clip, varied; see `to_batch`."""
    if clip.count > 1:
        first, second = (int(n) for n in rng.choice(clip.count, 2, replace=False))
        source, driver = clip.frame(first), clip.frame(second)
    else:
        source = clip.frame(0)
        driver = moved(source, *_similarity(rng))
        if rng.random() < 0.5:
            source, driver = driver, source
    if rng.random() < 0.5:
        source, driver = mirrored(source), mirrored(driver)
    change = rng.uniform(-_JITTER, _JITTER, 4)
    return pair_of(*(_recoloured(frame, change) for frame in (source, driver)))


def held_out_pairs(clips: Sequence[Clip], count: int) -> Iterator[dict[str, Any]]:
    """At most ``count`` pairs, the same each time: each clip's first frame is driven by later ones, spread evenly.

    The next frame, which hardly differs, is among them only where all are.

    Args:
        clips: those held out; one-frame clips are moved by a fixed similarity.
        count: pairs.
    """
    each = max(1, -(-count // max(len(clips), 1)))
    made = 0
    for clip in clips:
        source = clip.frame(0)
        last = clip.count - 1
        later = np.unique(np.linspace(0, last, min(each, last) + 1).round().astype(int))[1:] if last else [0]
        for index in later:
            driver = clip.frame(int(index)) if index else moved(source, 0.08, -0.05, 1.08, 6.0)
            if made == count:
                return
            made += 1
            yield pair_of(source, driver)


def pair_of(source: ClipFrame, driver: ClipFrame) -> dict[str, Any]:
    """Two frames as plain arrays by name."""
    return {
        f"{who}{what}": getattr(frame, name)
        for who, frame in (("source", source), ("driver", driver))
        for what, name in (("", "picture"), ("_marks", "landmarks"), ("_angles", "angles"))
    }


def to_batch(pairs: Sequence[dict[str, Any] | OmoteError]) -> dict[str, Tensor]:
    """Many pairs: ``source`` and ``driver`` (B, 3, S, S) uint8, ``*_marks`` (B, 478, 2), ``*_angles`` (B, 3).

    Raises:
        OmoteError: one of them could not be read.
    """
    sound: list[dict[str, Any]] = []
    for pair in pairs:
        if isinstance(pair, OmoteError):
            raise pair
        sound.append(pair)
    batch = {name: torch.from_numpy(np.stack([pair[name] for pair in sound])) for name in sound[0]}
    for who in ("source", "driver"):
        batch[who] = batch[who].permute(0, 3, 1, 2).contiguous()
    return batch


def mirrored(frame: ClipFrame) -> ClipFrame:
    """The frame in a mirror: landmarks keep their meaning, seen from the image's left."""
    marks = frame.landmarks[_permutation()] * np.array([-1, 1], np.float32)
    angles = frame.angles * np.array([1, -1, -1], np.float32)
    return ClipFrame(np.ascontiguousarray(frame.picture[:, ::-1]), marks, angles)


def moved(frame: ClipFrame, right: float, down: float, scale: float, turn: float) -> ClipFrame:
    """The frame shifted (half sides), scaled and turned (degrees, x towards y) about its middle; edges mirrored."""
    import cv2

    size = len(frame.picture)
    cos, sin = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    linear, shift = np.array([[cos, -sin], [sin, cos]]), np.array([right, down])
    middle = (size - 1) / 2
    matrix = np.column_stack([linear, middle - linear @ [middle, middle] + shift * size / 2])
    picture = cv2.warpAffine(
        frame.picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    marks = (frame.landmarks @ linear.T + shift).astype(np.float32)
    angles = frame.angles
    if np.isfinite(angles).all():
        pitch, yaw, roll = torch.from_numpy(angles.astype(np.float64))[:, None]
        zero = torch.zeros(1, dtype=torch.float64)
        whole = rotation_matrix(pitch, yaw, roll) @ rotation_matrix(zero, zero, zero + turn)
        angles = np.array([float(angle) for angle in pose_angles(whole)], np.float32)
    return ClipFrame(np.asarray(picture, np.uint8), marks, angles)


def _similarity(rng: Chance) -> tuple[float, float, float, float]:
    right, down = np.clip(rng.normal(0, _SHIFT, 2), -2 * _SHIFT, 2 * _SHIFT)
    return float(right), float(down), float(np.exp(rng.normal(0, _SCALE))), float(rng.normal(0, _TURN))


def _recoloured(frame: ClipFrame, change: NDArray[np.float64]) -> ClipFrame:
    """Brightness, contrast, saturation and hue changed by shares; hue is a share of the circle."""
    import cv2

    bright, contrast, saturation, hue = change
    picture = frame.picture.astype(np.float32) * np.float32((1 + bright) / 255)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    picture = (picture - grey.mean()) * np.float32(1 + contrast) + grey.mean()
    picture = grey[..., None] + (picture - grey[..., None]) * np.float32(1 + saturation)
    hsv = cv2.cvtColor(np.clip(picture, 0, 1), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    back = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return ClipFrame(np.rint(np.clip(back, 0, 1) * 255).astype(np.uint8), frame.landmarks, frame.angles)


@cache
def _permutation() -> NDArray[np.int64]:
    from omote.capture.landmarker import mirror_permutation

    return mirror_permutation()


def resolved(folders: Sequence[Path]) -> list[str]:
    """Folders as a resumption compares them."""
    return [str(Path(folder).resolve()) for folder in folders]
