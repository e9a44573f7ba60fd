"""Where frames go: looping images that play, folders, the thread of the encoder, and nothing left after a failure."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omote.animation import sinks, stamps
from omote.animation.sinks import frames_in, open_sink, staged
from omote.animation.stream import pump
from omote.errors import InputError, OutputError
from omote.media import open_video, write_image

TIMES = [0.0, 0.04, 0.1, 0.2, 0.24]


def frame(value: int, size: tuple[int, int] = (41, 30)) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), (value, value // 2, 90), np.uint8)


@pytest.mark.parametrize("suffix", [".webp", ".apng"])
def test_a_looping_image_plays(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with open_sink(path, (41, 30), 5, None, None) as sink:
        for number, time in enumerate(TIMES):
            sink.write(frame(40 * number), time)
    with Image.open(path) as image:
        assert (image.n_frames, image.info["loop"], image.size) == (5, 0, (41, 30))
    seen = list(open_video(path))
    assert [round(time, 3) for time, _ in seen] == TIMES
    for number, (_, pixels) in enumerate(seen):
        assert abs(int(pixels[10, 10, 0]) - 40 * number) <= (0 if suffix == ".apng" else 6)


def test_a_looping_image_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(b"before")
    with pytest.raises(ValueError), open_sink(path, (40, 30), 2, None, None) as sink:  # noqa: PT012
        sink.write(frame(10, (40, 30)), 0.0)
        raise ValueError
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_webp_cannot_hold_is_told(tmp_path: Path) -> None:
    wide = (16_390, 8)
    with pytest.raises(OutputError, match=r"a\.webp: cannot be encoded"):
        with open_sink(tmp_path / "a.webp", wide, 1, None, None) as sink:
            sink.write(frame(1, wide), 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_gif_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"10000 frames of 480 x 270 px are too much for a GIF\. Write \.mp4"
    ):
        open_sink(tmp_path / "a.gif", (480, 270), 10_000, None, None)
    assert list(tmp_path.iterdir()) == []


def test_steady_rates() -> None:
    assert sinks.steady_rate(np.arange(50) / 25 + 0.08) == 25
    ntsc = np.round(np.arange(900) * 1001 / 30_000, 3)  # as written to the millisecond
    assert sinks.steady_rate(ntsc) == Fraction(30_000, 1001)
    assert sinks.steady_rate(np.arange(9) / 12.5) == Fraction(25, 2)
    assert sinks.steady_rate(np.arange(9) / 25 + 0.013) is None, "does not begin on a frame"
    assert sinks.steady_rate(np.array([0, 0.04, 0.09, 0.12])) is None
    assert sinks.steady_rate(np.zeros(1)) is None


def test_a_folder_replaces_its_frames_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "frames"
    for count in (3, 2):
        with staged(out) as place, open_sink(place, (41, 30), count, None, None) as sink:
            for number in range(count):
                sink.write(frame(number), 0.1 * number)
        (out / "notes.txt").write_text("mine")
        assert [f.name for f in frames_in(out)] == [f"frame_{n:06d}.png" for n in range(1, count + 1)]
    assert (out / "notes.txt").read_text() == "mine"
    assert [f.name for f in tmp_path.iterdir()] == ["frames"]


@pytest.mark.parametrize("name", ["a.png", "frames"])
def test_a_stage_that_fails_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "new" / name) as place:  # noqa: PT012
        assert place.name == name, "the credentials say the final name"
        write_image(place if place.suffix else place / "frame_000001.png", frame(1))
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []


def test_what_a_killed_run_left_is_swept_up(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    for owner in (gone.pid, os.getpid()):
        write_image(tmp_path / f".omote-{owner}-01234567" / "frame_000001.png", frame(1))
        os.utime(tmp_path / f".omote-{owner}-01234567", (0, 0))
    with staged(tmp_path / "a.png") as place:
        write_image(place, frame(2))
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", f".omote-{os.getpid()}-01234567"}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for output in (tmp_path / "file" / "a.mp4", tmp_path / "file" / "frames"):
        with pytest.raises(OutputError, match="cannot be written"), staged(output):
            pytest.fail("no work may begin")


def test_stamps(tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    write_image(out, frame(5))
    key = stamps.key_of({"a": 1, "b": [2]})
    assert key == stamps.key_of({"b": [2], "a": 1})
    assert stamps.recall(out, key) is None
    stamps.remember(out, key, {"frames": 1})
    assert stamps.recall(out, key) == {"frames": 1}
    assert stamps.recall(out, stamps.key_of({"a": 2})) is None
    write_image(out, frame(6))
    assert stamps.recall(out, key) is None, "somebody changed it"
    stamps.remember(out, key, {})
    stamps.stamp_path(out).write_text("{cut")
    assert stamps.recall(out, key) is None
    stamps.forget(out)
    assert list(tmp_path.iterdir()) == [out]


# ---- the encoder's thread ----


def test_frames_are_written_in_order_on_another_thread() -> None:
    got: list[tuple[int, float, str]] = []
    told: list[int] = []

    def write(picture: NDArray[np.uint8], time: float) -> None:
        got.append((int(picture[0, 0, 0]), time, threading.current_thread().name))

    assert pump(((frame(n), n / 10) for n in range(20)), write, told.append) == 20
    assert [(n, t) for n, t, _ in got] == [(n, n / 10) for n in range(20)]
    assert {name for _, _, name in got} == {"omote-encode"}
    assert told == list(range(1, 21))


def test_a_slow_encoder_is_waited_for() -> None:
    made: list[int] = []
    go = threading.Event()

    def frames() -> Iterator[tuple[NDArray[np.uint8], float]]:
        for number in range(30):
            made.append(number)
            yield frame(number), float(number)

    def write(picture: NDArray[np.uint8], time: float) -> None:
        go.wait(5)
        assert len(made) <= time + sinks_ahead + 3

    sinks_ahead = 4
    threading.Timer(0.2, lambda: (waiting.append(len(made)), go.set())).start()
    waiting: list[int] = []
    assert pump(frames(), write) == 30
    assert waiting[0] <= sinks_ahead + 2, "memory stays flat"


def test_what_fails_is_told_and_stops_the_rest() -> None:
    made: list[int] = []

    def frames(broken: bool) -> Iterator[tuple[NDArray[np.uint8], float]]:
        for number in range(100):
            if broken and number == 3:
                raise ValueError("the renderer")
            made.append(number)
            yield frame(number), float(number)

    def full(picture: NDArray[np.uint8], time: float) -> None:
        if time == 2:
            raise OutputError("the disk is full")

    with pytest.raises(OutputError, match="disk is full"):
        pump(frames(False), full)
    assert len(made) < 20
    with pytest.raises(ValueError, match="the renderer"):
        pump(frames(True), lambda *_: None)
    assert not [t for t in threading.enumerate() if t.name == "omote-encode"]


def test_the_largest_gif_is_a_matter_of_pixels() -> None:
    assert 480 * 480 * 2000 < sinks.GIF_PIXELS < 480 * 480 * 5000
