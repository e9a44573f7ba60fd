"""Edits of a take, each against what it should do to numbers."""

from __future__ import annotations

import numpy as np
import pytest

from omote.controls import ARKIT52, FACS102
from omote.edit.edit import (
    blink,
    changed_controls,
    gain,
    look,
    loop,
    set_controls,
    smooth,
    turn_head,
)
from omote.edit.names import weights_of
from omote.edit.presets import preset
from omote.edit.regions import REGIONS, region_indices
from omote.errors import InputError
from omote.geometry.rotations import axis_angle_to_matrix, matrix_to_yaw_pitch_roll
from omote.performance import Performance


@pytest.fixture(scope="module")
def take() -> Performance:
    return preset("talk", 2.0, seed=5)


def test_set_adds_sets_multiplies_and_goes_below_zero(take: Performance) -> None:
    before = take.track("corner_pull_L")
    added = set_controls(take, "mouthSmile*=+0.2")
    assert added.track("corner_pull_L") == pytest.approx(np.clip(before + 0.2, 0, 1), abs=1e-6)
    assert added.track("corner_pull_R").min() > 0.19
    assert [name for name, _, _ in changed_controls(take, added)] == ["corner_pull_L", "corner_pull_R"]
    taken = set_controls(take, "jaw_open = -0.1", "brow_*=0", "jawOpen=x2")
    assert taken.track("jaw_open") == pytest.approx(
        np.clip(2 * np.clip(take.track("jaw_open") - 0.1, 0, 1), 0, 1), abs=1e-6
    )
    assert np.abs(taken.controls[:, FACS102.match("brow_*")]).max() == 0
    assert set_controls(take, "gaze_yaw_*==-0.3").track("gaze_yaw_L") == pytest.approx(-0.3)
    assert set_controls(take, "eyeLookInLeft=0.5").track("gaze_yaw_L") == pytest.approx(-0.5)
    assert set_controls(take, "smile=0.5").track("cheek_raise_L") == pytest.approx(0.225)
    assert set_controls(take, "jaw_open=+9").track("jaw_open").max() == 1.0


def test_set_in_arkit_names_only_its_own() -> None:
    arkit = preset("smile").with_space(ARKIT52)
    assert set_controls(arkit, "mouthSmile*=0.3").track("mouthSmileLeft") == pytest.approx(0.3)
    with pytest.raises(InputError, match="no control of arkit52"):
        set_controls(arkit, "corner_pull_L=0.3")


@pytest.mark.parametrize(
    "change", ["jaw_open", "jaw_open=", "=0.2", "jaw_open=a", "jaw_open=+-1", "jaw_open=1.2.3"]
)
def test_changes_that_cannot_be_read(take: Performance, change: str) -> None:
    with pytest.raises(InputError, match="cannot read"):
        set_controls(take, change)


def test_an_unknown_name_brings_the_nearest(take: Performance) -> None:
    with pytest.raises(InputError, match="mouthSmileLeft"):
        set_controls(take, "mouthSmlieLeft=1")


def test_patterns_reach_facs_arkit_and_words() -> None:
    def names(pattern: str) -> dict[str, float]:
        return {FACS102.names[i]: weight for i, weight in weights_of(pattern)}

    assert names("mouthSmile*") == {"corner_pull_L": 1.0, "corner_pull_R": 1.0}
    assert names("MOUTHSMILELEFT") == {"corner_pull_L": 1.0}
    assert len(names("jaw*")) == 6
    assert set(names("mouthPucker")) == {
        f"lip_pucker_{p}" for p in ("upper_L", "upper_R", "lower_L", "lower_R")
    }
    assert names("mouthClose").keys() == {
        f"lips_together_{p}" for p in ("upper_L", "upper_R", "lower_L", "lower_R")
    }
    assert names("winkLeft")["lid_close_L"] == 1.0
    assert "lid_close_R" not in names("winkLeft")
    for arkit in ARKIT52.names:
        assert names(arkit)


