"""Contact sheets: which pictures, how large, and that controls show."""

from __future__ import annotations

import numpy as np
import pytest

from omote.controls import FACS102
from omote.errors import InputError
from omote.render.albedo import paint_albedo
from omote.render.sheets import (
    companions,
    control_picture,
    control_sheet,
    ends,
    identity_sheet,
    render_head,
    view_of,
)
from omote.render.texture_sampling import Albedo


def test_one_row_of_pictures() -> None:
    sheet = control_sheet(["brow_lower_L", "gaze_yaw_L"], size=64, columns=4)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (64 + 12 + 3 + 3, 4 * 67 + 3, 3)  # neutral, lowered, gaze to both sides
    neutral, lowered = sheet[3:67, 3:67], sheet[3:67, 70:134]
    assert np.abs(neutral.astype(int) - lowered).max() > 60


def test_every_control_shows() -> None:
    albedo = Albedo.from_srgb(paint_albedo(size=256))
    for control in FACS102.controls:
        base = render_head(companions(control.name), view_of(control.name), 96, albedo=albedo)
        for value in ends(control):
            shown = control_picture(control.name, value, 96, albedo=albedo)
            assert np.abs(shown.astype(int) - base).max() > 2, control.name


def test_identities_differ() -> None:
    sheet = identity_sheet(2, columns=2, size=64)
    assert sheet.shape == (64 + 12 + 3 + 3, 2 * 67 + 3, 3)
    assert np.abs(sheet[3:67, 3:67].astype(int) - sheet[3:67, 70:134]).mean() > 4


@pytest.mark.parametrize("options", [{"size": 8}, {"size": 5000}, {"columns": 0}])
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(InputError):
        control_sheet(["jaw_open"], **options)


def test_unknown_control_is_named() -> None:
    with pytest.raises(InputError, match="jaw_opn"):
        control_sheet(["jaw_opn"])
