"""What the published pipeline does to pictures (``--compat official``), beside what ours does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from omote.animation.portrait_moments import _as_long_as
from omote.drive.liveportrait import extraction
from omote.drive.liveportrait.driving import take_of_template
from omote.drive.liveportrait.framing import Faces
from omote.drive.liveportrait.performing import Moved, Still
from omote.drive.liveportrait.pipeline import LivePortrait
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.drive.liveportrait.sliders import Sliders
from omote.drive.liveportrait.template import Template
from omote.drive.liveportrait.tracking import Followed
from omote.errors import InputError
from omote.media import VideoWriter
from omote.models.liveportrait import LivePortraitNets

from .liveportrait_faces import random_motion
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


def test_a_face_whose_driver_is_shorter_keeps_its_last_motion() -> None:
    draw = torch.rand(5, 21, 3)
    longer = _as_long_as(Moved(draw[:1], draw), 7)
    assert torch.equal(longer.driving, draw[[0, 1, 2, 3, 4, 4, 4]])
    assert torch.equal(longer.source, draw[:1])
    shorter = _as_long_as(Moved(draw, draw), 2)
    assert (len(shorter), len(shorter.source)) == (2, 2)
    assert torch.equal(_as_long_as(Moved(draw[:1], draw[:1]), 3).driving, draw[[0, 0, 0]])
