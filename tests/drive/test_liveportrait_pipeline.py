"""From pictures to pictures: framing, tracking, paste-back, lost faces and memory. Networks are small, faces given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from omote.drive.liveportrait import extraction
from omote.drive.liveportrait.crops import Square
from omote.drive.liveportrait.framing import Faces, held_frames, in_square, median_square, place
from omote.drive.liveportrait.performing import Moved, Still
from omote.drive.liveportrait.pipeline import LivePortrait
from omote.drive.liveportrait.settings import LivePortraitOptions
from omote.drive.liveportrait.sliders import Sliders
from omote.drive.liveportrait.sources import PhotoSource
from omote.drive.liveportrait.tracking import Followed
from omote.edit.perform import perform
from omote.errors import InputError
from omote.media import VideoWriter, open_video
from omote.models.liveportrait import LivePortraitNets

from .liveportrait_faces import random_motion
from .liveportrait_small import SourceRenderer, small_nets

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def nets() -> LivePortraitNets:
    return small_nets()


@pytest.fixture(scope="module")
def marks() -> NDArray[np.float64]:
    """(478, 2) landmarks of the rig's face, 100 px wide about the origin."""
    from omote.rigs.facs import load_rig

    rig = load_rig()
    points = rig.landmarks.apply(rig.template[rig.expand].numpy())[:, :2] * (1, -1)
    points = points - (points.max(0) + points.min(0)) / 2
    return np.asarray(100 * points / np.ptp(points[:, 0]), np.float64)


def smooth_picture(height: int, width: int) -> Picture:
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / 60 + k) * np.cos(y / 80 - k) for k in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


class Dots:
    """A video whose faces are told by where they are: what `follow_faces` is replaced by."""

    def __init__(self, marks: NDArray[np.float64], centres: NDArray[np.float64], found: list[bool]) -> None:
        self.marks, self.centres, self.found = marks, centres, np.array(found)

    def __call__(self, frames: Any, scale: float, choice: Any, progress: Any = None) -> Followed:
        times = np.array([time for time, _ in frames])
        parts = [
            (n, Faces.of((self.marks + self.centres[n])[None])) for n in range(len(times)) if self.found[n]
        ]
        return Followed(times, (), (Faces.join(parts, len(times)),))


