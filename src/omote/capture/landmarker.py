"""MediaPipe's FaceLandmarker behind a small wall: quiet, lazily imported, and run on views of an image.

A `View` is a square or rectangular look at an image (a crop that may reach over the border, turned by quarter
turns, mirrored, equalised); what the network finds in it comes back in pixels of the image itself.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import sys
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.controls import MEDIAPIPE_NAMES
from omote.errors import WeightsError
from omote.weights import locate

SCORE_NAMES: tuple[str, ...] = MEDIAPIPE_NAMES
"""The 52 scores of a `Face`, in MediaPipe's order; left and right are the subject's own."""

LANDMARKS = 478
GREY = 128
_FOV_HALF = math.tan(math.radians(63.0) / 2)  # the geometry pipeline's virtual camera: 63 degrees vertically
# Lines that MediaPipe, absl and TFLite write to stderr while a landmarker is built.
_NOISE = re.compile(rb"^(WARNING: (Logging before|All log messages)|INFO: Created TensorFlow|[IWE]\d{4} )")
_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class Face:
    """One face in one image.

    Attributes:
        landmarks: (478, 3) float32: x, y pixels of the input image; z pixels of the same scale, smaller =
            nearer, 0 near the head's centre. 0-467 the face mesh, 468-472 the subject's right iris, 473-477
            the left (centre, image right, top, image left, bottom).
        scores: (52,) float32, 0..1, in the order of `SCORE_NAMES`.
        matrix: (4, 4) float32: canonical face model (centimetres, y up, z towards the viewer) to a camera at
            the origin that looks along -z with 63 degrees of vertical view over the whole input image.
        box: x0, y0, x1, y1 of the landmarks, pixels; may reach over the image's border.
        track: images: 0 for the largest face, 1 for the next one, ...; videos: an id that stays with the
            person.
    """

    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]
    matrix: NDArray[np.float32]
    box: tuple[float, float, float, float]
    track: int = -1

    @property
    def area(self) -> float:
        """Area of the box, square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    @property
    def eye_distance(self) -> float:
        """Distance of the outer eye corners in the image, pixels."""
        return float(np.linalg.norm(self.landmarks[33, :2] - self.landmarks[263, :2]))


def make_face(landmarks: NDArray[Any], scores: NDArray[Any], matrix: NDArray[Any], track: int = -1) -> Face:
    """A `Face` with its box; the arrays become read-only float32."""
    points, values, pose = (np.array(a, dtype=np.float32) for a in (landmarks, scores, matrix))
    for array in (points, values, pose):
        array.setflags(write=False)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Face(points, values, pose, (float(low[0]), float(low[1]), float(high[0]), float(high[1])), track)


