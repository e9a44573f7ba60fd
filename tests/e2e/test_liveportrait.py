"""LivePortrait from shared photos and videos to files, with networks of the published size and seeded weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omote.media import VideoWriter, open_video, read_image

FRAMES = 2


@pytest.mark.slow
@pytest.mark.parametrize(("photo", "video"), [("s9", "d18"), ("s12", "d0")])
def test_a_shared_photo_is_driven_by_a_shared_video(
    photo: str, video: str, shared_dir: Path, tmp_path: Path
) -> None:
    source = shared_dir / "media" / "photos" / f"{photo}.jpg"
    short = tmp_path / "short.mp4"
    frames = iter(open_video(shared_dir / "media" / "videos" / f"{video}.mp4"))
    first = next(frames)[1]
    with VideoWriter(short, (first.shape[1], first.shape[0]), fps=30000 / 1001) as writer:
        writer.write(first)
        for _ in range(FRAMES - 1):
            writer.write(next(frames)[1])
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
