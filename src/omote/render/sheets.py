"""Contact sheets of the embedded rig: every control at the ends of its range, and random identities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from omote.controls import FACS102, Control
from omote.errors import InputError
from omote.performance import Camera
from omote.render.albedo import AlbedoParams, paint_albedo
from omote.render.texture_sampling import Albedo

if TYPE_CHECKING:
    from omote.rigs.facs import FacsRig

BACKGROUND = (0.80, 0.82, 0.84)
PAPER, INK, FAINT = (255, 255, 255), (30, 32, 36), (110, 114, 120)
DISTANCE = 0.9
"""Metres from the camera to the head."""
TURN = math.radians(-14)
"""How far the head is turned so that depth shows."""


@dataclass(frozen=True)
class View:
    """What a picture looks at: centre (3,) metres in head space, half height in metres, turn to the side in radians."""

    centre: tuple[float, float, float]
    half: float
    turn: float = TURN


HEAD = View((0.0, -0.030, -0.02), 0.165)
FACE = View((0.0, -0.030, 0.0), 0.105)
EYES = View((0.0, 0.006, 0.01), 0.050, 0.0)
MIDFACE = View((0.0, -0.020, 0.01), 0.055, 0.0)
MOUTH = View((0.0, -0.072, 0.02), 0.046, TURN / 2)
NOSE = View((0.0, -0.042, 0.03), 0.027, TURN / 2)
EAR_L = View((0.07, -0.025, -0.05), 0.06, math.radians(-50))
EAR_R = View((-0.07, -0.025, -0.05), 0.06, math.radians(50))
_VIEWS = (
    (("head_",), HEAD),
    (("ear_raise_L",), EAR_L),
    (("ear_raise_R",), EAR_R),
    (("brow_", "lid_", "gaze_"), EYES),
    (("cheek_raise", "nasolabial_", "nose_wrinkle"), MIDFACE),
    (("nos",), NOSE),
    (("jaw_", "cheek_", "neck_"), FACE),
)
_WITH_JAW = {"lips_together": 0.6, "sticky_corner": 0.6, "tongue": 0.8}


def view_of(name: str) -> View:
    """The view in which a control shows best."""
    for starts, view in _VIEWS:
        if name.startswith(starts):
            return view
    return MOUTH


def companions(name: str) -> dict[str, float]:
    """Other controls that a control needs in order to show, e.g. an open jaw for the tongue."""
    jaws = [jaw for start, jaw in _WITH_JAW.items() if name.startswith(start)]
    return {"jaw_open": jaws[0]} if jaws else {}


def ends(control: Control) -> list[float]:
    """The ends of a control's range that differ from neutral, the high one first."""
    return [float(v) for v in (control.high, control.low) if v != control.neutral]


def render_head(
    values: dict[str, float],
    view: View,
    size: int,
    *,
    albedo: Albedo,
    identity: np.ndarray | None = None,
    rig: FacsRig | None = None,
) -> np.ndarray:
    """One square picture of the embedded head.

    Args:
        values: control name -> value; the others are neutral.
        view: what to look at.
        size: width and height in px.
        albedo: the painted skin, ``Albedo.from_srgb(paint_albedo())``.
        identity: (I,) coefficients, default the average head.
        rig: default the embedded one.

    Returns:
        (size, size, 3) uint8 sRGB.
    """
    import torch

    from omote.render.scene import render_mesh
    from omote.rigs.facs import load_rig

    rig = rig or load_rig()
    controls = torch.from_numpy(np.array(FACS102.neutral, np.float32))[None].clone()
    for name, value in values.items():
        controls[0, FACS102.index(name)] = value
    chosen = torch.zeros(1, len(rig.identity_space))
    if identity is not None:
        chosen = torch.as_tensor(np.asarray(identity, np.float32)).reshape(1, -1)
    vertices = rig(controls, chosen)[0].numpy() - np.array(view.centre, np.float32)
    cos, sin = math.cos(view.turn), math.sin(view.turn)
    turned = vertices @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32).T
    turned[:, 2] -= DISTANCE
    camera = Camera(focal=size / 2 * DISTANCE / view.half, principal=(size / 2, size / 2), size=(size, size))
    faces, uv, weld = rig.faces.numpy(), rig.uv.numpy(), rig.weld.numpy()
    buffers = render_mesh(turned, faces, camera, uv=uv, albedo=albedo, weld=weld, background=BACKGROUND)
    return np.round(np.clip(buffers.rgb, 0, 1) * 255).astype(np.uint8)


