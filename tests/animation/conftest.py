"""A photo with three faces that nobody has to look for, and an engine that paints what the motions say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from omote import drive
from omote.capture import pipeline
from omote.capture.pipeline import Captured
from omote.controls import FACS102
from omote.drive import Portrait
from omote.errors import NoFaceError
from omote.media import write_image
from omote.performance import Camera, Performance

JAW = FACS102.index("jaw_open")
WIDTH, HEIGHT = 96, 65
PLACES = (48.0, 80.0, 16.0)
"""Where the faces are from left to right in pixels, the largest first."""


def take_of(jaw: Sequence[float], times: Sequence[float] | None = None, **source: Any) -> Performance:
    """A take in which only the jaw moves."""
    count = len(jaw)
    controls = np.zeros((count, len(FACS102)))
    controls[:, JAW] = jaw
    return Performance(
        space=FACS102,
        controls=controls,
        head_rotation=np.zeros((count, 3)),
        head_translation=np.tile([0.0, 0.0, -0.6], (count, 1)),
        confidence=np.ones(count),
        times=np.arange(count) / 25 if times is None else np.asarray(times),
        camera=Camera(853.0, (256.0, 256.0), (512, 512)),
        source=source,
    )


def face_at(x: float, size: tuple[int, int] = (WIDTH, HEIGHT), **source: Any) -> Captured:
    """What was captured of one face of the photo: at rest, its middle at ``x``; the jaw tells who it is."""
    still = take_of([x / size[0] * WIDTH / 1000], **source).with_(
        camera=Camera(170.0, (size[0] / 2, size[1] / 2), size)
    )
    marks = np.full((1, 478, 2), 32.0, np.float32)
    marks[..., 0] = x + np.linspace(-8, 8, 478)
    marks[..., 1] += np.linspace(-10, 10, 478)
    return Captured(still, marks, np.zeros(1, np.float32))


@dataclass
class FakeEngine:
    """Paints the corner of each frame as bright as the first face's jaw is open, and remembers what it was asked."""

    portraits: list[Portrait] = field(default_factory=list)
    motions: list[tuple[Performance | None, ...]] = field(default_factory=list)
    fail_at: int | None = None
    error: BaseException = field(default_factory=lambda: RuntimeError("the engine broke"))

    def prepare(self, portrait: Portrait) -> Portrait:
        self.portraits.append(portrait)
        return portrait

    def drive(self, state: Portrait, motions: Sequence[Performance | None]) -> Iterator[NDArray[np.uint8]]:
        self.motions.append(tuple(motions))
        first = motions[0]
        assert first is not None
        for number in range(len(first)):
            if number == self.fail_at:
                raise self.error
            frame = state.image.copy()
            frame[: frame.shape[0] // 2, : frame.shape[1] // 2] = shade(first.controls[number, JAW])
            yield frame


def shade(jaw: float) -> int:
    """How bright the fake engine paints a jaw."""
    return round(40 + 180 * min(float(jaw), 1.0))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine()
    monkeypatch.setattr(drive, "engine_by_name", lambda name: made)
    return made


@pytest.fixture(autouse=True)
def faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Captures without looking: the photo has three faces; a video or photo that drives holds ``[0]`` of the list."""
    driving: list[Any] = [take_of([0.0, 0.5, 1.0, 0.5, 0.0])]

    def image(
        pixels: NDArray[np.uint8], *, face: Any = "largest", source: Any = None, **_: Any
    ) -> list[Captured]:
        if pixels.max() < 8:
            raise NoFaceError("no face was found", remedy="Is a face visible?")
        size = (pixels.shape[1], pixels.shape[0])
        all_ = [face_at(x * size[0] / WIDTH, size, **(source or {})) for x in PLACES]
        if face == "all":
            return all_
        index = 0 if face == "largest" else face
        if index >= len(all_):
            raise NoFaceError(f"there is no face {index}", remedy="Found 3; the first one has index 0.")
        return [all_[index]]

    def file(path: Path, *, progress: Any = None, **_: Any) -> list[Captured]:
        driving.append(Path(path).name)
        if progress is not None:
            progress(1, 2)
        take = driving[0]
        if isinstance(take, Exception):
            raise take
        marks = np.zeros((len(take), 478, 2), np.float32)
        return [Captured(take, marks, np.zeros(len(take), np.float32))]

    monkeypatch.setattr(pipeline, "capture_image", image)
    monkeypatch.setattr(pipeline, "capture_file", file)
    monkeypatch.setenv("OMOTE_CONFIG", str(tmp_path / "config"))
    return driving


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "me.png"
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    write_image(path, np.stack([90 + x, 90 + y, 90 + 0 * x], -1).astype(np.uint8))
    return path


@pytest.fixture
def take(tmp_path: Path) -> Path:
    """A take in a file: the jaw opens and closes in five frames of uneven length."""
    return take_of([0.0, 0.4, 1.0, 0.4, 0.0], [3.0, 3.04, 3.1, 3.14, 3.2]).save(
        tmp_path / "in" / "take.omote"
    )
