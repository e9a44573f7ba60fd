"""From pixels to performances, on a real photograph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import omote
from omote.capture.landmarker import mirror_permutation
from omote.capture.pipeline import Captured, capture_file, capture_frames, capture_image
from omote.controls import FACS102
from omote.errors import InputError, NoFaceError
from omote.evaluation.capture import gaze_to_camera, landmark_error
from omote.media import VideoWriter, write_image
from omote.media.paths import sha256_of
from omote.performance import Performance

Pixels = NDArray[np.uint8]
JAW = FACS102.index("jaw_open")


def shrunk(picture: Pixels, side: int) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def repeated(
    picture: Pixels, count: int, noise: float = 0.0, start: float = 0.0
) -> Iterator[tuple[float, Pixels]]:
    rng = np.random.default_rng(5)
    for index in range(count):
        noisy = picture + rng.normal(0, noise, picture.shape) if noise else picture
        yield start + index / 30, np.clip(noisy, 0, 255).astype(np.uint8)


def of(take: Performance, name: str) -> float:
    return float(take.controls[0, FACS102.index(name)])


@pytest.fixture(scope="module")
def captured(picture: Pixels) -> Captured:
    (found,) = capture_image(picture)
    return found


# --- a photo ------------------------------------------------------------------------------------------------------


def test_a_photo_fits(captured: Captured) -> None:
    take = captured.performance
    assert len(take) == 1
    assert float(captured.error[0]) < 0.012
    assert landmark_error(take, captured.landmarks) == pytest.approx(captured.error, abs=2e-5)
    assert take.confidence[0] > 0.95
    assert take.camera.size == (512, 512)
    assert -2.0 < take.head_translation[0, 2] < -0.3


def test_she_smiles_at_us(captured: Captured) -> None:
    take = captured.performance
    assert min(of(take, "corner_pull_L"), of(take, "corner_pull_R")) > 0.3
    assert max(of(take, "lid_close_L"), of(take, "lid_close_R")) < 0.3
    assert of(take, "jaw_open") < 0.3
    assert max(gaze_to_camera(take)) < 8
    assert take.controls.min() >= -1
    assert np.linalg.norm(take.identity["facs"]) < 10


def test_what_nothing_sees_says_so(captured: Captured) -> None:
    seen = captured.performance.control_confidence
    assert seen is not None
    for pattern in ("tongue_*", "ear_raise_*", "head_*"):
        assert seen[0, FACS102.match(pattern)].max() == 0
        assert np.abs(captured.performance.controls[0, FACS102.match(pattern)]).max() == 0
    assert seen[0, JAW] > 0.7


def test_the_mirror_image(captured: Captured, picture: Pixels) -> None:
    """The detector is a little lopsided, so this is looser than the fit's own symmetry."""
    (found,) = capture_image(np.ascontiguousarray(picture[:, ::-1]))
    ours, theirs = captured.performance.mirror(), found.performance
    away = np.abs(ours.controls - theirs.controls)[0]
    assert away.mean() < 0.03
    assert away.max() < 0.3
    assert theirs.head_rotation == pytest.approx(ours.head_rotation, abs=0.03)
    marks = captured.landmarks[0][mirror_permutation()] * (-1, 1) + (512, 0)
    assert np.abs(found.landmarks[0] - marks).mean() < 1.0


def test_half_and_double_size(captured: Captured, picture: Pixels) -> None:
    for side in (256, 1024):
        (found,) = capture_image(shrunk(picture, side))
        assert found.performance.camera.size == (side, side)
        assert np.abs(found.performance.controls - captured.performance.controls).mean() < 0.03
        assert found.performance.head_translation == pytest.approx(
            captured.performance.head_translation, rel=0.1, abs=0.01
        )


def test_a_cropped_place_in_a_larger_picture(captured: Captured, picture: Pixels) -> None:
    wide = np.zeros((512, 900, 3), np.uint8)
    wide[:, 388:] = picture
    (found,) = capture_image(wide)
    assert found.landmarks[0].mean(0) == pytest.approx(captured.landmarks[0].mean(0) + (388, 0), abs=2)
    assert found.performance.head_translation[0, 0] > 0.05  # right of the middle
    assert abs(of(found.performance, "corner_pull_L") - of(captured.performance, "corner_pull_L")) < 0.2