@pytest.fixture
def clip(tmp_path: Path, marks: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nine frames at 29.97 a second, 240 x 200, with a face that moves and is lost in frames 0, 4 and 5."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (240, 200), fps=30000 / 1001, crf=4) as writer:
        for n in range(9):
            writer.write(np.roll(smooth_picture(200, 240), 2 * n, axis=1))
    centres = np.stack([100 + 2.0 * np.arange(9), np.full(9, 100.0)], 1)
    found = [n not in (0, 4, 5) for n in range(9)]
    monkeypatch.setattr(extraction, "follow_faces", Dots(marks, centres, found))
    return path


# ---- framing ----


def test_the_square_ends_at_the_brows_as_that_of_the_published_landmarks(marks: NDArray[np.float64]) -> None:
    box = Faces.of(marks[None]).square.box()[0]
    brows, chin, crown = marks[[105, 334], 1].min(), marks[152, 1], marks[10, 1]
    assert box[3] - box[1] == pytest.approx(max(np.ptp(marks[:, 0]), chin - brows), rel=0.1)
    assert box[1] > crown + 0.3 * (brows - crown)
    placed = place(Faces.of(marks[None]).square, LivePortraitOptions().source_placement)
    assert placed.side[0] == pytest.approx(2.3 * (box[3] - box[1]))
    assert placed.centre[0, 1] < (box[1] + box[3]) / 2, "shifted to the forehead"


def test_frames_without_a_face_hold_the_one_before() -> None:
    found = np.array([False, True, True, False, False, True, False])
    assert held_frames(found).tolist() == [1, 1, 2, 2, 2, 5, 5]


def test_motion_in_a_moving_window_is_the_same_in_a_fixed_one() -> None:
    motion = random_motion(5)
    draw = np.random.default_rng(0)
    own = Square(draw.uniform(50, 90, (5, 2)), draw.uniform(80, 120, 5), np.zeros(5))
    fixed = median_square(own)
    centre, half = torch.from_numpy(own.centre), torch.from_numpy(own.side / 2)
    seen = motion.points()[..., :2] * half[:, None, None] + centre[:, None]
    again = in_square(motion, own, fixed).points()[..., :2]
    again = again * float(fixed.side) / 2 + torch.from_numpy(fixed.centre)
    assert float((seen - again).abs().max()) < 1e-3


# ---- photos ----


def test_pasting_the_crop_back_gives_the_photo(nets: LivePortraitNets, marks: NDArray[np.float64]) -> None:
    photo = smooth_picture(300, 401)
    turn = cv2.getRotationMatrix2D((0, 0), 20, 1.0)[:, :2]
    faces = [marks + (120, 150), 0.5 * marks @ turn.T + (330, 120)]
    renderer = SourceRenderer()
    engine = LivePortrait(nets, LivePortraitOptions(batch=3), renderer)
    source = engine.photo(photo, faces)
    take = engine.take_driver(perform("smile", fps=8, duration=1.0))
    moved = [engine.perform(face, take, take.elapsed) for face in source.faces]
    frames = list(engine.frames(source, moved))
    assert len(frames) == len(take) > 5
    for frame in frames:
        assert frame.shape == photo.shape
        assert np.abs(frame.astype(int) - photo).max() <= 4
    assert renderer.prepared == 2, "features are computed once a face"
    assert max(renderer.batches) == 3, "never more at once, however long the driver"


def test_outside_the_face_a_large_photo_is_untouched(
    nets: LivePortraitNets, marks: NDArray[np.float64]
) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (2160, 3840, 3), np.uint8)
    engine = LivePortrait(nets, LivePortraitOptions(sliders=Sliders(smile=1)), SourceRenderer(level=0.5))
    source = engine.photo(photo, [2 * marks + (1000, 900)])
    moved = engine.perform(source.faces[0], None, np.zeros(1))
    (frame,) = engine.frames(source, [moved])
    changed = (frame != photo).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    side = float(place(Faces.of((2 * marks)[None]).square, engine.options.source_placement).side[0])
    assert np.ptp(rows) <= side + 1
    assert np.ptp(columns) <= side + 1
    assert abs((columns.min() + columns.max()) / 2 - 1000) < 20
    assert (frame[900, 1000] == 127).all()


def test_without_pasting_the_result_is_the_crop(nets: LivePortraitNets, marks: NDArray[np.float64]) -> None:
    engine = LivePortrait(
        nets, LivePortraitOptions(paste_back=False, sliders=Sliders(yaw=5)), SourceRenderer()
    )
    source = engine.photo(smooth_picture(200, 240), [marks + (120, 100)])
    moved = engine.perform(source.faces[0], None, np.zeros(1))
    (frame,) = engine.frames(source, [moved])
    assert frame.shape == (512, 512, 3)
    assert np.abs(frame.astype(int) - source.crops[0]).mean() < 3


