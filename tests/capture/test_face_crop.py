"""Crops for the inversion network: where they look, and that normals turn with the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from omote.capture.face_crop import (
    EYE_SPAN,
    FACE_SPAN,
    crops,
    head_similarity,
    network_images,
    to_tensors,
    warp,
    warp_normals,
)
from omote.errors import InputError
from omote.geometry.cameras import project
from omote.performance import Camera
from omote.rigs.facs import load_rig


@dataclass(frozen=True)
class Config:
    align: str = "face"
    size: int = 192
    eye_size: tuple[int, int] = (64, 48)


@pytest.fixture(scope="module")
def landmarks() -> np.ndarray:
    """(478, 2) px of the average head, seen from far away, 1000 px a metre, its eyes at (320, 240)."""
    rig = load_rig()
    neutral = torch.zeros(1, len(rig.space))
    points = rig.landmarks.apply(rig(neutral, torch.zeros(1, len(rig.identity_space)))[0].numpy())
    camera = Camera(100_000, (320, 240), (640, 480))
    return project(camera, points - np.array([0, 0, 100]))


def at(matrix: np.ndarray, point: np.ndarray) -> np.ndarray:
    return matrix[:, :2] @ point + matrix[:, 2]


def turned(points: np.ndarray, degrees: float, scale: float = 1.0) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * (points - points.mean(0)) @ turn.T + points.mean(0) + (7, -3)


def test_the_average_head_seen_straight_fills_the_crop_as_stated(landmarks: np.ndarray) -> None:
    face = crops(Config(), landmarks, (640, 480)).face
    assert face[:, :2] == pytest.approx(192 / (FACE_SPAN * 1000) * np.eye(2), abs=0.01)
    middle = at(face, landmarks[[33, 263]].mean(0))
    assert middle[0] == pytest.approx(96, abs=0.5)
    assert middle[1] == pytest.approx((0.052 + 0.0016) / FACE_SPAN * 192, abs=1.0)
    chin = at(face, landmarks[152])
    assert 140 < chin[1] < 192


@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (30, 1.0), (-75, 0.5), (180, 2.0)])
def test_crops_follow_a_turned_and_scaled_face(landmarks: np.ndarray, degrees: float, scale: float) -> None:
    straight = crops(Config(), landmarks, (640, 480))
    moved = turned(landmarks, degrees, scale)
    other = crops(Config(), moved, (640, 480))
    for index in (1, 10, 61, 152, 263, 468, 473):
        assert at(other.face, moved[index]) == pytest.approx(at(straight.face, landmarks[index]), abs=0.01)
        for eye, before in zip(other.eyes, straight.eyes, strict=True):
            assert at(eye, moved[index]) == pytest.approx(at(before, landmarks[index]), abs=0.01)


def test_eyes_are_centred_and_the_right_one_is_mirrored(landmarks: np.ndarray) -> None:
    left, right = crops(Config(), landmarks, (640, 480)).eyes
    assert at(left, landmarks[[362, 263]].mean(0)) == pytest.approx((32, 24), abs=0.5)
    assert at(right, landmarks[[33, 133]].mean(0)) == pytest.approx((32, 24), abs=0.5)
    assert np.linalg.det(left[:, :2]) > 0 > np.linalg.det(right[:, :2])
    # The outer corner lies on the right in both.
    assert at(left, landmarks[263])[0] > 40
    assert at(right, landmarks[33])[0] > 40
    assert np.abs(left[0, 0]) == pytest.approx(64 / (EYE_SPAN * 1000), rel=0.01)


def test_a_mirrored_picture_gives_mirrored_crops_and_swapped_eyes(landmarks: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((20, 20, 1), np.uint8))
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    # Mirrored anchors: left and right swap places.
    swap = np.arange(478)
    for one, other in ((33, 263), (133, 362), (98, 327)):
        swap[[one, other]] = other, one
    reflected = (landmarks * (-1, 1) + (640, 0))[swap]
    first = network_images(Config(), picture, None, landmarks)
    second = network_images(Config(), mirrored, None, reflected)
    assert np.abs(first["rgb"][:, ::-1].astype(int) - second["rgb"]).mean() < 0.5
    assert np.abs(first["eyes_rgb"][::-1].astype(int) - second["eyes_rgb"]).mean() < 0.5


def test_normals_turn_and_mirror_with_the_picture() -> None:
    normal = np.array([0.6, 0.0, 0.8])
    picture = np.broadcast_to(np.rint((normal + 1) * 127.5).astype(np.uint8), (40, 40, 3)).copy()
    quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 40.0]])  # counter-clockwise: image right goes up
    assert warp_normals(picture, quarter, (40, 40))[20, 20] == pytest.approx((128, 204, 230), abs=1)
    mirror = np.array([[-1.0, 0.0, 40.0], [0.0, 1.0, 0.0]])
    assert warp_normals(picture, mirror, (40, 40))[20, 20] == pytest.approx((51, 128, 230), abs=1)
    half = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    assert (warp_normals(picture, half, (20, 20)) == picture[:20, :20]).all()


def test_warp_keeps_pixel_centres() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8, 1).repeat(3, -1)
    assert (warp(picture, np.eye(2, 3), (8, 8), (0, 0, 0)) == picture).all()
    shifted = warp(picture, np.array([[1.0, 0, 2], [0, 1, 0]]), (8, 8), (9, 9, 9))
    assert (shifted[:, 2:] == picture[:, :-2]).all()
    assert (shifted[:, :2] == 9).all()


def test_centre_crop_is_the_largest_square() -> None:
    places = crops(Config(align="center"), None, (640, 480))
    assert at(places.face, np.array([80, 0])) == pytest.approx((0, 0))
    assert at(places.face, np.array([560, 480])) == pytest.approx((192, 192))


def test_tensors_are_normalised_by_imagenet_statistics(landmarks: np.ndarray) -> None:
    made = network_images(Config(), np.full((480, 640, 3), 255, np.uint8), None, landmarks)
    batch = to_tensors([made, made])
    assert set(batch) == {"rgb", "eyes_rgb"}
    assert batch["rgb"].shape == (2, 3, 192, 192)
    assert batch["eyes_rgb"].shape == (2, 2, 3, 48, 64)
    white = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert batch["rgb"][0, :, 96, 96].numpy() == pytest.approx(white, abs=1e-5)


def test_bad_inputs_are_said_in_one_line(landmarks: np.ndarray) -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    with pytest.raises(InputError, match="an image or a normal map"):
        network_images(Config(), None, None, landmarks)
    with pytest.raises(InputError, match="the normal map is 320"):
        network_images(Config(), picture, np.zeros((240, 320, 3), np.uint8), landmarks)
    with pytest.raises(InputError, match="needs landmarks"):
        network_images(Config(), picture, None, None)
    with pytest.raises(InputError, match="one point"):
        head_similarity(np.zeros((478, 2)))
    with pytest.raises(InputError, match="not finite"):
        head_similarity(np.full((478, 2), np.nan))
