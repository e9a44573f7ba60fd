"""How well heads are read that nobody here made: each named expression is rendered, and should lead what is predicted.

For every expression with an ARKit name the predicted controls are converted to ARKit-52, and the rank of the rendered
one among the 52 values is reported: as they are, and less what is predicted for the same head at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.controls import ARKIT52, FACS102
from omote.errors import InputError
from omote.evaluation.inversion_methods import Method, Sample
from omote.media import read_image
from omote.rigs.name_matching import same_name
from omote.rigs.names import split_side

if TYPE_CHECKING:
    from omote.rigs.protocol import Rig

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIZE = 512
"""px of the renders."""
DISTANCE, SPAN = 0.9, 0.30
"""Metres from the camera to the head, and metres of the head's plane that a render spans."""
_MOVED = 0.001  # metres: what an expression moves further belongs to the face
_GREY = (0.5, 0.5, 0.5)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_REST = ("neutral", "rest", "base")
_KNOWN = {name.lower(): name for name in ARKIT52.names}


@dataclass(frozen=True)
class Picture:
    """One rendered expression of one head.

    Attributes:
        name: as the rig calls it.
        arkit: its ARKit name; None for the head at rest.
        rgb, normal: (H, W, 3) uint8; normal may be None.
    """

    name: str
    arkit: str | None
    rgb: Image
    normal: Image | None


@dataclass(frozen=True)
class Ranked:
    """One expression.

    Attributes:
        name, arkit: as the rig calls it, and its ARKit name.
        rank: 1 if it leads the predicted ARKit values.
        margin: its predicted value less the largest of the others.
        relative_rank, relative_margin: the same for values less those predicted for the head at rest.
        value: what was predicted for it.
        leader: which ARKit value led.
        found: whether the detector saw the face (else the landmarks of the head at rest placed the crops).
    """

    name: str
    arkit: str
    rank: int
    margin: float
    relative_rank: int
    relative_margin: float
    value: float
    leader: str
    found: bool


@dataclass(frozen=True)
class ExpressionReport:
    """All expressions of one head.

    Attributes:
        rows: one for each expression, in the rig's order.
        left_out: shapes without an ARKit name.
    """

    rows: tuple[Ranked, ...]
    left_out: tuple[str, ...]

    def summary(self) -> dict[str, float]:
        """Shares of rank 1 and of rank 1 to 3 in percent, mean margins; ``relative_*`` against the head at rest."""
        ranks = np.array([row.rank for row in self.rows])
        relative = np.array([row.relative_rank for row in self.rows])
        return {
            "expressions": float(len(self.rows)),
            "top1_percent": 100 * float((ranks == 1).mean()),
            "top3_percent": 100 * float((ranks <= 3).mean()),
            "margin": float(np.mean([row.margin for row in self.rows])),
            "relative_top1_percent": 100 * float((relative == 1).mean()),
            "relative_top3_percent": 100 * float((relative <= 3).mean()),
            "relative_margin": float(np.mean([row.relative_margin for row in self.rows])),
            "faces_not_found": float(sum(not row.found for row in self.rows)),
        }


def arkit_name(name: str) -> str | None:
    """The ARKit name that a shape's name means, or None: case, separators and the way sides are written do not matter.

    A shape of one side where ARKit has one for both (``browInnerUp_L``) is that one.
    """
    plain = _plain(name)
    if plain in _KNOWN:
        return _KNOWN[plain]
    found = split_side(name)
    if found is not None:
        before, side, after = found
        base = _plain(before + after)
        meant = _KNOWN.get(base + ("left" if side == "L" else "right")) or _KNOWN.get(base)
        if meant is not None:
            return meant
    return same_name(name, ARKIT52)


def _plain(name: str) -> str:
    return "".join(c for c in name.rpartition(".")[2].lower() if c.isalnum())


def rig_pictures(rig: Rig, *, size: int = SIZE) -> Iterator[Picture]:
    """The head at rest, then each shape with an ARKit name at its largest value: front-on, in clay, without a texture.

    Args:
        rig: with controls of ARKit-like names, as `omote.rigs.open.open_rig` opens them.
        size: side of the pictures, px.

    Raises:
        InputError: none of the controls has an ARKit name.
    """
    import torch

    named = [(i, name, found) for i, name in enumerate(rig.space.names) if (found := arkit_name(name))]
    if not named:
        what = f"none of the {len(rig.space)} controls has an ARKit name"
        raise InputError(what, where=rig.name, remedy="Map them first: omote rig map.")
    rest = np.array(rig.space.neutral, np.float32)
    controls = np.tile(rest, (1 + len(named), 1))
    for row, (index, _, _) in enumerate(named, 1):
        controls[row, index] = rig.space.high[index]
    who = torch.zeros(1, len(rig.identity_space))
    with torch.no_grad():
        heads = [rig(torch.from_numpy(row[None]), who)[0].numpy() for row in controls]
    moved = np.max([np.linalg.norm(head - heads[0], axis=1) for head in heads[1:]], axis=0) > _MOVED
    face = heads[0][moved] if moved.any() else heads[0]
    centre = (face.min(0) + face.max(0)) / 2
    for (_, name, arkit), head in zip([(0, "neutral", None), *named], heads, strict=True):
        yield Picture(name, arkit, *_render(rig, head - centre, size))


