"""Does memory stay flat, and cost linear? ``python benchmarks/long_video.py VIDEO [--frames 10000]``.

Plays a video over and over as one long take through the capture pipeline (decode, detect, fit, smooth, save) and prints
peak memory and milliseconds a frame for a tenth of the frames and for all of them; ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from omote.capture.pipeline import capture_frames
from omote.media import open_video


def repeated(path: Path, frames: int) -> Iterator[tuple[float, np.ndarray[Any, Any]]]:
    """(seconds, frame) of the video played until there are enough frames."""
    shown = 0
    while True:
        for _, frame in open_video(path, prefetch=True):
            yield shown / 30, frame
            shown += 1
            if shown == frames:
                return


def run(path: Path, frames: int) -> dict[str, float]:
    began = time.perf_counter()
    (found,) = capture_frames(repeated(path, frames))
    with tempfile.TemporaryDirectory() as folder:
        found.performance.save(Path(folder) / "take.omote")
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{frames:6d} frames: {1000 * seconds / frames:6.1f} ms a frame, peak memory {peak:.0f} MB",
        flush=True,
    )
    return {"frames": frames, "ms_a_frame": round(1000 * seconds / frames, 2), "peak_mb": round(peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=10_000)
    arguments = parser.parse_args()
    short = run(arguments.video, max(1, arguments.frames // 10))
    full = run(arguments.video, arguments.frames)
    print(json.dumps({"short": short, "full": full}))


if __name__ == "__main__":
    main()
