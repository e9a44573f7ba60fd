"""Metrics of rig inversion: by hand, perfect, shuffled, mirrored; and the regions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from omote.controls import ARKIT52, FACS102
from omote.errors import InputError
from omote.evaluation.inversion_metrics import (
    correlation,
    face_vertices,
    gaze_angles,
    gaze_directions,
    group_score,
    head_given,
    measure,
    vertex_distances,
)
from omote.evaluation.inversion_regions import REGIONS, hard_indices, region_indices, region_of
from omote.rigs.facs import load_rig

Floats = NDArray[np.float64]


def some(count: int = 6, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Predicted and true controls within the ranges, and identities."""
    rng = np.random.default_rng(seed)
    true = FACS102.low + (FACS102.high - FACS102.low) * rng.random((count, 102))
    true *= rng.random((count, 102)) < 0.15
    predicted = np.clip(true + rng.normal(0, 0.1, true.shape), FACS102.low, FACS102.high)
    return predicted, true, rng.normal(0, 1, (count, 90))


@pytest.mark.parametrize("space", [FACS102, ARKIT52], ids=["facs", "arkit"])
def test_every_control_is_in_exactly_one_region(space: object) -> None:
    assert space in (FACS102, ARKIT52)
    chosen = FACS102 if space == FACS102 else ARKIT52
    parts = [region_indices(chosen, region) for region in REGIONS]
    together = np.concatenate(parts)
    assert sorted(together) == list(range(len(chosen)))


def test_regions_by_name() -> None:
    assert {n for n in FACS102.names if region_of(n) == "other"} == {
        *("ear_raise_L", "ear_raise_R", "neck_tighten_L", "neck_tighten_R"),
        *("head_yaw", "head_pitch", "head_roll"),
    }
    assert not [n for n in ARKIT52.names if region_of(n) == "other"]
    assert [region_of(n) for n in ("lid_close_L", "lips_part", "lip_press_upper_L", "eyeLookInLeft")] == [
        *("eyelid", "lips", "lips", "gaze")
    ]
    hard = {FACS102.names[i] for i in hard_indices(FACS102)}
    assert {"tongue_out", "gaze_yaw_L", "lip_roll_in_upper_R", "cheek_puff_L", "nostril_dilate_R"} <= hard
    assert not hard & {"jaw_open", "lid_close_L", "lip_press_upper_L", "brow_lower_R"}


def test_scores_by_hand() -> None:
    """Errors 0.1 and 0.3 of two controls; the truth's squares about the means 0.5 and 0, residuals 0.2."""
    true = np.array([[0.0, 0.5], [1.0, 0.5]])
    score = group_score(np.array([[0.1, 0.8], [0.9, 0.8]]), true)
    assert score.mae == pytest.approx(0.2)
    assert score.r2 == pytest.approx(1 - 0.2 / 0.5)
    x, y = np.array([0.1, 0.8, 0.9, 0.8]), true.ravel()
    assert score.correlation == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_correlation_without_variation() -> None:
    flat, up = np.zeros(4), np.arange(4.0)
    assert correlation(flat, up) == 0
    assert math.isnan(correlation(flat, flat))
    assert correlation(up, 3 - 2 * up) == pytest.approx(-1)
    assert math.isnan(group_score(flat[:, None], flat[:, None]).r2)


def test_a_perfect_predictor() -> None:
    _, true, who = some()
    scores = measure(true, true, who, load_rig())
    assert scores.control_mae == scores.hard_mae == scores.gaze_degrees == 0
    assert scores.vertex_median_mm == scores.vertex_all_mm == scores.vertex_turned_mm == 0
    assert scores.correlation == pytest.approx(1)
    assert scores.r2 == 1
    assert scores.within_percent == 100