@dataclass(frozen=True)
class View:
    """A look at an image: a box of it, which may reach outside, rendered at some size.

    Attributes:
        box: x0, y0, x1, y1 integers.
        size: (w, h) of the rendered box; the same aspect ratio up to rounding.
        turns: quarter turns, counter-clockwise, of the rendered picture.
        mirrored: whether left and right are swapped (after the turns).
        equalised: whether the grey-level histogram is flattened.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    turns: int = 0
    mirrored: bool = False
    equalised: bool = False

    def render(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 picture of the view, anti-aliased; outside of the image it is neutral grey."""
        height, width = image.shape[:2]
        x0, y0, x1, y1 = self.box
        picture = image[max(0, y0) : max(0, min(height, y1)), max(0, x0) : max(0, min(width, x1))]
        left, above, right, below = max(0, -x0), max(0, -y0), max(0, x1 - width), max(0, y1 - height)
        if left or above or right or below or picture.shape[1::-1] != self.size or self.equalised:
            from PIL import Image, ImageOps

            drawn = Image.fromarray(np.ascontiguousarray(picture))
            step = max(
                1, (x1 - x0) // (3 * self.size[0])
            )  # large pictures: box means first, then the exact size
            drawn = drawn.reduce(step) if step > 1 else drawn
            m = [-(-side // step) + 1 if side else 0 for side in (left, above, right, below)]
            if any(m):
                framed = Image.new(
                    "RGB", (drawn.width + m[0] + m[2], drawn.height + m[1] + m[3]), (GREY,) * 3
                )
                framed.paste(drawn, (m[0], m[1]))
                drawn = framed
            corner = (m[0] - left / step, m[1] - above / step)
            area = (*corner, corner[0] + (x1 - x0) / step, corner[1] + (y1 - y0) / step)
            if area != (0, 0, *self.size) or drawn.size != self.size:
                drawn = drawn.resize(self.size, Image.Resampling.BILINEAR, box=area)
            picture = np.asarray(ImageOps.equalize(drawn) if self.equalised else drawn)
        picture = np.rot90(picture, self.turns) if self.turns else picture
        return np.ascontiguousarray(picture[:, ::-1] if self.mirrored else picture)

    def to_image(
        self, landmarks: NDArray[Any], scores: NDArray[Any], matrix: NDArray[Any], image_size: tuple[int, int]
    ) -> Face:
        """What was found in the picture, in terms of the image of ``image_size`` (w, h).

        Args:
            landmarks: (478, 3) pixels of the rendered picture.
            scores: (52,).
            matrix: (4, 4) in the virtual camera of the rendered picture.
            image_size: (w, h) pixels.
        """
        w, h = self.size
        shown_w, shown_h = (h, w) if self.turns % 2 else (w, h)
        points = np.array(landmarks, dtype=np.float64)
        matrix = np.array(matrix, dtype=np.float64)
        if self.mirrored:
            points, scores, matrix = mirror(points, scores, matrix, shown_w)
        x, y = points[:, 0].copy(), points[:, 1].copy()
        turn = self.turns % 4
        points[:, 0], points[:, 1] = ((x, y), (w - y, x), (w - x, h - y), (y, h - x))[turn]
        spin = np.eye(4)
        c, s = (1, 0, -1, 0)[turn], (0, -1, 0, 1)[turn]
        spin[:2, :2] = ((c, -s), (s, c))
        x0, y0, x1, y1 = self.box
        scale = np.array([(x1 - x0) / w, (y1 - y0) / h, math.sqrt((x1 - x0) * (y1 - y0) / (w * h))])
        points = points * scale + (x0, y0, 0)
        focal = shown_h / (2 * _FOV_HALF) * scale[2]
        matrix = _change_camera(spin @ matrix, focal, ((x0 + x1) / 2, (y0 + y1) / 2), image_size)
        return make_face(points, scores, matrix)


def _change_camera(
    matrix: NDArray[np.float64], focal: float, centre: tuple[float, float], image_size: tuple[int, int]
) -> NDArray[np.float64]:
    """A head pose seen by a crop's camera (focal, centre: image pixels), for the whole image's camera.

    The head keeps its place and apparent size in the image and the side it shows to its own viewing ray.
    """
    width, height = image_size
    own = height / (2 * _FOV_HALF)
    x, y, z = matrix[:3, 3]
    if z >= 0:
        return matrix
    u, v = centre[0] + focal * x / -z, centre[1] - focal * y / -z
    depth = -z * own / focal
    place = np.array([(u - width / 2) * depth / own, -(v - height / 2) * depth / own, -depth])
    a, b = matrix[:3, 3] / np.linalg.norm(matrix[:3, 3]), place / np.linalg.norm(place)
    cross, cosine = np.cross(a, b), float(a @ b)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    result = np.eye(4)  # Rodrigues: the smallest rotation that takes the ray a to the ray b
    result[:3, :3] = (np.eye(3) + skew + skew @ skew / (1 + cosine)) @ matrix[:3, :3]
    result[:3, 3] = place
    return result


@functools.cache
def canonical_vertices() -> NDArray[np.float32]:
    """(468, 3) float32 canonical face model, centimetres, y up, z towards the viewer (from the model file).

    Raises:
        WeightsError: the model file is missing or holds no such model.
    """
    path = locate("face_landmarker")
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read("geometry_pipeline_metadata_landmarks.binarypb")
        # GeometryPipelineMetadata.canonical_mesh = 1; Mesh3d.vertex_buffer = 3: x, y, z, u, v of each vertex
        mesh = next(value for number, value in _fields(data) if number == 1)
        floats = b"".join(value for number, value in _fields(mesh) if number == 3)
        vertices = np.frombuffer(floats, "<f4").reshape(468, 5)[:, :3].copy()
    except (OSError, KeyError, StopIteration, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise WeightsError(f"holds no canonical face model ({error})", where=path) from error
    vertices.setflags(write=False)
    return vertices


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields (number, bytes) of a protocol-buffer message that have a length or four bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            varint()
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"unknown wire type {kind}")
        size = varint() if kind == 2 else 8 if kind == 1 else 4
        at += size
        yield number, data[at - size : at]


@functools.cache
def mirror_permutation() -> NDArray[np.int64]:
    """(478,) int64: the index of each landmark's left/right partner (itself on the midline); its own inverse.

    From the mirror-symmetric canonical face model; the iris points are named by image direction, so that
    their left and right members swap.
    """
    vertices = canonical_vertices()
    distance = np.linalg.norm(vertices[:, None] - vertices[None] * np.array([-1, 1, 1], np.float32), axis=-1)
    irises = [473, 476, 475, 474, 477, 468, 471, 470, 469, 472]
    permutation = np.concatenate([distance.argmin(1), irises]).astype(np.int64)
    permutation.setflags(write=False)
    return permutation


@functools.cache
def _mirrored_scores() -> NDArray[np.int64]:
    def partner(name: str) -> str:
        if "Left" in name:
            return name.replace("Left", "Right")
        return name.replace("Right", "Left")

    return np.array([SCORE_NAMES.index(partner(name)) for name in SCORE_NAMES])


def mirror(
    landmarks: NDArray[Any], scores: NDArray[Any], matrix: NDArray[Any], width: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """A face found in a mirrored image of ``width`` pixels, as it is in the image itself; and back."""
    points = np.array(landmarks)[mirror_permutation()]
    points[:, 0] = width - points[:, 0]
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    return points, np.asarray(scores)[_mirrored_scores()], flip @ np.asarray(matrix, dtype=np.float64) @ flip


class Landmarker:
    """One MediaPipe FaceLandmarker. Not for use from two threads at once.

    Args:
        video: keep following the faces of the last picture instead of looking for them afresh.
        max_faces: how many faces to report.
        causal_filter: video with one face only: MediaPipe's own one-euro filter, which lags by half a frame
            to a frame. Off, the pictures are declared to be 1000 s apart, at which the filter passes them
            unchanged.

    Raises:
        WeightsError: the model file is missing or damaged.
    """

    def __init__(self, *, video: bool, max_faces: int, causal_filter: bool = False) -> None:
        path = locate("face_landmarker")
        self._video, self._filter, self._clock = video, causal_filter, 0
        with _quiet():
            import mediapipe as mp
            from mediapipe.tasks.python import vision
            from mediapipe.tasks.python.core.base_options import BaseOptions

            self._image, self._format = mp.Image, mp.ImageFormat.SRGB
            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(path)),
                running_mode=vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE,
                num_faces=max_faces,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
            try:
                self._task = vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise WeightsError(f"MediaPipe cannot open this model ({error})", where=Path(path)) from error
            # Also at the program's end, while MediaPipe's own modules are still there:
            self._close = weakref.finalize(self, _release, self._task)
            self._read(np.full((64, 64, 3), GREY, np.uint8), None)  # the first run logs, too

    def run(self, image: NDArray[np.uint8], view: View, time_s: float | None = None) -> list[Face]:
        """The faces in a view of an image, in pixels of the image."""
        image_size = (image.shape[1], image.shape[0])
        return [view.to_image(*found, image_size) for found in self._read(view.render(image), time_s)]

    def forget(self) -> None:
        """Stop following: the next picture is searched afresh."""
        if self._video:
            self._read(np.full((64, 64, 3), GREY, np.uint8), None)

    def close(self) -> None:
        """Free the network."""
        self._close()

    def _read(
        self, picture: NDArray[np.uint8], time_s: float | None
    ) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        data = self._image(image_format=self._format, data=picture)
        if self._video:
            if self._filter and time_s is not None:
                self._clock = max(self._clock + 1, round(time_s * 1000))  # strictly increasing milliseconds
            else:
                self._clock += 1 if self._filter else 1_000_000
            result = self._task.detect_for_video(data, self._clock)
        else:
            result = self._task.detect(data)
        scale = np.array([picture.shape[1], picture.shape[0], picture.shape[1]], dtype=np.float64)
        found = zip(
            result.face_landmarks,
            result.face_blendshapes,
            result.facial_transformation_matrixes,
            strict=False,
        )
        return [
            (np.array([(p.x, p.y, p.z) for p in points]) * scale, np.array([c.score for c in scores]), matrix)
            for points, scores, matrix in found
        ]


def _release(task: Any) -> None:
    """Free a network. At the program's end its thread is gone: then keep its destructor from complaining."""
    try:
        task.close()
    except RuntimeError:
        task._handle = None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep native libraries' log lines off the terminal; whatever else reaches stderr arrives afterwards."""
    with _stderr_lock, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # no stderr at all (a windowed program): nothing to keep quiet
            yield
            return
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            caught.seek(0)
            for line in caught:
                if not _NOISE.match(line):
                    os.write(kept, line)
            os.close(kept)
