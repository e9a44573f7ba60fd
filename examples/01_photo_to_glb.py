"""A photo becomes a mesh with 102 named morph targets, and a picture that shows how well the head sits.

python examples/01_photo_to_glb.py                    # a photograph of Eileen Collins (NASA, public domain)
python examples/01_photo_to_glb.py me.jpg -o out
python examples/01_photo_to_glb.py me.jpg --targets arkit
"""

from __future__ import annotations

import argparse
from pathlib import Path

from omote.capture.pipeline import capture_file
from omote.commands.demo import astronaut
from omote.media import read_image, write_image
from omote.render.overlay import photo_panel


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", nargs="?", type=Path, default=None)
    parser.add_argument("-o", "--output", type=Path, default=Path("example_output"))
    parser.add_argument("--targets", choices=("facs", "arkit"), default="facs")
    args = parser.parse_args()
    photo = args.photo or astronaut()

    # omote.capture(photo) would do; capture_file also gives the landmarks, which the picture shows.
    (found,) = capture_file(photo)
    performance = found.performance
    strongest = performance.info()["most_active"]
    print(f"{photo.name}: landmarks are {100 * found.error[0]:.2f} % of the eye distance away on average")
    for entry in strongest[:6]:
        print(f"  {entry['control']:22} {entry['high']:.2f}")

    args.output.mkdir(parents=True, exist_ok=True)
    stem = args.output / photo.stem
    performance.save(stem.with_suffix(".omote"))
    performance.export(stem.with_suffix(".glb"), targets=args.targets)
    write_image(f"{stem}_overlay.png", photo_panel(read_image(photo), [performance], [found.landmarks[0]]))
    print(f"wrote {stem}.omote, {stem}.glb and {stem}_overlay.png")


if __name__ == "__main__":
    main()
