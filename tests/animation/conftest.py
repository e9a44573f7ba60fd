"""A photo with three faces that nobody has to look for, and an engine that paints what the motions say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.drive.liveportrait_faces import random_motion
from tests.drive.liveportrait_small import SourceRenderer, small_nets

import omote
from omote import drive
from omote.capture import pipeline
from omote.capture.pipeline import Captured
from omote.cli import main
from omote.controls import FACS102
from omote.drive import Portrait
from omote.drive.liveportrait import extraction, networks
from omote.drive.liveportrait import pipeline as liveportrait_pipeline
from omote.drive.liveportrait.framing import Faces
from omote.drive.liveportrait.template import Template, performance_of
from omote.drive.liveportrait.tracking import Followed
from omote.errors import NoFaceError
from omote.media import VideoWriter, write_image
from omote.models.liveportrait import LivePortraitNets
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


# ---- LivePortrait: small networks, and a renderer that shows the source ----


UNEVEN = np.array([2.0, 2.04, 2.1, 2.14, 2.2, 2.24])


@pytest.fixture(scope="session")
def nets() -> LivePortraitNets:
    return small_nets()


@pytest.fixture
def portraits(monkeypatch: pytest.MonkeyPatch, nets: LivePortraitNets) -> list[SourceRenderer]:
    """Small networks instead of the published ones; the renderers that were made."""
    made: list[SourceRenderer] = []

    def renderer(*_: Any) -> SourceRenderer:
        made.append(SourceRenderer(level=1.0))
        return made[-1]

    monkeypatch.setattr(networks, "load_nets", lambda weights: nets)
    monkeypatch.setattr(networks, "check_weights", lambda weights: "small")
    monkeypatch.setattr(liveportrait_pipeline, "make_renderer", renderer)
    return made


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Six frames of motion at uneven times; the third one has no face."""
    motion = random_motion(6)
    made = Template(
        times=UNEVEN,
        rotation=motion.rotation.numpy(),
        t=motion.t.numpy(),
        scale=motion.scale.numpy(),
        exp=motion.exp.numpy(),
        confidence=np.array([1, 1, 0, 1, 1, 1], np.float32),
        eyes=np.full((6, 2), 0.3, np.float32),
        lip=np.full((6, 1), 0.1, np.float32),
    )
    return performance_of(made, {"file": "motion"}).save(tmp_path / "in" / "motion.omote")


def film(path: Path, frames: int = 8) -> Path:
    path.parent.mkdir(exist_ok=True)
    with VideoWriter(path, (96, 64), fps=30000 / 1001) as writer:
        for number in range(frames):
            writer.write(np.full((64, 96, 3), 60 + 10 * number, np.uint8))
    return path


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight frames at 29.97 a second with a face in the middle, which is lost in frames 3 and 4."""
    marks = np.stack([48 + np.linspace(-8, 8, 478), 32 + np.linspace(-10, 10, 478)], 1)

    def follow(frames: Any, scale: float, choice: Any, progress: Any = None) -> Followed:
        times = np.array([time for time, _ in frames])
        parts = [(n, Faces.of(marks[None])) for n in range(len(times)) if n not in (3, 4)]
        return Followed(times, (), (Faces.join(parts, len(times)),))

    monkeypatch.setattr(extraction, "follow_faces", follow)
    return film(tmp_path / "in" / "clip.mp4")


def make(source: Path, driver: Any, output: Path, **options: Any) -> Any:
    return omote.animate(source, driver, output, engine="liveportrait", **{"credentials": False, **options})


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line of a refusal, after checking that it is one."""
    capsys.readouterr()
    try:
        code = main(["animate", *map(str, words)])
    except SystemExit as left:
        code = int(left.code or 0)
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("omote: error: ")
    assert err.count("\n") == 1
    return err
