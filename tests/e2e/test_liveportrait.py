"""LivePortrait from shared photos and videos to files, with networks of the published size and seeded weights."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest

from omote.capture.detect import FaceDetector
from omote.drive.liveportrait.networks import load_nets
from omote.drive.liveportrait.pipeline import LivePortrait
from omote.drive.liveportrait.renderer import CLOSE
from omote.media import VideoWriter, open_video, read_image
from omote.models.quantised import multiplies_bytes

FRAMES = 2


def first_frames(video: Path, count: int, short: Path) -> Path:
    """A video's first frames, as a video."""
    frames = (frame for _, frame in open_video(video))
    first = next(frames)
    with VideoWriter(short, (first.shape[1], first.shape[0]), fps=30000 / 1001) as writer:
        for frame in chain([first], islice(frames, count - 1)):
            writer.write(frame)
    return short


@pytest.mark.slow
@pytest.mark.parametrize(("photo", "video"), [("s9", "d18"), ("s12", "d0")])
def test_a_shared_photo_is_driven_by_a_shared_video(
    photo: str, video: str, shared_dir: Path, tmp_path: Path
) -> None:
    source = shared_dir / "media" / "photos" / f"{photo}.jpg"
    short = first_frames(shared_dir / "media" / "videos" / f"{video}.mp4", FRAMES, tmp_path / "short.mp4")
    output = tmp_path / "made.mp4"
    words = ["animate", source, short, "--engine", "liveportrait", "--weights", "seeded:0", "-o", output]
    command = [sys.executable, "-m", "omote.cli", *map(str, words), "--batch", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "random weights: the result shows the machinery, not a face" in done.stderr
    told = json.loads(done.stdout)
    original = read_image(source)
    assert told["size"] == [side + side % 2 for side in (original.shape[1], original.shape[0])]
    assert (told["frames"], told["held"], told["signed"]) == (FRAMES, [], True)
    assert told["fps"] == pytest.approx(29.97, abs=0.01)
    for _, picture in open_video(output):
        picture = picture[: original.shape[0], : original.shape[1]].astype(int)
        apart = np.abs(picture - original).mean(-1)
        assert apart[:8].mean() < 8, "outside the face it is the photo, but for the encoder"
        assert apart.max() > 30, "and the face is not"


@pytest.mark.slow
@pytest.mark.skipif(not multiplies_bytes(), reason="the processor has no products of bytes")
def test_a_real_photo_is_drawn_in_bytes(
    shared_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    media = shared_dir / "media"
    picture = read_image(media / "photos" / "s10.jpg")
    with FaceDetector() as detector:
        landmarks = detector.detect(picture)[0].landmarks[:, :2]
    engine = LivePortrait(load_nets("seeded:0"))
    source = engine.photo(picture, [landmarks])
    take = engine.video_driver(first_frames(media / "videos" / "d0.mp4", 16, tmp_path / "short.mp4"))
    moved = [engine.perform(source.faces[0], take, take.elapsed)]
    with caplog.at_level(logging.DEBUG, "omote.drive.liveportrait"):
        next(iter(engine.frames(source, moved)))
    told = [message for message in caplog.messages if "products of bytes" in message]
    assert float(told[-1].split()[-2]) >= CLOSE, "with at most all middle blocks at full precision"
