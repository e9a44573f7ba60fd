"""Driving keypoints: what is taken of the driver, from where, and in which order it is finished."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from omote.drive.liveportrait.composition import (
    compose_animal,
    compose_image,
    compose_video,
    neutral_expression,
    relative_rotation,
)
from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.options import Composition
from omote.drive.liveportrait.regions import EYE_POINTS, LIP_POINTS, REGIONS, expression_mask
from omote.errors import InputError
from omote.models.liveportrait.keypoints import Motion, rotation_matrix

from .liveportrait_faces import random_motion

SOURCE, DRIVER = random_motion(1, seed=1), random_motion(6, seed=2)
close = torch.testing.assert_close


def repeated(motion: Motion, count: int) -> Motion:
    return Motion.join([motion] * count)


def flat(motion: Motion) -> Motion:
    """The same without tz, which is dropped."""
    return replace(motion, t=motion.t * torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize("region", REGIONS)
def test_a_driver_that_does_not_move_gives_the_source(region: str) -> None:
    still_driver = repeated(DRIVER[:1], 4)
    result = compose_image(SOURCE, still_driver, Composition(region=region))
    close(result.points(), SOURCE.points().expand(4, -1, -1))


def test_the_source_as_its_own_driver_gives_its_video() -> None:
    video = random_motion(5, seed=3)
    shape = replace(video, kp=video.kp[:1].expand(5, -1, -1))
    result = compose_image(shape[:1], shape, Composition())
    close(result.points(), shape.points())
    close(
        compose_image(shape[:1], shape, Composition(relative=False, region="pose")).rotation, shape.rotation
    )


@pytest.mark.parametrize(
    ("region", "head", "scale", "points"),
    [
        ("all", True, True, range(21)),
        ("exp", False, False, range(21)),
        ("pose", True, False, ()),
        ("lip", False, False, LIP_POINTS),
        ("eyes", False, False, EYE_POINTS),
    ],
)
def test_a_region_takes_its_part_of_the_driver(region: str, head: bool, scale: bool, points: range) -> None:
    result = compose_image(SOURCE, DRIVER, Composition(region=region))
    changed = (result.exp - SOURCE.exp).abs().amax((0, 2)) > 1e-6
    assert changed.nonzero()[:, 0].tolist() == list(points)
    assert ((result.rotation - SOURCE.rotation).abs().max() > 1e-3) == head
    assert ((result.t - flat(SOURCE).t).abs().max() > 1e-3) == head
    assert ((result.scale - SOURCE.scale).abs().max() > 1e-3) == scale
    if scale:
        close(result.scale, SOURCE.scale * DRIVER.scale / DRIVER.scale[:1])
    assert (result.t[:, 2] == 0).all()


def test_rotation_is_the_drivers_since_its_reference() -> None:
    roll = [rotation_matrix(torch.zeros(1), torch.zeros(1), torch.tensor([a])) for a in (10.0, 25.0, 5.0)]
    close(relative_rotation(roll[1], roll[0], roll[2])[0], rotation_matrix(*torch.tensor([0.0, 0, 20.0]))[0])


def test_a_long_driver_can_be_composed_in_pieces() -> None:
    whole = compose_image(SOURCE, DRIVER, Composition())
    pieces = [
        compose_image(SOURCE, part, Composition(), reference=DRIVER[:1]) for part in (DRIVER[:4], DRIVER[4:])
    ]
    close(Motion.join(pieces).points(), whole.points())


def test_absolute_motion_keeps_what_counts_as_the_shape_of_the_face() -> None:
    result = compose_image(SOURCE, DRIVER, Composition(relative=False))
    kept = (result.exp - SOURCE.exp).abs().amax(0) < 1e-9
    expected = {(point, axis) for point in (0, 7, 10) for axis in range(3)}
    expected |= {(3, 0), (3, 2), (4, 0), (4, 2), (5, 0), (5, 1), (8, 0), (8, 1), (9, 0)}
    assert {tuple(place) for place in kept.nonzero().tolist()} == expected
    assert torch.equal(result.exp[:, ~kept], DRIVER.exp[:, ~kept])
    close(result.rotation, DRIVER.rotation)
    close(result.t, flat(DRIVER).t)
    close(result.scale, SOURCE.scale.expand(6, 1))


@pytest.mark.parametrize("region", ["all", "exp", "lip", "eyes"])
def test_a_still_driver_gives_its_expression_and_no_pose(region: str) -> None:
    result = compose_image(SOURCE, DRIVER[:1], Composition(region=region), still=True)
    base = torch.zeros(1, 21, 3) if region == "eyes" else neutral_expression(DRIVER.exp)
    mask = expression_mask(region, partial=False)
    close(result.exp, torch.where(mask, SOURCE.exp + DRIVER.exp[:1] - base, SOURCE.exp))
    close(result.rotation, SOURCE.rotation)
    close(result.scale, SOURCE.scale)
    own = compose_image(SOURCE, replace(DRIVER[:1], exp=base), Composition(region=region), still=True)
    close(own.points(), SOURCE.points())


def test_a_source_video_keeps_its_own_scale_and_place_and_is_smoothed() -> None:
    video = random_motion(9, seed=4)
    options = Composition(observation_variance=1e-4)
    result = compose_video(video, DRIVER, options)
    assert len(result) == 6
    close(result.scale, video.scale[:6])
    close(result.t, flat(video).t[:6])
    target = smooth(video.exp[:6] + DRIVER.exp - DRIVER.exp[:1], 1e-4)
    mask = expression_mask("all", partial=True)
    close(result.exp, torch.where(mask, target, video.exp[:6]))
    rotation = smooth(relative_rotation(DRIVER.rotation, DRIVER.rotation[:1], video.rotation[:6]), 1e-4)
    close(result.rotation, rotation)
    off = (result.rotation @ result.rotation.mT - torch.eye(3)).abs().max()
    assert off > 1e-3  # as published, it is not made orthonormal again
    absolute = compose_video(video, DRIVER, replace(options, relative=False))
    close(absolute.t, flat(DRIVER).t)
    close(absolute.rotation, smooth(DRIVER.rotation, 1e-4))


def test_a_still_driver_lasts_as_long_as_the_source_video() -> None:
    video = random_motion(9, seed=4)
    result = compose_video(video, DRIVER, Composition(), still=True)
    assert len(result) == 9
    close(result.rotation, video.rotation)
    mask = expression_mask("all", partial=True)
    expected = video.exp + DRIVER.exp[:1] - neutral_expression(video.exp)
    close(result.exp, torch.where(mask, expected, video.exp))
    eyes = compose_video(video, DRIVER, Composition(region="eyes"), still=True)
    close(
        eyes.exp[:, list(EYE_POINTS)], expected[:, list(EYE_POINTS)]
    )  # the neutral counts here, unlike of a photo
    absolute = compose_video(video, DRIVER, Composition(relative=False), still=True)
    close(absolute.rotation, DRIVER.rotation[:1].expand(9, 3, 3))


def test_an_animals_motion_is_as_large_as_its_face() -> None:
    close(compose_animal(SOURCE, repeated(DRIVER[:1], 3)), SOURCE.points().expand(3, -1, -1))
    result = compose_animal(SOURCE, DRIVER)
    close(compose_animal(SOURCE, DRIVER[3:], reference=DRIVER[:1]), result[3:])  # as a whole, so in pieces


@pytest.mark.parametrize("size", [1.0, 0.5])
def test_an_animals_motion_is_scaled_by_the_root_of_the_volumes(size: float) -> None:
    """A source drawn by its expression to ``size`` of the shape that the driver is put on."""
    ahead = torch.eye(3).expand(6, 3, 3)
    source = replace(SOURCE, rotation=ahead[:1], exp=(size - 1) * SOURCE.kp)
    sliding = replace(DRIVER, rotation=ahead, exp=torch.zeros(6, 21, 3))
    shift = (flat(DRIVER).t - flat(DRIVER).t[:1])[:, None]
    close(compose_animal(source, sliding), source.points() + size**1.5 * shift)


def test_there_are_no_other_regions_or_multipliers() -> None:
    with pytest.raises(InputError, match="region 'nose'"):
        Composition(region="nose")
    with pytest.raises(InputError, match="multiplier"):
        Composition(multiplier=float("nan"))
    with pytest.raises(InputError, match="exp, pose, lip"):
        expression_mask("mouth", partial=True)
