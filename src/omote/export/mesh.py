"""Single frames or sequences as OBJ (with material and texture) and as binary PLY.

Metres. ``pose=False`` gives the head in head space (+y up, face towards +z), ``pose=True`` the head where the
camera saw it. A sequence is numbered by frame: ``take.000042.obj``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import InputError
from omote.export import evaluate as ev
from omote.export.files import write_bytes, write_text
from omote.export.gltf import MATERIALS

if TYPE_CHECKING:
    from omote.performance import Performance

Frames = int | str | slice | Sequence[int] | None


def select_frames(frames: Frames, count: int) -> list[int]:
    """Frame numbers of a selection.

    Args:
        frames: None for the first; "all"; a number (negative from the end); "a:b" or a slice; numbers.
        count: frames of the take.

    Raises:
        InputError: not such a selection, or outside the take.
    """
    if frames is None:
        return [0]
    try:
        if isinstance(frames, str):
            if frames == "all":
                return list(range(count))
            if ":" in frames:
                frames = slice(*(int(part) if part else None for part in frames.split(":")))
            else:
                frames = [int(part) for part in frames.split(",")]
        if isinstance(frames, slice):
            chosen = list(range(*frames.indices(count)))
        else:
            numbers: Sequence[int] = [frames] if isinstance(frames, int) else frames
            chosen = [operator.index(i) for i in numbers]
    except (ValueError, TypeError):
        raise InputError(
            f"'{frames}' does not select frames", where="frames", remedy="Use 12, all, 10:20 or 3,5,8"
        ) from None
    if not chosen or min(chosen) < -count or max(chosen) >= count:
        raise InputError(f"'{frames}' is outside the take's {count} frames", where="frames")
    return [i % count for i in chosen]


def write_obj(
    performance: Performance,
    path: str | Path,
    *,
    rig: Any = None,
    frames: Frames = None,
    pose: bool = False,
    albedo: Any = "rig",
) -> list[Path]:
    """Write OBJ files (normals, texture coordinates, a group per part), one .mtl and the texture as PNG.

    Args:
        performance: the take.
        path: the file; of a sequence, what the numbered files are called after.
        rig: None for the embedded head.
        frames: see :func:`select_frames`.
        pose: place the head as the camera saw it.
        albedo: "rig" for the rig's own texture where it has one, None for plain colours, or uint8 (H, W, 3).

    Returns:
        All files written, the OBJ files first.
    """
    rig = ev.default_rig() if rig is None else rig
    path = Path(path)
    library = path.with_suffix(".mtl")
    faces, parts, uv = (ev.rig_array(rig, name) for name in ("faces", "face_part", "uv"))
    names = list(rig.part_names)
    tail = [*(f"vt {u:.6f} {v:.6f}" for u, v in np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1))]
    ends: list[str] = []
    for index, part in enumerate(names):
        ends += [f"g {part}", f"usemtl {part}"]
        ends += [f"f {a}/{a}/{a} {b}/{b}/{b} {c}/{c}/{c}" for a, b, c in faces[parts == index] + 1]
    written = []
    for target, vertices in _meshes(performance, path, rig, frames, pose):
        normals = ev.Normals(vertices, faces, _weld(rig, len(vertices))).rest
        lines = ["# omote: metres, +y up, face towards +z", f"mtllib {library.name}", "o face"]
        lines += [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices]
        lines += tail
        lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in normals]
        written.append(write_text(target, "\n".join([*lines, *ends]) + "\n"))
    return [*written, *_write_material(ev.chosen_albedo(rig, albedo), library, names)]


def write_ply(
    performance: Performance, path: str | Path, *, rig: Any = None, frames: Frames = None, pose: bool = False
) -> list[Path]:
    """Write binary PLY files with normals and texture coordinates (s, t); arguments as `write_obj`, no texture."""
    rig = ev.default_rig() if rig is None else rig
    faces, uv = ev.rig_array(rig, "faces"), ev.rig_array(rig, "uv")
    columns = ("x", "y", "z", "nx", "ny", "nz", "s", "t")
    corners = np.empty(len(faces), np.dtype([("n", "u1"), ("i", "<i4", 3)]))
    corners["n"], corners["i"] = 3, faces
    written = []
    for target, vertices in _meshes(performance, Path(path), rig, frames, pose):
        normals = ev.Normals(vertices, faces, _weld(rig, len(vertices))).rest
        table = np.concatenate([vertices, normals, uv[:, :1], 1.0 - uv[:, 1:]], axis=1).astype("<f4")
        head = [
            "ply",
            "format binary_little_endian 1.0",
            "comment omote: metres, +y up, face towards +z",
            f"element vertex {len(vertices)}",
            *(f"property float {name}" for name in columns),
            f"element face {len(faces)}",
            "property list uchar int vertex_indices",
            "end_header\n",
        ]
        written.append(write_bytes(target, "\n".join(head).encode() + table.tobytes() + corners.tobytes()))
    return written


def _weld(rig: Any, count: int) -> np.ndarray:
    return ev.rig_array(rig, "weld") if hasattr(rig, "weld") else np.arange(count)


def _meshes(
    performance: Performance, path: Path, rig: Any, frames: Frames, pose: bool
) -> Iterator[tuple[Path, np.ndarray]]:
    """Pairs of the file to write and the (V, 3) vertices of a frame."""
    from scipy.spatial.transform import Rotation

    take = performance.with_space(rig.space)
    evaluate = ev.rig_evaluator(rig, ev.identity_of(take, rig), rig.space)
    chosen = select_frames(frames, len(take.times))
    values = np.asarray(take.controls)
    for block in ev.batches(len(chosen)):
        for frame, vertices in zip(chosen[block], evaluate(values[chosen[block]]), strict=True):
            if pose:
                turn = Rotation.from_rotvec(np.asarray(take.head_rotation[frame], np.float64)).as_matrix()
                vertices = (vertices @ turn.T + take.head_translation[frame]).astype(np.float32)
            single = len(chosen) == 1
            yield (path if single else path.with_name(f"{path.stem}.{frame:06d}{path.suffix}")), vertices


def _write_material(pixels: np.ndarray | None, library: Path, names: list[str]) -> list[Path]:
    out = []
    texture = library.with_name(f"{library.stem}.albedo.png")
    if pixels is not None:
        from PIL import Image

        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", optimize=True)
        out.append(write_bytes(texture, stream.getvalue()))
    lines = []
    for name in names:
        colour = (
            (1.0, 1.0, 1.0) if pixels is not None else MATERIALS.get(name, ((0.6, 0.6, 0.6), 0.6, False))[0]
        )
        lines += [f"newmtl {name}", "Kd {:.3f} {:.3f} {:.3f}".format(*colour), "Ks 0.1 0.1 0.1", "illum 2"]
        lines += [f"map_Kd {texture.name}"] if pixels is not None else []
    return [write_text(library, "\n".join(lines) + "\n"), *out]
