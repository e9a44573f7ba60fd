"""How open eyes and lips are in the end, in a world of one coordinate each and exact small networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omote.drive.liveportrait.composition import neutral_expression
from omote.drive.liveportrait.driving import DrivingTake
from omote.drive.liveportrait.offsets import Mlps
from omote.drive.liveportrait.performing import Still, perform
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.drive.liveportrait.sliders import Sliders
from omote.errors import InputError
from omote.models.liveportrait.keypoints import Motion

LIPS, EYES, Y = 19, (11, 15), 1
KP = 0.2 * torch.randn(1, 21, 3, generator=torch.Generator().manual_seed(0))
REST = neutral_expression(torch.zeros(1, 21, 3))
SHUT, HALF, WIDE, OWN = (0.0, 0.2, 0.4), (0.1, 0.2, 0.3), (0.3, 0.2, 0.35), (0.3, 0.2, 0.4)
"""Openness; the motion never closes further than closed, or it would not be known."""


def motion(lips: Tensor, eyes: Tensor) -> Motion:
    count = len(lips)
    exp = REST.repeat(count, 1, 1)
    exp[:, LIPS, Y] += lips
    for point in EYES:
        exp[:, point, Y] += eyes
    still = torch.eye(3).expand(count, 3, 3)
    return Motion(KP.expand(count, -1, -1), still, torch.zeros(count, 3), torch.ones(count, 1), exp)


def lip_net(x: Tensor) -> Tensor:
    made = torch.zeros(len(x), 63)
    made[:, 3 * LIPS + Y] = x[:, 64] - x[:, 63]
    return made


def eye_net(x: Tensor) -> Tensor:
    made = torch.zeros(len(x), 63)
    for point in EYES:
        made[:, 3 * point + Y] = x[:, 65] - x[:, 63:65].mean(1)
    return made


NETS = Mlps(lambda x: torch.zeros(len(x), 65), eye_net, lip_net)  # type: ignore[arg-type]


def open_in_the_end(video: bool = False, **options: Any) -> tuple[list[float], list[float]]:
    """(lips, eyes) of three frames; a photo's are 0.25 and 0.3, a video's `HALF` and `OWN`."""
    lips, eyes = (
        (torch.tensor(HALF), torch.tensor(OWN)) if video else (torch.tensor([0.25]), torch.tensor([0.3]))
    )
    times = np.arange(3) / 25
    source = Still(
        motion(lips, eyes),
        eyes[:, None].repeat(1, 2),
        lips[:, None],
        times[: len(lips)],
        np.ones(len(lips), bool),
        video=video,
    )
    theirs = motion(torch.tensor(SHUT), torch.tensor(WIDE))
    eyes, lips = torch.tensor(WIDE)[:, None].repeat(1, 2), torch.tensor(SHUT)[:, None]
    driver = DrivingTake(theirs, times, eyes, lips, np.ones(3, bool))
    moved = perform(source, driver, LivePortraitOptions(smooth=0.0, **options), NETS)
    away = moved.driving - (KP + REST)
    return away[:, LIPS, Y].tolist(), away[:, EYES[0], Y].tolist()


@pytest.mark.parametrize(
    ("options", "lips"),
    [
        ({"lip_retargeting": True}, SHUT),
        (
            {"normalize_lip": True},
            SHUT,
        ),  # the source's lips are closed, the driver's closed ones are where it starts
        ({"normalize_lip": True, "lip_retargeting": True}, SHUT),
        ({"normalize_lip": True, "lip_ratio": 0.3}, (0.3, 0.3, 0.3)),
        ({"lip_retargeting": True, "lip_ratio": 0.3}, (0.3, 0.3, 0.3)),
        ({"lip_retargeting": True, "sliders": Sliders(lip_ratio=0.3)}, (0.3, 0.3, 0.3)),
        ({"lip_retargeting": True, "relative": False}, SHUT),
        ({"lip_retargeting": True, "multiplier": 1.2}, SHUT),
    ],
)
@pytest.mark.parametrize("video", [False, True])
def test_lips_are_as_open_as_the_last_word_says(
    options: dict[str, Any], lips: tuple[float, ...], video: bool
) -> None:
    assert open_in_the_end(video, **options)[0] == pytest.approx(lips, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "eyes"),
    [
        ({"eye_retargeting": True}, WIDE),
        ({"eye_retargeting": True, "sliders": Sliders(eye_ratio=0.2)}, (0.2, 0.2, 0.2)),
        ({"hold_eyes": True, "eye_retargeting": True}, WIDE),
        ({"hold_eyes": True, "sliders": Sliders(eye_ratio=0.2)}, (0.2, 0.2, 0.2)),
        ({"hold_eyes": True, "regions": frozenset({"lips"})}, (0.3, 0.3, 0.3)),
    ],
)
def test_eyes_are_as_open_as_the_last_word_says(options: dict[str, Any], eyes: tuple[float, ...]) -> None:
    assert open_in_the_end(video=True, **options)[1] == pytest.approx(eyes, abs=1e-5)


@pytest.mark.parametrize(
    "told", [{"lip_retargeting": True}, {"normalize_lip": True}, {"sliders": Sliders(lip_ratio=0.2)}]
)
def test_lips_that_are_kept_still_are_not_moved_as_well(told: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="one of --silence and"):
        LivePortraitOptions(silence=True, **told)
