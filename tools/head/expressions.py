"""The shapes behind the 102 controls, as the specification's table builds them, and their combination shapes.

A shape is (name, activation, displacement). An activation is a tuple of factors ``(control, sign)``; its value is the
product of max(0, sign * control) over the factors, so that two-sided controls own two shapes and combinations
are products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from omote.controls import FACS102

from . import makehuman as mh
from .cut import EYE_VERTICES
from .lips import separation

Factor = tuple[str, float]

STICKY = (0.006, 0.020)
"""Metres from the middle of the mouth: where lips that cling at the corner begin to, and where they do fully."""


@dataclass(frozen=True)
class Shape:
    """activation: factors; delta (V, 3) metres on the template."""

    name: str
    activation: tuple[Factor, ...]
    delta: np.ndarray


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


class Sculptor:
    """Masks and sources on the head's vertices (selected base-mesh vertices, template in metres)."""

    def __init__(
        self, template: np.ndarray, selected: np.ndarray, scale: float, parts: dict[str, np.ndarray]
    ) -> None:
        self.template, self.selected, self.scale, self.parts = template, selected, scale, parts
        jaw = self.arkit("jawOpen")
        drop = -jaw[:, 1]
        lip = drop[self._near([0.0, -0.0745, 0.025], 0.012)]
        self.lower = smoothstep(drop / np.quantile(lip, 0.95), 0.25, 0.75)
        self.upper = 1 - self.lower
        moved = np.linalg.norm(self.arkit("mouthClose"), axis=1)
        self.lips = smoothstep(moved, 0.002, 0.006)
        self.shapes: list[Shape] = []

    def _near(self, point: list[float], radius: float) -> np.ndarray:
        return np.linalg.norm(self.template - point, axis=1) < radius

    def _own(self, field: np.ndarray) -> np.ndarray:
        return field[self.selected] * self.scale

    def arkit(self, name: str) -> np.ndarray:
        return self._own(mh.arkit(name))

    def unit(self, name: str) -> np.ndarray:
        return self._own(mh.unit(name))

    def local(self, name: str) -> np.ndarray:
        return self._own(mh.local(name))

    def side(self, which: str, half_width: float = 0.009) -> np.ndarray:
        """(V,) smooth mask of the subject's left or right half; half_width in metres."""
        left = smoothstep(self.template[:, 0], -half_width, half_width)
        return left if which == "L" else 1 - left

    def bump(self, centre: np.ndarray, sigma: float) -> np.ndarray:
        return (
            np.exp(-((np.linalg.norm(self.template - centre, axis=1) / sigma) ** 2) / 2) * self.parts["skin"]
        )

    def add(self, name: str, delta: np.ndarray, activation: tuple[Factor, ...] | None = None) -> None:
        self.shapes.append(Shape(name, activation or ((name, 1.0),), delta))

    def delta(self, name: str) -> np.ndarray:
        return next(s.delta for s in self.shapes if s.name == name)


def _long(side: str) -> str:
    return {"L": "Left", "R": "Right"}[side]


def _brows_and_eyes(s: Sculptor) -> None:
    for side in "LR":
        word, sign = _long(side), 1.0 if side == "L" else -1.0
        mask = s.side(side)[:, None]
        s.add(f"brow_inner_up_{side}", s.arkit("browInnerUp") * mask)
        s.add(f"brow_outer_up_{side}", s.arkit(f"browOuterUp{word}"))
        s.add(f"brow_lower_{side}", s.arkit(f"browDown{word}"))
        inner = np.linalg.norm(s.delta(f"brow_inner_up_{side}"), axis=1)
        head = s.template[np.argmax(inner * (np.abs(s.template[:, 0]) > 0.008))]
        push = np.zeros_like(s.template)
        push[:, 0] = -sign * 0.0045 * s.bump(head, 0.010) * s.side(side, 0.006)
        s.add(f"brow_squeeze_{side}", push)
        s.add(f"lid_upper_raise_{side}", s.arkit(f"eyeWide{word}"))
        s.add(f"lid_tighten_{side}", s.arkit(f"eyeSquint{word}"))
        s.add(f"cheek_raise_{side}", s.arkit(f"cheekSquint{word}"))
        eye = s.template[s.parts[f"eye_{side}"]].mean(0)
        below = smoothstep(eye[1] - 0.0025 - s.template[:, 1], -0.002, 0.002)[:, None]
        s.add(f"lid_lower_raise_{side}", s.unit(f"eye-{word.lower()}-slit") * below)
        still = ~s.parts["eye_L"] & ~s.parts["eye_R"]  # the ball turns by itself; targets move only the lids
        outward, inward = s.arkit(f"eyeLookOut{word}"), s.arkit(f"eyeLookIn{word}")
        to_left, to_right = (outward, inward) if side == "L" else (inward, outward)
        for suffix, control, direction, field in (
            ("left", "yaw", 1.0, to_left),
            ("right", "yaw", -1.0, to_right),
            ("up", "pitch", 1.0, s.arkit(f"eyeLookUp{word}")),
            ("down", "pitch", -1.0, s.arkit(f"eyeLookDown{word}")),
        ):
            s.add(
                f"lids_look_{suffix}_{side}", field * still[:, None], ((f"gaze_{control}_{side}", direction),)
            )


