"""Which moments the engine liveportrait shows, and where every keypoint is then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omote.animation.limits import rate_of
from omote.animation.plan import Job
from omote.errors import InputError

if TYPE_CHECKING:
    from omote.drive.liveportrait.driving import DrivingTake
    from omote.drive.liveportrait.performing import Moved
    from omote.drive.liveportrait.pipeline import LivePortrait
    from omote.drive.liveportrait.sources import PhotoSource, VideoSource

Array = NDArray[np.float64]

_HOLD, _EASED_FPS = 1.0, 25.0


@dataclass(frozen=True)
class Shown:
    """What is to be rendered.

    Attributes:
        moved: keypoints of each face at T moments.
        moments: (T,) seconds from the driver's first frame that they show.
        held: (T,) bool: the driver or the source has no face there.
        numbers: which of them are shown, in order; those of a source video perhaps several times.
        times: (N,) seconds from the first frame, at which these are shown.
    """

    moved: list[Moved]
    moments: Array
    held: NDArray[np.bool_]
    numbers: list[int]
    times: Array

    def at(self, chosen: Sequence[int]) -> Shown:
        """Only some of the frames that are shown."""
        return replace(self, numbers=[self.numbers[n] for n in chosen], times=self.times[list(chosen)])

    @property
    def held_stretches(self) -> tuple[tuple[int, int], ...]:
        """The frames of the result that hold the motion before, as (first, last)."""
        return stretches(self.held[self.numbers])


def choose_moments(
    job: Job, engine: LivePortrait, source: PhotoSource | VideoSource, takes: Sequence[DrivingTake]
) -> Shown:
    """The keypoints of every face at every moment of the result.

    Args:
        job: what is made.
        engine: composes the motion.
        source: whose faces move.
        takes: one a face; none where edits alone are asked for.

    Raises:
        InputError, NoFaceError: options that the takes cannot serve, or a frame or moment that is not there.
    """
    from omote.drive.liveportrait.sources import VideoSource

    official = engine.options.official
    if official and job.options.fps is not None:
        what = "the official mode keeps the driver's frames"
        raise InputError(what, where="--fps", remedy="Leave one of the two out.")
    longest = max(takes, key=lambda take: float(take.elapsed[-1])) if takes else None
    video = isinstance(source, VideoSource)
    if isinstance(source, VideoSource):
        moments = _of_video(source, longest, official=official)
    elif longest is None:
        moments = np.zeros(1)
    else:
        moments = _of_driver(job, longest, official=official)
    if official and longest is not None:  # by number, as published; shorter drivers hold their last frame
        frames = np.arange(len(longest))
        takes = [take if take.still else take.rows(np.minimum(frames, len(take) - 1)) for take in takes]
    moved = [
        engine.perform(face, takes[index] if takes else None, moments)
        for index, face in enumerate(source.faces)
    ]
    moved = [_as_long_as(one, len(moments)) for one in moved]
    times = moments
    if official and video and longest is not None and not longest.still:
        moments = longest.elapsed[: len(moments)]  # published: frames are paired by number
    still = [np.zeros(len(moments), bool) for _ in source.faces]
    for index, face in enumerate(source.faces):
        if takes:
            at = np.clip(np.searchsorted(takes[index].elapsed, moments - 1e-6), 0, len(takes[index]) - 1)
            still[index] |= ~takes[index].found[at]
        if video:
            still[index] |= ~face.found[: len(moments)]
    held = np.all(still, axis=0)  # while one face moves, the frame is none that is held
    if official and len(times) > 1:
        times = np.arange(len(times)) / published_rate(times)
    shown = Shown(moved, moments, held, list(range(len(moments))), times)
    if video:
        shown = shown if official else _resampled(shown, job)
    elif len(moments) == 1 and job.moving:
        shown = _eased(shown, job)
    return _pick(shown, job) if job.kind == "still" else shown


def published_rate(times: Array) -> int:
    """Frames a second of (T,) times as the published code counts them: cut to a whole number, 29.97 to 29."""
    span = float(times[-1] - times[0])
    slack = 1e-6
    if np.allclose(1000 * times, np.round(1000 * times), rtol=0, atol=1e-6):
        slack += 1e-3 / span  # files that tell times to a thousandth say little less or more than 24 for 24
    return max(1, int((len(times) - 1) / span * (1 + slack)))


def _of_video(source: VideoSource, longest: DrivingTake | None, *, official: bool) -> Array:
    """The moments of a source video's own frames, as long as the driver lasts."""
    moments = source.times - source.times[0]
    if longest is None or longest.still:
        return moments
    if official:
        return moments[: len(longest)]
    end = float(longest.elapsed[-1]) + 0.5 / max(longest.fps, 1.0)
    return moments[moments <= end]


