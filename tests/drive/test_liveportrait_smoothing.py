"""Smoothing without lag: what it leaves, what it takes, and that rotations stay rotations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.smoothing import (
    HEAD_TAU,
    smooth_motion,
    smooth_over_time,
    smooth_rotations,
    without_mouth,
)
from omote.models.liveportrait.keypoints import Motion, rotation_matrix

from .liveportrait_faces import random_motion

TIMES = np.arange(100) / 25


def test_a_steady_movement_is_left_as_it_is_at_uneven_times() -> None:
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.1, 60))
    line = np.stack([3 * times - 1, np.full(60, 0.4)], 1)
    assert np.abs(smooth_over_time(line, times, 0.2) - line).max() < 1e-8


@pytest.mark.parametrize("frequency", [0.5, 2.0, 5.0])
def test_a_frequency_passes_with_the_stated_factor_and_no_delay(frequency: float) -> None:
    times, tau = np.arange(1000) / 50, 0.05
    wave = np.sin(2 * np.pi * frequency * times)
    smoothed = smooth_over_time(wave[:, None], times, tau)[:, 0]
    middle = slice(200, 800)
    factor = 1 / (1 + (2 * np.pi * frequency * tau) ** 4)
    assert np.abs(smoothed - factor * wave)[middle].max() < 0.02


def test_nothing_is_smoothed_across_a_cut() -> None:
    step = np.repeat([[0.0], [1.0]], 50, axis=0)
    assert np.allclose(smooth_over_time(step, TIMES, 0.2, (50,)), step, atol=1e-9)
    assert 0.1 < smooth_over_time(step, TIMES, 0.2)[48, 0] < 0.9


def test_short_sequences_and_no_smoothing_change_nothing() -> None:
    two = np.array([[0.0], [1.0]])
    assert np.array_equal(smooth_over_time(two, np.array([0.0, 1.0]), 1.0), two)
    motion = random_motion(5)
    assert smooth_motion(motion, TIMES[:5], 0.0) is motion


def noisy_heads(count: int = 100, degrees: float = 8.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return rotation_matrix(*(degrees * torch.randn(count, generator=draw) for _ in range(3)))


def off_orthonormal(rotation: torch.Tensor) -> float:
    return float((rotation @ rotation.mT - torch.eye(3)).abs().max())


def test_rotations_stay_rotations_where_the_published_smoothing_leaves_them() -> None:
    heads = noisy_heads()
    assert off_orthonormal(smooth_rotations(heads, TIMES, HEAD_TAU)) < 1e-5
    assert off_orthonormal(smooth(heads, 3e-5)) > 0.01


def test_the_jitter_of_a_head_goes() -> None:
    heads = noisy_heads(degrees=1.0)
    calm = smooth_rotations(heads, TIMES, HEAD_TAU / 2)
    before, after = ((x[1:] @ x[:-1].mT - torch.eye(3)).norm(dim=(1, 2)).mean() for x in (heads, calm))
    assert after < 0.25 * before


def test_a_head_does_not_pump_with_its_mouth_but_still_comes_closer() -> None:
    mouth = torch.from_numpy(0.3 * (1 - np.cos(2 * np.pi * 1.5 * TIMES))).float()[:, None]
    closer = torch.linspace(1.2, 1.4, 100)[:, None]
    pumping = closer - 0.1 * mouth
    clean = without_mouth(pumping, mouth)
    apart = clean - closer
    assert float(apart.std()) < 0.05 * float((pumping - closer).std())
    assert float(clean[-1] - clean[0]) == pytest.approx(0.2, abs=0.01)
    still = torch.full_like(mouth, 0.1)
    assert torch.equal(without_mouth(pumping, still), pumping)


def test_everything_of_a_motion_is_smoothed_also_its_size() -> None:
    motion = random_motion(100)
    calm = smooth_motion(motion, TIMES, 0.5)

    def jitter(one: Motion, name: str) -> float:
        return float(getattr(one, name).diff(dim=0).abs().mean())

    for name in ("rotation", "t", "scale", "exp"):
        assert jitter(calm, name) < 0.75 * jitter(motion, name), name
    assert jitter(calm, "scale") < 0.05 * jitter(motion, "scale")
    slower = smooth_motion(motion, TIMES, 0.5, calm=True)
    assert jitter(slower, "rotation") < 0.75 * jitter(calm, "rotation")
    assert torch.equal(slower.exp, calm.exp)
    assert torch.equal(calm.kp, replace(motion).kp)
