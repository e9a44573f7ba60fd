"""IMPLICIT21: a space of learned points, which neither converts nor mirrors, and says so."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from omote.controls import ARKIT52, FACS102, IMPLICIT21, Control, ControlSpace, space_by_name
from omote.edit import edit
from omote.errors import InputError
from omote.performance import Camera, Performance


def take(space: ControlSpace = IMPLICIT21, count: int = 30) -> Performance:
    random = np.random.default_rng(0)
    return Performance(
        space=space,
        controls=space.neutral + random.normal(0, 0.01, (count, len(space))),
        head_rotation=random.normal(0, 0.1, (count, 3)),
        head_translation=np.tile([0, 0, -0.6], (count, 1)),
        confidence=np.ones(count),
        times=np.arange(count) / 25,
        camera=Camera(focal=460.8, principal=(128, 128), size=(256, 256)),
    )


def test_seventy_controls_by_name() -> None:
    assert space_by_name("IMPLICIT21") is IMPLICIT21
    assert len(IMPLICIT21) == 70
    assert IMPLICIT21.names[:3] == ("kp00_x", "kp00_y", "kp00_z")
    assert IMPLICIT21.names[60:] == (
        *("kp20_x", "kp20_y", "kp20_z", "scale", "t_x", "t_y", "t_z"),
        *("eye_ratio_R", "eye_ratio_L", "lip_ratio"),
    )
    assert IMPLICIT21["scale"].neutral == 1
    assert pickle.loads(pickle.dumps(IMPLICIT21)) == IMPLICIT21
    assert pickle.loads(pickle.dumps(IMPLICIT21)).learned


@pytest.mark.parametrize("named", [FACS102, ARKIT52], ids=lambda space: space.name)
def test_nothing_converts_it(named: ControlSpace) -> None:
    with pytest.raises(InputError, match=r"no way from control space implicit21 .*--engine liveportrait"):
        take().with_space(named)
    with pytest.raises(InputError, match=r"to implicit21: .* Start from a motion template"):
        take(named).with_space("implicit21")
    # Not even one name in common makes a conversion.
    other = ControlSpace("other", (Control("scale", 0, 2, 1),))
    for one, two in ((other, IMPLICIT21), (IMPLICIT21, other)):
        with pytest.raises(InputError, match="no way"):
            one.conversion_report(two)
    assert take().with_space("implicit21") == take()


def test_it_does_not_mirror() -> None:
    with pytest.raises(InputError, match="cannot be mirrored"):
        take().mirror()


def test_a_renamed_space_stays_learned(tmp_path: Path) -> None:
    renamed = take().rename({"kp19_y": "jaw"})
    again = Performance.load(renamed.save(tmp_path / "a.omote"))
    assert again == renamed
    assert again.space.learned
    with pytest.raises(InputError, match="cannot be mirrored"):
        again.mirror()
    plain = take(FACS102).rename({"jaw_open": "jaw"})
    assert not Performance.load(plain.save(tmp_path / "b.omote")).space.learned


def test_smoothing_spares_the_blinks() -> None:
    smooth = edit.smooth(take(), 0.1)
    for name, kept in (("kp19_y", 0.6), ("kp11_y", 0.99), ("eye_ratio_L", 0.99)):
        before, after = take().track(name), smooth.track(name)
        assert 0 < after.std() < kept * before.std()
    assert smooth.track("kp19_y").std() < 0.7 * smooth.track("kp11_y").std()


def test_smoothing_controls_without_eyelids() -> None:
    space = ControlSpace("jaws", (Control("left", 0, 1), Control("right", 0, 1)))
    assert edit.smooth(take(space), 0.1).track("left").std() < 0.7 * take(space).track("left").std()
