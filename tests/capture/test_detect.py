"""Faces in single images: found where there are some, nowhere else, in the image's own pixels."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omote.capture.detect import (
    LONG_SIDE,
    MAX_SEARCH_CALLS,
    SCORE_NAMES,
    FaceDetector,
    canonical_vertices,
    mirror_permutation,
)
from omote.capture.landmarker import Landmarker, View, mirror
from omote.errors import InputError

pytest.importorskip("mediapipe")
skimage_data = pytest.importorskip("skimage.data", reason="needs the demo extra (scikit-image)")

Pixels = NDArray[np.uint8]
EYE = 60.0  # pixels between the astronaut's outer eye corners


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    return skimage_data.astronaut()


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as detector:
        yield detector


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean distance in the image, in percent of the astronaut's eye distance."""
    return float(np.linalg.norm(a[:, :2] - b[:, :2], axis=1).mean()) / EYE * 100


def test_the_astronaut(detector: FaceDetector, astronaut: Pixels) -> None:
    (face,) = detector.detect(astronaut)
    assert face.landmarks.shape == (478, 3)
    assert face.landmarks.dtype == face.scores.dtype == face.matrix.dtype == np.float32
    assert face.scores.shape == (52,)
    assert face.track == 0
    assert abs(face.eye_distance - EYE) < 3
    np.testing.assert_allclose(face.box, (180, 71, 272, 178), atol=5)
    np.testing.assert_allclose(face.landmarks[468, :2], (203.5, 101), atol=3)  # the subject's right iris
    np.testing.assert_allclose(face.landmarks[473, :2], (246, 103.5), atol=3)
    scores = dict(zip(SCORE_NAMES, face.scores, strict=True))
    assert scores["mouthSmileLeft"] > 0.5
    assert scores["eyeBlinkLeft"] < 0.3
    assert face.landmarks[1, 2] < face.landmarks[234, 2] - 10  # the nose is nearer than the ear, in pixels


def test_arrays_cannot_be_changed(detector: FaceDetector, astronaut: Pixels) -> None:
    (face,) = detector.detect(astronaut)
    with pytest.raises(ValueError):
        face.landmarks[0] = 0


def test_matrix_projects_the_canonical_face_onto_the_landmarks(
    detector: FaceDetector, astronaut: Pixels
) -> None:
    """In the whole image's camera, although the pose was found in a crop."""
    wide = np.full((600, 900, 3), 90, np.uint8)
    wide[80:592, 380:892] = astronaut
    (face,) = detector.detect(wide)
    points = canonical_vertices() @ face.matrix[:3, :3].T + face.matrix[:3, 3]
    focal = 600 / (2 * np.tan(np.radians(31.5)))
    drawn = np.stack(
        [450 - focal * points[:, 0] / points[:, 2], 300 + focal * points[:, 1] / points[:, 2]], 1
    )
    rigid = [33, 133, 362, 263, 168, 4, 61, 291]
    assert np.linalg.norm(drawn[rigid] - face.landmarks[rigid, :2], axis=1).mean() < 0.10 * EYE


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_images(detector: FaceDetector, astronaut: Pixels, turns: int) -> None:
    (upright,) = detector.detect(astronaut)
    (face,) = detector.detect(np.ascontiguousarray(np.rot90(astronaut, turns)))
    x, y = upright.landmarks[:, 0], upright.landmarks[:, 1]
    expected = ((y, 512 - x), (512 - x, 512 - y), (512 - y, x))[turns - 1]
    assert difference(face.landmarks, np.stack(expected, 1)) < 2.0
    assert face.landmarks[1, 2] < face.landmarks[234, 2] - 10


def test_mirrored_image_gives_the_mirrored_face(detector: FaceDetector, astronaut: Pixels) -> None:
    (face,) = detector.detect(astronaut)
    (other,) = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    points, scores, matrix = mirror(other.landmarks, other.scores, other.matrix, 512)
    assert difference(points, face.landmarks) < 0.5
    assert np.abs(scores - face.scores).max() < 0.05
    np.testing.assert_allclose(matrix[:3, :3], face.matrix[:3, :3], atol=0.03)


