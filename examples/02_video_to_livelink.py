"""A video becomes a Live Link Face CSV (Unreal, Blender and Maya read it) and an overlay video.

python examples/02_video_to_livelink.py               # makes a short clip out of a photograph first
python examples/02_video_to_livelink.py take.mp4 -o out
python examples/02_video_to_livelink.py take.mp4 --smooth 0.8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from omote.capture.pipeline import capture_file
from omote.commands.demo import astronaut
from omote.media import VideoWriter, read_image
from omote.render.overlay import video_overlay


def make_clip(path: Path, frames: int = 24) -> Path:
    """A camera that sways in front of a photograph: 320 x 320 px, 24 frames a second."""
    image = read_image(astronaut())
    with VideoWriter(path, (320, 320), fps=24) as writer:
        for number in range(frames):
            turn = 2 * np.pi * number / frames
            x, y = round(66 + 20 * np.sin(turn)), round(10 + 8 * np.sin(2 * turn))
            writer.write(image[y : y + 320, x : x + 320])
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", nargs="?", type=Path, default=None)
    parser.add_argument("-o", "--output", type=Path, default=Path("example_output"))
    parser.add_argument("--smooth", type=float, default=0.5, help="0 (off) to 1")
    args = parser.parse_args()
    video = args.video or make_clip(args.output / "sway.mp4")

    (found,) = capture_file(video, smooth=args.smooth)
    take = found.performance
    print(
        f"{video.name}: {len(take)} frames, {take.fps:.4g} a second, mean confidence {take.confidence.mean():.2f}"
    )
    shapes = take.with_space("arkit52")
    for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkLeft"):
        values = shapes.track(name)
        print(f"  {name:16} {values.min():.2f} to {values.max():.2f}")

    stem = args.output / video.stem
    take.export(f"{stem}.livelink.csv")
    video_overlay(video, [take], [found.landmarks], f"{stem}_overlay.mp4")
    print(f"wrote {stem}.livelink.csv and {stem}_overlay.mp4")


if __name__ == "__main__":
    main()