def control_picture(name: str, value: float, size: int, *, albedo: Albedo) -> np.ndarray:
    """(size, size, 3) uint8: one control at ``value`` in the view in which it shows best."""
    return render_head({**companions(name), name: value}, view_of(name), size, albedo=albedo)


def control_sheet(
    names: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    size: int = 200,
    params: AlbedoParams | None = None,
) -> np.ndarray:
    """The head with each control at the ends of its range, after the neutral head in the views used.

    Args:
        names: controls to show, default all 102.
        columns: pictures in a row; default: about as wide as high, at most 12.
        size: width of a picture in px, 48 to 1024.
        params: how the skin is painted.

    Returns:
        (H, W, 3) uint8 sRGB with labels.

    Raises:
        InputError: unknown names, or a size or column count out of range.
    """
    _check(size, columns)
    chosen = [FACS102.controls[FACS102.index(n)] for n in (FACS102.names if names is None else names)]
    albedo = Albedo.from_srgb(paint_albedo(params))
    views = list(dict.fromkeys(view_of(c.name) for c in chosen)) or [HEAD]
    cells = [("neutral", "", render_head({}, view, size, albedo=albedo)) for view in views]
    for control in chosen:
        for value in ends(control):
            both = len(ends(control)) > 1
            label = f"{control.name} {value:+g}" if both else control.name
            cells.append(
                (label, _caption(control), control_picture(control.name, value, size, albedo=albedo))
            )
    return tile(cells, columns or min(12, max(1, math.ceil(math.sqrt(len(cells))))), size)


def identity_sheet(
    count: int = 24,
    *,
    columns: int = 8,
    size: int = 200,
    sigma: float = 0.8,
    seed: int = 0,
) -> np.ndarray:
    """Random neutral heads, each with a random skin.

    Args:
        count: how many heads.
        columns: pictures in a row.
        size: width of a picture in px, 48 to 1024.
        sigma: standard deviation of the identity coefficients; 1 is the sampling prior.
        seed: of the heads and their skins.

    Returns:
        (H, W, 3) uint8 sRGB with labels.

    Raises:
        InputError: a size or column count out of range.
    """
    from omote.rigs.facs import load_rig

    _check(size, columns)
    rng = np.random.default_rng(seed)
    cells = []
    for number in range(count):
        identity = rng.normal(0, sigma, len(load_rig().identity_space))
        dark = float(rng.uniform(0, 0.95))
        shade = rng.uniform(0.25, 1.0) * (1 - dark)
        brows = (0.04 + 0.34 * shade, 0.03 + 0.25 * shade, 0.03 + 0.15 * shade)
        skin = AlbedoParams(skin=dark, brows=brows, freckles=float(rng.uniform(0, 0.5)), seed=seed + number)
        albedo = Albedo.from_srgb(paint_albedo(skin, 512))
        cells.append((f"{number}", "", render_head({}, HEAD, size, albedo=albedo, identity=identity)))
    return tile(cells, columns, size)


def tile(cells: Sequence[tuple[str, str, np.ndarray]], columns: int, size: int) -> np.ndarray:
    """(H, W, 3) uint8: pictures (size, size, 3) in rows on white, each over its label and a fainter second line."""
    gap = max(3, size // 40)
    fonts = [ImageFont.load_default(max(8, round(size * share))) for share in (0.075, 0.06)]
    text = round(size * 0.19)
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    paper = Image.new("RGB", (columns * (size + gap) + gap, rows * (size + text + gap) + gap), PAPER)
    draw = ImageDraw.Draw(paper)
    for i, (label, caption, picture) in enumerate(cells):
        x, y = gap + i % columns * (size + gap), gap + i // columns * (size + text + gap)
        paper.paste(Image.fromarray(picture), (x, y))
        draw.text((x + 1, y + size), label, INK, fonts[0])
        draw.text((x + 1, y + size + text * 0.52), caption, FAINT, fonts[1])
    return np.asarray(paper)


def _caption(control: Control) -> str:
    units = ("AU " + ", ".join(control.action_units)) if control.action_units else ""
    jaw = companions(control.name).get("jaw_open")
    return " · ".join(part for part in (units, f"with jaw_open {jaw:g}" if jaw else "") if part)


def _check(size: int, columns: int | None) -> None:
    if not 48 <= size <= 1024:
        raise InputError(f"pictures of {size} px", where="size", remedy="Use 48 to 1024.")
    if columns is not None and columns < 1:
        raise InputError(f"{columns} columns", where="columns", remedy="Use 1 or more.")
