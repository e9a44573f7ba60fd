"""Write ``docs/controls.md`` and its pictures: ``python -m tools.docs_controls``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from omote.controls import ARKIT52, FACS102, Control
from omote.render.albedo import paint_albedo
from omote.render.sheets import companions, control_picture, ends, render_head, view_of
from omote.render.texture_sampling import Albedo

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = DOCS / "images/controls"
SIZE, QUALITY = 160, 82
SIDES = {"L": "left", "R": "right", "C": "both"}
CHAPTERS = (
    ("Brows", ("brow_",)),
    ("Eyes and lids", ("lid_", "gaze_")),
    ("Cheeks", ("cheek_",)),
    ("Nose", ("nos", "naso")),
    ("Jaw", ("jaw_",)),
    ("Lips and mouth", ("lip", "sticky", "corner", "dimple", "upper_lip", "lower_lip", "chin", "mouth")),
    ("Ears and neck", ("ear_", "neck_")),
    ("Tongue", ("tongue_",)),
    ("Head", ("head_",)),
)
INTRODUCTION = """# The 102 controls

The embedded head is moved by 102 controls after the Facial Action Coding System. They are the control space
`FACS102`; a `Performance` holds their values over time. Left and right are the **subject's own**. Most run from
0 (neutral) to 1, signed ones from -1 to 1 with 0 neutral. Values outside the range extrapolate.

`omote rig list "lid_*"` prints this table; `omote rig show` draws all pictures on one sheet. In Python:

```python
from omote.controls import FACS102

FACS102.index("jaw_open")
FACS102.match("corner_pull_*")
FACS102.convert(values, to=ARKIT52)  # (..., 102) -> (..., 52), and back
```

Controls marked *with jaw_open* act only, or show only, with an open jaw; their pictures have one.
"""


def chapter_of(control: Control) -> str:
    """The heading under which a control stands."""
    return next(title for title, starts in CHAPTERS if control.name.startswith(starts))


def save(picture: np.ndarray, name: str) -> str:
    """Write a picture; return its path inside docs/."""
    path = PICTURES / f"{name}.webp"
    Image.fromarray(picture).save(path, quality=QUALITY, method=6)
    return path.relative_to(DOCS).as_posix()


def row(control: Control, albedo: Albedo) -> str:
    """One row of the table, its pictures written."""
    cells = []
    values = ends(control)
    for value in values:
        suffix = "" if len(values) == 1 else ("_high" if value > 0 else "_low")
        path = save(control_picture(control.name, value, SIZE, albedo=albedo), control.name + suffix)
        cells.append(f"![{control.name} {value:+g}]({path})")
    span = f"{control.low:g} … {control.high:g}" + (f" ({control.unit})" if control.unit else "")
    jaw = companions(control.name)
    remark = f" *With jaw_open {jaw['jaw_open']:g} here.*" if jaw else ""
    units = ", ".join(control.action_units) or "—"
    about = f"{units} | {SIDES[control.side]} | {span} | {control.doc}{remark}"
    return f"| {' '.join(cells)} | `{control.name}` | {about} |"


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.webp"):
        old.unlink()
    albedo = Albedo.from_srgb(paint_albedo())
    lines = [INTRODUCTION]
    ordered = sorted(FACS102.controls, key=lambda c: [t for t, _ in CHAPTERS].index(chapter_of(c)))
    for title, controls in groupby(ordered, key=chapter_of):
        chosen = list(controls)
        views = list(dict.fromkeys(view_of(c.name) for c in chosen))
        key = title.lower().replace(" ", "_")
        neutral = [
            save(render_head({}, v, SIZE, albedo=albedo), f"neutral_{key}_{i}") for i, v in enumerate(views)
        ]
        pictures = " ".join(f"![neutral]({path})" for path in neutral)
        lines += [f"## {title}", "", f"Neutral: {pictures}", ""]
        lines += ["| | control | action units | side | range | what it does |", "|---|---|---|---|---|---|"]
        lines += [row(c, albedo) for c in chosen] + [""]
    lines += [
        "## ARKit's 52",
        "",
        f"`ARKIT52` ({len(ARKIT52.controls)} channels in Apple's order) converts to and from `FACS102` by name; see",
        "[formats](formats.md). Apple's channels have nothing for a quarter of a lip, the tongue's direction or the",
        "head's pose, so the way there and back keeps less than there is.",
        "",
        "*This page is written by `python -m tools.docs_controls`.*",
        "",
    ]
    (DOCS / "controls.md").write_text("\n".join(lines), encoding="utf-8")
    total = sum(p.stat().st_size for p in PICTURES.glob("*.webp"))
    print(f"{DOCS / 'controls.md'}: {len(FACS102.controls)} controls, pictures {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
