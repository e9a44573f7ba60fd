"""How well a photo is made to move: self-reenactment against a video's own frames, cross-reenactment without truth.

Protocol: a video is scaled (512 px by default). Its first frame with a face is the source, captured from that image
alone; the whole video is captured as the driver; the motion relative to the source frame is put on the source, and the
engine makes the frames. Twelve frames, evenly spaced over the rest, are compared with the video's own; sixteen
consecutive ones give jitter and speed. See docs/evaluation.md for each metric's definition.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omote.capture.pipeline import Captured, capture_image
from omote.drive import Driver, engine_by_name
from omote.errors import InputError, NoFaceError, OmoteError
from omote.evaluation.reenactment_cache import Cache
from omote.evaluation.reenactment_faces import FaceReader
from omote.evaluation.reenactment_methods import BASELINES, Scene, cross_scene, make, self_scene
from omote.evaluation.reenactment_rows import Options, Report, Row, measure
from omote.evaluation.reenactment_scene import Take, load_take, make_take, save_take
from omote.evaluation.reenactment_strips import strip_rows
from omote.media import is_video, list_media, read_image

__all__ = ["Options", "Report", "Row", "evaluate", "find_media"]

Image = NDArray[np.uint8]
Progress = Callable[[str, str, int, int | None], None]
"""Called with (video, what is being done, steps done, steps in all or None)."""

_log = logging.getLogger("omote.evaluation")


@dataclass(frozen=True)
class _Source:
    """A photo that another person's video drives."""

    name: str
    image: Image
    face: Captured


