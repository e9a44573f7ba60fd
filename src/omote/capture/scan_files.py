"""Scans from files: OBJ, PLY and GLB become triangles with their colours, or one clear error.

A scene of several meshes (eyes and teeth apart from the skin, each with a material) is one scan of several parts.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError, OmoteError, printable
from omote.media.paths import check_readable

Array = NDArray[Any]

SCAN_SUFFIXES = frozenset({".obj", ".ply", ".glb"})
MOST_BYTES = 1 << 30
MOST_TRIANGLES = 10_000_000
MOST_PARTS = 256
LARGEST_TEXTURE = 16_384
CLAY = (0.62, 0.62, 0.62)
"""sRGB grey of what has no colour of its own."""
_SEE_THROUGH = 0.5
"""Mean opacity below which a part (a cornea, cards of lashes) is left out: nothing here is blended."""

_MAP_OPTIONS = re.compile(
    r"^(?:-[a-z]+(?:\s+(?:-?[\d.]+|on|off))+\s+|-(?:imfchan|type)\s+\S+\s+)*", re.IGNORECASE
)
"""What a map in an .mtl may begin with, "-s 1 1 1" or "-clamp on"."""
_log = logging.getLogger("omote.capture")


@dataclass(frozen=True)
class Part:
    """Triangles that share one source of colour.

    Attributes:
        vertices: (V, 3) float32, the file's own unit and axes.
        faces: (F, 3) int64.
        uv: (V, 2) float32, origin upper left, where the colour is a texture; else None.
        albedo: (Ht, Wt, 3) uint8 texture or (V, 3) uint8 vertex colours, sRGB; None: no colour.
    """

    vertices: Array
    faces: Array
    uv: Array | None
    albedo: Array | None

    @cached_property
    def weld(self) -> Array:
        """(V,) int64, the first vertex at each place: textures and normals split vertices, the surface does not."""
        rows = np.ascontiguousarray(self.vertices + 0.0)  # -0 is 0
        keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * 3))).ravel()
        _, first, same = np.unique(keys, return_index=True, return_inverse=True)
        welded: Array = first[same.ravel()].astype(np.int64)
        return welded


@dataclass(frozen=True)
class Scan:
    """A scan as its file has it.

    Attributes:
        parts: at least one; all those without a texture are one part, those of one texture another.
        coloured: whether the file has colours; else everything is grey clay.
    """

    parts: tuple[Part, ...]
    coloured: bool

    @property
    def vertices(self) -> Array:
        """(V, 3) of all parts."""
        return np.concatenate([part.vertices for part in self.parts])


def is_scan(path: str | Path) -> bool:
    """Whether a file is named like a scan."""
    return Path(path).suffix.lower() in SCAN_SUFFIXES


def load_scan(path: str | Path) -> Scan:
    """Read a scan.

    Args:
        path: ``.obj`` (with its .mtl and textures beside it), ``.ply`` or ``.glb``.

    Raises:
        InputError: missing, too large, damaged, without triangles, or with vertices that are not finite.
    """
    path = check_readable(path)
    if not is_scan(path):
        raise InputError("this is not a scan that can be read", where=path, remedy="Use .obj, .ply or .glb.")
    if path.stat().st_size > MOST_BYTES:
        raise InputError("the scan is too large (at most 1 GB)", where=path, remedy="Make it smaller first.")
    meshes = _meshes(path)
    triangles = sum(len(mesh.faces) for mesh in meshes)
    if not triangles:
        raise InputError(
            "the scan has no triangles", where=path, remedy="Points alone are not enough: mesh them first."
        )
    if triangles > MOST_TRIANGLES or len(meshes) > MOST_PARTS:
        raise InputError(
            f"the scan has {triangles:,} triangles in {len(meshes)} parts",
            where=path,
            remedy=f"At most {MOST_TRIANGLES:,} in {MOST_PARTS}: make it smaller first.",
        )
    parts = [part for mesh in meshes if len(mesh.faces) and (part := _part(mesh, path)) is not None]
    if not parts:
        raise InputError("the scan has nothing but see-through parts", where=path)
    if not all(np.isfinite(part.vertices[np.unique(part.faces)]).all() for part in parts):
        raise InputError("the scan has vertices that are not numbers", where=path, remedy="Export it again.")
    coloured = any(part.albedo is not None and _is_varied(part.albedo, parts) for part in parts)
    return Scan(tuple(_merged(parts)), coloured)


def _meshes(path: Path) -> list[Any]:
    """The triangle meshes of a file, placed as its scene places them."""
    import trimesh

    beside = _beside(path)
    try:
        with path.open("rb") as stream:
            scene = trimesh.load_scene(
                stream,
                file_type=path.suffix.lower()[1:],
                resolver=beside,
                process=False,
            )
        placed = []
        for node in scene.graph.nodes_geometry:
            transform, name = scene.graph[node]
            mesh = scene.geometry[name]
            if isinstance(mesh, trimesh.Trimesh):
                placed.append(mesh.copy().apply_transform(transform))
    except MemoryError as error:
        raise InputError("there is not enough memory to read it", where=path) from error
    except Exception as error:  # readers of hostile files raise anything
        reason, remedy = (
            " ".join(str(error).split())[:160] or type(error).__name__,
            "Copy or export it again.",
        )
        if path.suffix.lower() == ".glb" and (known := _unread(path)) is not None:
            reason, remedy = known.what, known.remedy or remedy
        raise InputError(
            f"the scan is damaged or of an unknown kind ({reason})", where=path, remedy=remedy
        ) from error
    if path.suffix.lower() == ".glb" and _has_skins(path):
        what = "its skin is not applied: what hangs on a skeleton may lie elsewhere"
        _log.warning("%s: %s. Export the head without its skeleton", path.name, what)
    for name in beside.missing:
        _log.warning("%s: %s is not there; what it would colour is grey", path.name, name)
    return placed


def _unread(path: Path) -> OmoteError | None:
    """What our own reader says of a glTF file, such as that it is compressed; None: nothing."""
    from omote.rigs.gltf_data import GltfFile

    try:
        GltfFile(path)
    except OmoteError as error:
        return error
    return None


def _has_skins(path: Path) -> bool:
    """Whether a mesh of a glTF file hangs on a skeleton, whose pose trimesh does not know."""
    from omote.rigs.gltf_data import GltfFile

    try:
        nodes = GltfFile(path).tree.get("nodes", [])
    except OmoteError:  # an extension that only shapes would need
        return False
    return any("skin" in node and "mesh" in node for node in nodes if isinstance(node, dict))


def _beside(path: Path) -> Any:
    """Finds the materials and textures of a scan as its file names them: with options, of Windows, in other letters."""
    import trimesh

    class Beside(trimesh.resolvers.FilePathResolver):
        missing: list[str] = []  # noqa: RUF012 - of the one that is made

        def get(self, name: str) -> bytes:
            wanted = printable(_MAP_OPTIONS.sub("", name.strip()).strip('"').replace("\\", "/"))
            place = Path(self.parent) / wanted
            if not place.is_file():
                near = (*Path(self.parent).glob("*/*"), *Path(self.parent).glob("*"))  # those beside count
                known = {file.name.lower(): file for file in near if file.is_file()}
                place = known.get(place.name.lower(), place)
            try:
                content: bytes = super().get(str(place.relative_to(self.parent)))
            except (OSError, ValueError):
                self.missing.append(wanted)
                raise
            return content

    return Beside(str(path))


def _part(mesh: Any, path: Path) -> Part | None:
    """One mesh as a part; None where it is see-through."""
    faces = np.asarray(mesh.faces, np.int64)
    vertices = np.asarray(mesh.vertices, np.float32)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError("triangles name vertices that are not there", where=path, remedy="Export it again.")
    visual = mesh.visual
    if visual.kind == "texture":
        return _textured(vertices, faces, visual, path)
    if visual.kind in ("vertex", "face"):
        colours = np.asarray(visual.vertex_colors)[:, :3].astype(np.uint8)
        return Part(vertices, faces, None, colours)
    return Part(vertices, faces, None, None)


def _textured(vertices: Array, faces: Array, visual: Any, path: Path) -> Part | None:
    """A part with a material: its texture, else its one colour."""
    material = visual.material
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    factor = getattr(material, "baseColorFactor", None)
    blended = getattr(material, "alphaMode", None) in ("BLEND", "MASK")
    uv = None if visual.uv is None else np.asarray(visual.uv, np.float64)
    if image is not None and uv is not None and len(uv) == len(vertices) and np.isfinite(uv).all():
        if max(image.size) > LARGEST_TEXTURE:
            what = f"the texture has {image.size[0]} x {image.size[1]} px"
            raise InputError(what, where=path, remedy=f"At most {LARGEST_TEXTURE} px a side.")
        try:
            if (
                blended
                and "A" in image.getbands()
                and np.asarray(image.getchannel("A")).mean() < 255 * _SEE_THROUGH
            ):
                return None
            texture = np.asarray(image.convert("RGB"), np.uint8)
        except Exception as error:  # a damaged picture inside a sound file  # noqa: BLE001
            _log.warning("a texture of %s cannot be read (%s)", path.name, " ".join(str(error).split())[:120])
            return Part(vertices, faces, None, None)
        outside = (uv < -1e-3) | (uv > 1 + 1e-3)
        uv = np.where(outside, uv - np.floor(uv), uv)
        return Part(vertices, faces, np.column_stack([uv[:, 0], 1 - uv[:, 1]]).astype(np.float32), texture)
    if blended and factor is not None and len(factor) > 3 and _share(factor)[3] < _SEE_THROUGH:
        return None
    colour = factor if factor is not None else getattr(material, "diffuse", None)
    if colour is None:
        return Part(vertices, faces, None, None)
    one = np.rint(_share(colour)[:3] * 255).astype(np.uint8)
    return Part(vertices, faces, None, np.broadcast_to(one, vertices.shape))


def _share(colour: Any) -> Array:
    """A colour as 0..1; trimesh keeps most as 0..255 integers."""
    values = np.asarray(colour)
    return values / 255.0 if values.dtype.kind in "ui" else np.clip(values.astype(np.float64), 0, 1)


def _is_varied(albedo: Array, parts: list[Part]) -> bool:
    """Whether a colour says something: a texture or vertex colours that differ, or parts of different colours."""
    if albedo.ndim == 3 or len(parts) == 1:
        return bool(np.ptp(albedo.reshape(-1, 3), axis=0).max() > 8)
    firsts = [p.albedo.reshape(-1, 3)[:1] for p in parts if p.albedo is not None]
    return bool(np.ptp(albedo, axis=0).max() > 8 or np.ptp(np.concatenate(firsts), axis=0).max() > 8)


def _merged(parts: list[Part]) -> list[Part]:
    """Parts with the same source of colour as one; all those without a texture have vertex colours afterwards."""
    groups: dict[Any, list[Part]] = {}
    for part in parts:
        textured = part.albedo is not None and part.albedo.ndim == 3
        groups.setdefault(_picture_key(part.albedo) if textured else None, []).append(part)
    return [_joined(group, textured=key is not None) for key, group in groups.items()]


def _picture_key(texture: Array | None) -> Any:
    import hashlib

    return None if texture is None else (texture.shape, hashlib.sha256(texture.tobytes()).digest())


def _joined(parts: list[Part], *, textured: bool) -> Part:
    starts = np.cumsum([0, *[len(part.vertices) for part in parts]])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    vertices = np.concatenate([part.vertices for part in parts])
    if textured:
        return Part(
            vertices, faces, np.concatenate([p.uv for p in parts if p.uv is not None]), parts[0].albedo
        )
    if all(part.albedo is None for part in parts):
        return Part(vertices, faces, None, None)
    grey = np.rint(np.array(CLAY) * 255).astype(np.uint8)
    colours = [np.broadcast_to(grey if p.albedo is None else p.albedo, p.vertices.shape) for p in parts]
    return Part(vertices, faces, None, np.concatenate(colours))
