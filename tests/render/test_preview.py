"""The overlay panels: where the head and the landmarks land, and what is shown when there is no face."""

from __future__ import annotations

import numpy as np
import pytest

from omote.controls import FACS102
from omote.errors import InputError
from omote.performance import Camera, Performance
from omote.render.preview import BACKGROUND, Preview
from omote.rigs.facs import load_rig

SIZE = (320, 240)


def take(frames: int = 2, x: float = 0.0, found: bool = True) -> Performance:
    rig = load_rig()
    return Performance(
        space=FACS102,
        controls=np.zeros((frames, len(FACS102))),
        head_rotation=np.zeros((frames, 3)),
        head_translation=np.tile([x, 0.0, -0.8], (frames, 1)),
        confidence=np.full(frames, float(found)),
        times=np.arange(frames) / 25,
        camera=Camera(focal=400.0, principal=(160.0, 120.0), size=SIZE),
        identity={"facs": np.zeros(len(rig.identity_space))},
    )


def marks(frames: int = 2, cx: float = 160.0, half: float = 50.0) -> np.ndarray:
    grid = np.stack(np.meshgrid(np.linspace(-half, half, 22), np.linspace(-half, half, 22)), -1).reshape(
        -1, 2
    )
    return np.tile(grid[:478] + [cx, 120.0], (frames, 1, 1)).astype(np.float32)


def panels(picture: np.ndarray, preview: Preview) -> list[np.ndarray]:
    assert picture.shape == (preview.size[1], preview.size[0], 3)
    assert picture.dtype == np.uint8
    return np.split(picture, 4, axis=1)


def test_four_panels_of_the_same_crop() -> None:
    preview = Preview([take()], [marks()], SIZE, 200)
    assert preview.size[1] == 200
    assert preview.size[0] % 8 == 0
    photo, dots, head, overlay = panels(preview.draw(np.full((240, 320, 3), 200, np.uint8), 1), preview)
    assert (photo == 200).all()
    assert dots.max() > 200  # the dots
    assert np.median(dots) == pytest.approx(110, abs=2)
    corner = np.round(np.array(BACKGROUND) * 255)
    assert head[2, 2] == pytest.approx(corner, abs=1)
    assert np.abs(head[100, preview.panel[0] // 2] - corner).max() > 20
    assert overlay[2, 2] == pytest.approx([200, 200, 200], abs=1)
    tinted = overlay[100, preview.panel[0] // 2].astype(int)
    assert tinted[2] > tinted[0] + 15


def test_the_head_is_where_the_camera_sees_it() -> None:
    """In the middle when it is on the axis; 5 cm to the side it moves as its outline, 9 cm behind the eyes, does."""
    plain = np.full((240, 320, 3), 255, np.uint8)
    middles = []
    for x in (0.0, 0.05):
        preview = Preview([take(x=x)], [marks(half=90)], SIZE, 240)
        head = panels(preview.draw(plain), preview)[2].astype(float)
        row = np.abs(head[head.shape[0] // 2] - np.array(BACKGROUND) * 255).max(-1) > 12
        middles.append(np.flatnonzero(row).mean())
    scale = preview.panel[1] / (preview._box[3] - preview._box[1])
    assert middles[0] == pytest.approx(preview.panel[0] / 2, abs=1)
    assert middles[1] - middles[0] == pytest.approx(0.05 * 400 / 0.89 * scale, abs=1.5)


def test_frames_without_a_face_show_the_photo_alone() -> None:
    lost = np.full_like(marks(), np.nan)
    preview = Preview([take(found=False)], [lost], SIZE, 120)
    photo, dots, head, overlay = panels(preview.draw(np.full((240, 320, 3), 90, np.uint8)), preview)
    assert (overlay == photo).all()
    assert np.ptp(head.reshape(-1, 3), axis=0).max() == 0
    assert dots.max() <= 90 * 0.55 + 1
    assert preview.panel == (160, 120)  # the whole picture


def test_a_smaller_copy_of_the_picture_will_do() -> None:
    preview = Preview([take()], [marks()], SIZE, 120)
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8)[None, :, None], (240, 1, 3))
    full, half = preview.draw(ramp), preview.draw(np.ascontiguousarray(ramp[::2, ::2]))
    width = preview.panel[0]
    assert full[:, 4 : width - 4].astype(int) == pytest.approx(half[:, 4 : width - 4].astype(int), abs=4)


def test_lengths_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="do not fit"):
        Preview([take()], [], SIZE)