def _nose_and_cheeks(s: Sculptor) -> None:
    for side in "LR":
        word, lower = _long(side), _long(side).lower()
        s.add(f"nose_wrinkle_{side}", s.arkit(f"noseSneer{word}"))
        s.add(f"nostril_dilate_{side}", s.unit(f"nose-{lower}-dilatation"))
        s.add(f"nostril_compress_{side}", s.unit("nose-compression") * s.side(side, 0.004)[:, None])
        s.add(f"nasolabial_deepen_{side}", s.unit(f"nose-{lower}-elevation"))
        s.add(f"cheek_puff_{side}", s.arkit("cheekPuff") * s.side(side, 0.015)[:, None])
        s.add(f"cheek_suck_{side}", s.local(f"cheek/{side.lower()}-cheek-inner-decr"))
    s.add("nose_tip_down", s.unit("nose-depression"))


LIP_MIDDLE, LIP_SIDE, CHIN = 0.0050, 0.0025, 0.0050
"""Metres: how much less the middle of the lower lip drops than in MakeHuman's open jaw, and how much more its sides
and the chin do. There the lip is pulled to a point, below the teeth it lies on; a jaw that turns about its joint, 8 to
9 cm behind chin and teeth, lowers both by about the same, and the lip between them hangs in a U."""


def open_jaw(s: Sculptor) -> np.ndarray:
    """(V, 3) what is added to MakeHuman's open jaw."""
    x, y = s.template[:, 0], s.template[:, 1]
    lip = s.lower * np.exp(-(((y + 0.0745) / 0.014) ** 2)) * smoothstep(s.template[:, 2], -0.005, 0.008)
    middle = np.exp(-((x / 0.0075) ** 2))
    sides = np.exp(-(((np.abs(x) - 0.0145) / 0.0055) ** 2))
    skin = np.flatnonzero(s.parts["skin"])
    chin = s.template[skin[np.argmin(np.linalg.norm(s.template[skin] - [0.0, -0.116, 0.015], axis=1))]]
    below = np.exp(-(((x - chin[0]) / 0.030) ** 2) - ((y - chin[1] + 0.004) / 0.020) ** 2)
    below *= smoothstep(s.template[:, 2], -0.05, -0.01) * s.lower * s.parts["skin"]
    out = np.zeros_like(s.template)
    out[:, 1] = lip * (LIP_MIDDLE * middle - LIP_SIDE * sides) - CHIN * below
    return out


def _jaw(s: Sculptor) -> None:
    s.add("jaw_open", s.arkit("jawOpen") + open_jaw(s))
    s.add("jaw_left", s.arkit("jawLeft"))
    s.add("jaw_right", s.arkit("jawRight"))
    forward = s.arkit("jawForward")
    s.add("jaw_forward", forward)
    s.add("jaw_back", -forward, (("jaw_forward", -1.0),))
    normals = s.parts["normals"]
    for side in "LR":
        sign = 1.0 if side == "L" else -1.0
        skin = np.flatnonzero(s.parts["skin"])
        masseter = s.template[
            skin[np.argmin(np.linalg.norm(s.template[skin] - [sign * 0.058, -0.070, -0.03], axis=1))]
        ]
        s.add(f"jaw_clench_{side}", 0.0025 * s.bump(masseter, 0.013)[:, None] * normals)


