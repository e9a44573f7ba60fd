"""LivePortrait from files to frames.

::

    engine = LivePortrait(load_nets(), LivePortraitOptions())
    source = engine.photo(picture, [landmarks])
    take = engine.video_driver(Path("talk.mp4"))
    moved = [engine.perform(source.faces[0], take, take.elapsed)]
    for frame in engine.frames(source, moved):
        ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.controls import IMPLICIT21
from omote.drive.liveportrait.crops import Sizes
from omote.drive.liveportrait.drawing import Drawing, Keep
from omote.drive.liveportrait.driving import DrivingTake, take_of_template
from omote.drive.liveportrait.extraction import (
    Extractor,
    Progress,
    drive_by_picture,
    drive_by_pictures,
    drive_by_video,
)
from omote.drive.liveportrait.kalman import OBSERVATION_VARIANCE
from omote.drive.liveportrait.networks import choose_processor
from omote.drive.liveportrait.offsets import Mlps
from omote.drive.liveportrait.performing import Moved, Still, at_moments, perform
from omote.drive.liveportrait.renderer import Renderer, make_renderer
from omote.drive.liveportrait.settings import FRIENDLY, LivePortraitOptions, flag
from omote.drive.liveportrait.sources import PhotoSource, VideoSource
from omote.drive.liveportrait.template import template_of
from omote.drive.liveportrait.tracking import Choice
from omote.errors import InputError
from omote.models.liveportrait import LivePortraitNets
from omote.performance import Performance

Picture = NDArray[np.uint8]


_MANY = 16  # frames for which it pays to study how they are drawn, which takes as long as some five
_OF_DRIVERS: Mapping[str, tuple[str, object]] = {
    "eye_retargeting": ("--eye-retargeting", False),
    "lip_retargeting": ("--lip-retargeting", False),
    "normalize_lip": ("--normalize-lip", False),
    "relative": ("--absolute", True),
    "reference": ("--reference", "auto"),
    "regions": ("--regions", None),
    "multiplier": ("--strength", 1.0),
    "driving_option": ("--driving-option", FRIENDLY[1]),
}
"""Options about the motion of a driver, as they are typed, and what they are when nothing is."""


def _silent(what: str, done: int, total: int | None) -> None:
    """Progress that nobody asked for."""


class LivePortrait:
    """Moves the faces of photos and videos.

    Args:
        nets: all networks, see `omote.drive.liveportrait.networks.load_nets`.
        options: how; default `LivePortraitOptions()`.
        renderer: draws the faces; default `make_renderer`.
    """

    def __init__(
        self,
        nets: LivePortraitNets,
        options: LivePortraitOptions | None = None,
        renderer: Renderer | None = None,
    ) -> None:
        self.options = options or LivePortraitOptions()
        if renderer is None:
            processor = choose_processor(exact=self.options.exact)
            renderer = make_renderer(nets, processor)
        self.renderer = renderer
        sizes = Sizes(nets.config.input_size, nets.config.output_size)
        self._extractor = Extractor(nets.motion_extractor, sizes)
        # The small networks run where the keypoints are.
        self._mlps = Mlps(nets.stitching.cpu(), nets.eye.cpu(), nets.lip.cpu())

    @property
    def marks(self) -> dict[str, Any]:
        """What decides the motion that is seen in a driver, as JSON values."""
        told = {name: getattr(self.options, name) for name in ("compat", "crop_driver", "driver_crop_scale")}
        return {"engine": "liveportrait", "network": self._extractor.fingerprint, **told}

    def photo(self, picture: Picture, landmarks: Sequence[NDArray[Any]]) -> PhotoSource:
        """A photo (H, W, 3) uint8 RGB whose faces are given by their landmarks (478, 2) px."""
        return PhotoSource.prepare(picture, landmarks, self.options, self._extractor, self.renderer)

    def video(
        self,
        path: Path,
        choice: Choice = "largest",
        progress: Progress = _silent,
        longest: int | None = None,
    ) -> VideoSource:
        """A video as the source.

        Args:
            path: the file.
            choice: its faces that move.
            progress: told on the way.
            longest: the longer side that its frames are reduced to, px; as published, the options say it.

        Raises:
            InputError: it cannot be read.
            NoFaceError: no face, or not the one asked for.
        """
        return VideoSource.prepare(path, choice, self.options, self._extractor, progress, longest)

    def video_driver(
        self, path: Path, choice: Choice = "largest", progress: Progress = _silent
    ) -> DrivingTake:
        """A driving video.

        Raises:
            InputError: it cannot be read.
            NoFaceError: no face, or not the one asked for.
        """
        return drive_by_video(path, choice, self.options, self._extractor, progress)

    def picture_driver(self, picture: Picture, landmarks: NDArray[Any]) -> DrivingTake:
        """A driving picture (H, W, 3) uint8 RGB with landmarks (478, 2) px."""
        return drive_by_picture(picture, landmarks, self.options, self._extractor)

    def take_driver(
        self, take: Performance, progress: Progress = _silent, rest: Performance | None = None
    ) -> DrivingTake:
        """A performance: in IMPLICIT21 as it is, in rig controls performed by the embedded head and watched.

        Args:
            take: the performance.
            progress: told on the way.
            rest: one frame in rig controls that is performed, too: relative motion starts from it.

        Raises:
            InputError: controls that cannot be converted to FACS102.
        """
        if take.space == IMPLICIT21:
            return take_of_template(template_of(take))
        from omote.drive.liveportrait.performer import Performer

        count = len(take)
        times = np.asarray(take.times, np.float64)
        found = np.asarray(take.confidence) > 0
        performer = Performer(take, self.options)
        made = drive_by_pictures(
            performer, times, found, self._extractor, lambda n: progress("performing the take", n, count)
        )
        return made if rest is None else replace(made, rest=self.take_driver(rest))

    def perform(self, face: Still, take: DrivingTake | None, moments: NDArray[np.float64]) -> Moved:
        """The keypoints of one face at every frame.

        Args:
            face: of a source.
            take: what drives it; None: edits alone.
            moments: (T,) seconds from the driver's first frame at which there are frames. As published, frames are
                paired by number instead, and this is not used.

        Raises:
            InputError: a reference or ratios that are not there, an option that has no effect here, or nothing to do.
            NoFaceError: the reference frame has no face.
        """
        options = self.options
        for name, told in (
            ("hold_eyes", options.hold_eyes),
            ("observation_variance", options.observation_variance != OBSERVATION_VARIANCE),
        ):
            if told and not face.video:
                raise InputError("the source is no video", where=flag(name), remedy="Leave it out.")
        if take is None:
            if not options.edits:
                raise InputError("nothing drives the source, and no slider is moved")
            for name, (typed, untold) in _OF_DRIVERS.items():
                if getattr(options, name) != untold:
                    raise InputError("nothing drives the source", where=typed, remedy="Name a driver.")
        elif not options.official:
            take, reference = at_moments(take, moments, options.reference)
            options = replace(options, reference=reference)
        return perform(face, take, options, self._mlps)

    def frames(
        self,
        source: PhotoSource | VideoSource,
        moved: Sequence[Moved],
        numbers: Sequence[int] | None = None,
        keep: Keep | None = None,
        progress: Progress = _silent,
    ) -> Iterator[Picture]:
        """The frames (H, W, 3) uint8 RGB; memory does not grow with their number.

        Args:
            source: a photo or a video.
            moved: one a face, all of one length.
            numbers: which of the frames, in order; None: all. Those of a video may be shown several times.
            keep: may give faces that were drawn before (`omote.drive.liveportrait.drawing`).
            progress: told while the way to draw them is chosen.

        Raises:
            InputError: not one a face, or other lengths.
        """
        if len(moved) != len(source.faces) or len({len(one) for one in moved}) != 1:
            what = f"got motions of {[len(one) for one in moved]} frames for {len(source.faces)} faces"
            raise InputError(what, remedy="Give one a face, all of one length.")
        shown = range(len(moved[0])) if numbers is None else numbers
        if len(shown) >= _MANY and self.options.approximate:
            examples = source.examples(moved, shown, self.renderer)
            self.renderer.study(examples, lambda done, total: progress("choosing how to draw", done, total))
        return source.frames(moved, shown, self.options, Drawing(self.renderer, keep))
