"""Overlays: the head lands where the camera says, lost frames say so, videos keep times and even sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from omote.controls import FACS102
from omote.errors import InputError
from omote.media import VideoWriter, open_video
from omote.performance import Camera, Performance
from omote.render.overlay import frame_strip, photo_panel, video_overlay
from omote.render.overlay_panels import Crop, HeadPainter, draw_contours, draw_dots

SIZE = (160, 120)


def take(frames: int = 1, *, x: float = 0.0, focal: float = 200.0, lost: tuple[int, ...] = ()) -> Performance:
    confidence = np.ones(frames)
    confidence[list(lost)] = 0
    return Performance(
        space=FACS102,
        controls=np.zeros((frames, 102)),
        head_rotation=np.zeros((frames, 3)),
        head_translation=np.tile([x, 0.03, -0.7], (frames, 1)),
        confidence=confidence,
        times=np.arange(frames) / 10,
        camera=Camera(focal, (80, 60), SIZE),
    )


def frames(count: int) -> np.ndarray:
    return np.full((count, SIZE[1], SIZE[0], 3), (40, 90, 160), np.uint8)


@pytest.fixture(scope="module")
def painter() -> HeadPainter:
    return HeadPainter()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip 顔.mp4"
    with VideoWriter(path, SIZE, fps=10) as writer:
        for frame in frames(5):
            writer.write(frame)
    return path


def test_crop_maps_pixels_and_camera_alike() -> None:
    points = np.array([[[60.0, 40.0], [100.0, 80.0]]])
    crop = Crop.around([points], SIZE, 256)
    camera = Camera(200.0, (80, 60), SIZE)
    x, y, z = 0.02, -0.01, -0.7
    own = np.array([80 + 200 * x / -z, 60 - 200 * y / -z])
    shown = crop.camera(camera)
    again = np.array([shown.principal[0] + shown.focal * x / -z, shown.principal[1] - shown.focal * y / -z])
    np.testing.assert_allclose(crop.place(own), again, atol=1e-9)
    assert crop.size[0] % 2 == 0
    assert crop.size[1] % 2 == 0
    assert max(crop.size) == 256


@pytest.mark.parametrize(("width", "height"), [(160, 120), (320, 240), (80, 60), (1600, 1200)])
def test_cut_shows_the_same_place_at_any_size(width: int, height: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[height // 2 :, : width // 2] = 255  # the corner is the picture's middle
    crop = Crop((40.0, 30.0, 120.0, 90.0), (200, 150))
    shown = crop.cut(picture, 160)
    assert shown.shape == (150, 200, 3)
    assert (shown[85:, :90] == 255).all()
    assert (shown[:65] == 0).all()
    assert (shown[:, 110:] == 0).all()


def test_crop_without_points_is_the_picture() -> None:
    crop = Crop.around([np.full((2, 478, 2), np.nan)], SIZE, 80)
    assert crop.box == (0, 0, 160, 120)
    assert crop.size == (80, 60)


def test_dots_and_contours_are_where_the_points_are() -> None:
    grey = np.full((120, 160, 3), 100, np.uint8)
    points = np.full((478, 2), 60.5)
    points[:, 0] += np.linspace(0, 20, 478)
    for drawn in (draw_dots(grey, points), draw_contours(grey, points)):
        changed = np.argwhere((drawn != grey).any(-1))
        assert len(changed)
        assert changed[:, 0].min() >= 50
        assert changed[:, 0].max() <= 71
        assert (grey == 100).all()


def test_head_is_drawn_where_the_camera_sees_it(painter: HeadPainter) -> None:
    performance = take(x=0.05)
    camera = performance.camera
    vertices = painter.vertices(performance, [0])[0]
    drawn = painter.render(vertices, camera, 1)
    rows, columns = np.nonzero(drawn.alpha > 0.5)
    spots = vertices[:, :2] * (1, -1) * camera.focal / -vertices[:, 2:] + camera.principal
    assert columns.min() == pytest.approx(spots[:, 0].min(), abs=1.5)
    assert rows.min() == pytest.approx(spots[:, 1].min(), abs=1.5)
    x0, y0, x1, y1 = painter.window(vertices, camera) or (0, 0, 0, 0)
    assert x0 < 80 + 200 * 0.05 / 0.7 < x1
    assert y0 < 60 < y1


def test_photo_panel(painter: HeadPainter) -> None:
    image, performance = frames(1)[0], take()
    marks = painter.rig.landmarks.apply(painter.vertices(performance, [0])[0])
    points = marks[:, :2] * (1, -1) * 200 / -marks[:, 2:] + (80, 60)
    panel = photo_panel(image, [performance], [points], max_side=128)
    assert panel.dtype == np.uint8
    width = panel.shape[1] // 4
    assert panel.shape[0] <= 128
    assert width <= 128
    photo, dots, head, overlay = (panel[: panel.shape[0] // 2, k * width : (k + 1) * width] for k in range(4))
    assert (photo == image[0, 0]).all()
    assert (dots != photo).any()
    assert (head != photo).any()
    middle = overlay[40:60, width // 2 - 10 : width // 2 + 10].astype(int)
    assert (middle[..., 0].mean(), middle[..., 2].mean()) > (80, 0)  # skin over blue
    assert (overlay[:8, :8] == photo[:8, :8]).all()


def test_two_faces_and_no_landmarks() -> None:
    both = [take(x=-0.12), take(x=0.12)]
    panel = photo_panel(frames(1)[0], both, max_side=160)
    width = panel.shape[1] // 4
    overlay, photo = panel[:, 3 * width :], panel[:, :width]
    changed = (overlay != photo).any(-1)[: panel.shape[0] // 2]
    assert changed[:, : width // 2].any()
    assert changed[:, width // 2 :].any()


def test_lost_face_is_not_drawn() -> None:
    panel = photo_panel(frames(1)[0], [take(lost=(0,))], max_side=128)
    width = panel.shape[1] // 4
    top = panel[: panel.shape[0] // 2]
    assert (top[:, 3 * width :] == top[:, :width]).all()


def test_video_overlay(clip: Path, tmp_path: Path) -> None:
    performance, seen = take(5, lost=(2,)), []
    out = video_overlay(clip, [performance], None, tmp_path / "out.mp4", progress=seen.append, max_side=96)
    assert seen == [1, 2, 3, 4, 5]
    shown = [(time, picture.astype(int)) for time, picture in open_video(out)]
    np.testing.assert_allclose([time for time, _ in shown], performance.times, atol=2e-3)
    height, double = shown[0][1].shape[:2]
    assert height % 2 == 0
    assert double % 4 == 0
    half = double // 2
    difference = [np.abs(p[: height // 2, half:] - p[: height // 2, :half]).max(-1).mean() for _, p in shown]
    assert difference[2] < 1 < 4 < difference[1]
    bottom = [p[int(height * 0.75) :, : half // 2].mean(-1).std() for _, p in shown]
    assert bottom[2] > 2 * bottom[1]  # "no face"


def test_frame_strip(clip: Path) -> None:
    strip = frame_strip(clip, take(5), count=3, side=64)
    assert strip.shape[0] % 3 == 0
    assert strip.shape[1] % 3 == 0
    assert max(strip.shape[0], strip.shape[1]) <= 3 * 64


def test_what_does_not_fit(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no performance"):
        photo_panel(frames(1)[0], [])
    with pytest.raises(InputError, match="different numbers of frames"):
        photo_panel(frames(1)[0], [take(1), take(2)])
    with pytest.raises(InputError, match="2 sets of landmarks for 1"):
        photo_panel(frames(1)[0], [take()], [np.zeros((478, 2))] * 2)
    with pytest.raises(InputError, match="frame 7"):
        photo_panel(frames(1)[0], [take()], frame=7)
    with pytest.raises(InputError, match="fewer"):
        frame_strip(clip, take(50), count=2, side=32)
    with pytest.raises(InputError, match="count"):
        frame_strip(clip, take(5), count=0)
    with pytest.raises(InputError):
        video_overlay(tmp_path / "none.mp4", [take()], None, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
