"""Clips and a preset small enough for tests: a disc with darker eyes and lips that moves over a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tests.models import small_liveportrait

from omote.capture.landmarker import canonical_vertices
from omote.models.liveportrait.discriminators import DiscriminatorConfig
from omote.training.datasets.clips import Clip, ClipFrame, write_clip
from omote.training.liveportrait.losses import SMALL_WEIGHTS
from omote.training.liveportrait.options import Preset

TINY = Preset(
    small_liveportrait.TINY,
    discriminators={
        "whole": DiscriminatorConfig(4, 3),
        "face": DiscriminatorConfig(4, 3),
        "lip": DiscriminatorConfig(4, 2),
    },
    weights=SMALL_WEIGHTS,
    adversarial_start=0,
    batch=4,
)


def face_marks(right: float = 0.0, down: float = 0.0, scale: float = 0.4) -> np.ndarray:
    """(478, 2) landmarks of a frontal face, -1..1."""
    shape = canonical_vertices()[:, :2] * np.array([1, -1], np.float32)
    shape = (shape - shape.mean(0)) / np.abs(shape).max()
    irises = np.repeat([shape[[33, 133]].mean(0), shape[[362, 263]].mean(0)], 5, 0)
    whole: np.ndarray = scale * np.concatenate([shape, irises]) + np.array([right, down])
    return whole.astype(np.float32)


def frame(rng: np.random.Generator, size: int = 64) -> ClipFrame:
    """One frame: landmarks, and a picture with darker spots at eyes and lips."""
    marks = face_marks(*rng.uniform(-0.2, 0.2, 2))
    axis = (2 * np.arange(size) + 1) / size - 1
    x, y = np.meshgrid(axis, axis)
    picture = np.stack([0.5 + 0.3 * x, 0.5 + 0.3 * y, np.full_like(x, 0.4)], -1)
    for index, radius, shade in ((1, 0.45, 0.9), (468, 0.07, 0.1), (473, 0.07, 0.1), (13, 0.1, 0.3)):
        near = np.hypot(x - marks[index, 0], y - marks[index, 1]) < radius
        picture[near] = shade
    angles = rng.normal(0, 10, 3).astype(np.float32)
    return ClipFrame(np.rint(picture * 255).astype(np.uint8), marks, angles)


def make_clips(folder: Path, count: int = 4, frames: int = 3, size: int = 64) -> list[Clip]:
    """Clips of as many people."""
    folder.mkdir(exist_ok=True, parents=True)

    def shown(index: int) -> Iterator[ClipFrame]:
        rng = np.random.default_rng(index)
        for _ in range(frames):
            yield frame(rng, size)

    return [write_clip(folder / f"{k}.clip", shown(k), f"person {k}") for k in range(count)]
