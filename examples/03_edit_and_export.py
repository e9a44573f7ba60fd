"""Change a performance: from a still face to a captured one and back, then exaggerated, mirrored, cut, resampled.

python examples/03_edit_and_export.py                 # starts from a photograph
python examples/03_edit_and_export.py take.omote -o out
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import omote
from omote.commands.demo import astronaut


def smile_and_back(still: omote.Performance, seconds: float = 2.0, fps: float = 30.0) -> omote.Performance:
    """One captured frame becomes a take: neutral, the expression, neutral."""
    count = round(seconds * fps)
    weight = np.sin(np.pi * np.arange(count) / (count - 1)) ** 2

    def held(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, count, axis=0)

    return still.with_(
        times=np.arange(count) / fps,
        controls=weight[:, None] * still.controls,
        head_rotation=held(still.head_rotation),
        head_translation=held(still.head_translation),
        confidence=held(still.confidence),
        control_confidence=None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("take", nargs="?", type=Path, default=None, help="a file that `omote.load` reads")
    parser.add_argument("-o", "--output", type=Path, default=Path("example_output"))
    args = parser.parse_args()
    take = omote.load(args.take) if args.take else smile_and_back(omote.capture(astronaut()))
    print(f"loaded:   {take}")

    space = take.space
    stronger = take.controls.copy()
    mouth = [*space.match("corner_pull_*"), *space.match("cheek_raise_*")]
    stronger[:, mouth] = space.clamp(1.5 * stronger)[:, mouth]
    bolder = take.with_(controls=stronger)

    middle = take.times[0] + take.duration / 2
    first_half = bolder.between(end=middle)
    both = first_half.concatenate(first_half.mirror()).resample(24.0)
    slow = both.retime(2.0)
    print(f"edited:   {slow}")

    args.output.mkdir(parents=True, exist_ok=True)
    for name in ("edited.omote", "edited.glb", "edited.arkit.csv"):
        slow.export(args.output / name)
        print(f"wrote {args.output / name}")


if __name__ == "__main__":
    main()
