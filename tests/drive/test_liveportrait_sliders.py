"""Sliders: ranges, directions and sizes of every change, for a photo and for the frames of a video."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from omote.drive.liveportrait.composition import neutral_expression
from omote.drive.liveportrait.edits import set_lips, silence_lips
from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.offsets import eye_offsets, lip_offsets, stitch
from omote.drive.liveportrait.regions import EYE_POINTS
from omote.drive.liveportrait.sliders import Sliders, edit_keypoints, edit_motion, expression_offsets
from omote.errors import InputError
from omote.models.liveportrait.keypoints import pose_angles

from .liveportrait_faces import linear_mlps, random_motion

PHOTO = replace(random_motion(1, seed=1), t=torch.tensor([[0.02, -0.03, 0.0]]))
EYES, LIP = torch.tensor([[0.283, 0.263]]), torch.tensor([[0.104]])
MLPS = linear_mlps()
NAMES = [field.name for field in fields(Sliders)]
close = torch.testing.assert_close


@pytest.mark.parametrize("name", NAMES)
def test_every_slider_has_its_range(name: str) -> None:
    limits = next(field.metadata for field in fields(Sliders) if field.name == name)
    for value in (limits["low"], limits["high"]):
        assert getattr(Sliders(**{name: value}), name) == value
    for wrong in (limits["low"] - 0.01, limits["high"] + 0.01, float("nan"), "much"):
        with pytest.raises(InputError) as caught:
            Sliders(**{name: wrong})  # type: ignore[arg-type]
        message = str(caught.value)
        assert f"slider {name}" in message
        assert repr(wrong) in message
        assert f"{limits['low']}..{limits['high']}" in message


def test_sliders_at_rest_change_nothing() -> None:
    assert expression_offsets(Sliders()).abs().max() == 0
    close(edit_motion(PHOTO, Sliders()).points(), PHOTO.points())
    close(edit_keypoints(PHOTO, Sliders(), MLPS, EYES, LIP, stitching=False), PHOTO.points())
    stitched = stitch(PHOTO.points(), PHOTO.points(), MLPS.stitching)
    close(edit_keypoints(PHOTO, Sliders(), MLPS, EYES, LIP), stitched)


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({"gaze_x": 10}, {(11, 0): 0.007, (15, 0): 0.01}),
        ({"gaze_x": -10}, {(11, 0): -0.01, (15, 0): -0.007}),
        ({"gaze_y": 20}, {(11, 1): -0.01, (13, 1): -0.003, (15, 1): -0.01, (16, 1): -0.003}),
        ({"eyebrow": 10}, {(1, 1): 0.01, (2, 1): -0.01}),
        ({"eyebrow": -10}, {(1, 0): 0.01, (2, 0): -0.01, (1, 1): -0.003, (2, 1): 0.003}),
        ({"wink": 10}, {(11, 1): 0.01, (13, 1): -0.003, (17, 0): 0.003, (17, 1): 0.003, (3, 1): -0.003}),
        ({"pouting": -0.05}, {(19, 0): -0.05}),
        ({"pursing": 10}, {(14, 1): 0.01, (3, 1): -0.005, (7, 1): -0.005, (17, 2): -0.005}),
        ({"grin": 10}, {(20, 2): -0.01, (20, 1): -0.01, (14, 1): -0.01}),
        ({"lip_open": 100}, {(19, 1): 0.1, (19, 2): 0.01, (17, 1): -0.01}),
        ({"move_x": 0.1, "move_y": 0.1}, {(5, 0): -0.1, (5, 1): 0.1}),
        ({"smile": 1}, {(20, 1): -0.01, (14, 1): -0.02, (17, 1): 0.0065, (17, 2): 0.003}),
    ],
)
def test_a_slider_moves_its_points(values: dict[str, float], changes: dict[tuple[int, int], float]) -> None:
    offsets = expression_offsets(Sliders(**values))[0]
    for (point, axis), change in changes.items():
        assert offsets[point, axis].item() == pytest.approx(change)
        offsets[point, axis] = 0
    left = (
        {(3, 1): -0.0035, (7, 1): -0.0035, (13, 1): -0.00275, (16, 1): -0.00275} if "smile" in values else {}
    )
    for (point, axis), change in left.items():
        assert offsets[point, axis].item() == pytest.approx(change)
        offsets[point, axis] = 0
    assert offsets.abs().max() == 0


def test_sliders_add_up() -> None:
    both = expression_offsets(Sliders(smile=0.5, gaze_x=-12))
    close(both, expression_offsets(Sliders(smile=0.5)) + expression_offsets(Sliders(gaze_x=-12)))


def test_pose_and_size() -> None:
    edited = edit_motion(PHOTO, Sliders(pitch=5, yaw=-7, roll=3, move_z=1.1))
    before, after = pose_angles(PHOTO.rotation), pose_angles(edited.rotation)
    assert [(b - a).item() for a, b in zip(before, after, strict=True)] == pytest.approx([5, -7, 3], abs=1e-4)
    close(edited.scale, 1.1 * PHOTO.scale)
    close(edited.exp, PHOTO.exp)


def test_depth_moves_the_driving_points_alone() -> None:
    deep = replace(PHOTO, t=PHOTO.t + torch.tensor([0.0, 0.0, 0.5]))
    moved = edit_keypoints(deep, Sliders(), MLPS, EYES, LIP, stitching=False)
    close(moved, PHOTO.points() + torch.tensor([0.0, 0.0, 0.5]))


def test_openness_is_asked_of_the_networks_unless_it_is_the_photos_own() -> None:
    x = PHOTO.points()
    opened = edit_keypoints(PHOTO, Sliders(eye_ratio=0.5, lip_ratio=0.3), MLPS, EYES, LIP, stitching=False)
    eyes = eye_offsets(x, EYES, torch.tensor([[0.5]]), MLPS.eye)
    close(opened, x + eyes + lip_offsets(x, LIP, torch.tensor([[0.3]]), MLPS.lip))
    own = Sliders(eye_ratio=0.27, lip_ratio=0.1)  # what the page shows of 0.273 and 0.104
    close(edit_keypoints(PHOTO, own, MLPS, EYES, LIP, stitching=False), x)


def test_a_video_is_edited_frame_by_frame() -> None:
    video = random_motion(3, seed=5)
    eyes, lip = EYES.repeat(3, 1), LIP.repeat(3, 1)
    each = [Sliders(smile=1), Sliders(eye_ratio=0.6, yaw=10), Sliders(eyebrow=-5, lip_ratio=0.2)]
    together = edit_keypoints(video, each, MLPS, eyes, lip)
    for index, sliders in enumerate(each):
        alone = edit_keypoints(video[index : index + 1], sliders, MLPS, EYES, LIP)
        close(together[index : index + 1], alone)
    same = edit_keypoints(video, Sliders(smile=1), MLPS, eyes, lip)
    close(same[:1], together[:1])
    curve = edit_keypoints(PHOTO, each, MLPS, EYES, LIP)
    assert curve.shape == (3, 21, 3)
    with pytest.raises(InputError, match="sliders"):
        expression_offsets([])


def test_lips_of_one_openness_are_smoothed() -> None:
    x = random_motion(6, seed=5).points()
    lip = torch.linspace(0, 0.5, 6)[:, None]
    offsets = smooth(lip_offsets(x, lip, torch.full((6, 1), 0.2), MLPS.lip), 3e-6)
    close(set_lips(x, lip, 0.2, MLPS, stitching=False), x + offsets)
    close(set_lips(x, lip, 0.2, MLPS), stitch(x, x + offsets, MLPS.stitching))


def test_silent_lips_leave_the_eyes_alone() -> None:
    video = random_motion(4, seed=5)
    exp = neutral_expression(video.exp).repeat(4, 1, 1)
    exp[:, list(EYE_POINTS)] = video.exp[:, list(EYE_POINTS)]
    close(silence_lips(video, MLPS, stitching=False), replace(video, exp=exp).points())
    talking = replace(video, exp=video.exp.clone())
    talking.exp[:, 19, 1] += 0.05
    close(silence_lips(talking, MLPS, stitching=False), silence_lips(video, MLPS, stitching=False))
