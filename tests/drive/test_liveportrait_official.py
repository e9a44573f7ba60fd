"""What the published pipeline does to pictures (``--compat official``), beside what ours does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.animation.portrait_moments import _as_long_as, choose_moments
from omote.drive.liveportrait import extraction
from omote.drive.liveportrait.composition import neutral_expression
from omote.drive.liveportrait.driving import DrivingTake, pick, take_of_template
from omote.drive.liveportrait.framing import Faces
from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.offsets import Mlps
from omote.drive.liveportrait.performing import Moved, Still, perform
from omote.drive.liveportrait.pipeline import LivePortrait
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.drive.liveportrait.sliders import Sliders
from omote.drive.liveportrait.sources import VideoSource
from omote.drive.liveportrait.template import Template
from omote.drive.liveportrait.tracking import Followed
from omote.errors import InputError
from omote.media import VideoWriter
from omote.models.liveportrait import LivePortraitNets

from .liveportrait_faces import linear_mlps, random_motion
from .liveportrait_small import SourceRenderer, small_nets

OFFICIAL = LivePortraitOptions(compat="official")


@pytest.fixture(scope="module")
def nets() -> LivePortraitNets:
    return small_nets()


@pytest.fixture(scope="module")
def marks() -> NDArray[np.float64]:
    """(478, 2) landmarks, 200 px wide about the origin."""
    draw = np.random.default_rng(0).uniform(-100, 100, (478, 2))
    draw[468], draw[473], draw[14] = (-40, -30), (40, -30), (0, 50)
    return draw


def template(count: int) -> Template:
    motion = random_motion(count)
    return Template(
        times=np.arange(count) / 25,
        rotation=motion.rotation.numpy(),
        t=motion.t.numpy(),
        scale=motion.scale.numpy(),
        exp=motion.exp.numpy(),
        confidence=np.ones(count, np.float32),
    )


def photo(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 100 * np.sin(x / 70 + k) * np.cos(y / 90) for k in range(3)], -1).astype(np.uint8)


def driven(engine: LivePortrait, picture: NDArray[np.uint8], marks: Any) -> tuple[Any, NDArray[np.uint8]]:
    source = engine.photo(picture, [marks])
    moved = engine.perform(source.faces[0], take_of_template(template(2)), np.zeros(1))
    return source, next(iter(engine.frames(source, [moved])))


def test_photos_are_reduced_to_1280_px_and_even_sides(
    nets: LivePortraitNets, marks: NDArray[np.float64]
) -> None:
    picture = photo(1601, 2561)
    centre = np.array([1500, 800])
    ours, frame = driven(LivePortrait(nets, LivePortraitOptions(), SourceRenderer()), picture, marks + centre)
    assert frame.shape == picture.shape
    theirs, frame = driven(LivePortrait(nets, OFFICIAL, SourceRenderer()), picture, marks + centre)
    assert frame.shape == (800, 1280, 3), "1601 * 1280 / 2561 = 800.19 is cut to 800"
    reduced = cv2.resize(picture, (1280, 800), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(theirs.picture, reduced)
    assert np.abs(theirs.crops[0].astype(int) - ours.crops[0]).max() <= 3, "the same crop of the same face"
    options = replace(OFFICIAL, longest=641)
    _, frame = driven(LivePortrait(nets, options, SourceRenderer()), picture, marks + centre)
    assert frame.shape == (400, 640, 3), "the last column is cut off"


def test_source_videos_are_reduced_as_photos_are(
    nets: LivePortraitNets, marks: NDArray[np.float64], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wide.mp4"
    with VideoWriter(path, (1600, 400), fps=25, crf=4) as writer:
        for _ in range(3):
            writer.write(photo(400, 1600))

    def follow(frames: Any, scale: float, choice: Any, progress: Any = None) -> Followed:
        times = np.array([time for time, _ in frames])
        one = Faces.of(marks[None] + (700, 200))
        return Followed(times, (), (Faces.join([(n, one) for n in range(len(times))], len(times)),))

    monkeypatch.setattr(extraction, "follow_faces", follow)
    crops = []
    for options, size in ((LivePortraitOptions(smooth=0), (400, 1600)), (OFFICIAL, (320, 1280))):
        engine = LivePortrait(nets, replace(options, paste_back=True), SourceRenderer())
        source = engine.video(path)
        moved = engine.perform(source.faces[0], take_of_template(template(3)), source.times)
        frames = list(engine.frames(source, [moved]))
        assert [frame.shape[:2] for frame in frames] == [size] * 3
        bare = LivePortrait(nets, replace(options, paste_back=False), SourceRenderer())
        crops.append(next(iter(bare.frames(source, [moved]))).astype(int))
    assert np.abs(crops[0] - crops[1]).mean() < 2


def test_without_stitching_nothing_is_pasted_back(nets: LivePortraitNets, marks: NDArray[np.float64]) -> None:
    sizes: tuple[tuple[Any, tuple[int, int]], ...] = ((None, (300, 400)), ("official", (512, 512)))
    for compat, size in sizes:
        options = LivePortraitOptions(compat=compat, stitching=False)
        _, frame = driven(LivePortrait(nets, options, SourceRenderer()), photo(300, 400), marks + (200, 150))
        assert frame.shape[:2] == size


def test_edited_photos_are_cropped_wider() -> None:
    edit: dict[str, Any] = {"sliders": Sliders(smile=1)}
    scales: tuple[tuple[Any, float], ...] = ((None, 2.3), ("official", 2.5))
    for compat, edit_scale in scales:
        assert LivePortraitOptions(compat=compat).photo_placement.scale == 2.3
        options = LivePortraitOptions(compat=compat, **edit)
        assert (options.photo_placement.scale, options.source_placement.scale) == (edit_scale, 2.3)
        assert LivePortraitOptions(compat=compat, crop_scale=2, **edit).photo_placement.scale == 2
        assert options.photo_placement.vy == -0.125


@pytest.mark.parametrize("other", [{"silence": True}, {"lip_ratio": 0.3}])
def test_edits_that_the_published_code_has_apart_are_not_dropped(other: dict[str, Any]) -> None:
    LivePortraitOptions(sliders=Sliders(smile=1), **other)
    with pytest.raises(InputError, match="sliders together with"):
        LivePortraitOptions(compat="official", sliders=Sliders(smile=1), **other)


def test_a_source_video_outlasts_its_driver(nets: LivePortraitNets) -> None:
    motion = random_motion(8, 3)
    face = Still(
        motion,
        torch.full((8, 2), 0.3),
        torch.full((8, 1), 0.1),
        np.arange(8) / 25,
        np.ones(8, bool),
        (2, 6),
        video=True,
    )
    modes: tuple[Any, ...] = (None, "official")
    for compat in modes:
        options = LivePortraitOptions(compat=compat, normalize_lip=True, hold_eyes=True)
        engine = LivePortrait(nets, options, SourceRenderer())
        moved: Moved = engine.perform(face, take_of_template(template(5)), np.arange(5) / 25)
        assert (len(moved), len(moved.source)) == (5, 5)


@pytest.mark.parametrize("told", [{"crop_driver": True}, {"observation_variance": 1e-5}])
def test_what_only_the_official_mode_has_is_not_passed_over_elsewhere(told: dict[str, Any]) -> None:
    LivePortraitOptions(compat="official", **told)
    with pytest.raises(InputError, match="only the official mode has this"):
        LivePortraitOptions(**told)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"eye_retargeting": True}, "--eye-retargeting: nothing drives"),
        ({"lip_retargeting": True}, "--lip-retargeting: nothing drives"),
        ({"normalize_lip": True}, "--normalize-lip: nothing drives"),
        ({"hold_eyes": True}, "--hold-eyes: the source is no video"),
        ({"multiplier": 0.5}, "--strength: nothing drives"),
        ({"relative": False}, "--absolute: nothing drives"),
        ({"reference": 3}, "--reference: nothing drives"),
        ({"regions": {"eyes"}}, "--regions: nothing drives"),
        ({"driving_option": "expression-friendly"}, "--driving-option: nothing drives"),
    ],
)
def test_options_without_effect_are_refused(
    nets: LivePortraitNets, told: dict[str, Any], message: str
) -> None:
    face = Still(
        random_motion(1), torch.full((1, 2), 0.3), torch.full((1, 1), 0.1), np.zeros(1), np.ones(1, bool)
    )
    options = LivePortraitOptions(sliders=Sliders(smile=1), **told)
    with pytest.raises(InputError, match=message):
        LivePortrait(nets, options, SourceRenderer()).perform(face, None, np.zeros(1))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"relative": False, "reference": 3}, "--reference: has no effect on absolute motion"),
        ({"relative": False, "normalize_lip": True}, "--normalize-lip: has no effect on absolute motion"),
        (
            {"compat": "official", "relative": False, "normalize_lip": True},
            "--normalize-lip: has no effect on",
        ),
        ({"lip_ratio": 0.2, "sliders": Sliders(lip_ratio=0.6)}, "one of --lip-ratio and --slider"),
        ({"compat": "official", "silence": True, "hold_eyes": True}, "--hold-eyes: has no effect on edits"),
    ],
)
def test_options_that_take_each_other_s_effect_are_refused(told: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LivePortraitOptions(**told)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"sliders": {"smle": 1.0}}, "slider: there is none called 'smle'. Use pitch, "),
        ({"sliders": {"smile": 9}}, "slider smile: got 9"),
        ({"lip_ratio": "0.3"}, "--lip-ratio: '0.3' is no number"),
        ({"batch": 2.5}, "--batch: 2.5 is no whole number"),
        ({"multiplier": True}, "--multiplier: True is no number"),
        ({"eye_retargeting": "no"}, "--eye-retargeting: 'no' is neither True nor False"),
    ],
)
def test_values_of_another_type_are_refused(told: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LivePortraitOptions(**told)


def test_numbers_of_numpy_are_numbers() -> None:
    options = LivePortraitOptions(lip_ratio=np.float32(0.25), batch=np.int64(2))  # type: ignore[arg-type]
    assert (options.lip_ratio, options.batch) == (0.25, 2)


def test_sliders_may_be_a_mapping() -> None:
    assert LivePortraitOptions(sliders={"smile": 1}).sliders == Sliders(smile=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", [{"hold_eyes": True}, {"observation_variance": 1e-3}])
def test_what_is_for_source_videos_alone_is_refused_for_photos(
    nets: LivePortraitNets, told: dict[str, Any]
) -> None:
    options = LivePortraitOptions(compat="official", **told)
    one = still_of(1, 3, video=False)
    with pytest.raises(InputError, match="the source is no video"):
        LivePortrait(nets, options, SourceRenderer()).perform(one, None, np.zeros(1))


def test_a_face_whose_driver_is_shorter_keeps_its_last_motion() -> None:
    draw = torch.rand(5, 21, 3)
    longer = _as_long_as(Moved(draw[:1], draw), 7)
    assert torch.equal(longer.driving, draw[[0, 1, 2, 3, 4, 4, 4]])
    assert torch.equal(longer.source, draw[:1])
    shorter = _as_long_as(Moved(draw, draw), 2)
    assert (len(shorter), len(shorter.source)) == (2, 2)
    assert torch.equal(_as_long_as(Moved(draw[:1], draw[:1]), 3).driving, draw[[0, 0, 0]])


def test_faces_of_a_video_move_until_the_longest_driver_ends(nets: LivePortraitNets) -> None:
    stills = (still_of(8, 1, video=True), still_of(8, 2, video=True))
    source = VideoSource(Path("clip.mp4"), stills[0].times, stills, (), extractor=None)  # type: ignore[arg-type]
    long, short = driver_of(6, 3), driver_of(3, 4)
    engine = LivePortrait(nets, OFFICIAL, SourceRenderer())
    job: Any = SimpleNamespace(options=SimpleNamespace(fps=None), kind="video", moving=True)
    shown = choose_moments(job, engine, source, [long, short])
    assert [len(one) for one in shown.moved] == [6, 6]
    held = replace(short, motion=pick(short.motion, np.array([0, 1, 2, 2, 2, 2])), times=np.arange(6) / 25)
    held = replace(held, eyes=held.eyes[[0, 1, 2, 2, 2, 2]], lip=held.lip[[0, 1, 2, 2, 2, 2]])  # type: ignore[index]
    alone = engine.perform(stills[1], held, np.zeros(1))
    assert torch.equal(shown.moved[1].source, stills[1].motion.points()[:6]), "the video goes on"
    assert torch.equal(shown.moved[1].driving, alone.driving)


# ---- from options to keypoints, written out from the published formulas ----


def still_of(count: int, seed: int, *, video: bool) -> Still:
    draw = torch.Generator().manual_seed(seed)
    return Still(
        random_motion(count, seed),
        0.1 + 0.4 * torch.rand(count, 2, generator=draw),
        0.1 + 0.4 * torch.rand(count, 1, generator=draw),
        np.arange(count) / 25,
        np.ones(count, bool),
        video=video,
    )


def driver_of(count: int, seed: int) -> DrivingTake:
    one = still_of(count, seed, video=True)
    return DrivingTake(one.motion, one.times, one.eyes, one.lip, one.found, still=count == 1)


def placed(scale: Tensor, kp: Tensor, rotation: Tensor, exp: Tensor, t: Tensor) -> Tensor:
    return scale[:, None] * (kp @ rotation + exp) + t[:, None] * torch.tensor([1.0, 1.0, 0.0])


def stitched(source: Tensor, driving: Tensor, mlps: Mlps) -> Tensor:
    both = [x.expand(len(driving), -1, -1).flatten(1) for x in (source, driving)]
    change = mlps.stitching(torch.cat(both, 1))
    moved = driving + change[:, :63].view(-1, 21, 3)
    moved[..., :2] += change[:, None, 63:]
    return moved


def test_a_photo_relative() -> None:
    face, take, mlps = still_of(1, 1, video=False), driver_of(6, 2), linear_mlps()
    s, d = face.motion, take.motion
    x_s = placed(s.scale, s.kp, s.rotation, s.exp, s.t)
    rotation = d.rotation @ d.rotation[:1].mT @ s.rotation
    x_d = placed(
        s.scale * d.scale / d.scale[:1], s.kp, rotation, s.exp + d.exp - d.exp[:1], s.t + d.t - d.t[:1]
    )
    closed = mlps.lip(torch.cat([x_s.flatten(1), face.lip, torch.zeros(1, 1)], 1)).view(1, 21, 3)
    wanted = x_s + 1.5 * (stitched(x_s, x_d, mlps) + closed - x_s)
    options = LivePortraitOptions(compat="official", normalize_lip=True, multiplier=1.5)
    made = perform(face, take, options, mlps)
    assert torch.allclose(made.source, x_s, atol=1e-6)
    assert torch.allclose(made.driving, wanted, atol=1e-5)


def test_a_photo_retargeted() -> None:
    face, take, mlps = still_of(1, 3, video=False), driver_of(5, 4), linear_mlps()
    x_s = face.motion.points()
    left = torch.cat([x_s.flatten(1).expand(5, -1), face.eyes.expand(5, -1), take.eyes[:, :1]], 1)  # type: ignore[index]
    mouth = torch.cat([x_s.flatten(1).expand(5, -1), face.lip.expand(5, -1), take.lip], 1)  # type: ignore[list-item]
    wanted = x_s + mlps.eye(left).view(5, 21, 3) + mlps.lip(mouth).view(5, 21, 3)
    options = LivePortraitOptions(compat="official", eye_retargeting=True, lip_retargeting=True)
    assert torch.allclose(perform(face, take, options, mlps).driving, stitched(x_s, wanted, mlps), atol=1e-5)


def test_a_photo_absolute_and_a_still_driver() -> None:
    face, take, mlps = still_of(1, 5, video=False), driver_of(1, 6), linear_mlps(0)
    s, d = face.motion, take.motion
    exp = s.exp.clone()
    exp[:, [1, 2, 6, *range(11, 21)]] = d.exp[:, [1, 2, 6, *range(11, 21)]]
    exp[:, [3, 4, 9], 1] = d.exp[:, [3, 4, 9], 1]
    exp[:, [5, 8, 9], 2] = d.exp[:, [5, 8, 9], 2]
    options = LivePortraitOptions(compat="official", relative=False)
    wanted = placed(s.scale, s.kp, d.rotation, exp, d.t)
    assert torch.allclose(perform(face, take, options, mlps).driving, wanted, atol=1e-5)

    wanted = placed(s.scale, s.kp, s.rotation, s.exp + d.exp - neutral_expression(s.exp), s.t)
    made = perform(face, take, LivePortraitOptions(compat="official"), mlps).driving
    assert torch.allclose(made, wanted, atol=1e-5), "its expression, and never its pose"
    eyes = s.exp.clone()
    eyes[:, [11, 13, 15, 16, 18]] += d.exp[:, [11, 13, 15, 16, 18]]
    made = perform(
        face, take, LivePortraitOptions(compat="official", regions=frozenset({"eyes"})), mlps
    ).driving
    assert torch.allclose(made, placed(s.scale, s.kp, s.rotation, eyes, s.t), atol=1e-5)


def test_a_video_keeps_its_size_and_place() -> None:
    face, take, mlps = still_of(7, 7, video=True), driver_of(5, 8), linear_mlps(0)
    s, d = face.motion[:5], take.motion
    rotation = smooth(d.rotation @ d.rotation[:1].mT @ s.rotation)
    moved = smooth(s.exp + d.exp - d.exp[:1])
    exp = s.exp.clone()
    exp[:, [1, 2, 6, *range(11, 21)]] = moved[:, [1, 2, 6, *range(11, 21)]]
    exp[:, [3, 4, 9], 1] = moved[:, [3, 4, 9], 1]
    exp[:, [5, 8, 9], 2] = moved[:, [5, 8, 9], 2]
    made = perform(face, take, LivePortraitOptions(compat="official"), mlps).driving
    assert torch.allclose(made, placed(s.scale, s.kp, rotation, exp, s.t), atol=1e-5)


def test_eyes_of_a_video_are_held_as_in_its_first_frame() -> None:
    mlps = linear_mlps()
    for first, wanted in ((0.3, 0.3), (0.1, 0.39)):
        face, take = still_of(4, 9, video=True), driver_of(4, 10)
        face.eyes[0] = first
        options = LivePortraitOptions(compat="official", stitching=False)
        plain = perform(face, take, options, mlps)
        held = perform(face, take, replace(options, hold_eyes=True), mlps)
        asked = torch.full((4, 1), wanted)
        change = mlps.eye(torch.cat([plain.source.flatten(1), face.eyes, asked], 1)).view(4, 21, 3)
        assert torch.allclose(held.driving - plain.driving, change, atol=1e-5)


def test_edits_of_a_video() -> None:
    face, mlps = still_of(6, 11, video=True), linear_mlps()
    s = face.motion
    x_s = s.points()
    neutral = neutral_expression(s.exp).repeat(6, 1, 1)
    neutral[:, [11, 13, 15, 16, 18]] = s.exp[:, [11, 13, 15, 16, 18]]
    silent = stitched(x_s, placed(s.scale, s.kp, s.rotation, neutral, s.t), mlps)
    made = perform(face, None, LivePortraitOptions(compat="official", silence=True), mlps).driving
    assert torch.allclose(made, silent, atol=1e-5)
    change = mlps.lip(torch.cat([x_s.flatten(1), face.lip, torch.full((6, 1), 0.4)], 1)).view(6, 21, 3)
    made = perform(face, None, LivePortraitOptions(compat="official", lip_ratio=0.4), mlps).driving
    assert torch.allclose(made, stitched(x_s, x_s + smooth(change, 3e-6), mlps), atol=1e-5)