def test_the_order_of_samples_does_not_matter() -> None:
    predicted, true, who = some(5)
    order = np.array([3, 0, 4, 2, 1])
    one = measure(predicted, true, who, load_rig())
    other = measure(predicted[order], true[order], who[order], load_rig())
    for name, value in one.flat().items():
        assert other.flat()[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    np.testing.assert_allclose(one.control, other.control)


def test_mirrored_faces_have_the_same_errors() -> None:
    """Mirroring truth and prediction swaps left and right; what is pooled over both sides stays."""
    predicted, true, _ = some(5)
    rig = load_rig()
    who = np.zeros((5, len(rig.identity_space)))  # the average head is its own mirror image
    one = measure(predicted, true, who, rig)
    other = measure(FACS102.mirror(predicted), FACS102.mirror(true), who, rig)
    for name in ("control_mae", "r2", "within_percent", "gaze_degrees", "hard_mae", "lips_mae", "brow_r2"):
        assert other.flat()[name] == pytest.approx(one.flat()[name], rel=1e-6), name
    assert other.vertex_median_mm == pytest.approx(one.vertex_median_mm, rel=0.02)
    np.testing.assert_allclose(other.control, one.control[FACS102.mirror_indices], atol=1e-12)


def test_gaze_is_that_of_the_rig() -> None:
    import torch

    _, true, _ = some(4)
    turns = load_rig().eye_rotations(torch.from_numpy(true))
    np.testing.assert_allclose(
        gaze_directions(true, FACS102),
        (turns @ torch.tensor([0, 0, 1.0], dtype=torch.float64)).numpy(),
        atol=1e-6,
    )


def test_gaze_angle_of_one_open_eye() -> None:
    """A third of 30 degrees of yaw at the left eye; the right one is closed and does not count."""
    true = np.zeros((1, 102))
    true[0, FACS102.index("lid_close_R")] = 0.8
    predicted = true.copy()
    predicted[0, FACS102.index("gaze_yaw_L")] = 1 / 3
    predicted[0, FACS102.index("gaze_yaw_R")] = 1.0
    assert gaze_angles(predicted, true, FACS102) == pytest.approx([10.0])
    true[0, FACS102.index("lid_close_L")] = 0.5
    assert len(gaze_angles(predicted, true, FACS102)) == 0
    assert len(gaze_angles(np.zeros((1, 52)), np.zeros((1, 52)), ARKIT52)) == 0


def test_a_turned_head_is_not_an_expression() -> None:
    true = np.zeros((1, 102))
    predicted = true.copy()
    predicted[0, FACS102.index("head_yaw")] = 0.2
    scores = measure(predicted, true, np.zeros((1, 90)), load_rig())
    assert scores.vertex_median_mm == 0
    assert 5 < scores.vertex_turned_mm < 30  # 9 degrees of a head whose face is some 10 cm before its joint
    np.testing.assert_array_equal(head_given(predicted, true, FACS102), true)


def test_distances_are_millimetres_of_the_face() -> None:
    rig = load_rig()
    chosen = face_vertices(rig)
    skin = np.unique(rig.weld.numpy()[rig.faces.numpy()[rig.face_part.numpy() == 0]])
    assert set(chosen) <= set(skin)
    assert 0.2 * len(skin) < len(chosen) < 0.8 * len(skin)
    points = rig.template.numpy()[rig.expand.numpy()][chosen]
    assert points[:, 2].min() > -0.07
    true = np.zeros((1, 102))
    opened = true.copy()
    opened[0, FACS102.index("jaw_open")] = 1
    away = vertex_distances(opened, true, np.zeros((1, 90)), rig)
    assert away.shape == (1, len(chosen))
    assert 10 < away.max() < 80
    forehead = points[:, 1] > 0.02
    assert away[0, forehead].max() < 0.5


def test_what_cannot_be_measured_is_refused() -> None:
    predicted, true, who = some(2)
    with pytest.raises(InputError, match="shape"):
        measure(predicted[:, :50], true, who, load_rig())
    with pytest.raises(InputError, match="not finite"):
        measure(predicted * np.nan, true, who, load_rig())
    with pytest.raises(InputError, match="no samples"):
        measure(predicted[:0], true[:0], who[:0], load_rig())
