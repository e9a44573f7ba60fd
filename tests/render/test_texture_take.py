"""Textures of whole captures: which frames of a video, several photos, and what the exporters get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omote.controls import FACS102
from omote.errors import InputError
from omote.media import VideoWriter
from omote.performance import Camera, Performance
from omote.render.texture_take import choose_frames, photo_texture, posed_head, take_texture, video_texture

SIZE = (160, 120)


def take(yaws: list[float], size: tuple[int, int] = SIZE, **controls: list[float]) -> Performance:
    """A take of the default head; yaw in degrees, towards the subject's left."""
    values = np.zeros((len(yaws), len(FACS102)))
    for name, track in controls.items():
        values[:, FACS102.index(name)] = track
    turn = np.zeros((len(yaws), 3))
    turn[:, 1] = np.radians(yaws)
    return Performance(
        space=FACS102,
        controls=values,
        head_rotation=turn,
        head_translation=np.tile([0.0, 0.0, -0.7], (len(yaws), 1)),
        confidence=np.ones(len(yaws)),
        times=np.arange(len(yaws)) / 25,
        camera=Camera(focal=300.0, principal=(size[0] / 2, size[1] / 2), size=size),
    )


def test_frames_with_open_eyes_and_closed_mouth_are_chosen() -> None:
    closed = [1.0, 0.0, 0.0, 1.0]
    chosen = choose_frames(
        take([0, 1, 1, 2], lid_close_L=closed, lid_close_R=closed, jaw_open=[0, 0.9, 0, 0.9]), 1
    )
    assert chosen == [2]


def test_frames_spread_over_head_directions() -> None:
    chosen = choose_frames(take([0, 2, 30, 33, -30, 1]), 3)
    assert chosen[0] in (0, 1, 5)
    assert set(chosen[1:]) & {2, 3}
    assert 4 in chosen


def test_frames_that_show_nothing_new_are_left_out() -> None:
    assert len(choose_frames(take([0, 1, 2, 1]), 4)) == 1


def test_frames_without_a_face_are_not_chosen() -> None:
    performance = take([40, 0, -40])
    performance = performance.with_(confidence=np.array([0.0, 1.0, 0.0]))
    assert choose_frames(performance, 3) == [1]


def test_posed_head_is_where_the_camera_saw_it() -> None:
    performance = take([0, 90])
    ahead, aside = posed_head(performance, 0), posed_head(performance, 1)
    nose = int(ahead[:, 2].argmax())
    assert abs(ahead[nose, 0]) < 0.01
    assert aside[nose, 0] > 0.02  # the subject's left is the camera's right
    np.testing.assert_allclose(ahead.mean(0)[2], -0.7, atol=0.15)


def test_photo_gives_its_colour_to_the_face() -> None:
    photo = np.full((SIZE[1], SIZE[0], 3), (60, 110, 200), np.uint8)
    albedo = photo_texture(photo, take([0]), size=128, keep_light=True)
    assert albedo.shape == (128, 128, 3)
    assert albedo.dtype == np.uint8
    cheek = albedo[58:62, 40:44].reshape(-1, 3).mean(0)
    np.testing.assert_allclose(cheek, (60, 110, 200), atol=6)


def test_photo_of_another_size_is_brought_to_the_cameras() -> None:
    photo = np.full((SIZE[1] * 2, SIZE[0] * 2, 3), (60, 110, 200), np.uint8)
    albedo = photo_texture(photo, take([0]), size=128, keep_light=True)
    np.testing.assert_allclose(albedo[58:62, 40:44].reshape(-1, 3).mean(0), (60, 110, 200), atol=6)
    with pytest.raises(InputError, match="camera 160 x 120"):
        photo_texture(np.zeros((160, 120, 3), np.uint8), take([0]), size=128)


def test_video_texture_takes_the_chosen_frame(tmp_path: Path) -> None:
    path = tmp_path / "take.mp4"
    performance = take([0, 0, 0], lid_close_L=[1, 0, 1], lid_close_R=[1, 0, 1])
    with VideoWriter(path, SIZE, times=performance.times) as writer:
        for colour in ((200, 60, 60), (60, 110, 200), (60, 200, 60)):
            writer.write(np.full((SIZE[1], SIZE[0], 3), colour, np.uint8))
    albedo = video_texture(path, performance, size=128, keep_light=True)
    np.testing.assert_allclose(albedo[58:62, 40:44].reshape(-1, 3).mean(0), (60, 110, 200), atol=16)


def test_no_view_is_told() -> None:
    with pytest.raises(InputError, match="no view"):
        take_texture([])
    with pytest.raises(InputError, match="at least 1"):
        choose_frames(take([0]), 0)
