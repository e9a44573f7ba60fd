"""Smoothing: noise goes, motion stays, nothing lags."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.capture.smooth import smooth
from omote.capture.take import CONTROL_NOISE

Array = NDArray[np.float64]
TIMES = np.arange(90) / 30


def run(values: Array, strength: float = 0.5, times: Array = TIMES) -> Array:
    return smooth(values, times, strength, noise=CONTROL_NOISE)


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_a_constant_stays(strength: float) -> None:
    values = np.tile([0.3, 0.0, -0.7], (90, 1))
    assert run(values, strength) == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("slope", [0.05, 0.5, 3.0])
def test_a_ramp_stays(strength: float, slope: float) -> None:
    """No lag: a moving average that looks back only would be late by half its width."""
    values = (slope * TIMES)[:, None]
    assert run(values, strength)[20:-20] == pytest.approx(values[20:-20], abs=0.1 * slope * 1e-2)


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_time_has_no_direction(strength: float) -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.06, 80))
    values = np.cumsum(rng.normal(0, 0.02, (80, 4)), axis=0)
    values[40:44, 0] += 0.8
    forward = smooth(values, times, strength, noise=CONTROL_NOISE)
    backward = smooth(values[::-1].copy(), (times[-1] - times)[::-1], strength, noise=CONTROL_NOISE)[::-1]
    assert backward == pytest.approx(forward, abs=1e-12)


def test_noise_goes() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(300) / 30
    values = 0.4 + rng.normal(0, CONTROL_NOISE, (300, 8))
    default, strong = (smooth(values, times, s, noise=CONTROL_NOISE).std(0) for s in (0.5, 1.0))
    assert values.std(0).min() / default.max() > 2
    assert values.std(0).mean() / default.mean() > 2.8
    assert strong.mean() < 0.75 * default.mean()


def blink(height: float = 0.9, at: float = 1.5) -> Array:
    """(90, 1): about 150 ms wide at half height, as people blink."""
    return height * np.exp(-(((TIMES - at) / 0.065) ** 2) / 2)[:, None]


@pytest.mark.parametrize(("strength", "kept"), [(0.5, 0.9), (1.0, 0.85)])
@pytest.mark.parametrize("height", [0.9, 0.4])
def test_blinks_stay(strength: float, kept: float, height: float) -> None:
    rng = np.random.default_rng(2)
    values = blink(height) + rng.normal(0, CONTROL_NOISE / 2, (90, 1))
    smoothed = run(values, strength)
    assert smoothed.max() > kept * values.max()
    assert abs(int(np.argmax(smoothed)) - int(np.argmax(values))) <= 1


def test_two_frame_blinks_stay() -> None:
    values = np.zeros((90, 1))
    values[44:46] = 0.9
    assert run(values)[44:46].min() > 0.85 * 0.9


def test_columns_do_not_mix() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(0, CONTROL_NOISE, (90, 1))
    together = run(np.concatenate([noise, blink()], axis=1))
    assert together[:, :1] == pytest.approx(run(noise), abs=1e-12)
    assert together[:, 1:] == pytest.approx(run(blink()), abs=1e-12)


def test_strength_zero_is_off() -> None:
    values = np.random.default_rng(4).normal(size=(90, 3))
    np.testing.assert_array_equal(run(values, 0.0), values)


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 5])
def test_short_takes(frames: int) -> None:
    values = np.linspace(0, 1, frames)[:, None] if frames else np.zeros((0, 1))
    smoothed = run(values, times=TIMES[:frames])
    assert smoothed.shape == (frames, 1)
    assert np.isfinite(smoothed).all()


def test_the_frame_rate_does_not_matter() -> None:
    """The window is in seconds: at twice the frames a slow wave comes out the same."""

    def smoothed(fps: int) -> Array:
        times = np.arange(4 * fps) / fps
        wave = 0.02 * np.sin(2 * np.pi * 2.0 * times)[:, None]
        return smooth(wave, times, 1.0, noise=CONTROL_NOISE)[:: fps // 30]

    assert smoothed(60)[10:-10] == pytest.approx(smoothed(30)[10:-10], abs=1.5e-3)


def test_variable_frame_rate() -> None:
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.choice([1 / 60, 1 / 30, 1 / 10], 200))
    noisy = 0.5 + rng.normal(0, CONTROL_NOISE, (200, 4))
    assert smooth(noisy, times, 0.5, noise=CONTROL_NOISE).std() < 0.6 * noisy.std()
    ramp = (0.2 * times)[:, None]
    assert smooth(ramp, times, 0.5, noise=CONTROL_NOISE)[10:-10] == pytest.approx(ramp[10:-10], abs=0.01)


def test_a_pause_in_time_is_not_bridged() -> None:
    times = np.concatenate([np.arange(20) / 30, 10 + np.arange(20) / 30])
    values = np.concatenate([np.zeros(20), np.full(20, 0.01)])[:, None]
    assert smooth(values, times, 1.0, noise=CONTROL_NOISE) == pytest.approx(values, abs=1e-12)


def test_noise_of_each_series() -> None:
    """A series whose usual noise is larger is smoothed more."""
    rng = np.random.default_rng(6)
    same = rng.normal(0, 0.02, 90)
    out = smooth(np.column_stack([same, same]), TIMES, 0.5, noise=np.array([0.02, 0.002]))
    assert out[:, 0].std() < 0.5 * same.std()
    assert out[:, 1].std() > 0.6 * same.std()
