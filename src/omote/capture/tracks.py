"""Who is who over a video: stable track ids, shot cuts, choice of face, and the landmarks of a whole take."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from omote.capture.landmarker import LANDMARKS, SCORE_NAMES, Face
from omote.errors import InputError, NoFaceError

Choice = Literal["largest", "all"] | int
Box = tuple[float, float, float, float]

MAX_GAP_FRAMES = 15
"""How long a face may be away within a shot and still be followed by its motion."""

SAME_PERSON = 0.8
"""Correlation of appearance (see `appearance`) from which a face after a cut or a long gap is the same
person.

Measured on the shared videos: one person within a shot 0.71 to 0.97, two different people at most 0.70.
"""


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union


def appearance(image: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
    """(468, 3) float32 unit vector: the colours under the mesh landmarks, less their mean.

    Follows pose and expression, and differs between people. Compare two with `likeness`.
    """
    height, width = image.shape[:2]
    x = np.clip(face.landmarks[:468, 0].astype(np.int64), 0, width - 1)
    y = np.clip(face.landmarks[:468, 1].astype(np.int64), 0, height - 1)
    colours = image[y, x].astype(np.float32)
    colours -= colours.mean(0)
    return colours / max(float(np.linalg.norm(colours)), 1e-6)


def likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation of two appearances, -1..1."""
    return float((a * b).sum())


class ShotCuts:
    """Finds shot cuts from one frame to the next: the thumbnail and the colour histogram both jump.

    A cut is a mean change of the 32 x 32 thumbnail of more than 20 of 255 and of more than five times its
    recent median, with at least 15 % of the histogram in other bins. On the shared videos the largest changes
    within a shot are 13.6 and 8 %; between two of them the smallest are 42 and 43 %.
    """

    def __init__(self) -> None:
        self._thumbnail: NDArray[np.float32] | None = None
        self._histogram: NDArray[np.float64] = np.zeros(64)
        self._recent: list[float] = []

    def update(self, image: NDArray[np.uint8]) -> bool:
        """Whether this frame, (H, W, 3) uint8, begins a new shot. False for the first frame."""
        height, width = image.shape[:2]
        rows = ((np.arange(64) + 0.5) * height / 64).astype(np.int64)
        columns = ((np.arange(64) + 0.5) * width / 64).astype(np.int64)
        dots = image[rows[:, None], columns].astype(np.float32)
        thumbnail = (dots[::2, ::2] + dots[1::2, ::2] + dots[::2, 1::2] + dots[1::2, 1::2]) / 4
        bins = (thumbnail / 64).astype(np.int64) @ np.array([16, 4, 1])
        histogram = np.bincount(bins.ravel(), minlength=64) / bins.size
        before, self._thumbnail = self._thumbnail, thumbnail
        moved, self._histogram = 0.5 * float(np.abs(histogram - self._histogram).sum()), histogram
        if before is None:
            return False
        change = float(np.abs(thumbnail - before).mean())
        usual = float(np.median(self._recent)) if self._recent else 0.0
        if change > 20.0 and change > 5.0 * usual and moved > 0.15:
            self._recent.clear()
            return True
        self._recent = [*self._recent[-14:], change]
        return False


@dataclass
class _Followed:
    face: Face
    velocity: NDArray[np.float64]  # of the box's centre, pixels a frame
    frame: int
    shot: int
    look: NDArray[np.float32] | None


