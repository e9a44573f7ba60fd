"""Identity: sample MakeHuman phenotypes and local shapes, then a face-weighted PCA with real asymmetry.

Symmetric and antisymmetric variation are analysed apart, so that every component mirrors to plus or minus itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np

from . import makehuman as mh
from .cut import EYE_VERTICES

EYEBALL_SCALE = 0.73
"""The MakeHuman eyeball has 1.4 times the human radius; it is shrunk towards its foremost point, so lids still fit."""

INTERPUPILLARY_M = 0.063
SYMMETRIC, ANTISYMMETRIC = 66, 24
_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
_SKIP = re.compile(r"head-trans|head-angle|neck-trans|measure-|neck-scale-vert|eye-push")
_AGES = {"baby": 0.0, "child": 1 / 3, "young": 2 / 3, "old": 1.0}


@dataclass(frozen=True)
class Identity:
    """template (V, 3) m; basis (I, V, 3) m per unit coefficient; mirror_sign (I,); variance (I,) share
    explained; scale m per dm."""

    template: np.ndarray
    basis: np.ndarray
    mirror_sign: np.ndarray
    explained: np.ndarray
    metres_per_unit: float


def _hat(value: np.ndarray, anchors: list[float]) -> np.ndarray:
    """(N, A) piecewise-linear interpolation weights of value (N,) on sorted anchors."""
    eye = np.eye(len(anchors))
    return np.stack([np.interp(value, anchors, row) for row in eye], axis=1)


def _macro(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, V, 3) displacements of random phenotypes (age mostly adult, balanced sex, mixed ancestry)."""
    child = rng.random(count) < 0.12
    age = np.where(child, rng.uniform(0.25, 0.55, count), rng.uniform(0.58, 1.0, count))
    ages = _hat(age, list(_AGES.values()))
    male = rng.beta(0.5, 0.5, count)
    sexes = np.stack([male, 1 - male], axis=1)
    muscle = _hat(np.clip(rng.normal(0.5, 0.22, count), 0, 1), [0, 0.5, 1])
    weight = _hat(np.clip(rng.normal(0.5, 0.22, count), 0, 1), [0, 0.5, 1])
    races = rng.dirichlet([0.5, 0.5, 0.5], count)
    return _macro_sum(ages, sexes, muscle, weight, races)


def _macro_sum(
    ages: np.ndarray, sexes: np.ndarray, muscle: np.ndarray, weight: np.ndarray, races: np.ndarray
) -> np.ndarray:
    names, columns = [], []
    for g, sex in enumerate(("male", "female")):
        for a, age in enumerate(_AGES):
            for r, race in enumerate(("african", "asian", "caucasian")):
                names.append(f"{race}-{sex}-{age}")
                columns.append(sexes[:, g] * ages[:, a] * races[:, r])
            for m, muscular in enumerate(("min", "average", "max")):
                for w, heavy in enumerate(("min", "average", "max")):
                    names.append(f"universal-{sex}-{age}-{muscular}muscle-{heavy}weight")
                    columns.append(sexes[:, g] * ages[:, a] * muscle[:, m] * weight[:, w])
    shapes = np.stack([mh.local(f"macrodetails/{n}") for n in names]).astype(np.float32)
    return np.tensordot(np.stack(columns, axis=1).astype(np.float32), shapes, axes=1)


def _local_pairs() -> list[tuple[str, str | None]]:
    """(positive, negative or None) target names of every local change that can touch the head."""
    metadata = json.loads((mh.data_folder() / "mpfb2/targets/target.json").read_text())
    pairs: list[tuple[str, str | None]] = []
    for folder in _FOLDERS:
        for category in metadata[folder]["categories"]:
            opposites = category.get("opposites")
            if opposites is None:
                pairs += [(f"{folder}/{name}", None) for name in category["targets"]]
                continue
            for side in ("left", "right", "unsided"):
                positive, negative = opposites[f"positive-{side}"], opposites[f"negative-{side}"]
                if positive and negative:
                    pairs.append((f"{folder}/{positive}", f"{folder}/{negative}"))
    lopsided = mh.data_folder() / "mpfb2/targets/asym"
    asym = sorted(p.name.split(".")[0] for p in lopsided.glob("asym-*-l.target.gz"))
    pairs += [(f"asym/{name}", f"asym/{name[:-1]}r") for name in asym]
    return [p for p in dict.fromkeys(pairs) if not _SKIP.search(p[0])]


