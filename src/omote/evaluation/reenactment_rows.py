"""One row of the table, a method on a video: every metric of what the method made, and the report of all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError
from omote.evaluation import metrics
from omote.evaluation.reenactment_faces import (
    FaceReader,
    Seen,
    Shown,
    identity_distance,
    jitter,
    landmark_distance,
    motion_errors,
)
from omote.evaluation.reenactment_methods import Made, Scene

Image = NDArray[np.uint8]

_MOUTH_OPEN, _MOUTH_PIXELS = 0.08, 40


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        frames: how many frames of each video carry the pixel metrics, 2 or more.
        size: most px of a frame's long side, 64 or more.
        cross: whether another face is driven, instead of the video's own.
    """

    frames: int = 12
    size: int = 512
    cross: bool = False

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise InputError(f"{self.frames} frames", where="frames", remedy="Use 2 or more.")
        if not 64 <= self.size <= 4096:
            raise InputError(f"{self.size} px", where="size", remedy="Use 64 to 4096.")


@dataclass(frozen=True)
class Row:
    """One method on one video.

    Attributes:
        video: the video's name; in cross-reenactment "SOURCE < DRIVER".
        method: "static", "landmark-warp" or an engine's name.
        metrics: name -> mean over frames; NaN where there was nothing to measure.
        per_frame: metric -> one value for each of ``frames``.
        frames: the frames that were compared.
    """

    video: str
    method: str
    metrics: dict[str, float]
    per_frame: dict[str, list[float]]
    frames: tuple[int, ...]


@dataclass
class Report:
    """What was measured.

    Attributes:
        options: how.
        methods: baselines, then engines, in the order of the table.
        rows: one for each video and method.
        skipped: (video, why) of those that could not be measured.
        strips: video -> (method or "truth", picture file) for a frame strip; empty where nothing is kept.
    """

    options: Options
    methods: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    strips: dict[str, list[tuple[str, Path]]] = field(default_factory=dict)

    @property
    def videos(self) -> tuple[str, ...]:
        """Names of the videos that were measured, in order."""
        return tuple(dict.fromkeys(row.video for row in self.rows))

    def row(self, video: str, method: str) -> Row | None:
        """The row of a video and a method, if it was measured."""
        return next((r for r in self.rows if r.video == video and r.method == method), None)

    def median(self, method: str) -> dict[str, float]:
        """Metric -> median over the videos, of those where it is not NaN."""
        rows = [row.metrics for row in self.rows if row.method == method]
        names = dict.fromkeys(name for row in rows for name in row)
        return {n: _median([row[n] for row in rows if n in row]) for n in names}


def _median(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.median(finite)) if finite else float("nan")


def measure(scene: Scene, made: Made, video: str, method: str, reader: FaceReader) -> Row:
    """Every metric of what a method made of a scene; the names are explained in docs/evaluation.md."""
    take = scene.take
    looked: dict[tuple[int, bool], Seen | None] = {}  # by the array itself: a still is looked at once
    shown: dict[int, Shown] = {}

    def look(frame: int, quick: bool) -> Seen | None:
        image = made.images[frame]
        if (id(image), quick) not in looked:
            near = take.near[frame] if scene.is_truth else scene.targets[frame]
            looked[id(image), quick] = reader.look(image, near, quick=quick)
        return looked[id(image), quick]

    def fit(seen: Seen) -> Shown:
        if id(seen) not in shown:
            shown[id(seen)] = scene.fitter.fit(seen)
        return shown[id(seen)]

    per_frame: dict[str, list[float]] = {}

    def put(values: dict[str, float]) -> None:
        for key, value in values.items():
            per_frame.setdefault(key, []).append(value)

    nothing = dict.fromkeys(("aed", "apd_degrees", "gaze_degrees"), math.nan)
    for frame in take.shots:
        seen, truth = look(frame, False), take.seen[frame]
        if scene.is_truth:
            put(_pixels(made.images[frame], scene.shown[frame], np.asarray(scene.targets[frame])))
            put(
                {"akd_percent": math.nan if seen is None or truth is None else landmark_distance(seen, truth)}
            )
        wanted = scene.wanted.get(frame)
        put(nothing if seen is None or wanted is None else motion_errors(fit(seen), wanted))
    shots = [s for f in take.shots if (s := look(f, False)) is not None]
    size = (scene.image.shape[1], scene.image.shape[0])
    values = {name: _mean(each) for name, each in per_frame.items()}
    if scene.is_truth:
        pooled = np.array(per_frame["face_mse"])
        values["face_psnr_pooled"] = float(-10 * np.log10(max(np.nanmean(pooled), 1e-6)))
        del values["face_mse"]
    values["identity_percent"] = identity_distance(shots, size, scene.face.performance.identity["facs"])
    values["jitter_percent"] = jitter([look(f, True) for f in take.run]) - jitter(take.run_seen)
    values["lost_frames"] = float(len(take.shots) - len(shots))
    values["fps"], values["prepare_seconds"] = made.fps, made.prepare_seconds
    return Row(video, method, values, per_frame, take.shots)


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else math.nan


def _pixels(output: Image, truth: Image, landmarks: np.ndarray) -> dict[str, float]:
    """The pixel metrics of one frame, regions by the true landmarks (478, 2) px."""
    size = (truth.shape[1], truth.shape[0])
    face, eyes = metrics.face_mask(landmarks, size), metrics.eyes_mask(landmarks, size)
    mouth = metrics.mouth_mask(landmarks, size)
    seen = Seen(np.asarray(landmarks, np.float32), np.zeros(52, np.float32))
    is_open = metrics.mouth_opening(landmarks) > _MOUTH_OPEN * seen.eye_distance
    if not is_open or mouth.sum() < _MOUTH_PIXELS:
        mouth = np.zeros_like(mouth)
    squared, absolute = metrics.squared_error(output, truth), metrics.absolute_error(output, truth)
    similar = metrics.ssim_map(output, truth)
    return {
        "face_psnr": metrics.psnr(squared, face),
        "face_mse": metrics.mean_over(squared, face),
        "face_ssim": metrics.ssim(similar, face),
        "face_l1": metrics.mean_over(absolute, face),
        "image_psnr": metrics.psnr(squared),
        "image_ssim": metrics.ssim(similar),
        "image_l1": metrics.mean_over(absolute),
        "mouth_psnr": metrics.psnr(squared, mouth),
        "eyes_psnr": metrics.psnr(squared, eyes),
    }