def test_mirror_permutation_pairs_left_with_right() -> None:
    permutation = mirror_permutation()
    assert permutation.shape == (478,)
    np.testing.assert_array_equal(permutation[permutation], np.arange(478))
    assert permutation[33] == 263  # outer eye corners
    assert permutation[61] == 291  # mouth corners
    assert permutation[1] == 1  # nose tip
    assert permutation[468] == 473  # irises
    assert permutation[469] == 476
    assert permutation[470] == 475
    vertices = canonical_vertices()
    np.testing.assert_allclose(vertices[permutation[:468]], vertices * (-1, 1, 1), atol=1e-4)


def test_refinement_and_mirrored_average_make_landmarks_steadier(astronaut: Pixels) -> None:
    """One face in images that are cropped differently: the landmarks scatter less than half as much."""
    offsets = [(0, 0), (31, 12), (60, 40), (17, 55), (90, 3), (8, 33)]
    scatter: dict[bool, float] = {}
    for refine in (False, True):
        with FaceDetector(refine=refine, max_faces=1) as detector:
            found = [
                detector.detect(np.ascontiguousarray(astronaut[y:, x:]))[0].landmarks[:, :2] + (x, y)
                for x, y in offsets
            ]
        scatter[refine] = float(np.std(found, axis=0).mean()) / EYE * 100
    assert scatter[True] < 0.5 * scatter[False]
    assert scatter[True] < 0.2


def test_grey_and_dark_images(detector: FaceDetector, astronaut: Pixels) -> None:
    (face,) = detector.detect(astronaut)
    grey = np.repeat(astronaut.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    for image in (grey, astronaut // 12):
        (other,) = detector.detect(image)
        assert difference(other.landmarks, face.landmarks) < 4.0


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(0, 512), slice(215, 512)), (slice(0, 135), slice(0, 512)), (slice(60, 160), slice(180, 270))],
    ids=["half a face", "chin cut off", "nothing but the face"],
)
def test_faces_cut_by_the_border(
    detector: FaceDetector, astronaut: Pixels, rows: slice, columns: slice
) -> None:
    (face,) = detector.detect(astronaut)
    (cut,) = detector.detect(np.ascontiguousarray(astronaut[rows, columns]))
    assert abs(cut.box[0] + columns.start - face.box[0]) < 15
    assert abs(cut.box[1] + rows.start - face.box[1]) < 15


def test_a_small_face_in_a_large_image(detector: FaceDetector, astronaut: Pixels) -> None:
    (face,) = detector.detect(astronaut)
    image = np.full((1700, 2400, 3), 110, np.uint8)
    image[900:1412, 1500:2012] = astronaut  # 3.8 % of the width
    (small,) = detector.detect(image)
    assert difference(small.landmarks - (1500, 900, 0), face.landmarks) < 0.5


def test_a_photograph_of_12000_pixels(detector: FaceDetector, astronaut: Pixels) -> None:
    (face,) = detector.detect(astronaut)
    image = np.repeat(np.repeat(astronaut, 24, 0), 24, 1)
    (large,) = detector.detect(image)
    assert difference(large.landmarks / 24, face.landmarks) < 1.0


