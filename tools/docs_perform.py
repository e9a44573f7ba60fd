"""Draws docs/images/presets.jpg: every preset at its height. Run from the repository: python -m tools.docs_perform."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from omote.controls import FACS102
from omote.edit.presets import PRESETS, preset
from omote.performance import Performance
from omote.render.sheets import tile
from omote.render.take_view import take_pictures

TARGET = Path("docs/images/presets.jpg")
SIZE, COLUMNS = 240, 6
LIDS = FACS102.match("lid_close_*")


def height_of(name: str, take: Performance) -> int:
    """The frame in which most happens; a blink counts only where it is the point."""
    if name == "talk":
        return int(take.track("jaw_open").argmax())
    controls = take.controls if name in ("blink", "wink") else np.delete(take.controls, LIDS, axis=1)
    moved = np.abs(controls).sum(1) + 6 * np.linalg.norm(take.head_rotation, axis=1)
    blinking = take.controls[:, LIDS].max(1) > 0.4
    if name not in ("blink", "wink"):
        moved = np.where(blinking, 0, moved)
    return int(moved.argmax())


def main() -> None:
    """Write the picture."""
    cells = []
    for name in PRESETS:
        take = preset(name)
        frame = height_of(name, take)
        (picture,) = take_pictures(take, [frame], size=SIZE, supersample=2)
        cells.append((name, f"{take.times[frame]:.2f} s of {take.duration:.1f} s", picture))
    Image.fromarray(tile(cells, COLUMNS, SIZE)).save(TARGET, quality=86, optimize=True)


if __name__ == "__main__":
    main()