def _mouth(s: Sculptor) -> None:
    close = s.arkit("mouthClose") - open_jaw(s) * s.lips[:, None]
    for side in "LR":
        word, mask = _long(side), s.side(side)[:, None]
        for name, half in (("upper", s.upper), ("lower", s.lower)):
            both = half[:, None] * mask
            s.add(
                f"lips_together_{name}_{side}",
                close * s.lips[:, None] * both,
                ((f"lips_together_{name}_{side}", 1.0), ("jaw_open", 1.0)),
            )
            s.add(f"lip_press_{name}_{side}", s.arkit(f"mouthPress{word}") * half[:, None])
            volume = {"upper": "upperlip", "lower": "lowerlip"}[name]
            s.add(f"lip_tighten_{name}_{side}", s.local(f"mouth/mouth-{volume}-volume-decr") * mask)
            s.add(f"lip_roll_in_{name}_{side}", s.arkit("mouthRoll" + name.capitalize()) * mask)
            s.add(f"lip_funnel_{name}_{side}", s.arkit("mouthFunnel") * both)
            s.add(f"lip_pucker_{name}_{side}", s.arkit("mouthPucker") * both)
        zone = smoothstep(np.abs(s.template[:, 0]), *STICKY)[:, None] * mask
        s.add(
            f"sticky_corner_{side}",
            close * s.lips[:, None] * zone,
            ((f"sticky_corner_{side}", 1.0), ("jaw_open", 1.0)),
        )
        s.add(f"corner_pull_{side}", s.arkit(f"mouthSmile{word}"))
        s.add(f"corner_pull_sharp_{side}", s.unit("mouth-upward-retraction") * mask)
        s.add(f"dimple_{side}", s.arkit(f"mouthDimple{word}"))
        s.add(f"corner_depress_{side}", s.arkit(f"mouthFrown{word}"))
        s.add(f"lip_stretch_{side}", s.arkit(f"mouthStretch{word}"))
        s.add(f"upper_lip_raise_{side}", s.arkit(f"mouthUpperUp{word}"))
        s.add(f"lower_lip_depress_{side}", s.arkit(f"mouthLowerDown{word}"))
        s.add(f"chin_raise_{side}", s.arkit("mouthShrugLower") * mask)
        s.add(f"mouth_{word.lower()}", s.arkit(f"mouth{word}"))
        s.add(f"ear_raise_{side}", s.local(f"ears/{side.lower()}-ear-trans-up") * 0.15)
        s.add(f"neck_tighten_{side}", s.unit("neck-platysma") * s.side(side, 0.02)[:, None])
    s.add("upper_lip_shrug", s.arkit("mouthShrugUpper"))
    s.add("lip_evert_upper", s.unit("mouth-eversion") * s.upper[:, None])
    s.add("lip_evert_lower", s.unit("mouth-eversion") * s.lower[:, None])
    s.add("lips_part", s.unit("mouth-parling"))
    s.add("mouth_shift_up", s.local("mouth/mouth-trans-up") * 0.6, (("mouth_shift_vertical", 1.0),))
    s.add("mouth_shift_down", s.local("mouth/mouth-trans-down") * 0.42, (("mouth_shift_vertical", -1.0),))


def _tongue(s: Sculptor) -> None:
    s.add("tongue_out", s.arkit("tongueOut"))
    tongue = s.parts["tongue"]
    narrow = np.zeros_like(s.template)
    front = smoothstep(s.template[tongue, 2], *np.quantile(s.template[tongue, 2], [0.15, 0.5]))
    half = np.abs(s.template[tongue, 0]).max()
    across = s.template[tongue, 0] / half
    narrow[tongue, 0] = -0.35 * s.template[tongue, 0] * front
    narrow[tongue, 1] = 0.004 * (across**2 - 0.3) * front  # the edges rise: a trough
    s.add("tongue_narrow", narrow)


