"""Crops lie on the face, turn with it, and faces go back to where they came from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omote.drive.liveportrait.crops import (
    DRIVER,
    SOURCE,
    Placement,
    Sizes,
    Square,
    box_to_crop,
    crop_image,
    driving_box,
    face_square,
    limit_size,
    network_image,
    to_points,
)
from omote.drive.liveportrait.paste import Paste, paste_mask, to_bytes
from omote.errors import InputError

KINDS = (5, 9, 68, 101, 106, 203, 300, 478)


def landmarks(count: int, seed: int = 0) -> np.ndarray:
    """(count, 2) px, random."""
    return np.random.default_rng(seed).uniform(60, 420, (count, 2))


def upright_face() -> np.ndarray:
    """(5, 2) px: eyes at the height 100, mouth corners at 180; 80 wide and high, so a square of side 80."""
    return np.array([[60.0, 100], [140, 100], [100, 140], [70, 180], [130, 180]])


def turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_an_upright_face_has_an_upright_square() -> None:
    square = face_square(upright_face(), Placement(2.0, vx=0.25, vy=-0.125))
    assert square.angle == pytest.approx(0)
    assert square.side == pytest.approx(160)
    np.testing.assert_allclose(square.centre, [100 + 40, 140 - 20])
    np.testing.assert_allclose(square.box(), [60, 40, 220, 200])
    np.testing.assert_allclose(square.corners(), [[60, 40], [220, 40], [220, 200], [60, 200]])
    expected = [[3.2, 0, -192], [0, 3.2, -128], [0, 0, 1]]
    np.testing.assert_allclose(square.to_crop(512), expected, atol=1e-4)


@given(st.sampled_from(KINDS), st.floats(-3, 3), st.floats(0.3, 4), st.integers(0, 9))
def test_the_square_turns_moves_and_grows_with_the_face(
    count: int, angle: float, factor: float, seed: int
) -> None:
    points = landmarks(count, seed)
    moved = factor * points @ turn(angle).T + (30, -70)
    before, after = face_square(points, SOURCE), face_square(moved, SOURCE)
    np.testing.assert_allclose(after.side, factor * before.side)
    np.testing.assert_allclose(after.centre, factor * turn(angle) @ before.centre + (30, -70), atol=1e-6)
    np.testing.assert_allclose(np.cos(after.angle - before.angle - angle), 1, atol=1e-9)
    seen = [
        to_points(square.to_crop(), face)
        for square, face in ((before, points), (after, moved))
        if square.side > 60
    ]
    np.testing.assert_allclose(seen[0], seen[-1], atol=0.05)  # the matrices are float32


def test_a_crop_shows_the_face_upright_and_in_place() -> None:
    tilted = upright_face() @ turn(0.7).T + 200
    seen = to_points(face_square(tilted, SOURCE).to_crop(), tilted)
    np.testing.assert_allclose(seen[0, 1], seen[1, 1], atol=1e-3)
    assert seen[3, 1] > seen[0, 1]
    side = 512 / 2.3
    middle = 256 + 0.125 * 512  # the square lies higher than the face
    np.testing.assert_allclose(seen.min(0), [256 - side / 2, middle - side / 2], atol=1e-2)
    np.testing.assert_allclose(seen.max(0), [256 + side / 2, middle + side / 2], atol=1e-2)


def test_frames_go_together_and_a_video_has_one_box() -> None:
    frames = np.stack([landmarks(203, seed) for seed in range(4)])
    together = face_square(frames, DRIVER)
    alone = [face_square(frame, DRIVER) for frame in frames]
    np.testing.assert_allclose(together.to_crop(), [one.to_crop() for one in alone], rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(driving_box(frames), np.mean([one.box() for one in alone], 0))
    box = driving_box(frames)
    mapped = to_points(box_to_crop(box), np.array([box[:2], box[2:]]))
    np.testing.assert_allclose(mapped, [[0, 0], [512, 512]], atol=1e-3)


def test_without_lips_the_eyes_say_how_it_is_turned() -> None:
    points = upright_face()
    points[3:] += (40, 0)  # the mouth is to the side
    assert face_square(points, SOURCE).angle != pytest.approx(0, abs=0.1)
    assert face_square(points, SOURCE, use_lips=False).angle == pytest.approx(0)


def test_eyes_and_lips_in_one_place_count_as_upright() -> None:
    points = upright_face()
    points[3:] = points[:2]
    assert face_square(points, SOURCE).angle == pytest.approx(0)


@pytest.mark.parametrize(
    "points", [np.zeros((4, 2)), np.zeros((203, 2)), np.full((203, 2), np.nan), np.zeros((203, 3))]
)
def test_what_is_no_face_is_refused(points: np.ndarray) -> None:
    with pytest.raises(InputError, match="landmarks"):
        face_square(points, SOURCE)


def test_bad_places_and_boxes_are_refused() -> None:
    with pytest.raises(InputError, match="scale 0"):
        Placement(0)
    with pytest.raises(InputError, match="crop box"):
        box_to_crop(np.array([10.0, 10, 10, 10]))
    with pytest.raises(InputError, match="larger"):
        limit_size(np.zeros((1, 40, 3), np.uint8))


def test_cropping_cuts_and_fills_with_black() -> None:
    image = np.random.default_rng(0).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    matrix = box_to_crop(np.array([-8.0, 16, 24, 48]), 32)
    cut = crop_image(image, matrix, 32)
    assert (cut[:, :8] == 0).all()
    np.testing.assert_array_equal(cut[:, 8:], image[16:48, :24])


@pytest.mark.parametrize(
    ("size", "result"), [((101, 75), (100, 74)), ((2000, 999), (1280, 638)), ((600, 3000), (256, 1280))]
)
def test_large_images_shrink_and_odd_edges_are_cut(size: tuple[int, int], result: tuple[int, int]) -> None:
    width, height = size
    limited = limit_size(np.zeros((height, width, 3), np.uint8))
    assert limited.shape == (result[1], result[0], 3)
    assert limit_size(np.zeros((height, width, 3), np.uint8), 0, 1).shape == (height, width, 3)


def test_the_networks_look_at_half_of_a_crop() -> None:
    cells = np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8)
    doubled = cells.repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(network_image(doubled, area=True), cells)
    assert network_image(np.zeros((90, 160, 3), np.uint8), area=False).shape == (256, 256, 3)
    grid = np.indices((256, 256)).sum(0)[..., None].repeat(3, 2).astype(np.uint8) % 2 * 200
    assert (network_image(grid, area=False, size=64) == 100).all(), "no pixel is passed over"


@pytest.mark.parametrize(("made", "cut"), [(128, 512), (512, 512), (1024, 1024)])
def test_faces_of_any_size_lie_where_they_were_cut_out(made: int, cut: int) -> None:
    sizes = Sizes(made // 2, made)
    assert sizes.cut == cut
    square = Square(np.array([70.0, 50.0]), np.array(60.0), np.array(0.3))
    to_crop = square.to_crop(sizes.cut)
    corners = to_points(to_crop, square.corners()) + 0.5  # from the corner of the crop, as shares of its side
    again = to_points(sizes.to_face(to_crop), square.corners()) + 0.5
    np.testing.assert_allclose(again / made, corners / cut, atol=1e-5)
    assert cut != made or (sizes.to_face(to_crop) == to_crop).all()


def test_the_mask_fades_over_sixteen_pixels() -> None:
    mask = paste_mask()
    assert mask.shape == (512, 512)
    assert (mask[16:497, 16:497] == 255).all()
    assert mask[0].max() == 0
    assert mask[8, 256] == 127
    assert mask[16 - 3, 16 - 4] == int(255 * (1 - 5 / 16))
    assert mask[511, 256] == int(255 / 16)
    np.testing.assert_array_equal(mask, mask.T)
    assert paste_mask(128)[:, 64].tolist()[:6] == [0, 63, 127, 191, 255, 255], (
        "as wide a share of smaller faces"
    )


def test_pictures_are_cut_off_rather_than_rounded() -> None:
    assert to_bytes(np.array([-1.0, 0.0, 0.999, 1.0, 2.0])).tolist() == [0, 0, 254, 255, 255]


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_a_face_goes_back_where_it_came_from(angle: float) -> None:
    ramp = np.linspace(0, 255, 300)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], 90), -1).astype(np.uint8)
    square = face_square(0.5 * upright_face() @ turn(angle).T + 130, SOURCE)
    matrix = square.to_crop()
    back = Paste(matrix, (300, 300))(image, crop_image(image, matrix))
    off = np.abs(back.astype(int) - image)
    assert off.max() < 8  # the published mask does not quite end at the crop's right and lower edges
    assert off.mean() < 0.1
    x, y = np.meshgrid(*[np.arange(300)] * 2)
    inside = np.hypot(x - square.centre[0], y - square.centre[1]) < 0.48 * square.side
    assert off[inside].max() <= 2
    white = Paste(matrix, (300, 300))(image, np.full((512, 512, 3), 255, np.uint8))
    assert (white[np.hypot(x - square.centre[0], y - square.centre[1]) < 0.45 * square.side] == 255).all()
    changed = np.argwhere((white != image).any(-1))[:, ::-1]
    assert np.abs((changed - square.centre) @ turn(angle)).max() < square.side / 2 + 1


@pytest.mark.parametrize("place", [(100, 90), (0, 0), (299, 150)])
def test_pasting_is_the_published_blend_of_the_whole_image(place: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
    face = cv2.GaussianBlur(rng.integers(0, 255, (512, 512, 3), dtype=np.uint8), (0, 0), 3)
    matrix = face_square(0.6 * upright_face() @ turn(0.3).T + place - (60, 84), SOURCE).to_crop()
    to_image = np.linalg.inv(matrix.astype(np.float64))[:2]
    mask = cv2.warpAffine(paste_mask(), to_image, (300, 200))[..., None] / np.float32(255)
    whole = mask * cv2.warpAffine(face, to_image, (300, 200)) + (1 - mask) * image
    difference = np.abs(Paste(matrix, (300, 200))(image, face).astype(int) - whole.astype(np.uint8))
    assert difference.max() <= 3  # the picture is sampled in steps of 1/32 pixel, from another corner
    assert difference.mean() < 0.01


def test_a_face_outside_the_image_leaves_it() -> None:
    image = np.full((40, 40, 3), 7, np.uint8)
    paste = Paste(box_to_crop(np.array([100.0, 100, 200, 200])), (40, 40))
    np.testing.assert_array_equal(paste(image, np.zeros((512, 512, 3), np.uint8)), image)
    with pytest.raises(InputError, match="face"):
        paste(image, np.zeros((256, 256, 3), np.uint8))
    with pytest.raises(InputError, match="paste mask"):
        Paste(np.eye(3), (40, 40), np.zeros((4, 5), np.uint8))
