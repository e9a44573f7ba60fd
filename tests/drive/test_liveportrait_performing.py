"""From motion to keypoints: each fix of the published behaviour beside that behaviour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from omote.drive.liveportrait.composing import GROWTH, REACH, compose, eyes_apart, region_mask
from omote.drive.liveportrait.composition import compose_image, neutral_expression
from omote.drive.liveportrait.driving import DrivingTake, at_times, pick, take_of_template
from omote.drive.liveportrait.offsets import Mlps, eye_offsets
from omote.drive.liveportrait.options import Composition
from omote.drive.liveportrait.performing import Moved, Still, at_moments, perform
from omote.drive.liveportrait.reference import choose_reference
from omote.drive.liveportrait.regions import EYE_POINTS, LIP_POINTS
from omote.drive.liveportrait.settings import EVERYTHING, LivePortraitOptions
from omote.drive.liveportrait.sliders import Sliders
from omote.drive.liveportrait.template import Template
from omote.errors import InputError, NoFaceError
from omote.models.liveportrait.keypoints import Motion, motion_multiplier

from .liveportrait_faces import linear_mlps, random_motion, silent_mlps

COUNT = 40
TIMES = np.arange(COUNT) / 25


def face(video: bool = False, seed: int = 3) -> Still:
    count = COUNT if video else 1
    return Still(
        motion=random_motion(count, seed),
        eyes=torch.full((count, 2), 0.3),
        lip=torch.full((count, 1), 0.1),
        times=TIMES[:count],
        found=np.ones(count, bool),
        video=video,
    )


def take(seed: int = 5, **changes: Any) -> DrivingTake:
    draw = torch.Generator().manual_seed(seed)
    motion = random_motion(COUNT, seed)
    made = DrivingTake(
        motion=replace(motion, kp=motion.kp[:1].expand(COUNT, -1, -1)),
        times=TIMES,
        eyes=0.1 + 0.3 * torch.rand(COUNT, 2, generator=draw),
        lip=0.3 * torch.rand(COUNT, 1, generator=draw),
        found=np.ones(COUNT, bool),
    )
    return replace(made, **changes)


def run(
    take_: DrivingTake | None, still: Still | None = None, mlps: Mlps | None = None, **options: Any
) -> Moved:
    return perform(still or face(), take_, LivePortraitOptions(**options), mlps or silent_mlps())


# ---- composing ----


def test_without_smoothing_and_from_the_first_frame_it_is_the_published_motion() -> None:
    driver, source = take(), face()
    gentle = replace(driver.motion, t=0.1 * driver.motion.t, scale=1.3 + 0.05 * driver.motion.scale)
    ours = run(replace(driver, motion=gentle), source, smooth=0.0, reference="first").driving
    published = compose_image(source.motion, gentle, Composition()).points()
    assert float((ours - published).abs().max()) < 2e-3


def test_regions_can_be_combined() -> None:
    assert not region_mask(frozenset({"pose"}), partial=False).any()
    assert region_mask(EVERYTHING, partial=False).all()
    both = region_mask(frozenset({"eyes", "lips"}), partial=False)
    assert set(np.flatnonzero(both.any(1))) == {*EYE_POINTS, *LIP_POINTS}
    rest = region_mask(frozenset({"expression"}), partial=False)
    assert torch.equal(rest, ~both)


def test_the_face_stays_in_its_crop_however_far_the_driver_moves() -> None:
    source, driving = random_motion(1, 1), random_motion(3, 2)
    far = replace(driving, t=torch.tensor([[0.0, 0, 0], [2.0, 0, 0], [-0.05, 0, 0]]))
    made = compose(source, far, far[:1], regions=EVERYTHING)
    shift = (made.t - source.t)[:, 0]
    assert 0.9 * REACH < float(shift[1]) < REACH
    assert float(shift[2]) == pytest.approx(-0.05, abs=1e-4)
    grown = replace(far, scale=source.scale * torch.tensor([[1.0], [3.0], [1.1]]))
    for options in ({"strength": 5.0}, {"strength": 5.0, "relative": False}, {"relative": False}):
        made = compose(source, grown, grown[:1], regions=EVERYTHING, **options)
        assert float((made.t - source.t).abs().max()) < REACH
        assert float((made.scale / source.scale).log().abs().max()) < GROWTH


def test_exaggerated_heads_stay_rigid_where_the_published_factor_shears_them() -> None:
    driver, source = take(), face()
    start = driver.motion[:1]
    made = compose(source.motion, driver.motion, start, regions=frozenset({"pose"}), strength=2.0)
    assert float((made.rotation @ made.rotation.mT - torch.eye(3)).abs().max()) < 1e-5
    rest = compose(source.motion, driver.motion, start, regions=EVERYTHING, strength=0.0)
    assert float((rest.points() - source.motion.points()).abs().max()) < 1e-5


def test_absolute_motion_takes_the_pose_and_leaves_the_shape() -> None:
    driver, source = take(), face()
    made = compose(source.motion, driver.motion, driver.motion[:1], regions=EVERYTHING, relative=False)
    assert torch.allclose(made.rotation, driver.motion.rotation, atol=1e-6)
    assert torch.allclose(made.exp[:, [0, 7, 10]], source.motion.exp[:, [0, 7, 10]].expand(COUNT, -1, -1))
    assert torch.allclose(made.exp[:, 19], driver.motion.exp[:, 19], atol=1e-6)
    assert torch.allclose(made.scale, source.motion.scale.expand(COUNT, 1))


# ---- the fixes ----


def test_photos_are_smoothed_too() -> None:
    def jitter(moved: Moved) -> float:
        return float(moved.driving.diff(n=2, dim=0).abs().mean())

    assert jitter(run(take())) < 0.5 * jitter(run(take(), compat="official"))


def test_expression_friendly_and_pose_friendly_differ_where_the_published_ones_do_not() -> None:
    driver, source = take(), face()
    calm, lively = (run(driver, source, driving_option=f"{name}-friendly") for name in ("expression", "pose"))
    assert float((calm.driving - lively.driving).abs().mean()) > 1e-3
    x_s = source.motion.points()
    first = compose_image(source.motion, driver.motion, Composition()).points()[:1]
    assert float(motion_multiplier(x_s, first)) == pytest.approx(1.0, abs=1e-4), "which is why theirs is none"
    assert (
        run(replace(driver, own_shape=False), source, driving_option="expression-friendly")
        .driving.isfinite()
        .all()
    )


def test_each_eye_gets_its_own_openness() -> None:
    source, mlps = random_motion(1, 4), linear_mlps()
    points, ratios = source.points(), torch.tensor([[0.3, 0.2]])
    wanted = torch.tensor([[0.4, 0.1]])
    made = eyes_apart(source, points, ratios, wanted, mlps.eye)
    left, right = (eye_offsets(points, ratios, wanted[:, k : k + 1], mlps.eye) for k in (0, 1))
    first_left = bool(source.kp[0, [11, 13], 0].mean() <= source.kp[0, [15, 16], 0].mean())
    pairs = ([11, 13], [15, 16]) if first_left else ([15, 16], [11, 13])
    assert torch.allclose(made[:, pairs[0]], left[:, pairs[0]])
    assert torch.allclose(made[:, pairs[1]], right[:, pairs[1]])
    assert torch.allclose(made[:, 0], (left + right)[:, 0] / 2, atol=1e-7)
    alike = torch.tensor([[0.4, 0.4]])
    assert torch.allclose(eyes_apart(source, points, ratios, alike, mlps.eye), left)


@pytest.mark.parametrize("flag", ["eye_retargeting", "lip_retargeting"])
def test_retargeting_is_added_to_the_motion_where_the_published_one_replaces_it(flag: str) -> None:
    driver, source, mlps = take(), face(), linear_mlps(0.001)
    plain = run(driver, source, mlps, stitching=False)
    ours = run(driver, source, mlps, stitching=False, **{flag: True})
    theirs = run(driver, source, mlps, stitching=False, compat="official", **{flag: True})
    moving = float((plain.driving - plain.source).abs().mean())
    assert float((ours.driving - plain.driving).abs().mean()) < 0.2 * moving
    assert float((ours.driving - plain.driving).abs().max()) > 0
    assert float((theirs.driving - theirs.source).abs().mean()) < 0.2 * moving, "all other motion is gone"


def test_a_motion_that_opens_the_eyes_enough_is_not_corrected_further() -> None:
    source = face()
    eyes = torch.cat([source.eyes, source.eyes + 0.1] * (COUNT // 2))
    driver = take(eyes=eyes)
    asked: list[torch.Tensor] = []

    def eye(x: torch.Tensor) -> torch.Tensor:
        asked.append(x[:, -3:])
        return torch.zeros(len(x), 63)

    run(driver, source, silent_mlps()._replace(eye=eye), eye_retargeting=True, reference=0, smooth=0)
    for ratios in asked:
        assert torch.allclose(ratios[:, :2].mean(1), ratios[:, 2], atol=1e-6), "it is open as wanted already"


def test_the_reference_is_the_frame_nearest_to_rest_in_the_pose_of_the_source() -> None:
    driver, source = take(), face()
    motion = driver.motion
    motion.exp[17] = neutral_expression(motion.exp)[0]
    motion.rotation[17] = source.motion.rotation[0]
    args = (source.motion, source.eyes, source.lip)
    assert choose_reference(driver, *args, "auto") == 17
    assert choose_reference(driver, *args, "first") == 0
    assert choose_reference(driver, *args, 5) == 5
    assert choose_reference(driver, *args, "neutral") is None
    found = np.arange(COUNT) != 17
    assert choose_reference(replace(driver, found=found), *args, "auto") != 17
    with pytest.raises(NoFaceError, match="no face in frame 17"):
        choose_reference(replace(driver, found=found), *args, 17)
    with pytest.raises(InputError, match="no frame 99"):
        choose_reference(driver, *args, 99)
    assert run(driver, source).reference == 17
    moved = run(driver, source, smooth=0.0)
    assert torch.allclose(moved.driving[17], moved.source[0], atol=1e-5)


@pytest.mark.parametrize("reference", ["auto", "first", 5, "neutral"])
def test_a_take_with_a_frame_at_rest_starts_from_it(reference: Any) -> None:
    source, driver = face(), take()
    frame = np.array([9])
    rest = replace(
        driver,
        motion=pick(driver.motion, frame),
        times=np.zeros(1),
        eyes=driver.eyes[9:10],
        found=np.ones(1, bool),
    )
    with_rest = replace(driver, rest=rest)
    moved = run(with_rest, source, smooth=0.0, reference=reference)
    assert moved.reference is None
    assert torch.allclose(moved.driving[9], moved.source[0], atol=1e-5)
    options: dict[str, Any] = {"smooth": 0.0, "eye_retargeting": True, "mlps": linear_mlps(0.01)}
    wanted = run(driver, source, reference=9, **options)
    assert torch.allclose(
        run(with_rest, source, reference=reference, **options).driving, wanted.driving, atol=1e-5
    ), "retargeting, too"


def test_still_lips_leave_the_rest_of_the_face_where_the_published_ones_shake_it() -> None:
    source = face(video=True)
    ours, theirs = run(None, source, silence=True), run(None, source, silence=True, compat="official")
    apart = [(moved.driving - moved.source).diff(n=2, dim=0).abs() for moved in (ours, theirs)]
    others = [k for k in range(21) if k not in LIP_POINTS and k not in EYE_POINTS]
    assert float(apart[0][:, others].max()) < 1e-6
    assert float(apart[1][:, others].mean()) > 0.01
    lips = list(LIP_POINTS)
    assert float(apart[0][:, lips].mean()) < 0.75 * float(apart[1][:, lips].mean())
    assert len(ours) == COUNT


# ---- sliders, lips, templates ----


def test_sliders_need_no_driver_and_go_on_top_of_one() -> None:
    source, smile = face(), Sliders(smile=0.5)
    alone = run(None, source, sliders=smile)
    change = (alone.driving - alone.source) / source.motion.scale
    assert float(change[0, 14, 1]) == pytest.approx(-0.01, abs=1e-5)
    driver = take()
    apart = run(driver, source, sliders=smile).driving - run(driver, source).driving
    assert float(apart[:, 14, 1].abs().min()) > 0.005
    with pytest.raises(InputError, match="official mode"):
        run(driver, source, sliders=smile, compat="official")


def test_lips_of_one_openness_for_photos_and_videos() -> None:
    for still in (face(), face(video=True)):
        moved = run(None, still, linear_mlps(0.001), lip_ratio=0.4, stitching=False)
        assert len(moved) == len(still.motion)
        assert float((moved.driving - moved.source).abs().max()) > 0


def asked_of(region: str, driver: DrivingTake, **options: Any) -> torch.Tensor:
    """(N, 2) what the small network of a region is asked: the openness now, and the one that is wanted."""
    asked: list[torch.Tensor] = []
    lips = region == "lip"

    def network(x: torch.Tensor) -> torch.Tensor:
        asked.append(x[:, -2:] if lips else torch.stack([x[:, -3:-1].mean(1), x[:, -1]], 1))
        return torch.zeros(len(x), 63)

    run(driver, face(), silent_mlps()._replace(**{region: network}), **options)
    return torch.cat(asked)


def test_lips_of_one_openness_whatever_the_driver_does() -> None:
    driver = take()
    assert driver.lip is not None
    now, wanted = asked_of("lip", driver, lip_ratio=0.4, reference=0, smooth=0).T
    assert torch.allclose(now, (0.1 + driver.lip - driver.lip[:1])[:, 0].clamp(0, 0.8), atol=1e-6)
    assert torch.equal(wanted, torch.full_like(now, 0.4))


@pytest.mark.parametrize("region", ["eye", "lip"])
@pytest.mark.parametrize("options", [{"relative": False}, {"reference": "neutral"}])
def test_what_the_motion_has_done_is_not_done_again(region: str, options: dict[str, Any]) -> None:
    driver = take(lip=torch.full((COUNT, 1), 0.2), eyes=torch.full((COUNT, 2), 0.2))
    now, wanted = asked_of(region, driver, **{f"{region}_retargeting": True}, **options).T
    at_rest = 0.3 if region == "eye" else 0.08
    own = 0.3 if region == "eye" else 0.1
    expected = 0.2 if "relative" in options else own + 0.2 - at_rest
    assert torch.allclose(now, torch.full_like(now, expected), atol=1e-6)
    assert torch.allclose(wanted, torch.full_like(now, 0.2))
    assert float(
        asked_of(region, take(lip=driver.lip + 2, eyes=driver.eyes + 2), **{f"{region}_retargeting": True})[
            :, 1
        ].max()
    ) == pytest.approx(0.8)


def test_absolute_motion_at_half_strength_goes_half_the_way() -> None:
    driver = take(lip=torch.full((COUNT, 1), 0.5))
    for strength, expected in ((0.0, 0.1), (0.5, 0.3), (1.0, 0.5)):
        now, wanted = asked_of("lip", driver, lip_retargeting=True, relative=False, multiplier=strength).T
        assert torch.allclose(now, torch.full_like(now, expected), atol=1e-6)
        assert torch.allclose(wanted, torch.full_like(now, 0.5))


def test_openness_is_smoothed_as_the_motion_is() -> None:
    driver = take()
    rough, calm = (
        asked_of("lip", driver, lip_ratio=0.4, reference=0, smooth=smooth)[:, 0] for smooth in (0, 1)
    )
    assert calm.diff().abs().mean() < 0.7 * rough.diff().abs().mean()


def test_a_template_without_ratios_drives_but_cannot_retarget() -> None:
    motion = random_motion(6)
    template = Template(
        times=np.arange(6) / 20,
        rotation=motion.rotation.numpy(),
        t=motion.t.numpy(),
        scale=motion.scale.numpy(),
        exp=motion.exp.numpy(),
        confidence=np.ones(6, np.float32),
    )
    driver = take_of_template(template)
    assert not driver.own_shape
    assert driver.fps == pytest.approx(20)
    assert len(run(driver)) == 6
    with pytest.raises(InputError, match="does not hold"):
        run(driver, eye_retargeting=True)


def test_a_still_driver_gives_its_expression_and_not_its_pose() -> None:
    source = face()
    driver = replace(at_times(take(), np.zeros(1)), still=True, times=np.zeros(1), cuts=())
    moved = run(driver, source)
    expected = source.motion.exp + driver.motion.exp - neutral_expression(driver.motion.exp)
    wanted = replace(source.motion, exp=expected).points()
    assert torch.allclose(moved.driving, wanted, atol=1e-5)
    official = compose_image(source.motion, driver.motion, Composition(), still=True).points()
    assert torch.allclose(moved.driving, official, atol=1e-5)


# ---- time ----


def test_a_take_is_interpolated_within_shots_and_held_at_its_end() -> None:
    driver = take(cuts=(20,))
    same = at_times(driver, TIMES)
    assert torch.equal(same.motion.exp, driver.motion.exp)
    assert torch.equal(same.motion.rotation, driver.motion.rotation)
    assert same.cuts == (20,)
    half = at_times(driver, np.array([0.02, 19.5 / 25, 9.0]))
    middle = (driver.motion.exp[0] + driver.motion.exp[1]) / 2
    assert torch.allclose(half.motion.exp[0], middle, atol=1e-6)
    assert torch.equal(half.motion.exp[1], driver.motion.exp[19]), "not a mixture of two shots"
    assert torch.equal(half.motion.exp[2], driver.motion.exp[-1])
    turn = half.motion.rotation[0]
    assert float((turn @ turn.mT - torch.eye(3)).abs().max()) < 1e-5


def test_a_named_reference_keeps_its_moment_at_another_rate() -> None:
    _, reference = at_moments(take(), np.arange(16) / 12.5, 24)
    assert reference == 12
    driver = take()
    slow, reference = at_moments(driver, np.arange(4) / 2, 6)  # at none of the four moments
    assert reference == "auto"
    assert slow.rest is not None
    assert torch.equal(slow.rest.motion.exp[0], driver.motion.exp[6])
    found = np.ones(COUNT, bool)
    found[13] = False
    assert at_moments(take(found=found), np.arange(4) / 2, 12)[1] == "auto", "its neighbours do not matter"
    with pytest.raises(InputError, match="no frame 40"):
        at_moments(take(), TIMES, 40)


def test_a_stored_frame_at_rest_is_for_auto_alone() -> None:
    stored = replace(take(), rest=take(seed=8).rows(np.array([3])))
    assert at_moments(stored, TIMES, "auto")[0].rest is not None
    for named in ("first", "neutral", 7):
        kept, reference = at_moments(stored, TIMES, named)
        assert (kept.rest, reference) == (None, named)


def test_a_single_frame_is_no_reference_for_itself() -> None:
    still = replace(take().rows(np.array([3])), still=True)
    assert at_moments(still, np.zeros(1), "neutral")[1] == "neutral"
    for named in ("first", 0):
        with pytest.raises(InputError, match="--reference: the driver is a single frame"):
            at_moments(still, np.zeros(1), named)


def test_a_reference_after_the_end_is_still_where_the_motion_starts() -> None:
    driver = take()
    short, reference = at_moments(driver, np.arange(10) / 25, 39)
    assert (len(short), reference) == (10, "auto")
    moved = run(short, face(), smooth=0)
    start = replace(driver, motion=pick(driver.motion, np.array([39, *range(10)])), times=TIMES[:11])
    start = replace(start, eyes=None, lip=None, found=np.ones(11, bool))
    whole = run(start, face(), smooth=0, reference=0)
    assert torch.allclose(moved.driving, whole.driving[1:], atol=1e-6)
    found = np.ones(COUNT, bool)
    found[39] = False
    with pytest.raises(NoFaceError, match="no face in frame 39"):
        at_moments(replace(driver, found=found), np.arange(10) / 25, 39)


def test_two_cuts_between_two_frames_of_the_result_are_one() -> None:
    slow = at_times(take(cuts=(20, 21, 33)), np.arange(0, 1.5, 1 / 8))
    assert slow.cuts == (7, 11)
    assert torch.isfinite(run(slow, face()).driving).all()


def test_frames_are_picked_in_any_order() -> None:
    motion = random_motion(4)
    chosen = pick(
        Motion(motion.kp[:1], motion.rotation, motion.t, motion.scale, motion.exp), np.array([3, 3, 0])
    )
    assert torch.equal(chosen.t, motion.t[[3, 3, 0]])
    assert len(chosen.kp) == 3