def _of_driver(job: Job, longest: DrivingTake, *, official: bool) -> Array:
    rate = None if official or len(longest) == 1 else rate_of(job, longest.fps)
    if rate is None:
        return longest.elapsed
    return np.arange(int(np.floor(longest.elapsed[-1] * rate + 1e-6)) + 1) / rate


def _resampled(shown: Shown, job: Job) -> Shown:
    """Frames of a source video at another rate: each is the nearest in time, so that picture and motion stay one."""
    own = shown.times
    step = float(np.median(np.diff(own))) if len(own) > 1 else 1.0
    rate = rate_of(job, 1 / step)
    if rate is None:
        return shown
    times = np.arange(max(1, round((own[-1] + step) * rate))) / rate
    numbers = np.searchsorted((own[1:] + own[:-1]) / 2, times + 1e-6)
    return replace(shown, numbers=numbers.tolist(), times=times)


def _as_long_as(one: Moved, count: int) -> Moved:
    """The keypoints for that many frames; the last ones of a shorter driver, or those of a still one, stay."""
    if len(one) == count:
        return one
    shown = np.minimum(np.arange(count), len(one) - 1)
    source = one.source if len(one.source) == 1 else one.source[np.minimum(shown, len(one.source) - 1)]
    return replace(one, source=source, driving=one.driving[shown])


def _eased(shown: Shown, job: Job) -> Shown:
    """From the photo's face to an expression, which stays a while, and back."""
    import torch

    ease = job.options.ease
    fps = job.options.fps or _EASED_FPS
    length = 2 * ease + _HOLD
    times = np.arange(max(2, round(length * fps) + 1)) / fps
    into = np.clip(np.minimum(times, times[-1] - times) / max(ease, 1e-6), 0, 1)
    share = torch.from_numpy(into * into * (3 - 2 * into)).float()[:, None, None]
    moved = [replace(one, driving=one.source + share * (one.driving - one.source)) for one in shown.moved]
    still = np.zeros(len(times))
    return Shown(moved, still, still.astype(bool), list(range(len(times))), times)


def _pick(shown: Shown, job: Job) -> Shown:
    """The frames that a picture shows."""
    options, count = job.options, len(shown.times)
    if options.strip is not None:
        return shown.at(np.unique(np.linspace(0, count - 1, options.strip).round().astype(int)).tolist())
    if options.time is not None:
        if options.time > shown.times[-1] + 1 / _EASED_FPS:
            what = f"{options.time:g} s is after the end at {shown.times[-1]:.2f} s"
            raise InputError(what, where="--time")
        return shown.at([int(np.argmin(np.abs(shown.times - options.time)))])
    if options.frame is not None:
        if options.frame >= count:
            remedy = f"There are {count}, counted from 0."
            raise InputError(f"there is no frame {options.frame}", where="--frame", remedy=remedy)
        return shown.at([options.frame])
    # Where the faces move most.
    apart = sum(((one.driving - one.source) ** 2).sum((1, 2)) for one in shown.moved)
    return shown.at([int(np.argmax(np.asarray(apart)[shown.numbers]))])


def stretches(held: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The runs of True in (T,), as (first, last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(int)))
    return tuple((int(first), int(end) - 1) for first, end in edges.reshape(-1, 2))