# --- several faces ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(picture: Pixels) -> Pixels:
    """(400, 800, 3): her mirror image, smaller, on the left; herself on the right."""
    both = np.zeros((400, 800, 3), np.uint8)
    both[60:360, 50:350] = shrunk(picture, 300)[:, ::-1]
    both[:, 400:] = shrunk(picture, 400)
    return both


def test_all_faces_largest_first(pair: Pixels) -> None:
    large, small = capture_image(pair, face="all")
    assert large.landmarks[0, :, 0].mean() > 400 > small.landmarks[0, :, 0].mean()
    assert large.performance.head_rotation[0, 1] * small.performance.head_rotation[0, 1] < 0
    assert max(float(large.error[0]), float(small.error[0])) < 0.015
    (second,) = capture_image(pair, face=1)
    np.testing.assert_allclose(second.landmarks, small.landmarks, atol=1e-3)
    (largest,) = capture_image(pair)
    np.testing.assert_allclose(largest.landmarks, large.landmarks, atol=1e-3)


def test_a_face_that_is_not_there(picture: Pixels) -> None:
    with pytest.raises(NoFaceError, match=r"there is no face 3.*Found 1"):
        capture_image(picture, face=3)


@pytest.mark.parametrize("choice", [-1, "biggest", True])
def test_what_is_no_choice_of_face(picture: Pixels, choice: Any) -> None:
    with pytest.raises(InputError, match="is not a choice of face"):
        capture_image(picture, face=choice)


def test_no_face() -> None:
    with pytest.raises(NoFaceError, match="no face was found"):
        capture_image(np.full((240, 320, 3), 99, np.uint8))


# --- videos -------------------------------------------------------------------------------------------------------


def test_a_still_with_noise_is_still(captured: Captured, picture: Pixels) -> None:
    (found,) = capture_frames(repeated(picture, 30, noise=3))
    deviation = found.performance.controls.std(0)
    assert deviation.mean() < 0.003
    assert deviation.max() < 0.02
    # In the first frames of a video the detector's crop still settles.
    assert found.performance.head_rotation[5:].std(0).max() < 0.002
    assert found.performance.confidence.min() > 0.95
    assert found.error.mean() < 0.015
    assert np.abs(found.performance.controls.mean(0) - captured.performance.controls[0]).mean() < 0.04


@pytest.fixture(scope="module")
def late(picture: Pixels) -> Captured:
    """8 black frames, 12 with her, 6 black."""
    black, small = np.zeros((256, 256, 3), np.uint8), shrunk(picture, 256)

    def frames() -> Iterator[tuple[float, Pixels]]:
        for index in range(26):
            yield index / 25, small if 8 <= index < 20 else black

    (found,) = capture_frames(frames())
    return found


def test_a_face_that_comes_late_and_leaves(late: Captured) -> None:
    take = late.performance
    seen = np.zeros(26, bool)
    seen[8:20] = True
    assert np.all(take.confidence[~seen] == 0)
    assert take.confidence[seen].min() > 0.9
    assert np.isnan(late.landmarks[~seen]).all()
    assert np.isfinite(late.landmarks[seen]).all()
    assert np.isnan(late.error[~seen]).all()
    np.testing.assert_array_equal(take.controls[:8], np.tile(take.controls[8], (8, 1)))
    np.testing.assert_array_equal(take.controls[20:], np.tile(take.controls[19], (6, 1)))
    assert take.control_confidence is not None
    assert np.all(take.control_confidence[~seen] == 0)


def test_cuts_are_told(late: Captured) -> None:
    assert late.performance.source["cuts"] == [8, 20]


def test_a_video_without_a_face() -> None:
    with pytest.raises(NoFaceError, match="no face was found"):
        capture_frames(repeated(np.zeros((64, 64, 3), np.uint8), 3))


