"""Faces in images and videos: 478 landmarks, 52 scores and a head matrix each (MediaPipe FaceLandmarker).

Coordinates: continuous pixels of the input image, x right, y down, pixel centres at +0.5.

Image mode searches hard (`find`, at most `MAX_SEARCH_CALLS` network runs), then looks again closely at each
face (`refine`, at most `REFINE_CALLS` runs). Video mode is one run a frame while a face is followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from omote.capture.landmarker import (
    SCORE_NAMES,
    Face,
    Landmarker,
    View,
    canonical_vertices,
    make_face,
    mirror_permutation,
)
from omote.capture.tracks import ShotCuts, Tracker, box_iou
from omote.errors import InputError

__all__ = ["SCORE_NAMES", "Face", "FaceDetector", "canonical_vertices", "mirror_permutation"]

MAX_SEARCH_CALLS = 30
REFINE_CALLS = 8
LONG_SIDE = 1280
"""Longer images are searched at this size and refined at their own."""

SMALLEST_IMAGE = 16
_SMALL_FACE, _TINY_FACE = (
    0.12,
    0.06,
)  # of the long side; the detector, 128 pixels square inside, misses such faces
_CLOSE_UP, _CLOSE_SIZE = 2.0, 384  # refinement: crop of twice the face, rendered at 384 pixels
_LOST_EVERY, _LOST_CALLS = 5, 5  # video: search in every fifth frame without a face, five runs
_LONG_FRAME = 4096  # video: longer frames are fed smaller; below that, resizing costs more than it saves
_SETTLING = 3  # further looks at the first frame of a shot
_LARGEST_EVERY = 30  # video, one face: see every thirtieth frame whether another face has become the largest


class FaceDetector:
    """Finds faces. A context manager; not for use from two threads at once.

    Args:
        mode: "image" for unrelated images, "video" for the frames of one video in order.
        max_faces: how many faces at most. Default: 10 in image mode, 1 in video mode, where each further face
            costs (measured on two cores: 17 ms a frame for one, 22 ms where two are allowed, 23 ms where four
            are) and landmarks of fewer faces than allowed are a third noisier, because they are searched
            afresh in each frame.
        refine: image mode: look again at each face on a close-up of the original pixels (halves the noise).
        flip_average: image mode, with ``refine``: average with the mirrored close-up. The two differ by about
            1 % of the eye distance; the mean is free of the network's left/right bias.
        causal_filter: video mode: MediaPipe's own smoothing, which lags. Off: smooth afterwards with zero
            phase.

    Video mode with ``max_faces=1`` follows the largest face: that of the first frame of each shot, unless
    another one is one and a half times as large in two checks, a second apart. While no face is found, every
    fifth frame costs six runs, the others one; the first frame of a shot without a face costs up to
    `MAX_SEARCH_CALLS`.

    Raises:
        InputError: not a mode, or not a number of faces.
        WeightsError: the model file is missing or damaged.
    """

    def __init__(
        self,
        mode: Literal["image", "video"] = "image",
        max_faces: int | None = None,
        *,
        refine: bool = True,
        flip_average: bool = True,
        causal_filter: bool = False,
    ) -> None:
        if mode not in ("image", "video"):
            raise InputError(f"{mode!r} is not a mode of detection", remedy='Use "image" or "video".')
        self.mode = mode
        self.max_faces = max_faces if max_faces is not None else (10 if mode == "image" else 1)
        if self.max_faces < 1:
            raise InputError(f"{max_faces} is not a number of faces", where="max_faces")
        self._refine, self._flip, self._filter = refine, flip_average, causal_filter
        self._opened: dict[str, Landmarker] = {}
        self.cuts: list[int] = []
        """Video mode: the frames, counted from 0, that began a new shot."""
        self._shots, self._tracker = ShotCuts(), Tracker()
        self._frame = -1
        self._window: tuple[int, int, int, int] | None = None
        self._last: Sequence[Face] = ()
        self._lost = 0
        self._searched = 0
        self._rivals = 0
        self._landmarker("video" if mode == "video" else "image")

    def detect(self, image: NDArray[np.uint8], time_s: float | None = None) -> list[Face]:
        """All faces of an image, largest first; or of the next video frame, with track ids.

        Args:
            image: (H, W, 3) uint8 RGB. Smaller than 16 pixels: no faces.
            time_s: video mode: seconds; only ``causal_filter`` needs it.

        Raises:
            InputError: not such an array.
        """
        _check_image(image)
        if self.mode == "video":
            return self._next_frame(image, time_s)
        faces = self.find(image)
        if self._refine:
            faces = _distinct(self.refine(image, face) for face in faces)
        return _by_size(faces)[: self.max_faces]

    def glance(self, image: NDArray[np.uint8]) -> list[Face]:
        """Image mode: the faces that one look at the whole image shows, largest first."""
        _check_image(image)
        height, width = image.shape[:2]
        look = self._landmarker("image").run
        return _by_size(_distinct(look(image, _view((0, 0, width, height), LONG_SIDE))))

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Image mode's search alone: the faces, largest first, landmarks as the first look gives them.

        In order, until something is found: the whole image; with a grey border (faces cut by the edge);
        turned by a quarter and a half; overlapping tiles; equalised (if faded); smaller tiles. A find of
        these counts if a close-up shows it again. Where all faces of the whole image are small, the tiles are
        searched as well. The detector needs faces of 11 % of the picture's longer side; the tiles find them
        down to about 3 %.
        Images of more than 3840 pixels are searched at a smaller size.
        """
        _check_image(image)
        height, width = image.shape[:2]
        if min(height, width) < SMALLEST_IMAGE:
            return []
        step = max(width, height) // (2 * LONG_SIDE)
        if step > 1:
            from PIL import Image

            smaller = np.asarray(Image.fromarray(image).reduce(step))
            return [
                make_face(face.landmarks * np.float32(step), face.scores, face.matrix, face.track)
                for face in self.find(smaller)
            ]
        look = self._landmarker("image").run
        whole = _view((0, 0, width, height), LONG_SIDE)
        faces = _distinct(look(image, whole))
        calls = 1
        margin = (width + height) // 4
        border = _view((-margin, -margin, width + margin, height + margin), LONG_SIDE)
        large, small = _tiles(width, height, 4, 0.3), _tiles(width, height, 16, 0.2)
        turned = [replace(whole, turns=turns) for turns in (1, 3, 2)]
        faded = [replace(whole, equalised=True)] if float(image[::8, ::8].std()) < 30 else []
        stages: list[list[View]] = [[border], turned, large, faded, small]
        if faces:
            extent = max(_extent(face) for face in faces) / max(width, height)
            stages = [large] * (extent < _SMALL_FACE) + [small] * (extent < _TINY_FACE)
            stages = stages if len(faces) < self.max_faces else []
        searching = not faces
        for view in (view for stage in stages for view in [*stage, None]):
            if view is None:  # the end of a stage
                if searching and faces:
                    break
                continue
            for face in _distinct(look(image, view)):
                if calls < MAX_SEARCH_CALLS and not any(_same(face, other) for other in faces):
                    close = replace(_close_up(face, turns=_turns(face)), equalised=view.equalised)
                    again = look(image, close)
                    calls += 1
                    faces += [other for other in again if _same(other, face)][:1]
            calls += 1
            if calls >= MAX_SEARCH_CALLS or len(faces) >= self.max_faces:
                break
        return _by_size(_distinct(faces))[: self.max_faces]

    def refine(self, image: NDArray[np.uint8], face: Face) -> Face:
        """The same face from a close-up of the image's own pixels: three passes, each placed by the last.

        With ``flip_average`` the mean with the mirrored close-up. The face as given where the close-up shows
        none.

        Args:
            image: (H, W, 3) uint8 RGB.
            face: as `find` gives it.
        """
        _check_image(image)
        follower = self._landmarker("close")
        view = _close_up(face, turns=_turns(face))
        passes: list[Face] = []
        for mirrored in (False, True) if self._flip else (False,):
            follower.forget()
            shown = replace(view, mirrored=mirrored)
            found: list[Face] = []
            for _ in range(3):
                found = follower.run(image, shown) or found
            passes += [other for other in found if box_iou(other.box, face.box) > 0.3]
        return replace(_mean_face(passes), track=face.track) if passes else face

    def close(self) -> None:
        """Free the networks."""
        for landmarker in self._opened.values():
            landmarker.close()
        self._opened.clear()

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _landmarker(self, purpose: Literal["image", "close", "video"]) -> Landmarker:
        if purpose not in self._opened:
            self._opened[purpose] = Landmarker(
                video=purpose != "image",
                max_faces={"image": max(4, self.max_faces), "close": 1, "video": self.max_faces}[purpose],
                causal_filter=self._filter and purpose == "video",
            )
        return self._opened[purpose]

    # ---- video

    def _next_frame(self, image: NDArray[np.uint8], time_s: float | None) -> list[Face]:
        self._frame += 1
        if min(image.shape[:2]) < SMALLEST_IMAGE:
            return self._tracker.update([], image)
        begins = self._frame == 0
        if self._shots.update(image):
            begins = True
            self.cuts.append(self._frame)
            self._tracker.cut()
            self._look_at(None)
            self._last, self._lost, self._rivals = (), 0, 0
        faces = self._follow(image, time_s)
        if not faces and self._window is not None:
            self._look_at(None)
            faces = self._follow(image, time_s)
        if faces and begins:
            # The crop the network follows takes a few looks to settle; a take must not begin with that drift.
            for _ in range(_SETTLING):
                faces = self._follow(image, time_s) or faces
        if faces:
            self._lost = 0
            if self.max_faces == 1 and (begins or self._frame % _LARGEST_EVERY == 0):
                faces = self._prefer_largest(image, faces, time_s, at_once=begins)
        else:
            faces = self._search(image, time_s, hard=begins)
            self._lost += 1
        self._keep_in_window(image, faces)
        if faces:
            self._last = faces
        return self._tracker.update(faces, image)

    def _follow(self, image: NDArray[np.uint8], time_s: float | None) -> list[Face]:
        height, width = image.shape[:2]
        faces = self._landmarker("video").run(
            image, _view(self._window or (0, 0, width, height), _LONG_FRAME), time_s
        )
        return _distinct(faces)

    def _look_at(self, window: tuple[int, int, int, int] | None) -> None:
        """Feed another part of the frames from now on. The network has to find its faces afresh."""
        self._window = window
        self._landmarker("video").forget()

    def _search(self, image: NDArray[np.uint8], time_s: float | None, *, hard: bool) -> list[Face]:
        """Looks for faces that the whole frame does not show, and turns the window to them."""
        if hard:
            found = self.find(image)
        elif self._lost % _LOST_EVERY == 0:
            look = self._landmarker("image").run
            height, width = image.shape[:2]
            every = _tiles(width, height, 4, 0.3) + _tiles(width, height, 16, 0.2)
            views = [_close_up(face, around=2.5) for face in self._last[:1]]
            while len(views) < _LOST_CALLS - 1:
                views.append(every[self._searched % len(every)])
                self._searched += 1
            found = next((faces for faces in (look(image, view) for view in views) if faces), [])
            found = [
                face for face in _distinct(found) if any(_same(face, f) for f in look(image, _close_up(face)))
            ]
        else:
            return []
        if not found:
            return []
        self._look_at(_window_around(found[: self.max_faces], image.shape[1], image.shape[0]))
        return self._follow(image, time_s) or _by_size(found)[: self.max_faces]

    def _prefer_largest(
        self, image: NDArray[np.uint8], faces: list[Face], time_s: float | None, *, at_once: bool
    ) -> list[Face]:
        height, width = image.shape[:2]
        seen = _by_size(self._landmarker("image").run(image, _view((0, 0, width, height), LONG_SIDE)))
        rival = next((face for face in seen if not _same(face, faces[0])), None)
        if rival is None or rival.area < (1.0 if at_once else 1.5) * faces[0].area:
            self._rivals = 0
            return faces
        self._rivals += 1
        if not at_once and self._rivals < 2:
            return faces
        self._rivals = 0
        self._look_at(_window_around([rival], width, height))
        return self._follow(image, time_s) or [rival]

    def _keep_in_window(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> None:
        """Move the window when its faces near its edge, grow or shrink."""
        if self._window is None or not faces:
            return
        x0, y0, x1, y1 = self._window
        side = max(x1 - x0, y1 - y0)
        low, high = np.min([f.box[:2] for f in faces], axis=0), np.max([f.box[2:] for f in faces], axis=0)
        off = np.abs((low + high) / 2 - ((x0 + x1) / 2, (y0 + y1) / 2)).max() / side
        if off > 0.2 or not 0.15 < float((high - low).max()) / side < 0.6:
            self._look_at(_window_around(faces, image.shape[1], image.shape[0]))


def _check_image(image: NDArray[np.uint8]) -> None:
    if (
        getattr(image, "dtype", None) != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or 0 in image.shape
    ):
        got = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise InputError(f"got {got}, expected uint8 (H, W, 3) RGB", where="image")


def _view(box: tuple[int, int, int, int], long_side: int) -> View:
    """A view of a box, at its own resolution unless that is longer than ``long_side``."""
    w, h = box[2] - box[0], box[3] - box[1]
    shrink = min(1.0, long_side / max(w, h))
    return View(box, (max(1, round(w * shrink)), max(1, round(h * shrink))))


def _close_up(face: Face, turns: int = 0, around: float = _CLOSE_UP) -> View:
    x0, y0, x1, y1 = face.box
    side = max(8, round(max(x1 - x0, y1 - y0) * around))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return View((left, top, left + side, top + side), (_CLOSE_SIZE, _CLOSE_SIZE), turns=turns)


def _window_around(faces: Sequence[Face], width: int, height: int) -> tuple[int, int, int, int] | None:
    """A square of three times the faces' extent; None where that is the whole frame."""
    low, high = np.min([f.box[:2] for f in faces], axis=0), np.max([f.box[2:] for f in faces], axis=0)
    side = max(64, round(3 * float((high - low).max())))
    if side >= max(width, height):
        return None
    left, top = (round(float(c) - side / 2) for c in (low + high) / 2)
    return (left, top, left + side, top + side)


def _tiles(width: int, height: int, most: int, overlap: float) -> list[View]:
    """At most ``most`` square views that cover the image and overlap by that share, from the top down."""

    def per_axis(length: int, side: int) -> int:
        return 1 + int(np.ceil(max(0, length - side) / ((1 - overlap) * side) - 1e-9))

    side = min(width, height)
    while side > 48 and per_axis(width, side - 1) * per_axis(height, side - 1) <= most:
        side -= 1
    xs = np.linspace(0, width - side, min(most, per_axis(width, side))).round().astype(int)
    ys = np.linspace(0, height - side, min(most, per_axis(height, side))).round().astype(int)
    size = (min(side, LONG_SIDE),) * 2
    return [View((int(x), int(y), int(x) + side, int(y) + side), size) for y in ys for x in xs]


def _turns(face: Face) -> int:
    """Counter-clockwise quarter turns that bring the face upright."""
    right, left = face.landmarks[33, :2], face.landmarks[263, :2]
    roll = np.arctan2(left[1] - right[1], left[0] - right[0])  # clockwise in the image, as y points down
    return int(np.round(roll / (np.pi / 2))) % 4


def _extent(face: Face) -> float:
    return max(face.box[2] - face.box[0], face.box[3] - face.box[1])


def _same(a: Face, b: Face) -> bool:
    return box_iou(a.box, b.box) > 0.3


def _by_size(faces: Iterable[Face]) -> list[Face]:
    ranked = sorted(faces, key=lambda face: -face.area)
    return [replace(face, track=index) for index, face in enumerate(ranked)]


def _distinct(faces: Iterable[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.area):
        if not any(_same(face, other) for other in kept):
            kept.append(face)
    return kept


def _mean_face(faces: Sequence[Face]) -> Face:
    if len(faces) == 1:
        return faces[0]
    matrix = np.stack([face.matrix for face in faces]).astype(np.float64).mean(0)
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    size = np.mean([np.cbrt(np.linalg.det(face.matrix[:3, :3])) for face in faces])
    matrix[:3, :3] = u @ vt * size
    return make_face(
        np.stack([face.landmarks for face in faces]).mean(0),
        np.stack([face.scores for face in faces]).mean(0),
        matrix,
    )
