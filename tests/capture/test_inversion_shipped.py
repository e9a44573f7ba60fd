"""The network that ships: it says what heads do that it never saw."""

from __future__ import annotations

import numpy as np
import pytest

from omote.capture.inverter import load_inverter, shipped_weights
from omote.controls import FACS102
from omote.rigs.facs import load_rig
from omote.training.datasets.synthetic import SynthOptions, render_samples


@pytest.fixture(scope="module")
def seen() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True controls (N, 102) of held-out paper samples; predicted from both pictures, RGB alone, normals alone."""
    inverter = load_inverter()
    samples = list(render_samples(load_rig(), SynthOptions(recipe="paper", size=256, seed=777), 0, 64))
    inputs = [
        [inverter.sample(*pictures, s.landmarks) for s in samples for pictures in [choose(s)]]
        for choose in _VIEWS
    ]
    truth = np.stack([sample.expression.controls for sample in samples])
    both, rgb, normal = (inverter.controls(crops) for crops in inputs)
    return truth, both, rgb, normal


_VIEWS = (
    lambda sample: (sample.rgb, sample.normal),
    lambda sample: (sample.rgb, None),
    lambda sample: (None, sample.normal),
)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_it_is_small_and_has_a_card() -> None:
    assert shipped_weights().stat().st_size < 30_000_000
    card = shipped_weights().with_suffix(".md").read_text()
    for word in ("Data", "Seed", "Command", "Time", "Metrics"):
        assert word in card


def test_what_it_says_goes_with_the_truth_from_any_picture(seen: tuple[np.ndarray, ...]) -> None:
    truth, *predictions = seen
    face = [k for k, name in enumerate(FACS102.names) if not name.startswith("head_")]
    for predicted, least in zip(predictions, (0.94, 0.84, 0.92), strict=True):
        assert correlation(predicted[:, face], truth[:, face]) > least


def test_it_sees_an_open_jaw(seen: tuple[np.ndarray, ...]) -> None:
    truth, both, *_ = seen
    jaw = FACS102.index("jaw_open")
    assert correlation(both[:, jaw], truth[:, jaw]) > 0.99