def test_gaze_of_a_take_in_either_space(take: Performance) -> None:
    looked = look(take, (0.0, 10.0))
    assert np.abs(looked.controls - take.controls)[:, [*FACS102.match("gaze_*")]].max() > 0.1
    arkit = look(take.with_space(ARKIT52), (0.0, 10.0))
    assert arkit.space == ARKIT52
    assert arkit.track("eyeLookUpLeft") == pytest.approx(
        np.maximum(looked.track("gaze_pitch_L"), 0), abs=1e-5
    )
    unchanged = [i for i, name in enumerate(FACS102.names) if not name.startswith("gaze")]
    assert (looked.controls[:, unchanged] == take.controls[:, unchanged]).all()


def test_blinks_are_added(take: Performance) -> None:
    long = preset("nod", 30.0)
    assert (np.diff((blink(long, 20).track("lid_close_L") > 0.5).astype(int)) == 1).sum() >= 5
    assert blink(long, 0) == long


@pytest.mark.parametrize("region", REGIONS)
def test_gain_scales_one_region(take: Performance, region: str) -> None:
    scaled = gain(take, {region: 0.5})
    others = np.concatenate([region_indices(r) for r in REGIONS if r != region])
    assert scaled.controls[:, others] == pytest.approx(take.controls[:, others])
    own = region_indices(region)
    assert scaled.controls[:, own] == pytest.approx(take.controls[:, own] / 2)
    turned = np.linalg.norm(scaled.head_rotation, axis=1) / np.linalg.norm(take.head_rotation, axis=1).clip(
        1e-9
    )
    moving = np.linalg.norm(take.head_rotation, axis=1) > 0.01
    assert turned[moving] == pytest.approx(0.5 if region == "pose" else 1.0, rel=1e-3)


def test_turning_the_head_turns_it_in_its_own_frame(take: Performance) -> None:
    turned = turn_head(take, yaw=10.0, roll=-5.0)
    own = axis_angle_to_matrix(take.head_rotation)
    offset = np.swapaxes(own, 1, 2) @ axis_angle_to_matrix(turned.head_rotation)
    angles = np.degrees(matrix_to_yaw_pitch_roll(offset))
    assert angles == pytest.approx(np.tile([10.0, 0.0, -5.0], (len(take), 1)), abs=1e-3)
    assert 0.005 < np.abs(turned.head_translation - take.head_translation).max() < 0.03
    with pytest.raises(InputError, match="turn"):
        turn_head(take, yaw=100.0)


def test_smoothing_takes_out_noise_and_keeps_the_motion_in_place() -> None:
    clean = preset("smile", 4.0)
    rng = np.random.default_rng(0)
    noisy = clean.with_(
        controls=clean.controls + rng.normal(0, 0.03, clean.controls.shape),
        head_rotation=clean.head_rotation + rng.normal(0, 0.01, clean.head_rotation.shape),
    )
    soft = smooth(noisy, 0.08)
    for name in ("controls", "head_rotation"):
        lids = [i for i in range(clean.controls.shape[1]) if "lid_close" not in FACS102.names[i]]
        pick = (slice(None), lids) if name == "controls" else ...
        error = [np.abs(getattr(t, name)[pick] - getattr(clean, name)[pick]).mean() for t in (noisy, soft)]
        assert error[1] < 0.5 * error[0]
    still = smooth(clean.with_(controls=np.full_like(clean.controls, 0.4)), 0.1)
    assert still.controls == pytest.approx(0.4)
    assert smooth(clean, 0) is clean


def test_smoothing_ignores_lost_frames(take: Performance) -> None:
    controls = np.array(take.controls) * 0 + 0.2
    confidence = np.ones(len(take))
    controls[20:30], confidence[20:30] = 0.9, 0
    soft = smooth(take.with_(controls=controls, confidence=confidence), 0.1)
    assert soft.controls[confidence > 0] == pytest.approx(0.2, abs=1e-6)


def test_a_loop_ends_where_it_begins() -> None:
    take = preset("smile", 3.0)[20:70]
    joined = loop(take, 0.4)
    assert (joined.controls[-1] == take.controls[0]).all()
    assert joined.head_rotation[-1] == pytest.approx(take.head_rotation[0], abs=1e-6)
    assert (joined.controls[:30] == take.controls[:30]).all()
    with pytest.raises(InputError, match="loop"):
        loop(take, 0.0)
