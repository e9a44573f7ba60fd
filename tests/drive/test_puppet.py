"""Whole frames of the puppet: against the rig's own pictures, and by what must not change them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from omote.drive import Portrait, engine_by_name
from omote.drive.puppet.stage import Stage
from omote.errors import InputError
from omote.performance import Performance
from omote.rigs.contours import EYE, LIPS_OUTER, OVAL

from .conftest import (
    SIZE,
    Image,
    Scene,
    draw,
    fit_of,
    frame_of,
    frames_of,
    joined,
    marks_of,
    psnr,
    stage_of,
    take_of,
    within,
)

MIXED: dict[str, Any] = {
    "turn": (0.05, 0.15, 0.1),
    "jaw_open": 0.4,
    "corner_pull_L": 0.6,
    "lid_close_R": 0.7,
    "gaze_yaw": 0.5,
}
"""Nothing in it is symmetric."""


# --- the photo itself ---------------------------------------------------------------------------------------------


def test_its_own_pose_is_the_photo(stage: Stage, scene: Scene) -> None:
    frame = frame_of(stage, scene.take)
    assert frame.shape == scene.picture.shape
    assert frame.dtype == np.uint8
    assert psnr(frame, scene.picture) > 45  # 53.7 measured
    assert (frame == scene.picture)[~scene.mask].all()


def test_a_real_photo_in_its_own_pose_is_the_photo(portrait_stage: Stage, portrait: Portrait) -> None:
    frame = frame_of(portrait_stage, portrait.faces[0].performance)
    assert psnr(frame, portrait.image) > 42  # 47.9 measured


def test_nothing_changes_far_from_the_head(portrait_stage: Stage, portrait: Portrait) -> None:
    face = portrait.faces[0]
    turned = face.performance.with_(
        head_rotation=face.performance.head_rotation + np.array([[0.0, 0.1, 0.0]], np.float32)
    )
    frame = frame_of(portrait_stage, turned)
    marks = face.landmarks[0]
    x, y = np.meshgrid(*(np.arange(n) for n in portrait.image.shape[1::-1]))
    away = np.hypot(x - marks[:, 0].mean(), y - marks[:, 1].mean()) / np.ptp(marks[:, 1])
    changed = np.abs(frame.astype(int) - portrait.image).max(2)
    assert (changed[away > 2.2] == 0).all()
    assert changed[away < 0.5].max() > 60


# --- against the truth --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "pose"),
    [  # dB over the photo as it is, in the face: some two thirds of what was measured
        (5, {"turn": (0.0, 0.25, 0.0)}),
        (5, {"turn": (0.0, -0.25, 0.0)}),
        (7, {"turn": (0.15, 0.0, 0.0)}),
        (7, {"turn": (-0.15, 0.0, 0.0)}),
        (9, {"turn": (0.0, 0.0, 0.2)}),
        (12, {"place": (0.03, 0.03, -0.58)}),
        (8, {"corner_pull": 0.8, "cheek_raise": 0.5}),
        (8, {"brow_inner_up": 1.0, "brow_outer_up": 1.0}),
        (4, {"lid_close": 1.0}),
        (5, {"gaze_yaw": 0.7}),
        (1, {"jaw_open": 0.7}),  # the inside of the mouth is another's
        (5, {"turn": (0.1, 0.2, 0.1), "jaw_open": 0.4, "corner_pull": 0.6}),
    ],
)
def test_a_driven_head_looks_like_the_head_itself(
    stage: Stage, scene: Scene, gain: float, pose: dict[str, Any]
) -> None:
    truth = draw(take_of(**pose))
    face = within(truth.take, OVAL)
    frame = frame_of(stage, truth.take)
    assert psnr(frame, truth.picture, face) > psnr(scene.picture, truth.picture, face) + gain


# --- what must not matter -----------------------------------------------------------------------------------------


def test_a_mirrored_photo_gives_mirrored_frames(stage: Stage, scene: Scene) -> None:
    mirrored = stage_of(np.ascontiguousarray(scene.picture[:, ::-1]), fit_of(scene.take.mirror()))
    moved = take_of(**MIXED)
    frame, other = frame_of(stage, moved), frame_of(mirrored, moved.mirror())[:, ::-1]
    assert psnr(frame, other) > 36  # 40.4 measured: even the light's estimate and the fill differ a little
    assert psnr(frame, other) > psnr(frame, scene.picture) + 9


def test_a_photo_of_2000_px_gives_the_same_frame_larger(stage: Stage, scene: Scene) -> None:
    side = 2000
    photo = cv2.resize(scene.picture, (side, side), interpolation=cv2.INTER_CUBIC)
    large = stage_of(photo, fit_of(take_of(size=(side, side))))
    frame = frame_of(large, take_of(size=(side, side), **MIXED))
    assert frame.shape == (side, side, 3)
    shrunk = cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    small = frame_of(stage, take_of(**MIXED))
    assert psnr(shrunk, small) > 34
    assert psnr(shrunk, small) > psnr(small, scene.picture) + 7


def test_a_tiny_grey_photo_of_odd_size_works() -> None:
    size = (161, 203)
    small = draw(take_of(size=size))
    grey = np.repeat(small.picture.mean(2, keepdims=True).astype(np.uint8), 3, 2)
    stage = stage_of(grey, small.face)
    own, moved = frames_of(
        stage, joined(small.take, take_of(size=size, turn=(0.05, 0.1, 0.05), corner_pull=0.5))
    )
    assert own.shape == moved.shape == (203, 161, 3)
    assert psnr(own, grey) > 34  # 37.1 measured: a face of 60 px
    assert 15 < psnr(moved, grey) < 33
    assert np.ptp(moved.astype(int), axis=2).max() <= 4


@pytest.mark.parametrize("pixels", [(12, 0), (-20, 5), (0, 10)])
def test_a_head_that_moves_takes_its_face_along(stage: Stage, scene: Scene, pixels: tuple[int, int]) -> None:
    metre = 0.575 / scene.take.camera.focal  # a pixel at the face's depth
    moved = take_of(place=(pixels[0] * metre, 0.03 - pixels[1] * metre, -0.62))
    frame = frame_of(stage, moved)
    features = list(EYE["L"] + EYE["R"] + LIPS_OUTER)
    marks = marks_of(scene.take)[0, features]
    (left, top), (right, bottom) = marks.min(0).astype(int), marks.max(0).astype(int)
    found = cv2.matchTemplate(frame, scene.picture[top:bottom, left:right], cv2.TM_CCOEFF_NORMED)
    assert found.max() > 0.93
    row, column = np.unravel_index(found.argmax(), found.shape)
    wanted = (marks_of(moved)[0, features] - marks).mean(0)
    assert (column - left, row - top) == pytest.approx(wanted, abs=1.0)


def test_frames_do_not_depend_on_the_batches(stage: Stage, scene: Scene) -> None:
    takes = [take_of(turn=(0.0, 0.01 * k, 0.0), jaw_open=0.03 * k) for k in range(17)]
    long = frames_of(stage, joined(*takes))
    assert len(long) == 17
    for k in (15, 16):
        assert (
            np.abs(long[k].astype(int) - frame_of(stage, takes[k])).max() <= 1
        )  # float sums in another order


# --- several faces ------------------------------------------------------------------------------------------------

WIDE = (420, 240)


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Performance, Performance]:
    """Two heads in one photo: left and right in the picture."""
    left = draw(take_of(size=WIDE, place=(-0.16, 0.03, -0.9)))
    right = draw(take_of(size=WIDE, place=(0.16, 0.03, -0.95)))
    return np.where(right.mask[..., None], right.picture, left.picture), left.take, right.take


@pytest.fixture(scope="module")
def two(pair: tuple[Image, Performance, Performance]) -> Stage:
    return stage_of(pair[0], *(fit_of(take) for take in pair[1:]))


def test_the_order_of_faces_does_not_matter(pair: tuple[Image, Performance, Performance], two: Stage) -> None:
    picture, left, right = pair
    swapped = stage_of(picture, fit_of(right), fit_of(left))
    one, other = _nodding(left), right.with_(head_rotation=np.array([[0.0, 0.1, 0.1]], np.float32))
    assert np.abs(frame_of(two, one, other).astype(int) - frame_of(swapped, other, one)).max() <= 1


def test_a_face_without_motion_stays_as_it_is(
    pair: tuple[Image, Performance, Performance], two: Stage
) -> None:
    picture, left, right = pair
    frame = frame_of(two, _nodding(left), None)
    moved, still = within(left, OVAL), within(right, OVAL)
    assert psnr(frame, picture, moved) < 27
    assert psnr(frame, picture, still) > 36
    both = frame_of(two, _nodding(left), right)
    assert psnr(frame, both, moved) > 45  # the other's motion is no concern of it


def _nodding(take: Performance) -> Performance:
    return take.with_(head_rotation=np.array([[0.15, 0.0, 0.1]], np.float32))


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_errors_are_one_line(stage: Stage, scene: Scene) -> None:
    puppet = engine_by_name("puppet")
    with pytest.raises(InputError, match="no engine 'diffusion'"):
        engine_by_name("diffusion")
    with pytest.raises(InputError, match="no face"):
        puppet.prepare(Portrait(scene.picture, ()))
    with pytest.raises(InputError, match="2 motions for 1 faces"):
        frames_of(stage, scene.take, scene.take)
    with pytest.raises(InputError, match="0 motions for 1 faces"):
        frames_of(stage)


def test_motions_have_one_length(two: Stage, pair: tuple[Image, Performance, Performance]) -> None:
    _, left, right = pair
    with pytest.raises(InputError, match=r"\[1, 2\] frames"):
        frames_of(two, left, joined(right, right))
    with pytest.raises(InputError, match="no face has a motion"):
        frames_of(two, None, None)