@pytest.mark.parametrize("size", [64, 512])
def test_networks_see_and_draw_pictures_of_their_own_size(
    size: int, marks: NDArray[np.float64], clip: Path
) -> None:
    nets, renderer, seen = small_nets(input_size=size), SourceRenderer(), set()
    first = nets.motion_extractor.detector.downsample_layers[0]
    first.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0].shape[2:]))
    photo = smooth_picture(300, 401)
    engine = LivePortrait(nets, LivePortraitOptions(sliders=Sliders(smile=1)), renderer)
    drivers = engine.video_driver(clip), engine.take_driver(perform("smile", fps=4, duration=0.5))
    for source in (engine.photo(photo, [marks + (120, 150)]), engine.video(clip)):
        moved = engine.perform(source.faces[0], drivers[0], np.arange(3) / 30)
        originals = [photo] * 3 if isinstance(source, PhotoSource) else [p for _, p in open_video(clip)]
        for frame, original in zip(engine.frames(source, [moved], range(3)), originals, strict=False):
            off = frame.astype(int) - original
            assert frame.shape == original.shape
            assert np.abs(off[90:130, 100:140]).max() <= 4
        bare = LivePortrait(nets, replace(engine.options, paste_back=False), renderer)
        shapes = {frame.shape for frame in bare.frames(source, [moved], range(3))}
        assert shapes == {(2 * size, 2 * size, 3)}, "also where the face is lost"
    assert (renderer.sides, seen) == ({size}, {(size, size)})


def test_the_real_networks_draw_a_frame(nets: LivePortraitNets, marks: NDArray[np.float64]) -> None:
    engine = LivePortrait(nets, LivePortraitOptions(sliders=Sliders(pitch=8)))
    source = engine.photo(smooth_picture(200, 240), [marks + (120, 100)])
    (frame,) = engine.frames(source, [engine.perform(source.faces[0], None, np.zeros(1))])
    assert frame.shape == (200, 240, 3)
    assert (frame != source.picture).any()


def test_motions_have_to_fit_the_faces(nets: LivePortraitNets, marks: NDArray[np.float64]) -> None:
    engine = LivePortrait(nets, LivePortraitOptions(), SourceRenderer())
    source = engine.photo(smooth_picture(200, 240), [marks + (120, 100)])
    with pytest.raises(InputError, match="1 faces"):
        engine.frames(source, [])
    with pytest.raises(InputError, match="nothing drives"):
        engine.perform(source.faces[0], None, np.zeros(1))


# ---- videos ----


def test_a_driver_holds_frames_without_a_face_and_keeps_its_times(
    nets: LivePortraitNets, clip: Path, marks: NDArray[np.float64]
) -> None:
    for options in (LivePortraitOptions(smooth=0), LivePortraitOptions(compat="official", crop_driver=True)):
        take = LivePortrait(nets, options, SourceRenderer()).video_driver(clip)
        assert len(take) == 9
        assert np.allclose(np.diff(take.times), 1001 / 30000, atol=1e-4), "not cut to whole frames a second"
        assert take.found.tolist() == [n not in (0, 4, 5) for n in range(9)]
    take = LivePortrait(nets, LivePortraitOptions(), SourceRenderer()).video_driver(clip)
    for held, shown in ((0, 1), (4, 3), (5, 3)):
        for name in ("exp", "t", "scale", "rotation"):
            assert torch.equal(getattr(take.motion, name)[held], getattr(take.motion, name)[shown]), name
    assert take.motion.t[:, 0].diff().mean() > 0, (
        "the window follows the face, the motion is that in a fixed one"
    )


def test_a_source_video_keeps_its_frames_where_the_face_is_lost(nets: LivePortraitNets, clip: Path) -> None:
    originals = [picture for _, picture in open_video(clip)]
    engine = LivePortrait(nets, LivePortraitOptions(batch=2), SourceRenderer(level=1.0))
    source = engine.video(clip)
    take = engine.video_driver(clip)
    moved = [engine.perform(source.faces[0], take, source.times)]
    frames = list(engine.frames(source, moved))
    assert len(frames) == 9
    for number, (frame, original) in enumerate(zip(frames, originals, strict=True)):
        assert np.array_equal(frame, original) == (number in (0, 4, 5)), number
        assert number in (0, 4, 5) or (frame[100, 100 + 2 * number] == 255).all(), (
            "the face is where it is now"
        )
    some = list(engine.frames(source, moved, [2, 4, 7]))
    assert all(np.array_equal(frame, frames[n]) for frame, n in zip(some, (2, 4, 7), strict=True))


