"""The smoother is the filter and backward pass of a random walk, written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omote.drive.liveportrait.kalman import PROCESS_VARIANCE, smooth
from omote.errors import InputError


def filtered_and_back(samples: np.ndarray, observation: float, process: float) -> np.ndarray:
    """Kalman filter and Rauch-Tung-Striebel pass of (T,) samples, as textbooks write them."""
    means, variances, predicted = [], [], []
    mean, variance = samples[0], 1.0
    for index, sample in enumerate(samples):
        if index:
            variance += process
        predicted.append(variance)
        gain = variance / (variance + observation)
        mean, variance = mean + gain * (sample - mean), (1 - gain) * variance
        means.append(mean)
        variances.append(variance)
    result = means.copy()
    for index in range(len(samples) - 2, -1, -1):
        back = variances[index] / predicted[index + 1]
        result[index] = means[index] + back * (result[index + 1] - means[index])
    return np.array(result)


@given(
    st.integers(1, 12),
    st.sampled_from([0.0, 3e-7, 3e-5, 1e-2, 4.0]),
    st.sampled_from([1e-5, 1e-3]),
    st.integers(0, 99),
)
def test_it_is_the_filter_and_the_backward_pass(
    count: int, observation: float, process: float, seed: int
) -> None:
    samples = np.random.default_rng(seed).normal(size=count)
    expected = filtered_and_back(samples, observation, process)
    ours = smooth(torch.from_numpy(samples), observation, process)
    np.testing.assert_allclose(ours, expected, atol=1e-10)


def test_scalars_are_independent_and_shape_and_type_stay() -> None:
    samples = torch.randn(9, 2, 3, generator=torch.Generator().manual_seed(0))
    result = smooth(samples, 1e-4)
    assert result.shape == samples.shape
    assert result.dtype == samples.dtype
    torch.testing.assert_close(result[:, 1, 2], smooth(samples[:, 1, 2], 1e-4))


def test_it_moves_neither_levels_nor_time() -> None:
    assert torch.equal(smooth(torch.full((8, 1), 0.25), 1e-4), torch.full((8, 1), 0.25))
    pulse = torch.zeros(41, dtype=torch.float64)
    pulse[20] = 1
    result = smooth(pulse, 1e-4)
    torch.testing.assert_close(
        result, result.flip(0), atol=1e-6, rtol=0
    )  # the start's own variance is far away
    assert result.argmax() == 20


def test_the_published_variances_weigh_a_frame_as_the_filter_says() -> None:
    pulse = torch.zeros(201, dtype=torch.float64)
    pulse[100] = 1
    for observation, gain in ((3e-7, 0.972), (3e-6, 0.805), (3e-5, 0.434)):
        # Forward gain g and backward factor 1 - g: the pulse keeps g / (2 - g) of itself.
        assert smooth(pulse, observation)[100].item() == pytest.approx(gain / (2 - gain), abs=1e-3)
    assert PROCESS_VARIANCE == 1e-5


@pytest.mark.parametrize(
    ("sequence", "observation"),
    [
        (torch.zeros(0, 3), 1e-6),
        (torch.tensor([0.0, torch.nan]), 1e-6),
        (torch.zeros(3), -1.0),
        (torch.zeros(3), torch.inf),
    ],
)
def test_what_cannot_be_smoothed_is_refused(sequence: torch.Tensor, observation: float) -> None:
    with pytest.raises(InputError, match="smoothing"):
        smooth(sequence, observation)