def _combinations(s: Sculptor) -> None:
    """Products of controls whose plain sum would break (embedded_rig.md, section 2, items 5 and 6)."""
    for side in "LR":
        pull, press = s.delta(f"corner_pull_{side}"), s.delta(f"corner_depress_{side}")
        s.add(
            f"corner_pull_x_depress_{side}",
            -0.4 * (pull + press),
            ((f"corner_pull_{side}", 1.0), (f"corner_depress_{side}", 1.0)),
        )
        sharp = s.delta(f"corner_pull_sharp_{side}")
        s.add(
            f"corner_pull_x_sharp_{side}",
            -0.45 * (pull + sharp),
            ((f"corner_pull_{side}", 1.0), (f"corner_pull_sharp_{side}", 1.0)),
        )
        stretch = s.delta(f"lip_stretch_{side}")
        for name in ("upper", "lower"):
            pucker = s.delta(f"lip_pucker_{name}_{side}")
            share = (s.upper if name == "upper" else s.lower)[:, None]
            s.add(
                f"lip_pucker_x_stretch_{name}_{side}",
                -0.4 * (pucker + share * stretch),
                ((f"lip_pucker_{name}_{side}", 1.0), (f"lip_stretch_{side}", 1.0)),
            )
            funnel = s.delta(f"lip_funnel_{name}_{side}")
            s.add(
                f"lip_pucker_x_funnel_{name}_{side}",
                -0.35 * (pucker + funnel),
                ((f"lip_pucker_{name}_{side}", 1.0), (f"lip_funnel_{name}_{side}", 1.0)),
            )
            roll = s.delta(f"lip_roll_in_{name}_{side}")
            s.add(
                f"lip_roll_in_x_press_{name}_{side}",
                -0.45 * (roll + s.delta(f"lip_press_{name}_{side}")),
                ((f"lip_roll_in_{name}_{side}", 1.0), (f"lip_press_{name}_{side}", 1.0)),
            )
        # Pressed lips meet instead of passing through each other.
        pressed = {
            half: s.delta(f"lip_press_{half}_L") + s.delta(f"lip_press_{half}_R")
            for half in ("upper", "lower")
        }
        apart = separation(s.template, pressed["upper"] + pressed["lower"], s.selected)
        soft = ~(s.parts["teeth_upper"] | s.parts["teeth_lower"])
        s.add(
            f"lips_meet_{side}",
            apart * (soft * s.side(side))[:, None],
            ((f"lip_press_upper_{side}", 1.0), (f"lip_press_lower_{side}", 1.0)),
        )
        # Inner brow up while the brow lowers (AU 1+4, sadness): the brow head rises and draws together instead
        # of cancelling.
        s.add(
            f"brow_inner_up_x_lower_{side}",
            0.35 * s.delta(f"brow_inner_up_{side}") + 0.4 * s.delta(f"brow_squeeze_{side}"),
            ((f"brow_inner_up_{side}", 1.0), (f"brow_lower_{side}", 1.0)),
        )
        # The lower lid is pushed once, by the cheek or by the orbicularis, not twice.
        s.add(
            f"cheek_raise_x_tighten_{side}",
            -0.35 * s.delta(f"lid_tighten_{side}"),
            ((f"cheek_raise_{side}", 1.0), (f"lid_tighten_{side}", 1.0)),
        )


def symmetric(shapes: list[Shape], mirror: np.ndarray) -> list[Shape]:
    """Every shape averaged with the mirror image of its partner, so that a mirrored performance is a mirrored face.

    Args:
        mirror: (V,) index of each vertex's mirror image.
    """
    by_activation = {frozenset(shape.activation): shape.delta for shape in shapes}
    result = []
    for shape in shapes:
        partner = set()
        for name, sign in shape.activation:
            control = FACS102.controls[FACS102.index(name)]
            partner.add((control.mirror or name, sign * control.mirror_sign))
        other = by_activation[frozenset(partner)][mirror] * [-1, 1, 1]
        result.append(Shape(shape.name, shape.activation, (shape.delta + other) / 2))
    return result


def build_shapes(s: Sculptor, lash_bound: np.ndarray, mirror: np.ndarray) -> list[Shape]:
    """All shapes, controls first, combinations after, symmetric; lashes ride on the lid rims."""
    for build in (_brows_and_eyes, _nose_and_cheeks, _jaw, _mouth, _tongue, _combinations):
        build(s)
    balls = s.parts["eye_L"] | s.parts["eye_R"]
    shapes = []
    for shape in symmetric(s.shapes, mirror):
        delta = shape.delta[lash_bound].copy()
        delta[balls] = 0.0
        shapes.append(Shape(shape.name, shape.activation, delta))
    return shapes


def eye_slices(selected: np.ndarray) -> dict[str, np.ndarray]:
    """side -> boolean (V,) of the eyeball's vertices."""
    return {side: np.isin(selected, np.arange(part.start, part.stop)) for side, part in EYE_VERTICES.items()}
