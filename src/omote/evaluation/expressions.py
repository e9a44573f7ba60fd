"""How well heads are read that nobody here made: each named expression is rendered, and should lead what is predicted.

For every expression with an ARKit name the predicted controls are converted to ARKit-52, and the rank of the rendered
one among the 52 values is reported: as they are, and less what is predicted for the same head at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.detect import FaceDetector
from omote.capture.normal_map import check_normals
from omote.controls import ARKIT52, FACS102
from omote.errors import InputError
from omote.evaluation.inversion_methods import Method, Sample
from omote.media import read_image
from omote.rigs.name_matching import NEEDS_JAW, bare_names, same_name
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
_STILL = 1e-5  # metres: what moves no further does not move
_NORMALS = ("_normal", "_normals", "_nrm")
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
        beside: ARKit name of what acts too, since the expression does not show without it (a jaw that opens); it is
            left out of the ranks.
    """

    name: str
    arkit: str | None
    rgb: Image
    normal: Image | None
    beside: str | None = None


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
        left_out: shapes without an ARKit name, or that move nothing.
        without_normals: how many pictures there were RGB alone of.
    """

    rows: tuple[Ranked, ...]
    left_out: tuple[str, ...]
    without_normals: int = 0

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
            "without_normals": float(self.without_normals),
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


def arkit_names(names: Sequence[str]) -> dict[str, str]:
    """The ARKit name of each of a rig's names that has one, also where all of them begin or end alike."""
    bare = dict(zip(names, bare_names(names), strict=True))
    found = {name: arkit_name(name) or arkit_name(bare[name]) for name in names}
    return {name: arkit for name, arkit in found.items() if arkit is not None}


def _plain(name: str) -> str:
    return "".join(c for c in name.rpartition(".")[2].lower() if c.isalnum())


class RigPictures:
    """The head at rest, then each shape with an ARKit name at its largest value: front-on, in clay, without a texture.

    Controls that share an ARKit name (halves, or the same shape of several meshes) act together; what shows only with
    the jaw open is shown so.

    Args:
        rig: with controls of ARKit-like names, as `omote.rigs.open.open_rig` opens them.
        size: side of the pictures, px.

    Raises:
        InputError: none of the controls has an ARKit name.
    """

    def __init__(self, rig: Rig, *, size: int = SIZE) -> None:
        import torch

        self._rig, self._size = rig, size
        groups: dict[str, list[str]] = {}
        for name, arkit in arkit_names(rig.space.names).items():
            groups.setdefault(arkit, []).append(name)
        if not groups:
            what = f"none of the {len(rig.space)} controls has an ARKit name"
            raise InputError(what, where=rig.name, remedy="Map them first: omote rig map.")
        who = torch.zeros(1, len(rig.identity_space))

        def posed(controls: Floats) -> Floats:
            with torch.no_grad():
                head: Floats = rig(torch.from_numpy(controls[None]), who)[0].numpy()
            return head

        rest = np.array(rig.space.neutral, np.float32)
        jaws = [rig.space.index(name) for name in groups.get("jawOpen", ())]
        self._rest = posed(rest)
        self._shown: list[tuple[str, str, Floats, str | None]] = []
        moved, known = np.zeros(len(self._rest)), set()
        for arkit, names in groups.items():
            base, beside = rest.copy(), None
            if arkit in NEEDS_JAW and jaws:
                base[jaws], beside = NEEDS_JAW[arkit], "jawOpen"
            full = base.copy()
            for name in names:
                full[rig.space.index(name)] = rig.space.high[rig.space.index(name)]
            head = posed(full)
            far = np.linalg.norm(head - (posed(base) if beside else self._rest), axis=1)
            if far.max() > _STILL:
                self._shown.append((names[0], arkit, head, beside))
                moved = np.maximum(moved, far)
                known.update(names)
        face = self._rest[moved > _MOVED] if (moved > _MOVED).any() else self._rest
        self._centre = (face.min(0) + face.max(0)) / 2
        self.left_out = tuple(name for name in rig.space.names if name not in known)
        """Controls without an ARKit name, or that move nothing."""

    def __len__(self) -> int:
        return 1 + len(self._shown)

    def __iter__(self) -> Iterator[Picture]:
        for name, arkit, head, beside in (("neutral", None, self._rest, None), *self._shown):
            yield Picture(name, arkit, *_render(self._rig, head - self._centre, self._size), beside=beside)


def is_pictures(source: str | Path) -> bool:
    """Whether this is a folder of pictures, not of a rig's shapes."""
    folder = Path(source)
    if not folder.is_dir() or any(folder.glob("*.obj")):
        return False
    return any(path.suffix.lower() in _SUFFIXES for path in folder.iterdir())


def read_pictures(folder: Path) -> tuple[list[Picture], tuple[str, ...]]:
    """Pictures named as what they show: ``neutral.png``, ``jawOpen.png``, with normals beside: ``jawOpen_normal.png``.

    Returns:
        The pictures, the head at rest first; and names of those that are left out, since they are no ARKit names.

    Raises:
        InputError: there is no neutral, or a picture cannot be read or is of another size than its normals.
    """
    files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES}
    rest = next((stem for stem in files if stem.lower() in _REST), None)
    if rest is None:
        raise InputError("there is no picture of the head at rest", where=folder, remedy="Add neutral.png.")
    normals = {stem: path for stem, path in files.items() if stem.lower().endswith(_NORMALS)}
    pictured = [stem for stem in files if stem not in normals]
    known = arkit_names([stem for stem in pictured if stem != rest])
    pictures = []
    for stem, arkit in ((rest, None), *known.items()):
        beside = next((path for name, path in normals.items() if name.rpartition("_")[0] == stem), None)
        rgb, normal = read_image(files[stem]), None if beside is None else read_image(beside, colours=False)
        if normal is not None and normal.shape != rgb.shape:
            raise InputError("has another size than its normals", where=files[stem])
        pictures.append(Picture(stem, arkit, rgb, normal))
    return pictures, tuple(stem for stem in pictured if stem != rest and stem not in known)


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
    rows, bare = [], 0
    with FaceDetector("image", max_faces=1) as detector:
        for done, picture in enumerate(pictures, 1):
            faces = detector.find(picture.rgb)
            marks = detector.refine(picture.rgb, faces[0]).landmarks if faces else fallback
            if marks is None:
                remedy = "It must face the camera: look at it with omote rig inspect HEAD -o sheet.png; see --axes."
                raise InputError("no face was found in the head at rest", where=picture.name, remedy=remedy)
            bare += picture.normal is None
            if picture.normal is not None and faces:
                try:
                    check_normals(picture.normal, marks)
                except InputError as error:
                    raise InputError(
                        error.what, where=f"normals of {picture.name}", remedy=error.remedy
                    ) from error
            values = _predict(method, picture, np.asarray(marks[:, :2], np.float32))
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
    return ExpressionReport(tuple(rows), tuple(left_out), bare)


def _predict(method: Method, picture: Picture, marks: NDArray[np.float32]) -> Floats:
    """(52,) ARKit values."""
    nothing: Any = np.zeros(0, np.float32)
    predicted = method.predict([Sample(picture.rgb, picture.normal, marks, nothing, nothing)])[0]
    return np.asarray(FACS102.convert(predicted, ARKIT52), np.float32)


def _ranked(picture: Picture, values: Floats, rest: Floats, found: bool) -> Ranked:
    index = ARKIT52.index(str(picture.arkit))
    if picture.beside is not None:
        values, rest = values.copy(), rest.copy()
        values[ARKIT52.index(picture.beside)] = rest[ARKIT52.index(picture.beside)] = 0
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