def is_pictures(source: str | Path) -> bool:
    """Whether this is a folder of pictures, not of a rig's shapes."""
    folder = Path(source)
    if not folder.is_dir() or any(folder.glob("*.obj")):
        return False
    return any(path.suffix.lower() in _SUFFIXES for path in folder.iterdir())


def read_pictures(folder: Path) -> list[Picture]:
    """Pictures named as what they show: ``neutral.png``, ``jawOpen.png``, with normals beside: ``jawOpen_normal.png``.

    Pictures whose names are no ARKit names are left out.

    Raises:
        InputError: there is no neutral, or a picture cannot be read.
    """
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES}
    rest = next((stem for stem in files if stem.lower() in _REST), None)
    if rest is None:
        raise InputError("there is no picture of the head at rest", where=folder, remedy="Add neutral.png.")
    named = [(rest, None), *((stem, found) for stem in files if stem != rest and (found := arkit_name(stem)))]
    pictures = []
    for stem, arkit in named:
        beside = files.get(f"{stem}_normal")
        normal = None if beside is None else read_image(beside)
        pictures.append(Picture(stem, arkit, read_image(files[stem]), normal))
    return pictures


def _render(rig: Rig, vertices: NDArray[np.float32], size: int) -> tuple[Image, Image]:
    from omote.performance import Camera
    from omote.render import encode_normals, render_mesh

    camera = Camera(size * DISTANCE / SPAN, (size / 2, size / 2), (size, size))
    placed = (vertices - np.array([0, 0, DISTANCE])).astype(np.float32)
    drawn = render_mesh(
        placed, rig.faces.numpy(), camera, weld=rig.weld.numpy(), background=np.array(_GREY, np.float32)
    )
    rgb = np.rint(np.clip(drawn.rgb, 0, 1) * 255).astype(np.uint8)
    return rgb, encode_normals(drawn.normal_camera, drawn.alpha)


def rank_expressions(
    pictures: Iterable[Picture],
    method: Method,
    *,
    left_out: Iterable[str] = (),
    progress: Callable[[int], None] | None = None,
) -> ExpressionReport:
    """Predict each picture on its own and rank what was rendered among the ARKit values.

    Args:
        pictures: the head at rest first, then its expressions.
        method: predicts the embedded rig's 102 controls.
        left_out: names to mention in the report.
        progress: called with the number of pictures done.

    Raises:
        InputError: the first picture is not the head at rest or shows no face, or there is no expression.
    """
    rest: NDArray[np.float32] | None = None
    fallback: NDArray[np.float32] | None = None
    rows = []
    with FaceDetector("image", max_faces=1) as detector:
        for done, picture in enumerate(pictures, 1):
            faces = detector.find(picture.rgb)
            marks = detector.refine(picture.rgb, faces[0]).landmarks[:, :2] if faces else fallback
            if marks is None:
                raise InputError("no face was found in the head at rest", where=picture.name)
            values = _predict(method, picture, np.asarray(marks, np.float32))
            if rest is None:
                if picture.arkit is not None:
                    raise InputError("the first picture must show the head at rest", where=picture.name)
                rest, fallback = values, np.asarray(marks, np.float32)
            elif picture.arkit is not None:
                rows.append(_ranked(picture, values, rest, bool(faces)))
            if progress is not None:
                progress(done)
    if not rows:
        raise InputError("there is no expression to rank")
    return ExpressionReport(tuple(rows), tuple(left_out))


def _predict(method: Method, picture: Picture, marks: NDArray[np.float32]) -> Floats:
    """(52,) ARKit values."""
    nothing: Any = np.zeros(0, np.float32)
    predicted = method.predict([Sample(picture.rgb, picture.normal, marks, nothing, nothing)])[0]
    return np.asarray(FACS102.convert(predicted, ARKIT52), np.float32)


def _ranked(picture: Picture, values: Floats, rest: Floats, found: bool) -> Ranked:
    index = ARKIT52.index(str(picture.arkit))
    rank, margin = rank_of(values, index)
    relative_rank, relative_margin = rank_of(values - rest, index)
    return Ranked(
        name=picture.name,
        arkit=str(picture.arkit),
        rank=rank,
        margin=margin,
        relative_rank=relative_rank,
        relative_margin=relative_margin,
        value=float(values[index]),
        leader=ARKIT52.names[int(values.argmax())],
        found=found,
    )


def rank_of(values: Floats, index: int) -> tuple[int, float]:
    """Rank of one value among all, 1 is the largest, equal ones count against it; and its lead over the best other."""
    others = np.delete(values, index)
    return 1 + int((others >= values[index]).sum()), float(values[index] - others.max())
