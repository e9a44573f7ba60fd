"""One performance in every format, and what comes back from each.

python examples/05_convert_formats.py                 # starts from a photograph
python examples/05_convert_formats.py take.livelink.csv -o out
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import omote
from omote.commands.demo import astronaut

READABLE = ("omote", "livelink.csv", "arkit.csv", "arkit.json", "npz")
MESHES = ("glb", "obj", "ply")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("take", nargs="?", type=Path, default=None, help="a file that `omote.load` reads")
    parser.add_argument("-o", "--output", type=Path, default=Path("example_output"))
    args = parser.parse_args()
    take = omote.load(args.take) if args.take else omote.capture(astronaut())
    stem = args.output / "converted"
    shapes = take.with_space(omote.ARKIT52)

    for ending in READABLE:
        path = Path(f"{stem}.{ending}")
        take.export(path)
        again = omote.load(path)
        expected = take if again.space == take.space else shapes
        lost = float(np.abs(again.controls - expected.controls).max())
        print(f"{path.name:24} {again.space.name:8} back within {lost:.1e}")
    for ending in MESHES:
        take.export(f"{stem}.{ending}")
        print(f"{stem.name}.{ending}")


if __name__ == "__main__":
    main()
