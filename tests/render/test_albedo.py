"""The procedural albedo: places, colours, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

from omote.errors import InputError
from omote.render.albedo import AlbedoParams, paint_albedo
from omote.render.texels import atlas_texels
from omote.rigs.asset import load_head_asset
from omote.rigs.constants import pupil_rotation

SIZE = 512


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return paint_albedo(size=SIZE).astype(float) / 255


def _near(
    picture: np.ndarray, point: tuple[float, float, float], part: str, reach: float = 0.002
) -> np.ndarray:
    """(3,) mean colour of the texels of a part within ``reach`` of a point of the template."""
    texels = atlas_texels(SIZE)
    code = load_head_asset().header["parts"].index(part)
    close = np.linalg.norm(texels.position - np.array(point, np.float32), axis=1) < reach
    found = close & (texels.part == code)
    assert found.sum() > 3
    return picture[texels.row[found], texels.column[found]].mean(0)


def test_the_same_parameters_give_the_same_picture(picture: np.ndarray) -> None:
    assert picture.shape == (SIZE, SIZE, 3)
    assert np.array_equal(picture, paint_albedo(size=SIZE).astype(float) / 255)
    assert not np.array_equal(paint_albedo(size=SIZE), paint_albedo(AlbedoParams(seed=1), SIZE))


def test_brows_are_dark_and_where_brows_are(picture: np.ndarray) -> None:
    forehead = _near(picture, (0.030, 0.038, 0.019), "skin", 0.006)
    for side in (1, -1):
        brow = _near(picture, (side * 0.030, 0.0195, 0.0225), "skin", 0.004)
        assert brow.mean() < 0.75 * forehead.mean()
    without = paint_albedo(AlbedoParams(brow_thickness=0.0), SIZE).astype(float) / 255
    assert _near(without, (0.030, 0.0195, 0.0225), "skin", 0.004).mean() > 0.85 * forehead.mean()


def test_lips_are_redder_than_skin(picture: np.ndarray) -> None:
    lip, skin = (
        _near(picture, (0.0, -0.081, 0.028), "skin", 0.003),
        _near(picture, (0.0, -0.1, 0.018), "skin", 0.005),
    )
    assert lip[0] - lip[1] > skin[0] - skin[1] + 0.05


@pytest.mark.parametrize("side", ["L", "R"])
def test_eyes_have_pupil_iris_and_white(picture: np.ndarray, side: str) -> None:
    asset = load_head_asset()
    texels = atlas_texels(SIZE)
    offset = texels.position - asset["template"][asset[f"ball_{side}"]].mean(0)
    eye = (texels.part == asset.header["parts"].index(f"eye_{side}")) & (offset[:, 2] > 0.004)
    resting = offset @ pupil_rotation(side)  # the pupil rests a little outward and down
    radius = np.hypot(resting[:, 0], resting[:, 1])
    values = picture[texels.row, texels.column]
    pupil, iris, white = (
        values[eye & (radius > low) & (radius < high)].mean()
        for low, high in ((0, 0.0015), (0.003, 0.005), (0.007, 0.009))
    )
    assert pupil < 0.08 < iris < 0.5 < 0.75 < white


def test_islands_are_padded() -> None:
    """Bilinear samples anywhere on the mesh never meet an unpainted texel."""
    asset, covered = load_head_asset(), atlas_texels(SIZE).covered
    place = np.floor(asset["uv"] * SIZE - 0.5).astype(int)
    for dx in (0, 1):
        for dy in (0, 1):
            assert covered[
                np.clip(place[:, 1] + dy, 0, SIZE - 1), np.clip(place[:, 0] + dx, 0, SIZE - 1)
            ].all()


def test_colours_follow_the_parameters() -> None:
    dark = paint_albedo(AlbedoParams(skin=0.9), 256).astype(float) / 255
    light = paint_albedo(AlbedoParams(skin=0.05), 256).astype(float) / 255
    assert dark[100, 128].mean() < 0.45 < 0.7 < light[100, 128].mean()
    assert np.allclose(AlbedoParams(skin=(0.5, 0.4, 0.3)).skin_rgb(), [0.5, 0.4, 0.3])


def test_size_out_of_range() -> None:
    with pytest.raises(InputError, match="size 16"):
        paint_albedo(size=16)
