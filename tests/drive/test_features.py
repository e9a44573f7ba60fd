"""Mouth, lids and gaze: what opens, closes and turns in the frames."""

from __future__ import annotations

import numpy as np
import pytest

from omote.drive import Portrait
from omote.drive.puppet.stage import Stage
from omote.rigs.contours import EYE, LIPS_INNER

from .conftest import Image, Mask, Scene, draw, frame_of, stage_of, take_of, within

DARK = 70
"""sRGB; of the drawn face only pupils, irises and the lids' edges are as dark."""


def iris_at(frame: Image, eye: Mask) -> np.ndarray:
    """(2,) px x and y: centroid of what is dark in an eye."""
    weight = np.clip(120 - frame.mean(2), 0, None) * eye
    rows, columns = np.indices(weight.shape)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def test_an_open_jaw_shows_a_dark_red_inside(stage: Stage, scene: Scene) -> None:
    opened = take_of(jaw_open=0.7)
    gap = within(opened, LIPS_INNER, -1)
    assert gap.sum() > 300
    inside, before = (
        image[gap].mean(0) for image in (frame_of(stage, opened).astype(float), scene.picture.astype(float))
    )
    assert inside.mean() < 0.85 * before.mean()
    assert inside[0] / inside[1:].mean() > 1.03 * before[0] / before[1:].mean()  # and there, lips were before
    wider, narrower = (
        frame_of(stage, take_of(jaw_open=jaw))[within(take_of(jaw_open=jaw), LIPS_INNER)]
        for jaw in (0.7, 0.25)
    )
    assert len(wider) > 1.5 * len(narrower)


def test_a_smiling_photo_opens_its_jaw_further(portrait_stage: Stage, portrait: Portrait) -> None:
    source = portrait.faces[0].performance
    controls = source.controls.copy()
    controls[0, source.space.index("jaw_open")] += 0.5
    frame = frame_of(portrait_stage, source.with_(controls=controls))
    inner = portrait.faces[0].landmarks[0][[13, 14]]
    (x, y), size = inner.mean(0), np.ptp(portrait.faces[0].landmarks[0][:, 0])
    below = (slice(int(y), int(y + 0.2 * size)), slice(int(x - 0.1 * size), int(x + 0.1 * size)))
    assert frame[below].mean() < 0.9 * portrait.image[below].mean()


def test_closed_lids_hide_the_iris(stage: Stage, scene: Scene) -> None:
    frame = frame_of(stage, take_of(lid_close=1.0))
    for side in "LR":
        upper = within(take_of(), EYE[side], -1)
        upper[int(np.median(np.argwhere(upper)[:, 0])) + 1 :] = False  # the lid's edge itself is a dark line
        assert frame[upper].mean(1).min() > scene.picture[upper].mean(1).min() + 30


def test_one_lid_closes_alone(stage: Stage) -> None:
    frame, own = frame_of(stage, take_of(lid_close_L=1.0)), frame_of(stage, take_of())
    left, right = (within(take_of(), EYE[side]) for side in "LR")
    changed = np.abs(frame.astype(int) - own).mean(2)
    assert changed[left].mean() > 15
    assert changed[right].mean() < 0.5


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_iris_follows_the_gaze(stage: Stage, side: str) -> None:
    """The subject's left is the picture's right; up is towards row 0."""
    eye = within(take_of(), EYE[side])
    inner = within(take_of(), EYE[side], -1)
    left, right, up, down = (
        iris_at(frame_of(stage, take_of(**{name: value})), mask)
        for name, value, mask in (
            ("gaze_yaw", 0.7, inner),
            ("gaze_yaw", -0.7, inner),
            ("gaze_pitch", 0.7, eye),
            ("gaze_pitch", -0.7, eye),
        )
    )
    assert left[0] - right[0] > 3  # about 5 px measured
    assert down[1] - up[1] > 1  # 1.8 px measured: the lids follow


def test_eyes_that_are_closed_in_the_photo_open() -> None:
    asleep = draw(take_of(lid_close=1.0))
    stage = stage_of(asleep.picture, asleep.face)
    awake = frame_of(stage, take_of())
    for side in "LR":
        eye = within(take_of(), EYE[side], -1)
        assert np.percentile(awake[eye].mean(1), 5) < DARK  # an iris
        assert np.percentile(awake[eye].mean(1), 90) > 2 * DARK  # a white