class Tracker:
    """Gives faces ids that stay with the person.

    Within a shot: the assignment of least cost (Hungarian) of box overlap and landmark distance to where each
    face's motion leads, over gaps of up to `MAX_GAP_FRAMES`. After a cut or a longer gap: the person who
    looks most alike, if alike enough (`SAME_PERSON`); else a new id. Without images, such faces always get
    new ids.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Followed] = {}
        self._frame = -1
        self._shot = 0

    def cut(self) -> None:
        """A new shot begins with the next frame."""
        self._shot += 1

    def update(self, faces: Sequence[Face], image: NDArray[np.uint8] | None = None) -> list[Face]:
        """The same faces with their track ids.

        Args:
            faces: all faces of the next frame.
            image: (H, W, 3) uint8, the frame itself.
        """
        self._frame += 1
        near = [k for k, t in self._known.items() if self._is_near(t)]
        ids: dict[int, int] = self._assign(faces, near)
        looks = [None if image is None else appearance(image, face) for face in faces]
        away = [k for k in self._known if k not in ids.values()]
        for index in range(len(faces)):
            if index not in ids:
                ids[index] = self._recognise(looks[index], away)
                away = [k for k in away if k != ids[index]]
                if ids[index] < 0:
                    ids[index] = max([-1, *self._known, *ids.values()]) + 1
        for index, face in enumerate(faces):
            self._follow(ids[index], face, looks[index])
        return [replace(face, track=ids[index]) for index, face in enumerate(faces)]

    def _is_near(self, known: _Followed) -> bool:
        return known.shot == self._shot and self._frame - known.frame <= MAX_GAP_FRAMES

    def _assign(self, faces: Sequence[Face], near: Sequence[int]) -> dict[int, int]:
        if not faces or not near:
            return {}
        from scipy.optimize import linear_sum_assignment

        cost = np.array([[self._distance(face, self._known[k]) for k in near] for face in faces])
        rows, columns = linear_sum_assignment(cost)
        return {int(r): near[c] for r, c in zip(rows, columns, strict=True) if cost[r, c] < 10.0}

    def _distance(self, face: Face, known: _Followed) -> float:
        """0 for the same place and shape, about 2 for a face one face away; 100 where it cannot be."""
        gap = self._frame - known.frame
        step = known.velocity * gap
        old = known.face.landmarks[:, :2] + step
        size = max(face.area, known.face.area) ** 0.5
        moved = float(np.linalg.norm(old.mean(0) - face.landmarks[:, :2].mean(0))) / size
        ratio = (face.area / max(known.face.area, 1e-6)) ** 0.5
        if moved > 0.8 + 0.1 * gap or not 0.5 < ratio < 2.0:
            return 100.0
        x0, y0, x1, y1 = known.face.box
        there = (x0 + step[0], y0 + step[1], x1 + step[0], y1 + step[1])
        shape = float(np.abs(old - face.landmarks[:, :2]).mean()) / size
        return 1.0 - box_iou(there, face.box) + shape + 0.02 * gap

    def _recognise(self, look: NDArray[np.float32] | None, away: Sequence[int]) -> int:
        best, best_id = SAME_PERSON, -1
        for k in away:
            known = self._known[k]
            # A face that was seen a frame ago and not assigned is somewhere else: another person.
            elsewhere = self._is_near(known) and self._frame - known.frame < 2
            if look is None or known.look is None or elsewhere:
                continue
            alike = likeness(look, known.look)
            if alike > best:
                best, best_id = alike, k
        return best_id

    def _follow(self, track: int, face: Face, look: NDArray[np.float32] | None) -> None:
        velocity = np.zeros(2)
        known = self._known.get(track)
        if known is not None and self._is_near(known):
            moved = face.landmarks[:, :2].mean(0) - known.face.landmarks[:, :2].mean(0)
            velocity = 0.5 * known.velocity + 0.5 * moved / (self._frame - known.frame)
        self._known[track] = _Followed(face, velocity, self._frame, self._shot, look)


def rank_tracks(frames_of_faces: Sequence[Sequence[Face]]) -> list[int]:
    """All track ids, by the summed area of their boxes over the take, largest first."""
    areas: dict[int, float] = {}
    for face in (face for faces in frames_of_faces for face in faces):
        areas[face.track] = areas.get(face.track, 0.0) + face.area
    return sorted(areas, key=lambda track: (-areas[track], track))


def select_tracks(frames_of_faces: Sequence[Sequence[Face]], choice: Choice = "largest") -> list[int]:
    """The ids of the faces that are wanted, largest summed area over the take first.

    Args:
        frames_of_faces: the faces of each frame (a photo: one frame).
        choice: "largest"; "all"; or an index into the faces from the largest (0) to the smallest.

    Returns:
        Track ids; empty where there is no face at all.

    Raises:
        NoFaceError: the index is beyond the last face.
        InputError: not a choice.
    """
    named = choice in ("largest", "all")
    if not named and (isinstance(choice, bool) or not isinstance(choice, int) or choice < 0):
        remedy = 'Use "largest", "all" or an index from 0.'
        raise InputError(f"{choice!r} is not a choice of face", remedy=remedy)
    ranked = rank_tracks(frames_of_faces)
    if choice == "all" or not ranked:
        return ranked
    index = 0 if choice == "largest" else int(choice)
    if index >= len(ranked):
        remedy = f"Found {len(ranked)}; the first one has index 0."
        raise NoFaceError(f"there is no face {index}", remedy=remedy)
    return [ranked[index]]


@dataclass(frozen=True)
class Track:
    """One face over a take of T frames. Where it was not found: NaN, and False in ``found``.

    Attributes:
        id: the track id, as in `Face.track`.
        found: (T,) bool.
        landmarks: (T, 478, 3) float32 pixels, as in `Face`.
        scores: (T, 52) float32.
        matrices: (T, 4, 4) float32.
        boxes: (T, 4) float32 pixels.
    """

    id: int
    found: NDArray[np.bool_]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]
    matrices: NDArray[np.float32]
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class TrackSet:
    """The faces of a take, about 6 kB a face and frame; no images.

    Attributes:
        times: (T,) float64 seconds, strictly increasing.
        size: (w, h) of the frames, pixels.
        cuts: the frames that begin a new shot; frame 0 is not among them.
        chosen: ids of the tracks that ``choice`` selects, largest first; empty where no face was found.
        faces: track id -> frame -> `Face`, of every track that was seen.
    """

    times: NDArray[np.float64]
    size: tuple[int, int]
    cuts: tuple[int, ...]
    chosen: tuple[int, ...]
    faces: Mapping[int, Mapping[int, Face]]

    def __len__(self) -> int:
        """The number of frames T."""
        return len(self.times)

    @property
    def tracks(self) -> list[Track]:
        """The chosen tracks over all frames (made on each call)."""
        return [self.track(k) for k in self.chosen]

    @property
    def shots(self) -> list[tuple[int, int]]:
        """First frame and frame after the last one of each shot."""
        edges = [0, *self.cuts, len(self.times)]
        return list(itertools.pairwise(edges))

    def track(self, track: int) -> Track:
        """One track over all frames.

        Raises:
            NoFaceError: there is no track of this id.
        """
        if track not in self.faces:
            known = ", ".join(map(str, self.faces)) or "none"
            raise NoFaceError(f"there is no track {track}", remedy=f"Known: {known}.")
        count = len(self.times)
        found = np.zeros(count, bool)
        landmarks = np.full((count, LANDMARKS, 3), np.nan, np.float32)
        scores = np.full((count, len(SCORE_NAMES)), np.nan, np.float32)
        matrices = np.full((count, 4, 4), np.nan, np.float32)
        boxes = np.full((count, 4), np.nan, np.float32)
        for frame, face in self.faces[track].items():
            found[frame], landmarks[frame], scores[frame] = True, face.landmarks, face.scores
            matrices[frame], boxes[frame] = face.matrix, face.box
        return Track(track, found, landmarks, scores, matrices, boxes)


def detect_video(
    frames: Iterable[tuple[float, NDArray[np.uint8]]],
    choice: Choice = "largest",
    progress: Callable[[int], None] | None = None,
    *,
    max_faces: int = 4,
) -> TrackSet:
    """Follow the faces of a video.

    "largest" follows one face at a time, which is cheapest: the largest one of the first frame of each shot,
    unless another becomes one and a half times as large for a second. Use "all" where two people of like size
    are seen and the sum over the whole take has to decide.

    Args:
        frames: (seconds, (H, W, 3) uint8 RGB), times strictly increasing, all of one size; none is kept.
        choice: see `select_tracks`.
        progress: called with the number of frames done, after each.
        max_faces: how many faces to follow at once, unless the choice is "largest".

    Raises:
        NoFaceError: the choice is an index beyond the last face found.
        InputError: no frames, other than RGB frames of one size, times that do not increase, or not a choice.
        WeightsError: the model file is missing.
    """
    from omote.capture.detect import FaceDetector

    select_tracks([], choice)
    times: list[float] = []
    kept: dict[int, dict[int, Face]] = {}
    size: tuple[int, int] | None = None
    with FaceDetector("video", max_faces=1 if choice == "largest" else max_faces) as detector:
        for time_s, image in frames:
            if times and time_s <= times[-1]:
                raise InputError(f"frame {len(times)} at {time_s:.6f} s is not after the frame before it")
            if size is not None and image.shape[1::-1] != size:
                raise InputError(f"frame {len(times)} has another size ({image.shape[1]} x {image.shape[0]})")
            size = (image.shape[1], image.shape[0])
            for face in detector.detect(image, time_s):
                kept.setdefault(face.track, {})[len(times)] = face
            times.append(float(time_s))
            if progress is not None:
                progress(len(times))
        cuts = tuple(detector.cuts)
    if size is None:
        raise InputError("there are no frames")
    chosen = select_tracks([list(track.values()) for track in kept.values()], choice)
    return TrackSet(np.array(times), size, cuts, tuple(chosen), kept)