def test_a_cut_to_another_place(picture: Pixels) -> None:
    """After the cut she is mirrored, in other light: nothing is carried over."""
    one = shrunk(picture, 300)
    other = np.ascontiguousarray(255 - (255 - one[:, ::-1].astype(int)) * 2 // 3).astype(np.uint8)

    def frames() -> Iterator[tuple[float, Pixels]]:
        for index in range(16):
            yield index / 25, one if index < 8 else other

    results = capture_frames(frames(), face="all", smooth=1.0)
    took = sum((found.performance.confidence > 0).astype(int) for found in results)
    assert np.all(took == 1)
    yaw = np.zeros(16)
    for found in results:
        seen = found.performance.confidence > 0
        yaw[seen] = found.performance.head_rotation[seen, 1]
    assert np.ptp(yaw[:8]) < 0.03
    assert np.ptp(yaw[8:]) < 0.03
    assert yaw[:8].mean() == pytest.approx(-yaw[8:].mean(), abs=0.06)


def test_progress_goes_to_the_end(picture: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (128, 128), fps=25) as writer:
        for _ in range(6):
            writer.write(shrunk(picture, 128))
    steps: list[tuple[int, int | None]] = []
    capture_file(path, progress=lambda done, total: steps.append((done, total)))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (12, 12)


def test_a_large_video_keeps_its_own_pixels(captured: Captured, picture: Pixels, tmp_path: Path) -> None:
    """Frames are decoded at most 1280 px wide; camera and landmarks are those of the file."""
    path = tmp_path / "large.mp4"
    frame = np.asarray(Image.fromarray(picture).resize((1536, 1536)))
    with VideoWriter(path, (1536, 1536), fps=25) as writer:
        for _ in range(4):
            writer.write(frame)
    (found,) = capture_file(path)
    take = found.performance
    assert take.camera.size == (1536, 1536)
    assert take.camera.principal == pytest.approx((768, 768))
    assert take.camera.focal == pytest.approx(3 * captured.performance.camera.focal, rel=0.25)
    assert found.landmarks[0] == pytest.approx(3 * captured.landmarks[0], abs=12)
    assert landmark_error(take, found.landmarks).max() < 0.015


# --- the Python interface -----------------------------------------------------------------------------------------


def test_one_line_of_python(photo: Path, tmp_path: Path) -> None:
    omote.capture(photo).export(tmp_path / "me.glb")
    assert (tmp_path / "me.glb").read_bytes()[:4] == b"glTF"


def test_the_source_is_remembered(photo: Path, tmp_path: Path) -> None:
    take = omote.capture(photo)
    assert take.source["file"] == "astronaut.png"
    assert take.source["sha256"] == sha256_of(photo)
    take.save(tmp_path / "take.omote")
    again = omote.load(tmp_path / "take.omote")
    np.testing.assert_array_equal(again.controls, take.controls)
    assert again.source["sha256"] == take.source["sha256"]


def test_all_faces_in_python(pair: Pixels, tmp_path: Path) -> None:
    write_image(tmp_path / "two.png", pair)
    takes = omote.capture(tmp_path / "two.png", face="all")
    assert [type(take) for take in takes] == [Performance, Performance]


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_smooth_out_of_range(photo: Path, strength: float) -> None:
    with pytest.raises(InputError, match=r"smooth is .*expected 0\.\.1"):
        omote.capture(photo, smooth=strength)


def test_errors_name_the_file(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    write_image(tmp_path / "sky.png", np.full((240, 320, 3), (120, 160, 220), np.uint8))
    with pytest.raises(NoFaceError, match=r"sky\.png: no face was found\. "):
        omote.capture(tmp_path / "sky.png")
    with pytest.raises(InputError, match=r"nothing\.png: there is no such file"):
        omote.capture(tmp_path / "nothing.png")


@pytest.mark.parametrize("method", ["landmarks", "inversion"])
def test_an_animal_is_not_a_human(shared_dir: Path, method: Literal["landmarks", "inversion"]) -> None:
    with pytest.raises(NoFaceError, match=r"s25\.jpg: this does not look like a human face"):
        capture_file(shared_dir / "media" / "photos" / "s25.jpg", method=method)