def test_ten_faces_are_ranked_by_size(astronaut: Pixels) -> None:
    image = np.full((1000, 1600, 3), 120, np.uint8)
    for index in range(10):
        side = 300 - 5 * index
        y, x = 60 + 500 * (index // 5), 5 + 318 * (index % 5)
        image[y : y + side, x : x + side] = Image.fromarray(astronaut).resize((side, side))
    with FaceDetector(refine=False) as detector:
        faces = detector.detect(image)
    assert [face.track for face in faces] == list(range(10))
    assert np.corrcoef([f.eye_distance for f in faces], [300 - 5 * i for i in range(10)])[0, 1] > 0.97
    with FaceDetector(max_faces=3, refine=False) as detector:
        assert len(detector.detect(image)) == 3


@pytest.mark.parametrize("kind", ["noise", "black", "white", "gradient", "1x1", "thin", "coffee", "cat"])
def test_no_face(detector: FaceDetector, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the search ends after a bounded number of runs."""
    runs = 0
    read = Landmarker._read

    def counted(self: Landmarker, *args: object) -> object:
        nonlocal runs
        runs += 1
        return read(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Landmarker, "_read", counted)
    images = {
        "noise": lambda: np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8),
        "black": lambda: np.zeros((480, 640, 3), np.uint8),
        "white": lambda: np.full((480, 640, 3), 255, np.uint8),
        "gradient": lambda: np.repeat(
            np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], 480, 0
        ).repeat(3, 2),
        "1x1": lambda: np.zeros((1, 1, 3), np.uint8),
        "thin": lambda: np.zeros((17, 3000, 3), np.uint8),
        "coffee": skimage_data.coffee,
        "cat": skimage_data.chelsea,
    }
    assert detector.detect(images[kind]()) == []
    assert runs <= MAX_SEARCH_CALLS


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9, 3)),
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(detector: FaceDetector, image: Pixels) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        detector.detect(image)


def test_other_modes_are_refused() -> None:
    with pytest.raises(InputError, match="not a mode"):
        FaceDetector("film")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_faces"):
        FaceDetector(max_faces=0)


def test_views_keep_coordinates() -> None:
    """A bright dot, rendered through views of all kinds, comes back to its place."""
    image = np.zeros((300, 400, 3), np.uint8)
    image[120:130, 250:260] = 255  # centre 255, 125
    for box in ((0, 0, 400, 300), (200, 80, 320, 200), (150, -100, 550, 300), (-1000, -1000, 1400, 1400)):
        for turns in range(4):
            w, h = box[2] - box[0], box[3] - box[1]
            view = View(box, (w // 2, h // 2), turns=turns)
            picture = view.render(image).astype(float)[..., 0] > 200
            y, x = (axis.mean() + 0.5 for axis in np.nonzero(picture))
            face = view.to_image(np.tile((x, y, 1.0), (478, 1)), np.zeros(52), np.eye(4), (400, 300))
            np.testing.assert_allclose(face.landmarks[0], (255, 125, 2), atol=1.01)


def test_long_images_are_looked_at_smaller() -> None:
    view = View((0, 0, 6000, 3000), (LONG_SIDE, LONG_SIDE // 2))
    picture = view.render(np.full((3000, 6000, 3), 200, np.uint8))
    assert picture.shape == (640, 1280, 3)
    assert picture.min() == 200


def test_terminal_stays_quiet() -> None:
    """No line of MediaPipe, absl or TFLite on stderr, from start to exit, even if nothing is closed."""
    code = (
        "import sys, numpy as np\n"
        "from omote.capture.detect import FaceDetector\n"
        "from skimage import data\n"
        "image = data.astronaut()\n"
        "still_open = FaceDetector('video')\n"
        "assert len(still_open.detect(image, 0.0)) == 1\n"
        "with FaceDetector() as detector:\n"
        "    assert len(detector.detect(image)) == 1\n"
        "sys.stderr.write('ours')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "ours")


def test_importing_the_detector_loads_no_mediapipe() -> None:
    code = "import sys, omote.capture.detect; sys.exit('mediapipe' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["s0", "s3", "s4", "s5", "s9", "s10", "s12"])
def test_shared_human_photos(detector: FaceDetector, shared_dir: Path, name: str) -> None:
    image = np.asarray(Image.open(shared_dir / f"media/photos/{name}.jpg").convert("RGB"))
    (face,) = detector.detect(image)
    x0, y0, x1, y1 = face.box
    assert 0 < x0 < x1 < image.shape[1]
    assert 0 < y0 < y1 < image.shape[0]
    assert face.landmarks[10, 1] < face.landmarks[1, 1] < face.landmarks[152, 1]  # forehead, nose, chin


def test_shared_cat_has_no_face(detector: FaceDetector, shared_dir: Path) -> None:
    assert detector.detect(np.asarray(Image.open(shared_dir / "media/photos/s39.jpg").convert("RGB"))) == []
