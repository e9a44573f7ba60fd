"""Blinks: their shape, how often they come, and where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from omote.controls import FACS102
from omote.edit.blinks import CLOSE, HOLD, LIDS, OPEN, blink_profile, insert_blinks
from omote.errors import InputError


def count_of(track: np.ndarray) -> int:
    return int((np.diff((track > 0.5).astype(int)) == 1).sum())


def test_a_lid_closes_faster_than_it_opens() -> None:
    t = np.linspace(-0.1, 0.5, 601)
    lid = blink_profile(t)
    assert lid.max() == 1.0
    assert lid[t <= 0].max() == 0.0
    assert lid[t >= CLOSE + HOLD + OPEN].max() == 0.0
    closing = t[(lid > 0.1) & (t < CLOSE)]
    opening = t[(lid > 0.1) & (t > CLOSE + HOLD)]
    assert 0.05 < np.ptp(closing) < 0.1
    assert np.ptp(opening) > 1.4 * np.ptp(closing)


@pytest.mark.parametrize("rate", [6.0, 18.0])
def test_blinks_come_at_the_rate_asked_for(rate: float) -> None:
    times = np.arange(0, 600, 1 / 30)
    still = np.zeros((len(times), len(FACS102)), np.float32)
    made = insert_blinks(still, times, rate, seed=3)
    assert count_of(made[:, LIDS[0]]) == pytest.approx(10 * rate, rel=0.25)
    assert (made[:, LIDS[0]] == made[:, LIDS[1]]).all()
    closed = np.flatnonzero(np.diff((made[:, LIDS[0]] > 0.5).astype(int)) == 1)
    assert np.diff(times[closed]).min() > 0.7  # a dead time
    assert np.diff(times[closed]).std() > 0.5  # not a metronome
    assert made[closed[0] - 5 : closed[0] + 10, LIDS[0]].max() > 0.99  # some frame shows the eye closed
    assert (insert_blinks(still, times, rate, seed=3) == made).all()
    assert (insert_blinks(still, times, rate, seed=4) != made).any()
    assert (np.delete(made, LIDS, 1) == 0).all()


def test_no_blink_on_a_closed_eye() -> None:
    times = np.arange(0, 60, 1 / 30)
    asleep = np.zeros((len(times), len(FACS102)), np.float32)
    asleep[:, LIDS[0]] = 0.8  # one eye is enough: a wink is not blinked through
    assert (insert_blinks(asleep, times, 30.0) == asleep).all()


def test_a_rate_below_zero_is_refused() -> None:
    with pytest.raises(InputError, match="blinks"):
        insert_blinks(np.zeros((2, len(FACS102))), np.arange(2.0), -1.0)
