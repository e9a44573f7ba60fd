"""Retargeting, stitching and multiplier: what each does, and their published order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from omote.drive.liveportrait.finishing import eye_holding, finish, lip_normalizing
from omote.drive.liveportrait.offsets import Mlps, eye_offsets, lip_offsets, stitch
from omote.drive.liveportrait.options import Composition, Ratios
from omote.errors import InputError

from .liveportrait_faces import linear_mlps, random_motion, silent_mlps

X_S, X_D = random_motion(1, seed=1).points(), random_motion(4, seed=2).points()
MLPS = linear_mlps()
RATIOS = Ratios(
    source_eyes=torch.tensor([[0.3, 0.2]]),
    source_lip=torch.tensor([[0.1]]),
    driving_eyes=torch.tensor([[0.1, 0.9], [0.2, 0.9], [0.3, 0.9], [0.4, 0.9]]),
    driving_lip=torch.tensor([[0.0], [0.1], [0.2], [0.3]]),
)
close = torch.testing.assert_close


def test_stitching_adds_offsets_and_moves_all_points_in_the_image() -> None:
    change = torch.zeros(2, 65)
    change[:, 3:6] = torch.tensor([0.1, 0.2, 0.3])  # of keypoint 1
    change[:, 63:] = torch.tensor([1.0, -2.0])
    stitched = stitch(X_S, X_D[:2], lambda pair: change)
    expected = X_D[:2] + torch.tensor([1.0, -2.0, 0.0])
    expected[:, 1] += torch.tensor([0.1, 0.2, 0.3])
    close(stitched, expected)


def test_networks_get_the_source_first_and_the_wanted_ratio_last() -> None:
    seen: list[torch.Tensor] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return torch.zeros(len(x), 65 if x.shape[1] == 126 else 63)

    stitch(X_S, X_D, note)
    close(seen[0][3], torch.cat([X_S[0].flatten(), X_D[3].flatten()]))
    eye_offsets(X_S, RATIOS.need("source_eyes"), torch.tensor([[0.7], [0.8]]), note)
    close(seen[1][1], torch.cat([X_S[0].flatten(), torch.tensor([0.3, 0.2, 0.8])]))
    lip_offsets(X_S, RATIOS.need("source_lip"), torch.tensor([[0.5]]), note)
    close(seen[2][0], torch.cat([X_S[0].flatten(), torch.tensor([0.1, 0.5])]))
    with pytest.raises(InputError, match="eye ratios"):
        eye_offsets(X_S, torch.zeros(1, 1), torch.zeros(1, 1), note)


def test_networks_that_say_nothing_change_nothing() -> None:
    close(finish(X_S, X_D, Composition(), silent_mlps(), Ratios()), X_D)
    close(finish(X_S, X_D, Composition(stitching=False), MLPS, Ratios()), X_D)


@pytest.mark.parametrize("multiplier", [0.0, 0.5, 1.0, 1.5])
def test_the_multiplier_scales_the_way_from_the_source(multiplier: float) -> None:
    one = finish(X_S, X_D, Composition(), MLPS, Ratios())
    scaled = finish(X_S, X_D, Composition(multiplier=multiplier), MLPS, Ratios())
    close(scaled - X_S, multiplier * (one - X_S))


def test_closing_the_lips_comes_after_stitching_and_only_with_relative_motion() -> None:
    options = Composition(normalize_lip=True)
    closing = lip_offsets(X_S, RATIOS.need("source_lip"), torch.zeros(1, 1), MLPS.lip)
    close(finish(X_S, X_D, options, MLPS, RATIOS), stitch(X_S, X_D, MLPS.stitching) + closing)
    close(finish(X_S, X_D, replace(options, stitching=False), MLPS, RATIOS), X_D + closing)
    absolute = replace(options, relative=False)
    close(finish(X_S, X_D, absolute, MLPS, RATIOS), stitch(X_S, X_D, MLPS.stitching))


def test_lips_that_are_closed_already_are_left() -> None:
    ratio = torch.tensor([[0.02], [0.03], [0.4]])
    offsets = lip_normalizing(X_D[:3], Composition(), MLPS, Ratios(source_lip=ratio))
    assert (offsets.abs().amax((1, 2)) > 0).tolist() == [False, True, True]


def test_a_source_videos_eyes_are_held_as_in_its_first_frame() -> None:
    own = torch.tensor([[0.2, 0.4], [0.1, 0.1], [0.5, 0.5], [0.3, 0.3]])
    options = Composition(source_video_eye_retargeting=True)
    expected = eye_offsets(X_D, own, torch.tensor([[0.3]]), MLPS.eye)
    close(eye_holding(X_D, options, MLPS, Ratios(source_eyes=own)), expected)
    later = Ratios(source_eyes=own[2:], first_source_eyes=own[:1])
    close(eye_holding(X_D[2:], options, MLPS, later), expected[2:])
    shut = Ratios(source_eyes=own.roll(-1, 0))
    wanted = eye_offsets(X_D, own.roll(-1, 0), torch.tensor([[0.39]]), MLPS.eye)
    close(eye_holding(X_D, options, MLPS, shut), wanted)
    as_video = finish(X_D, X_D, options, MLPS, Ratios(source_eyes=own), video_source=True)
    close(as_video, stitch(X_D, X_D, MLPS.stitching) + expected)
    close(finish(X_D, X_D, options, MLPS, Ratios()), stitch(X_D, X_D, MLPS.stitching))


@pytest.mark.parametrize(("eye", "lip"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("stitching", [True, False])
def test_retargeting_discards_relative_motion_and_adds_to_absolute(
    eye: bool, lip: bool, stitching: bool
) -> None:
    added = torch.zeros(4, 21, 3)
    if eye:  # the driver's image-left eye says how open both are to be
        wanted = torch.tensor([[0.1], [0.2], [0.3], [0.4]])
        added = added + eye_offsets(X_S, RATIOS.need("source_eyes"), wanted, MLPS.eye)
    if lip:
        added = added + lip_offsets(X_S, RATIOS.need("source_lip"), RATIOS.need("driving_lip"), MLPS.lip)
    relative = Composition(eye_retargeting=eye, lip_retargeting=lip, stitching=stitching)

    def finished(base: torch.Tensor) -> torch.Tensor:
        return stitch(X_S, base + added, MLPS.stitching) if stitching else base + added

    close(finish(X_S, X_D, relative, MLPS, RATIOS), finished(X_S))
    absolute = replace(relative, relative=False)
    close(finish(X_S, X_D, absolute, MLPS, RATIOS), finished(X_D))


def test_gradients_reach_the_networks() -> None:
    weight = torch.zeros(126, 65, requires_grad=True)
    mlps = Mlps(lambda x: x @ weight, MLPS.eye, MLPS.lip)
    finish(X_S, X_D, Composition(), mlps, Ratios()).square().sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0


@pytest.mark.parametrize("missing", ["driving_eyes", "source_eyes", "driving_lip", "source_lip"])
def test_a_missing_ratio_is_named(missing: str) -> None:
    options = Composition(eye_retargeting=True, lip_retargeting=True)
    with pytest.raises(InputError, match=missing.replace("_", " ")):
        finish(X_S, X_D, options, MLPS, replace(RATIOS, **{missing: None}))