def test_pasting_a_video_back_gives_the_video(nets: LivePortraitNets, clip: Path) -> None:
    renderer = SourceRenderer()
    engine = LivePortrait(nets, LivePortraitOptions(batch=4, silence=True), renderer)
    source = engine.video(clip)
    moved = [engine.perform(source.faces[0], None, source.times)]
    for frame, (_, original) in zip(engine.frames(source, moved), open_video(clip), strict=True):
        assert np.abs(frame.astype(int) - original).mean() < 2
    assert sum(renderer.batches) == renderer.prepared == 6
    assert max(renderer.batches) <= 4


def test_no_more_than_a_batch_of_frames_is_decoded_ahead(
    nets: LivePortraitNets, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LivePortrait(nets, LivePortraitOptions(batch=2), SourceRenderer())
    source = engine.video(clip)
    moved = [engine.perform(source.faces[0], engine.video_driver(clip), source.times)]
    decoded = 0
    from omote.drive.liveportrait import sources

    own = extraction.video_frames

    def counted(path: Path, count: int, *_: Any, **__: Any) -> Iterator[Picture]:
        nonlocal decoded
        for picture in own(path, count):
            decoded += 1
            yield picture

    monkeypatch.setattr(sources, "video_frames", counted)
    for shown, _ in enumerate(engine.frames(source, moved), 1):
        assert decoded <= shown + 2
    assert decoded == 9


class Studied(SourceRenderer):
    """Remembers what it was asked to study."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def study(self, examples: object, told: object = None) -> None:
        self.examples += examples  # type: ignore[operator]


def shaken(face: Still, seed: int = 0) -> Moved:
    """Forty frames of a face that moves at random."""
    still = face.motion.points()
    return Moved(still, still + 0.1 * torch.randn(40, 21, 3, generator=torch.Generator().manual_seed(seed)))


def test_how_to_draw_is_studied_before_many_frames_of_a_photo(
    nets: LivePortraitNets, marks: NDArray[np.float64]
) -> None:
    renderer = Studied()
    engine = LivePortrait(nets, renderer=renderer)
    source = engine.photo(smooth_picture(400, 500), [marks + (150, 150), marks + (350, 200)])
    moved = [shaken(face, seed) for seed, face in enumerate(source.faces)]
    next(iter(engine.frames(source, moved, range(15))))
    assert not renderer.examples  # few
    next(iter(engine.frames(source, moved, range(10, 30))))
    away = [(one.driving[10:30] - one.source).flatten(1).norm(dim=1) for one in moved]
    chosen = [(0, away[0].argmin()), (0, away[0].argmax()), (1, away[1].argmax())]
    assert len(renderer.examples) == len(chosen)
    for (features, still, driving), (face, frame) in zip(renderer.examples, chosen, strict=True):
        assert torch.equal(features, source.features[face])
        assert torch.equal(still, moved[face].source)
        assert torch.equal(driving[0], moved[face].driving[10 + frame])
    renderer.examples.clear()
    for options in (LivePortraitOptions(compat="official"), LivePortraitOptions(exact=True)):
        engine = LivePortrait(nets, options, renderer)
        source = engine.photo(smooth_picture(400, 500), [marks + (150, 150)])
        next(iter(engine.frames(source, [shaken(source.faces[0])])))
        assert not renderer.examples


def test_how_to_draw_is_studied_before_many_frames_of_a_video(nets: LivePortraitNets, clip: Path) -> None:
    renderer = Studied()
    engine = LivePortrait(nets, LivePortraitOptions(sliders=Sliders(smile=0.5)), renderer)
    source = engine.video(clip)
    moved = [engine.perform(source.faces[0], None, source.times)]
    numbers = [0, *range(9), *range(9)]
    next(iter(engine.frames(source, moved, numbers)))
    ((features, still, driving),) = renderer.examples
    assert torch.equal(still[0], moved[0].source[1])  # no face in the first
    assert torch.equal(driving[0], moved[0].driving[1])
    assert features.shape == (1, 3, 256, 256)
