"""The other parts of the procedural albedo: eyeballs, eye sockets, lashes, mouth, teeth and tongue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from omote.render.paint_skin import blend, cloud, rim_curves
from omote.render.texels import Texels
from omote.rigs.asset import load_head_asset
from omote.rigs.constants import pupil_rotation

if TYPE_CHECKING:
    from omote.render.albedo import AlbedoParams

Painter = Callable[[Texels, np.ndarray, "AlbedoParams"], np.ndarray]

IRIS_RADIUS, PUPIL_RADIUS = 0.0058, 0.0019
"""Metres; human means 5.9 and, indoors, about 1.9."""
SCLERA = np.array([0.90, 0.875, 0.85], np.float32)
FLESH = np.array([0.74, 0.42, 0.40], np.float32)
GUM = np.array([0.72, 0.40, 0.40], np.float32)
ENAMEL = np.array([0.90, 0.865, 0.78], np.float32)


def _fill(
    texels: Texels, inside: np.ndarray, colour: np.ndarray, seed: int, grain: float = 0.03
) -> np.ndarray:
    out = np.broadcast_to(colour, (int(inside.sum()), 3)).astype(np.float32)
    return out * (1 + grain * cloud(texels, inside, 300, seed)[:, None])


def _smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _eye(side: str) -> Painter:
    def paint(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
        asset = load_head_asset()
        offset = texels.position[inside] - asset["template"][asset[f"ball_{side}"]].mean(0)
        offset = (offset @ pupil_rotation(side)).astype(np.float32)
        radius = np.hypot(offset[:, 0], offset[:, 1])
        angle = np.arctan2(offset[:, 1], offset[:, 0])
        front = offset[:, 2] > 0
        rng = np.random.default_rng(params.seed + (23 if side == "L" else 24))
        turn = (angle / (2 * np.pi)) % 1

        def spokes(count: int) -> np.ndarray:
            values = rng.standard_normal(count)
            return np.interp(turn * count, np.arange(count + 1), [*values, values[0]]).astype(np.float32)

        out = np.broadcast_to(SCLERA, offset.shape).copy()
        aside = _smooth(np.abs(offset[:, 0]), 0.006, 0.0115)
        blend(out, np.array([0.84, 0.60, 0.55], np.float32), 0.50 * aside)
        for _ in range(26):  # veins: wandering spokes that fade towards the iris
            at, spread = rng.uniform(-np.pi, np.pi), rng.uniform(0.010, 0.022)
            path = at + rng.uniform(-0.3, 0.3) * np.sin(rng.uniform(250, 600) * radius + rng.uniform(0, 6))
            away = (angle - path + np.pi) % (2 * np.pi) - np.pi
            vein = np.exp(-((away / spread) ** 2)) * _smooth(radius, rng.uniform(0.0072, 0.0095), 0.0118)
            blend(out, np.array([0.76, 0.38, 0.35], np.float32), (0.30 * vein).astype(np.float32))
        blend(
            out,
            np.array([0.52, 0.46, 0.43], np.float32),
            0.45 * front * np.exp(-(((radius - IRIS_RADIUS) / 0.0006) ** 2)),
        )
        iris = np.asarray(params.iris, np.float32)
        at = np.clip((radius - PUPIL_RADIUS) / (IRIS_RADIUS - PUPIL_RADIUS), 0, 1)
        fibre = 0.16 * spokes(130) + 0.12 * spokes(47) + 0.08 * spokes(17)
        tint = iris * (1.12 + fibre * (1 - 0.4 * at))[:, None]
        collarette = np.exp(-(((at - 0.32 - 0.05 * spokes(40)) / 0.12) ** 2))
        tint += 0.30 * collarette[:, None] * iris * np.array([1.25, 1.0, 0.7], np.float32)
        tint *= (1 - 0.62 * _smooth(at, 0.74, 1.0) - 0.25 * (1 - _smooth(at, 0.0, 0.12)))[:, None]
        blend(
            out,
            tint.astype(np.float32),
            front * (1 - _smooth(radius, IRIS_RADIUS - 0.00035, IRIS_RADIUS + 0.00025)),
        )
        blend(
            out,
            np.array([0.025, 0.02, 0.02], np.float32),
            front * (1 - _smooth(radius, PUPIL_RADIUS - 0.0002, PUPIL_RADIUS + 0.0002)),
        )
        return out

    return paint


def _eye_socket(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
    """Wet pink flesh at the lid margin and in the inner corner, dark behind."""
    position = texels.position[inside]
    out = _fill(texels, inside, 0.55 * FLESH + 0.45 * params.skin_rgb(), params.seed + 31)
    blend(out, 0.45 * FLESH + 0.5 * SCLERA, 0.8 * _smooth(-position[:, 2], -0.006, -0.001))
    blend(out, FLESH * 0.45, _smooth(-position[:, 2], 0.008, 0.016))
    return out


def _lashes(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
    """Strokes on the lash cards: solid at the root of the upper lashes, hairs on skin colour further out."""
    position, out_of = texels.position[inside], texels.lash[inside]
    curves = rim_curves()
    upper = np.zeros(len(position), bool)
    if len(position):
        middle = [
            np.interp(np.abs(position[:, 0]), np.sort(np.abs(c[:, 0])), c[np.argsort(np.abs(c[:, 0])), 1])
            for c in curves[:2]
        ]
        upper = np.abs(position[:, 1] - middle[0]) < np.abs(position[:, 1] - middle[1])
    rng = np.random.default_rng(params.seed + 41)
    comb = rng.uniform(0.0, 1.0, 4096)
    lean = np.sign(position[:, 0]) * 0.0012 * out_of
    phase = (position[:, 0] - lean) / 0.0009
    index = np.floor(phase).astype(int)
    hair = 1 - _smooth(np.abs(phase - index - 0.5), 0.34 - 0.25 * out_of, 0.52 - 0.25 * out_of)
    reach = np.where(upper, 0.85 + 0.4 * comb[index % 4096], 0.3 + 0.6 * comb[index % 4096])
    dark = hair * (1 - _smooth(out_of, reach - 0.15, reach + 0.1))
    dark = np.where(
        upper,
        np.maximum(dark, 1 - _smooth(out_of, 0.45, 1.0)),
        0.45 * np.maximum(dark, 1 - _smooth(out_of, 0.0, 0.5)),
    )
    skin = params.skin_rgb() * np.array([0.84, 0.74, 0.72], np.float32)
    out = np.broadcast_to(skin, position.shape).copy()
    blend(out, np.asarray(params.lashes, np.float32), dark.astype(np.float32))
    return out


def _mouth(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
    """Lip colour at the lips, gums and cheeks behind them, dark towards the throat."""
    position = texels.position[inside]
    out = _fill(texels, inside, 0.6 * FLESH + 0.4 * params.lip_rgb(), params.seed + 51)
    blend(
        out,
        params.lip_rgb() * np.array([0.92, 0.82, 0.84], np.float32),
        _smooth(position[:, 2] + 0.25 * np.abs(position[:, 0]), 0.014, 0.024),
    )
    blend(out, np.array([0.20, 0.065, 0.06], np.float32), 0.92 * _smooth(-position[:, 2], -0.012, 0.018))
    return out


def _teeth(direction: float) -> Painter:
    """Painter of an arch; direction +1 where the roots are above (upper teeth)."""
    widths = (
        np.array([0.0, 8.4, 6.7, 7.6, 7.0, 6.8, 10.0, 9.6, 9.0])
        if direction > 0
        else np.array([0.0, 5.4, 5.9, 6.9, 7.0, 7.1, 11.0, 10.5, 10.0])
    )

    def paint(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
        x, y, z = texels.position[inside].T
        # The arch is close to half an ellipse: walk it to get the way along it, then lay the teeth out on that way.
        behind, half = float(z.min()), float(np.abs(x).max())
        turn = np.linspace(0, np.pi / 2, 200)
        path = np.stack([half * np.sin(turn), (z.max() - behind) * np.cos(turn)], axis=1)
        length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        at = np.interp(np.arctan2(np.abs(x) / half, (z - behind) / (z.max() - behind)), turn, length)
        ends = np.cumsum(widths) * 1e-3 * length[-1] / (widths.sum() * 1e-3)
        tooth = np.clip(np.searchsorted(ends, at) - 1, 0, len(widths) - 2)
        inner = (at - ends[tooth]) / (ends[tooth + 1] - ends[tooth])
        size = ends[tooth + 1] - ends[tooth]
        gap = np.minimum(inner, 1 - inner) * size
        height = (y - y.min()) / np.ptp(y)
        root = height if direction > 0 else 1 - height  # 0 at the edge of the arch's lowest (highest) point
        out = ENAMEL * (1 + 0.02 * cloud(texels, inside, 200, params.seed + 61)[:, None])
        shade = np.random.default_rng(params.seed + 62).normal(0, 0.015, len(widths))[tooth]
        edge = (
            0.11 * (1 - _smooth(root, 0.05, 0.35)) * (direction > 0)
        )  # the band's rim faces down, into its own shade
        out = (out * (1 + shade[:, None] + edge[:, None])).astype(np.float32)
        blend(out, ENAMEL * np.array([0.93, 0.86, 0.72], np.float32), 0.6 * _smooth(root, 0.2, 0.6))
        blend(out, np.array([0.34, 0.20, 0.16], np.float32), 0.85 * np.exp(-((gap / 0.00022) ** 2)))
        scallop = 0.62 - 0.12 * (2 * np.abs(inner - 0.5)) ** 2
        blend(out, GUM * (0.96 + 0.04 * params.skin_rgb()), _smooth(root, scallop - 0.02, scallop + 0.02))
        blend(
            out,
            np.array([0.25, 0.09, 0.08], np.float32),
            0.88 * _smooth(at / length[-1], *((0.20, 0.40) if direction > 0 else (0.13, 0.32))),
        )
        return out

    return paint


def _tongue(texels: Texels, inside: np.ndarray, params: AlbedoParams) -> np.ndarray:
    """Pink with a groove in the middle, rough on top, darker towards the throat."""
    position = texels.position[inside]
    out = _fill(texels, inside, np.array([0.80, 0.46, 0.46], np.float32), params.seed + 71)
    out *= 1 + 0.05 * cloud(texels, inside, 900, params.seed + 72)[:, None]
    blend(out, np.array([0.62, 0.30, 0.31], np.float32), 0.55 * np.exp(-((position[:, 0] / 0.0016) ** 2)))
    blend(out, np.array([0.30, 0.11, 0.11], np.float32), 0.85 * _smooth(-position[:, 2], -0.002, 0.045))
    return out


PAINTERS: dict[str, Painter] = {
    "eye_socket": _eye_socket,
    "mouth": _mouth,
    "eye_L": _eye("L"),
    "eye_R": _eye("R"),
    "teeth_upper": _teeth(1.0),
    "teeth_lower": _teeth(-1.0),
    "tongue": _tongue,
    "lashes": _lashes,
}
"""Part name -> painter of its texels."""
