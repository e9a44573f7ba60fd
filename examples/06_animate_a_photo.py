"""A photograph moves: by a preset or a video, and by a performance made in Python.

python examples/06_animate_a_photo.py                 # a photograph that nods
python examples/06_animate_a_photo.py me.jpg talk.mp4 -o out
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import omote
from omote.commands.demo import astronaut
from omote.edit.perform import perform


def raised_brow(seconds: float = 1.0, fps: float = 20.0) -> omote.Performance:
    """The left brow goes up and comes down again: a take from nothing but arrays."""
    take = perform(score=f"0 neutral, {seconds} neutral", fps=fps)
    controls = take.controls.copy()
    bump = np.sin(np.pi * take.times / take.duration) ** 2
    for index in take.space.match("brow_*_up_L"):
        controls[:, index] = bump
    return take.with_(controls=controls)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", type=Path, default=None)
    parser.add_argument("driver", nargs="?", type=Path, default=None, help="a video, or a file of a take")
    parser.add_argument("-o", "--output", type=Path, default=Path("example_output"))
    args = parser.parse_args()
    photo = args.photo or astronaut()

    script = {} if args.driver else {"preset": "nod", "duration": 1.0}
    made = omote.animate(photo, args.driver, args.output / "animated.mp4", size=320, fps=20, **script)
    print(f"{made.path.name}: {made.frames} frames, {made.size[0]} x {made.size[1]} px")

    made = omote.animate(
        photo,
        raised_brow(),
        args.output / "brow.gif",
        size=240,
        reference="neutral",
        offsets={"mouthSmile*": -0.3},  # and a little less of a smile
        gaze="camera",
    )
    print(f"{made.path.name}: {made.frames} frames, signed: {made.signed}")


if __name__ == "__main__":
    main()