def evaluate(
    videos: Iterable[str | Path],
    engine: str | Driver | Sequence[str | Driver] = "puppet",
    *,
    photos: Iterable[str | Path] = (),
    options: Options | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Measure engines and baselines on videos.

    Args:
        videos: the drivers.
        engine: one or more, by name or as objects (called by the name of their class; their results are not kept).
            The baselines' names are allowed and add nothing, since baselines are always measured.
        photos: cross-reenactment: the sources, one for each driver in turn; without any, the first frames of the other
            videos.
        options: the protocol's numbers.
        output: a folder that keeps captures, truth and finished rows (in ``cache/``), so that what did not change is
            not computed again, and that pictures for the strips go to. None keeps nothing.
        overwrite: compute the engines' rows again, whatever is kept.
        progress: told of each step.

    Raises:
        InputError: an unknown engine, no video, or options out of range.
        NoFaceError: none of the videos has a usable face.
    """
    chosen = options or Options()
    engines = _engines(engine)
    paths = [Path(video) for video in videos]
    if not paths:
        raise InputError("there is no video to evaluate on")
    with FaceReader() as reader:
        run = _Evaluation(
            chosen, engines, Cache(output, chosen.frames, chosen.size), reader, overwrite, progress
        )
        if chosen.cross:
            run.drive_others(paths, [Path(photo) for photo in photos])
        else:
            run.drive_themselves(paths)
    if not run.report.rows:
        remedy = "Is a face visible, and larger than a thirtieth of the frame?"
        raise NoFaceError("none of the videos could be measured", remedy=remedy)
    return run.report


def find_media(folder: Path, pattern: str = "*") -> tuple[list[Path], list[Path]]:
    """The videos of a folder whose names fit a pattern (with or without their ending), and all of its photos.

    Raises:
        InputError: not a folder, or there is no video.
    """
    from fnmatch import fnmatch

    files = list_media(folder)
    films = [f for f in files if is_video(f)]
    videos = [f for f in films if fnmatch(f.name, pattern) or fnmatch(f.stem, pattern)]
    if not videos:
        fits = "" if pattern == "*" else f" that fits '{pattern}'"
        raise InputError(f"there is no video{fits} in this folder", where=folder)
    return videos, [f for f in files if f not in films]


def _engines(engine: str | Driver | Sequence[str | Driver]) -> dict[str, Driver | None]:
    """Name -> engine given as an object, or None where it is made when it is needed."""
    given = engine if isinstance(engine, Sequence) and not isinstance(engine, str) else [engine]
    chosen: dict[str, Driver | None] = {}
    for one in given:
        if not isinstance(one, str):
            chosen[type(one).__name__.lower()] = one
        elif one not in BASELINES:
            engine_by_name(one)  # refuses an unknown name before any work
            chosen[one] = None
    return chosen


class _Evaluation:
    """One run over all videos; fills a report."""

    def __init__(
        self,
        options: Options,
        engines: dict[str, Driver | None],
        cache: Cache,
        reader: FaceReader,
        overwrite: bool,
        progress: Progress | None,
    ) -> None:
        self.report = Report(options, (*BASELINES, *engines))
        self._options, self._engines, self._cache, self._reader = options, engines, cache, reader
        self._overwrite = overwrite
        self._progress: Progress = progress or (lambda *_: None)

    def drive_themselves(self, paths: Sequence[Path]) -> None:
        """Self-reenactment of each video."""
        for path in paths:
            try:
                self._measure_all(self._take(path), path.stem, None)
            except OmoteError as error:
                self._skip(path, error)

    def drive_others(self, paths: Sequence[Path], photos: Sequence[Path]) -> None:
        """Cross-reenactment: each video drives one photo, in turn, or the next video's source frame.

        Raises:
            InputError: one video and no photo.
        """
        if len(paths) == 1 and not photos:
            raise InputError("cross-reenactment needs a photo or a second video", where="--cross")
        sources = [source for photo in photos if (source := self._photo(photo)) is not None]
        takes = []
        for path in paths:
            try:
                takes.append(self._take(path))
            except OmoteError as error:
                self._skip(path, error)
        if not sources:
            size = self._options.size
            sources = [_Source(t.path.stem, t.images(size)[t.source_frame], t.source) for t in takes]
            sources = sources[1:] + sources[:1]
        for number, take in enumerate(takes):
            source = sources[number % len(sources)]
            try:
                self._measure_all(take, f"{source.name} < {take.path.stem}", source)
            except OmoteError as error:
                self._skip(take.path, error)

    def _skip(self, path: Path, error: OmoteError) -> None:
        self.report.skipped.append((path.name, str(error)))
        _log.warning("%s was skipped: %s", path.name, error)

    def _photo(self, path: Path) -> _Source | None:
        from PIL import Image as Pillow

        try:
            drawn = Pillow.fromarray(read_image(path))
            drawn.thumbnail((self._options.size, self._options.size), Pillow.Resampling.LANCZOS)
            image = np.asarray(drawn)
            return _Source(path.stem, image, capture_image(image, source={"file": path.name})[0])
        except OmoteError as error:
            self._skip(path, error)
            return None

    def _take(self, path: Path) -> Take:
        folder = self._cache.take_folder(path)
        take = None if folder is None else load_take(path, folder)
        if take is None:
            take = make_take(
                path,
                count=self._options.frames,
                side=self._options.size,
                reader=self._reader,
                step=lambda what, done, total: self._progress(path.stem, what, done, total),
            )
            if folder is not None:
                save_take(take, folder)
        return take

    def _measure_all(self, take: Take, name: str, source: _Source | None) -> None:
        """Add the rows of all methods on one scene; ``source`` is None where the video drives itself."""
        scene: Scene | None = None
        for number, method in enumerate(self.report.methods):
            self._progress(name, method, number, len(self.report.methods))
            given = self._engines.get(method)
            path = None if given is not None else self._cache.row_path(take.path, name, method)
            fresh = method in BASELINES or not self._overwrite
            row = self._cache.load_row(path) if path is not None and fresh else None
            if row is None:
                if scene is None:
                    scene = self._scene(take, source)
                    self._cache.save_strip(take.path, name, "truth", strip_rows(scene, scene.shown))
                engine = given or (None if method in BASELINES else engine_by_name(method))
                made = make(scene, method, engine)
                row = measure(scene, made, name, method, self._reader)
                strip = strip_rows(scene, made.images, errors=method not in BASELINES)
                self._cache.save_strip(take.path, name, method, strip)
                if path is not None:
                    self._cache.save_row(path, row)
            self.report.rows.append(row)
        label = "driver" if self._options.cross else "truth"
        parts = [(label, "truth"), *((method, method) for method in self.report.methods)]
        kept = [(said, self._cache.strip_path(take.path, name, part)) for said, part in parts]
        found = [(said, path) for said, path in kept if path is not None]
        if found:
            self.report.strips[name] = found

    def _scene(self, take: Take, source: _Source | None) -> Scene:
        images = take.images(self._options.size)
        if source is None:
            return self_scene(take, images)
        return cross_scene(take, images, source.image, source.face, self._reader)