def _locals(rng: np.random.Generator, count: int) -> np.ndarray:
    """(N, V, 3) displacements of random local changes: sides tied with a small independent part."""
    total = np.zeros((count, *mh.base_mesh().vertices.shape), np.float32)
    pairs = _local_pairs()
    shared = {re.sub(r"/[lr]-", "/", p[0]): rng.normal(0, 0.33, count) for p in pairs}
    for positive, negative in pairs:
        value = shared[re.sub(r"/[lr]-", "/", positive)]
        if re.search(r"/[lr]-", positive):
            value = value + rng.normal(0, 0.12, count)
        if positive.startswith("asym/"):
            value = value * 0.6
        up, down = np.maximum(value, 0).astype(np.float32), np.maximum(-value, 0).astype(np.float32)
        total += up[:, None, None] * mh.local(positive).astype(np.float32)
        if negative is not None:
            total += down[:, None, None] * mh.local(negative).astype(np.float32)
    return total


def shrink_eyeballs(vertices: np.ndarray) -> np.ndarray:
    """(N, V, 3) with both eyeballs scaled by EYEBALL_SCALE towards their foremost point (+z of the centre)."""
    out = vertices.copy()
    for part in EYE_VERTICES.values():
        ball = vertices[:, part]
        centre = ball.mean(1, keepdims=True)
        radius = np.linalg.norm(ball - centre, axis=2).mean(1)
        moved = centre.copy()
        moved[:, 0, 2] += (1 - EYEBALL_SCALE) * radius
        out[:, part] = moved + EYEBALL_SCALE * (ball - centre)
    return out


def adult_mean() -> np.ndarray:
    """(V, 3) dm: the average young adult over sex and ancestry."""
    one = np.ones((1, 1))
    macro = _macro_sum(
        one * [0, 0, 1, 0], one * [0.5, 0.5], one * [0, 1, 0], one * [0, 1, 0], one * [1 / 3, 1 / 3, 1 / 3]
    )
    return mh.base_mesh().vertices + macro[0]


def eye_middle(vertices: np.ndarray) -> np.ndarray:
    """(..., 3) midpoint between the eyeball centres of (..., V, 3)."""
    centres = [vertices[..., part, :].mean(-2) for part in EYE_VERTICES.values()]
    return (centres[0] + centres[1]) / 2


def face_weight(template: np.ndarray) -> np.ndarray:
    """(V,) how much a vertex counts in the PCA: 1 on the front of the face, 0.15 at the back of the head and neck."""
    front = 1 / (1 + np.exp(-(template[:, 2] - 0.0) / 0.012))
    height = 1 / (1 + np.exp(-(template[:, 1] + 0.125) / 0.01)) / (1 + np.exp((template[:, 1] - 0.07) / 0.01))
    return 0.15 + 0.85 * front * height


def build_identity(selected: np.ndarray, *, samples: int = 2400, seed: int = 7) -> Identity:
    """The linear identity space of the selected base-mesh vertices (one per welded head vertex)."""
    rng = np.random.default_rng(seed)
    base = mh.base_mesh().vertices.astype(np.float32)
    mean = shrink_eyeballs(adult_mean()[None])[0]
    pupils = [mean[part].mean(0) for part in EYE_VERTICES.values()]
    scale = INTERPUPILLARY_M / float(np.linalg.norm(pupils[0] - pupils[1]))
    template = ((mean - eye_middle(mean)) * scale)[selected]
    weight = face_weight(template)
    partner = {int(v): i for i, v in enumerate(selected)}
    mirror = np.array([partner[int(m)] for m in mh.mirror_vertices()[selected]])
    flip = np.array([-1.0, 1.0, 1.0], np.float32)

    blocks = []
    for _ in range(samples // 200):
        block = shrink_eyeballs(base + _macro(rng, 200) + _locals(rng, 200))
        block = ((block - eye_middle(block)[:, None]) * scale)[:, selected]
        # Global size cannot be seen in one image (it trades with distance), so it is no part of identity.
        size = np.sqrt(np.einsum("nvc,v->n", block**2, weight) / np.einsum("vc,v->", template**2, weight))
        blocks.append((block / size[:, None, None]).astype(np.float32))
    data = np.concatenate(blocks)
    template = data.mean(0)
    template = (template + (template * flip)[mirror]) / 2
    data -= template
    swapped = (data * flip)[:, mirror]
    total = np.einsum("nvc,v->", data**2, weight)
    bases, signs, explained = [], [], []
    for part, count, sign in (
        ((data + swapped) / 2, SYMMETRIC, 1.0),
        ((data - swapped) / 2, ANTISYMMETRIC, -1.0),
    ):
        flat = (part * np.sqrt(weight)[:, None]).reshape(len(part), -1)
        values, vectors = np.linalg.eigh((flat @ flat.T).astype(np.float64))
        order = np.argsort(values)[::-1][:count]
        scores = vectors[:, order] * np.sqrt(len(part))
        bases.append(np.einsum("ni,nvc->ivc", scores, part) / len(part))
        signs += [sign] * count
        explained += list(values[order] / total)
    return Identity(template, np.concatenate(bases), np.array(signs), np.array(explained), scale)
