"""Faces over a video: ids that stay, cuts that are seen, lost faces, and the choice of face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omote.capture.detect import FaceDetector
from omote.capture.landmarker import Face, make_face
from omote.capture.tracks import (
    MAX_GAP_FRAMES,
    ShotCuts,
    Tracker,
    TrackSet,
    appearance,
    box_iou,
    detect_video,
    likeness,
    select_tracks,
)
from omote.errors import InputError, NoFaceError

Pixels = NDArray[np.uint8]
Frame = tuple[float, Pixels]

SHAPE = np.random.default_rng(3).uniform(-50, 50, (478, 3))


def face_at(x: float, y: float, size: float = 1.0, track: int = -1) -> Face:
    """A made-up face about 100 pixels wide."""
    return make_face(SHAPE * size + (x, y, 0), np.zeros(52), np.eye(4), track)


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    pytest.importorskip("mediapipe")
    return pytest.importorskip("skimage.data", reason="needs the demo extra (scikit-image)").astronaut()


def small(image: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(image).resize((side, side)))


def at_25_fps(images: list[Pixels]) -> list[Frame]:
    return [(index / 25, image) for index, image in enumerate(images)]


def test_box_iou() -> None:
    assert box_iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 1, 1), (1, 1, 2, 2)) == 0
    assert box_iou((0, 0, 1, 1), (0, 0, 1, 1)) == 1


def test_ids_stay_when_the_order_changes() -> None:
    tracker = Tracker()
    assert [f.track for f in tracker.update([face_at(100, 100), face_at(400, 100)])] == [0, 1]
    assert [f.track for f in tracker.update([face_at(405, 100), face_at(104, 100)])] == [1, 0]
    assert [f.track for f in tracker.update([face_at(108, 100), face_at(250, 400), face_at(410, 100)])] == [
        0,
        2,
        1,
    ]


def test_ids_stay_with_faces_that_cross() -> None:
    """Two faces pass each other at 10 pixels a frame; the one behind is not seen while they overlap."""
    tracker = Tracker()
    for frame in range(60):
        right, left = face_at(100 + 10 * frame, 200), face_at(700 - 10 * frame, 210)
        hidden = abs(right.box[0] - left.box[0]) < 60
        faces = [left] if hidden else [right, left]
        ids = [face.track for face in tracker.update(faces)]
        assert ids == ([1] if hidden else [0, 1]), frame


@pytest.mark.parametrize(
    ("gap", "kept"), [(5, True), (MAX_GAP_FRAMES - 1, True), (MAX_GAP_FRAMES + 2, False)]
)
def test_ids_survive_a_gap(gap: int, kept: bool) -> None:
    tracker = Tracker()
    for frame in range(5):
        tracker.update([face_at(100 + 4 * frame, 100)])
    for _ in range(gap):
        assert tracker.update([]) == []
    (face,) = tracker.update([face_at(116 + 4 * (gap + 1), 100)])
    assert (face.track == 0) is kept


def test_a_cut_begins_new_ids() -> None:
    tracker = Tracker()
    tracker.update([face_at(100, 100)])
    tracker.cut()
    assert [f.track for f in tracker.update([face_at(100, 100)])] == [1]


def test_after_a_cut_the_same_looks_mean_the_same_person() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 256, (300, 300, 3), dtype=np.uint8) for _ in range(2))
    tracker = Tracker()
    for image, expected in ((one, 0), (two, 1), (one, 0), (two, 1)):
        tracker.cut()
        assert [f.track for f in tracker.update([face_at(150, 150)], image)] == [expected]
    assert likeness(appearance(one, face_at(150, 150)), appearance(one, face_at(150, 150))) == pytest.approx(
        1
    )
    assert abs(likeness(appearance(one, face_at(150, 150)), appearance(two, face_at(150, 150)))) < 0.2


def test_shot_cuts() -> None:
    rng = np.random.default_rng(1)
    scenes = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((320, 240)))
        for _ in "ab"
    ]
    cuts = ShotCuts()
    noisy = (
        np.clip(scenes[f >= 12].astype(int) + rng.integers(-9, 9, (240, 320, 3)), 0, 255) for f in range(24)
    )
    assert [f for f, image in enumerate(noisy) if cuts.update(image.astype(np.uint8))] == [12]


def test_a_fast_pan_and_a_slow_fade_are_no_cuts() -> None:
    rng = np.random.default_rng(2)
    wide = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 40, 3), dtype=np.uint8)).resize((2000, 240), 2)
    )
    pan = ShotCuts()
    assert not any(pan.update(wide[:, 10 * f : 10 * f + 320]) for f in range(60))
    fade = ShotCuts()
    assert not any(fade.update((wide[:, :320] * (1 - f / 20)).astype(np.uint8)) for f in range(20))


def test_select_tracks() -> None:
    frames = [
        [face_at(0, 0, 1.0, 4), face_at(0, 0, 1.2, 7)],
        [face_at(0, 0, 1.0, 4)],
        [face_at(0, 0, 1.0, 4), face_at(0, 0, 0.2, 9)],
    ]
    assert select_tracks(frames, "largest") == [4]  # 7 is larger, but 4 is there for longer
    assert select_tracks(frames, "all") == [4, 7, 9]
    assert select_tracks(frames, 1) == [7]
    assert select_tracks([[], []], "largest") == select_tracks([], 3) == []
    with pytest.raises(NoFaceError, match=r"no face 3.*Found 3"):
        select_tracks(frames, 3)
    for wrong in (-1, "biggest", 1.5, True):
        with pytest.raises(InputError, match="not a choice"):
            select_tracks(frames, wrong)  # type: ignore[arg-type]


def test_track_set_fills_gaps_with_nan() -> None:
    faces = {5: {1: face_at(0, 0), 3: face_at(9, 9)}}
    takes = TrackSet(np.arange(4) / 25, (640, 480), (2,), (5,), faces)
    track = takes.track(5)
    assert track.found.tolist() == [False, True, False, True]
    assert track.landmarks.shape == (4, 478, 3)
    assert track.landmarks.dtype == np.float32
    assert np.isnan(track.landmarks[0]).all()
    np.testing.assert_allclose(track.landmarks[3], SHAPE + np.array([9, 9, 0]), rtol=1e-5, atol=1e-4)
    assert track.scores.shape == (4, 52)
    assert track.matrices.shape == (4, 4, 4)
    assert takes.shots == [(0, 2), (2, 4)]
    assert len(takes) == 4
    with pytest.raises(NoFaceError, match="no track 6"):
        takes.track(6)


def test_two_faces_side_by_side_that_cross(astronaut: Pixels) -> None:
    """One astronaut passes in front of the other; both keep their ids."""
    head = small(astronaut[30:230, 120:320], 200)

    def frames() -> Iterator[Frame]:
        for f in range(36):
            image = np.full((300, 640, 3), 120, np.uint8)
            image[60:260, 420 - 12 * f + 10 : 620 - 12 * f + 10] = head
            image[50:250, 10 + 12 * f : 210 + 12 * f] = head
            yield f / 25, image

    result = detect_video(frames(), "all")
    assert set(result.chosen) == {0, 1} == set(result.faces)
    for track, direction in zip(
        sorted(result.chosen, key=lambda k: result.faces[k][0].box[0]), (12, -12), strict=True
    ):
        there = result.track(track)
        frame = np.flatnonzero(there.found)
        assert frame[0] == 0
        assert frame[-1] == 35
        assert np.polyfit(frame, there.boxes[frame, 0], 1)[0] == pytest.approx(direction, abs=1.5)


def test_a_lost_face_comes_back_as_itself(astronaut: Pixels) -> None:
    image = small(astronaut, 320)
    black = np.zeros_like(image)
    result = detect_video(at_25_fps([image] * 6 + [black] * 5 + [image] * 6))
    (track,) = result.tracks
    assert track.found.tolist() == [True] * 6 + [False] * 5 + [True] * 6
    assert list(result.faces) == [0]


def test_a_face_that_appears_late_and_leaves(astronaut: Pixels) -> None:
    image = small(astronaut, 320)
    empty = np.full_like(image, 128)
    (track,) = detect_video(at_25_fps([empty] * 7 + [image] * 6 + [empty] * 4)).tracks
    assert track.found.tolist() == [False] * 7 + [True] * 6 + [False] * 4


def test_the_larger_of_two_faces(astronaut: Pixels) -> None:
    """Wherever it stands, and although one network follows one face."""
    for swapped in (False, True):
        image = np.full((400, 800, 3), 120, np.uint8)
        image[20:380, 20:380] = small(astronaut, 360)
        image[150:350, 500:700] = small(astronaut, 200)
        image = np.ascontiguousarray(image[:, ::-1]) if swapped else image
        result = detect_video(at_25_fps([image] * 3))
        (track,) = result.tracks
        assert track.found.all()
        centre = (track.boxes[:, 0] + track.boxes[:, 2]) / 2
        assert ((centre > 400) == swapped).all()


def test_nobody(astronaut: Pixels) -> None:
    for side, shade in ((200, 0), (1, 0), (200, 255)):
        result = detect_video(at_25_fps([np.full((side, side, 3), shade, np.uint8)] * 4))
        assert result.tracks == []
        assert result.chosen == ()
        assert len(result) == 4


def test_equal_landmarks_on_equal_frames(astronaut: Pixels) -> None:
    """No filter that lags: after a jump of the picture the landmarks jump as far, at once."""
    moved = np.roll(astronaut, 6, axis=1)
    (track,) = detect_video(at_25_fps([astronaut] * 5 + [moved] * 3)).tracks
    jump = track.landmarks[5, :, 0] - track.landmarks[4, :, 0]
    assert jump.mean() == pytest.approx(6, abs=0.5)


def test_sub_millisecond_frames_and_the_causal_filter(astronaut: Pixels) -> None:
    with FaceDetector("video", causal_filter=True) as detector:
        ids = [detector.detect(astronaut, frame * 1e-4)[0].track for frame in range(4)]
    assert ids == [0, 0, 0, 0]


def test_bad_sequences_are_refused(astronaut: Pixels) -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(InputError, match="no frames"):
        detect_video([])
    with pytest.raises(InputError, match="not after"):
        detect_video([(0.0, image), (0.0, image)])
    with pytest.raises(InputError, match="another size"):
        detect_video([(0.0, image), (0.1, image[:18])])
    with pytest.raises(NoFaceError, match="no face 1"):
        detect_video(at_25_fps([astronaut]), 1)


def test_progress_counts_frames() -> None:
    seen: list[int] = []
    detect_video(at_25_fps([np.zeros((8, 8, 3), np.uint8)] * 3), progress=seen.append)
    assert seen == [1, 2, 3]


def read(path: Path, first: int, count: int) -> list[Pixels]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        frames = [
            f.to_ndarray(format="rgb24")
            for f, _ in zip(container.decode(video=0), range(first + count), strict=False)
        ]
    return [small(frame, 400) for frame in frames[first:]]


def test_a_cut_between_two_people_gives_two_tracks(shared_dir: Path) -> None:
    one, two = (read(shared_dir / f"media/videos/{name}.mp4", 0, 8) for name in ("d0", "d18"))
    result = detect_video(at_25_fps(one + two), "all")
    assert result.cuts == (8,)
    assert {k: sorted(v) for k, v in result.faces.items()} == {0: list(range(8)), 1: list(range(8, 16))}


def test_a_jump_cut_back_to_a_person_gives_the_same_track(shared_dir: Path) -> None:
    one, two = (read(shared_dir / f"media/videos/{name}.mp4", 0, 12) for name in ("d0", "d18"))
    result = detect_video(at_25_fps(one[:6] + two[:6] + one[6:]), "all")
    assert result.cuts == (6, 12)
    assert sorted(result.faces[0]) == [*range(6), *range(12, 18)]


def test_a_tiny_face_is_followed_from_the_first_frame(shared_dir: Path) -> None:
    """A whole body: the detector alone finds the face in none of these frames."""
    av = pytest.importorskip("av")
    with av.open(str(shared_dir / "media/videos/s13.mp4")) as container:
        frames = [
            f.to_ndarray(format="rgb24") for f, _ in zip(container.decode(video=0), range(20), strict=False)
        ]
    (track,) = detect_video(at_25_fps(frames)).tracks
    assert track.found.all()
    np.testing.assert_allclose(track.boxes[0], (325, 61, 401, 155), atol=8)
