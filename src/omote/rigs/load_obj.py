"""A folder of Wavefront OBJ files, one a shape, as a neutral mesh and its shapes."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import FormatError, InputError
from omote.rigs.shapes import MAX_SHAPES, MAX_VERTICES, Shape, ShapeSet, listed

Array = npt.NDArray[Any]

MAX_BYTES = 1 << 30
NEUTRAL = ("neutral", "base", "basis", "rest", "mean", "default", "generic", "template", "average", "head")
"""What files that hold the head at rest are called, the likeliest first."""
_SURE = NEUTRAL[0]
_PLAIN = {
    *NEUTRAL,
    "face",
    "mesh",
    "geo",
    "model",
    "shape",
    "pose",
    "expression",
    "lod",
    "hi",
    "low",
    "obj",
    "v",
}
"""Words beside which a word of `NEUTRAL` is meant so: "mouthRest" is an expression."""
_VERTEX = re.compile(rb"^[ \t]*v[ \t]+([^\n]*)", re.MULTILINE)
_TEXTURE = re.compile(rb"^[ \t]*vt[ \t]+([^\n]*)", re.MULTILINE)
_MOVING = re.compile(rb"^[ \t]*(?:v|vn)[ \t][^\n]*\n?", re.MULTILINE)
_IDENTITY = re.compile(r"^(?:identity|ident|id)[_\- ]?\d+$", re.IGNORECASE)


def read_obj_folder(folder: Path) -> ShapeSet:
    """The neutral and the shapes of a folder; vertices keep the order of the files.

    The neutral is the file whose name says so (`NEUTRAL`). Files called identity000, identity001, ... become identity
    shapes. Polygons are cut into fans from their first corner. Where the neutral has texture seams its vertices are
    split: copies follow after the vertices of the file.

    Raises:
        InputError: unreadable.
        FormatError: no .obj files, no neutral, malformed, or files whose vertices or faces differ.
    """
    paths = sorted(
        p for p in folder.iterdir() if p.suffix.lower() == ".obj" and p.is_file() and p.name[0] != "."
    )
    if not paths:
        remedy = "Give a folder with a neutral and one .obj for each shape."
        raise FormatError("this folder holds no .obj files", where=folder, remedy=remedy)
    if len(paths) > MAX_SHAPES:
        raise FormatError(f"holds {len(paths)} .obj files; at most {MAX_SHAPES} are read", where=folder)
    neutral = _neutral(paths, folder)
    base = read_obj(neutral)
    if not len(base.faces):
        raise FormatError("holds no faces", where=neutral, remedy="Export the head as a polygon mesh.")
    origin, weld, uv, faces = _split_seams(base)
    shapes = []
    for path in paths:
        if path == neutral:
            continue
        shape = read_obj(path, like=base)
        _same(base, shape, neutral, path)
        shapes.append(Shape.of(path.stem, (shape.vertices - base.vertices)[origin].astype(np.float32)))
    identity = tuple(shape.name for shape in shapes if _IDENTITY.match(shape.name))
    return ShapeSet(
        name=folder.resolve().name,
        vertices=base.vertices[origin].astype(np.float32),
        faces=faces,
        shapes=tuple(shapes),
        uv=uv,
        weld=weld,
        face_part=base.face_part,
        part_names=base.part_names,
        identity=identity,
        notes=(f"neutral: {neutral.name}",),
    )


@dataclass(frozen=True)
class ObjMesh:
    """One OBJ file: vertices (V, 3) float64, faces (F, 3) and uv_faces (F, 3) int64 (-1: none), uv (T, 2).

    ``rest`` is the file without its vertices and normals; ``face_part`` (F,) indexes ``part_names``, its groups.
    """

    vertices: Array
    faces: Array
    uv: Array
    uv_faces: Array
    face_part: Array
    part_names: tuple[str, ...]
    rest: bytes


def read_obj(path: Path, *, like: ObjMesh | None = None) -> ObjMesh:
    """Read an OBJ file; if all but its vertices and normals is that of ``like``, only its vertices.

    Raises:
        InputError: unreadable or too large.
        FormatError: malformed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError("the file is larger than 1 GiB", where=path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from error
    data = data.replace(b"\r", b"").replace(b"\\\n", b" ")
    vertices = _numbers(_VERTEX.findall(data), 3, path)
    if not len(vertices) or len(vertices) > MAX_VERTICES:
        raise FormatError(f"holds {len(vertices)} vertices", where=path)
    rest = _MOVING.sub(b"", data)
    if like is not None and rest == like.rest and len(vertices) == len(like.vertices):
        return replace(like, vertices=vertices)
    uv = _numbers(_TEXTURE.findall(data), 2, path)
    faces, uv_faces, parts, names = _faces(data.split(b"\n"), len(vertices), len(uv), path)
    return ObjMesh(vertices, faces, uv, uv_faces, parts, names, rest)


def _neutral(paths: list[Path], folder: Path) -> Path:
    """The file that holds the head at rest."""
    words = {
        path: re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", path.stem).lower()) for path in paths
    }
    columns = zip(*words.values(), strict=False)  # as of default_smile and default_blink
    shared = (
        [column[0] for column in takewhile(lambda c: len(set(c)) == 1, columns)] if len(paths) > 1 else []
    )
    own = {path: said[len(shared) :] for path, said in words.items()}
    bare = [path for path in paths if not own[path]]
    if bare and set(shared) & set(NEUTRAL):
        return bare[0]
    for word in NEUTRAL:
        found = [path for path in paths if word in own[path] and _says(word, own[path])]
        if found:
            return min(found, key=lambda path: (len(words[path]), len(path.stem)))
    remedy = f"Call it {', '.join(f'{word}.obj' for word in NEUTRAL[:3])}."
    what = f"no file is called as the neutral is (it holds {listed([p.stem for p in paths])})"
    raise FormatError(what, where=folder, remedy=remedy)


def _says(word: str, words: list[str]) -> bool:
    """Whether a word of `NEUTRAL` in a file's name is meant so."""
    return word == _SURE or _PLAIN.issuperset(words) or (word == "head" and words[-1] == word)


def _numbers(chosen: list[bytes], width: int, path: Path) -> Array:
    """(N, width) float64 of what N vertex or texture lines hold."""
    if not chosen:
        return np.zeros((0, width))
    if any(b"#" in line for line in chosen):
        chosen = [line.partition(b"#")[0] for line in chosen]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns of what it cannot read
            numbers = np.fromstring(b" ".join(chosen), np.float64, sep=" ")
        fields = {len(chosen[0].split()), len(chosen[-1].split())}
        if fields == {len(numbers) / len(chosen)} and len(numbers) >= width * len(chosen):
            return numbers.reshape(len(chosen), -1)[:, :width]
        rows = [line.split()[:width] for line in chosen]  # some lines hold more than others
        return np.array(rows, np.float64).reshape(-1, width)
    except (ValueError, DeprecationWarning):
        kind = "vertex" if width == 3 else "texture"
        raise FormatError(f"a {kind} line does not hold {width} numbers", where=path) from None


def _faces(
    lines: list[bytes], count: int, textures: int, path: Path
) -> tuple[Array, Array, Array, tuple[str, ...]]:
    """Triangles, their texture corners, their parts and the parts' names."""
    corners: list[list[int]] = []
    mapped: list[list[int]] = []
    parts: list[int] = []
    names: dict[str, int] = {}
    part, seen, seen_uv = 0, 0, 0
    for raw in lines:
        line = raw.strip().replace(b"\t", b" ")
        head = line[:2]
        if head == b"v ":
            seen += 1
        elif line[:3] == b"vt ":
            seen_uv += 1
        elif head in (b"g ", b"o ") or line[:7] == b"usemtl ":
            name = line.split(None, 1)[-1].decode("utf-8", "replace").strip()
            part = names.setdefault(name, len(names))
        elif head == b"f ":
            if not names:
                names["mesh"] = 0
            try:
                cells = [cell.split(b"/") for cell in line[2:].split()]
                ring = [_position(int(cell[0]), seen, count) for cell in cells]
                around = [
                    _position(int(cell[1]), seen_uv, textures) if len(cell) > 1 and cell[1] else -1
                    for cell in cells
                ]
            except ValueError:
                shown = line[:40].decode("utf-8", "replace")
                raise FormatError(f"a face is malformed: {shown}", where=path) from None
            for second in range(1, len(ring) - 1):
                corners.append([ring[0], ring[second], ring[second + 1]])
                mapped.append([around[0], around[second], around[second + 1]])
                parts.append(part)
    faces = np.array(corners, np.int64).reshape(-1, 3)
    uv_faces = np.array(mapped, np.int64).reshape(-1, 3)
    return faces, uv_faces, np.array(parts, np.int64), tuple(names) or ("mesh",)


def _position(number: int, seen: int, count: int) -> int:
    """An OBJ index, from 1 or counted back from the latest, as an index from 0."""
    index = number - 1 if number > 0 else seen + number
    if number == 0 or not 0 <= index < count:
        raise ValueError(number)
    return index


def _split_seams(mesh: ObjMesh) -> tuple[Array, Array, Array | None, Array]:
    """Each (vertex, texture corner) pair as one vertex: origin (V',), weld (V',), uv (V', 2) or None, faces (F, 3)."""
    count = len(mesh.vertices)
    if not len(mesh.uv) or (mesh.uv_faces < 0).all():
        return np.arange(count), np.arange(count), None, mesh.faces
    pairs = np.stack([mesh.faces.ravel(), mesh.uv_faces.ravel()], axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    first = np.ones(len(unique), bool)
    first[1:] = unique[1:, 0] != unique[:-1, 0]
    place = np.where(first, unique[:, 0], count + np.cumsum(~first) - 1)
    origin = np.concatenate([np.arange(count), unique[~first, 0]])
    uv = np.zeros((len(origin), 2), np.float32)
    has = unique[:, 1] >= 0
    uv[place[has]] = mesh.uv[unique[has, 1]]
    uv[:, 1] = 1 - uv[:, 1]  # OBJ counts v from below
    return origin, origin.copy(), uv, place[inverse.ravel()].reshape(-1, 3)


def _same(base: ObjMesh, shape: ObjMesh, neutral: Path, path: Path) -> None:
    """Raise unless both have the same vertices and faces."""
    remedy = "All shapes need the mesh of the neutral, vertex for vertex."
    if len(shape.vertices) != len(base.vertices):
        what = f"has {len(shape.vertices)} vertices, {neutral.name} {len(base.vertices)}"
        raise FormatError(what, where=path, remedy=remedy)
    if len(shape.faces) and not np.array_equal(shape.faces, base.faces):
        raise FormatError(f"has other faces than {neutral.name}", where=path, remedy=remedy)
