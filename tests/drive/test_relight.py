"""The light of a photo: found again on a sphere that is lit from a known side."""

from __future__ import annotations

import numpy as np
import pytest

from omote.drive.puppet.relight import Light


def directions(count: int, seed: int = 0) -> np.ndarray:
    """(N, 3) unit float32, all around."""
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def lit(normals: np.ndarray, light: np.ndarray, ambient: float = 0.25) -> np.ndarray:
    """(N,) linear light of a Lambertian surface."""
    return np.asarray(0.45 * (ambient + (1 - ambient) * np.maximum(normals @ light, 0)))


def skin(linear: np.ndarray) -> np.ndarray:
    """(N, 3) sRGB 0..255 of skin."""
    return (255 * np.clip(linear[:, None] * (1.2, 0.9, 0.8), 0, 1) ** (1 / 2.2)).astype(np.float32)


@pytest.mark.parametrize("towards", [(0.6, 0.3, 0.74), (-0.6, 0.5, 0.62), (0, 0.8, 0.6), (0, 0, 1)])
def test_the_light_comes_from_where_it_came(towards: tuple[float, float, float]) -> None:
    light = np.array(towards) / np.linalg.norm(towards)
    normals = directions(4000)
    normals = normals[normals[:, 2] > 0.1]
    linear = lit(normals, light)
    colours = skin(linear)
    colours[: len(colours) // 10] *= 0.3  # brows and beard
    found = Light.estimate(colours, normals, np.ones(len(normals), np.float32))
    around = directions(20000, 1)
    brightest = around[found.on(around).argmax()]
    assert np.degrees(np.arccos(np.clip(brightest @ light, -1, 1))) < 20  # 15 measured
    assert np.corrcoef(found.on(normals), linear)[0, 1] > 0.95


def test_what_counts_for_nothing_changes_nothing() -> None:
    normals = directions(2000)
    colours = skin(lit(normals, np.array([0.6, 0.0, 0.8])))
    weight = (normals[:, 2] > 0).astype(np.float32)
    wrong = np.where(weight[:, None] > 0, colours, 10).astype(np.float32)
    one, other = (Light.estimate(c, normals, weight).on(normals) for c in (colours, wrong))
    assert one == pytest.approx(other, abs=1e-3)


def test_turned_to_the_light_is_brighter_within_bounds() -> None:
    normals = directions(3000)
    normals = normals[normals[:, 2] > 0]
    lamp = Light.estimate(
        skin(lit(normals, np.array([0.8, 0.0, 0.6]))), normals, np.ones(len(normals), np.float32)
    )
    before = lamp.on(normals)
    assert lamp.change(before, normals) == pytest.approx(1.0)
    ahead, left, right = (np.array([v], np.float32) for v in ((0, 0, 1), (0.6, 0, 0.8), (-0.6, 0, 0.8)))
    assert lamp.change(lamp.on(ahead), left)[0] > 1.03
    assert lamp.change(lamp.on(ahead), right)[0] < 0.97
    for extreme in (1e-6, 1e6):
        changed = lamp.change(np.full(len(normals), extreme, np.float32), normals)
        assert np.ptp(changed) == pytest.approx(0, abs=1e-6)  # at the bound, all of it
        assert 0.6 < changed[0] < 1.6


def test_a_uniform_face_is_lit_evenly() -> None:
    normals = directions(1000)
    normals = normals[normals[:, 2] > 0.2]
    lamp = Light.estimate(
        np.full((len(normals), 3), 150, np.float32), normals, np.ones(len(normals), np.float32)
    )
    assert lamp.change(lamp.on(normals), directions(len(normals), 3)) == pytest.approx(1.0, abs=0.05)
