"""Performance -> GLB: named morph targets, eyeballs that turn, head pose, camera and the baked animation.

Scene (metres, +Y up, world == camera space)::

    camera            perspective camera of the take, looking along -Z
    head              translation and rotation of the head, animated
    ├── face          one mesh, a primitive per part; morph targets named as the controls, weights animated
    ├── eye_L, eye_R  eyeballs: own nodes at the eye centres, rotation animated

A morph target moves vertices along straight lines and would shrink a turning eyeball, so eyeballs are nodes
and the ``gaze_*`` targets hold what gaze does to the lids. Neck and tongue rotations remain morphs: exact at
the ends of the control, and everywhere on the take through the residual targets (see
``omote.export.morphs``). Source: Khronos glTF 2.0; the targetNames convention that three.js, Blender, Godot,
Unity and Unreal read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from omote.errors import InputError
from omote.export import evaluate as ev
from omote.export import morphs as mo
from omote.export import rigid as rg
from omote.export.files import write_bytes
from omote.export.glb import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GlbBuilder, index_type

if TYPE_CHECKING:
    from omote.performance import Camera, Performance

log = logging.getLogger("omote.export")

EYE_PARTS = ("eye_L", "eye_R")
# part -> (linear RGB without a texture, roughness, double-sided)
MATERIALS: Mapping[str, tuple[tuple[float, float, float], float, bool]] = {
    "skin": ((0.62, 0.38, 0.29), 0.55, False),
    "eye_socket": ((0.45, 0.20, 0.17), 0.6, False),
    "mouth": ((0.30, 0.07, 0.07), 0.45, False),
    "teeth_upper": ((0.80, 0.76, 0.66), 0.25, True),
    "teeth_lower": ((0.80, 0.76, 0.66), 0.25, True),
    "tongue": ((0.50, 0.17, 0.17), 0.4, False),
    "lashes": ((0.02, 0.015, 0.01), 0.8, True),
    "eye_L": ((0.75, 0.72, 0.70), 0.1, False),
    "eye_R": ((0.75, 0.72, 0.70), 0.1, False),
}
_PLAIN = ((0.6, 0.6, 0.6), 0.6, False)


def write_glb(
    performance: Performance,
    path: str | Path,
    *,
    rig: Any = None,
    targets: Literal["facs", "arkit"] = "facs",
    eyes: Literal["nodes", "morphs"] = "nodes",
    albedo: Any = "rig",
    tolerance: float = 1e-4,
    max_residuals: int = 32,
    morph_normals: bool = True,
) -> list[Path]:
    """Write a GLB that replays the take in any glTF viewer.

    A take of one frame has no animation; its default weights show the captured expression.

    Args:
        performance: the take.
        path: the file to write.
        rig: None for the embedded head.
        targets: "facs" for the rig's own controls, "arkit" for the 52 ARKit shapes. ARKit merges or drops
            some controls; the replay then equals the rig driven by the 52 values.
        eyes: "nodes" turns the eyeballs as nodes; "morphs" leaves them in the face mesh.
        albedo: "rig" for the rig's own texture where it has one, None for plain colours, or uint8 (H, W, 3).
        tolerance: metres, largest distance between replay and rig over the take; residual targets provide it.
        max_residuals: at most this many residual targets; 0 for none (plain targets only).
        morph_normals: also write normal deltas, so that folds and closed lids catch the light as they should;
            False halves the file.

    Returns:
        The path written. What was achieved is in ``asset.extras.omote`` and in the log.

    Raises:
        InputError: bad option, or identity of another rig.
        OutputError: the file cannot be written.
    """
    if targets not in ("facs", "arkit"):
        raise InputError(f"unknown targets '{targets}'", where="targets", remedy="Use facs or arkit")
    if eyes not in ("nodes", "morphs"):
        raise InputError(f"unknown eyes '{eyes}'", where="eyes", remedy="Use nodes or morphs")
    rig = ev.default_rig() if rig is None else rig
    take = performance.with_space(_space(rig, targets))
    evaluate = ev.rig_evaluator(rig, ev.identity_of(take, rig), take.space)
    values = np.asarray(take.controls, np.float32)
    probed = mo.probe(evaluate, take.space)
    faces, parts = ev.rig_array(rig, "faces"), ev.rig_array(rig, "face_part")
    balls = _eyeballs(rig, faces, parts, probed, take.space.names) if eyes == "nodes" else []
    watched = np.concatenate([np.zeros(0, np.int64), *(ball.vertices for ball in balls)])
    vertices = ev.TakeVertices(evaluate, values, watched)
    moving = np.isin(parts, [list(rig.part_names).index(ball.name) for ball in balls], invert=True)
    keep = np.unique(faces[moving])
    morphs = mo.build_morphs(
        evaluate,
        take.space,
        values,
        vertices,
        probed=probed,
        keep=keep,
        combinations=mo.combinations_of(rig, take.space),
        tolerance=tolerance,
        max_residuals=max_residuals,
    )
    motion = _eye_motion(vertices, balls)

    builder = GlbBuilder(f"omote {_version()}")
    scene = _Scene(builder, rig, faces, parts, probed.base, _texture(builder, rig, albedo))
    face = scene.face_node(morphs, keep, moving, morph_normals)
    eye_nodes = [scene.eye_node(ball, turn, place) for ball, (turn, place) in zip(balls, motion, strict=True)]
    rotation = rg.axis_angle_to_quaternion(np.asarray(take.head_rotation))
    translation = np.asarray(take.head_translation, np.float32)
    head = builder.add(
        "nodes",
        {
            "name": "head",
            "translation": _floats(translation[0]),
            "rotation": _floats(rotation[0]),
            "children": [face, *eye_nodes],
        },
    )
    camera = builder.add("nodes", _camera(builder, take.camera))
    builder.add("scenes", {"name": "take", "nodes": [camera, head]})
    builder.tree["scene"] = 0
    if len(values) > 1:
        tracks: list[tuple[int, str, np.ndarray]] = [
            (face, "weights", morphs.weights.reshape(-1)),
            (head, "rotation", rotation),
            (head, "translation", translation),
        ]
        for ball, node, (turn, place) in zip(balls, eye_nodes, motion, strict=True):
            tracks.append((node, "rotation", turn))
            if np.abs(place - ball.centre).max() > mo.LINEAR:
                tracks.append((node, "translation", place))
        _animate(builder, np.asarray(take.times, np.float64), tracks)
    builder.tree["asset"]["extras"] = {"omote": _report(take, rig, targets, morphs)}
    log.info(
        "%s: replay within %.4f mm of the rig (%.4f mm without its %d residual targets)",
        path,
        morphs.error * 1e3,
        morphs.linear_error * 1e3,
        morphs.residuals,
    )
    return [write_bytes(path, builder.to_bytes())]


class _Scene:
    """Writes the nodes that carry meshes."""

    def __init__(
        self,
        builder: GlbBuilder,
        rig: Any,
        faces: np.ndarray,
        parts: np.ndarray,
        base: np.ndarray,
        texture: int | None,
    ) -> None:
        self.builder, self.faces, self.parts, self.texture = builder, faces, parts, texture
        self.names = tuple(rig.part_names)
        self.uv = ev.rig_array(rig, "uv").astype(np.float32)
        self.weld = ev.rig_array(rig, "weld") if hasattr(rig, "weld") else np.arange(len(base))
        self.base = base
        self.bend = ev.Normals(base, faces, self.weld)
        self.normals = self.bend.rest

    def _primitive(self, part: str, origin: np.ndarray | None = None) -> tuple[dict[str, Any], np.ndarray]:
        used, corners = np.unique(self.faces[self.parts == self.names.index(part)], return_inverse=True)
        positions = self.base[used] if origin is None else (self.base[used] - origin).astype(np.float32)
        add = self.builder.accessor
        primitive = {
            "attributes": {
                "POSITION": add(positions, "positions", target=ARRAY_BUFFER, bounds=True),
                "NORMAL": add(self.normals[used], "normals", target=ARRAY_BUFFER),
                "TEXCOORD_0": add(self.uv[used], "uvs", target=ARRAY_BUFFER),
            },
            "indices": add(
                corners.reshape(-1),
                "indices",
                component=index_type(len(used)),
                target=ELEMENT_ARRAY_BUFFER,
            ),
            "material": self._material(part),
        }
        return primitive, used

    def _material(self, part: str) -> int:
        colour, roughness, double = MATERIALS.get(part, _PLAIN)
        surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": roughness}
        if self.texture is None:
            surface["baseColorFactor"] = [*colour, 1.0]
        else:
            surface["baseColorTexture"] = {"index": self.texture}
        item: dict[str, Any] = {"name": part, "pbrMetallicRoughness": surface}
        if double:
            item["doubleSided"] = True
        return self.builder.add("materials", item)

    def face_node(self, morphs: mo.MorphSet, keep: np.ndarray, moving: np.ndarray, with_normals: bool) -> int:
        """The mesh with morph targets; a primitive per part that has moving faces."""
        position = np.full(len(self.base), -1)
        position[keep] = np.arange(len(keep))
        bends = self._normal_deltas(morphs, keep) if with_normals else None
        primitives = []
        for index, part in enumerate(self.names):
            if not (moving & (self.parts == index)).any():
                continue
            primitive, used = self._primitive(part)
            rows = position[used]
            primitive["targets"] = []
            for k in range(len(morphs.names)):
                target = {"POSITION": self.builder.deltas(morphs.deltas[k, rows])}
                if bends is not None:
                    target["NORMAL"] = self.builder.deltas(bends[k][used], threshold=0.03)
                primitive["targets"].append(target)
            primitives.append(primitive)
        mesh = {
            "name": "face",
            "primitives": primitives,
            "weights": _floats(morphs.weights[0]),
            "extras": {"targetNames": list(morphs.names)},
        }
        return self.builder.add("nodes", {"name": "face", "mesh": self.builder.add("meshes", mesh)})

    def _normal_deltas(self, morphs: mo.MorphSet, keep: np.ndarray) -> list[np.ndarray]:
        out = []
        for delta, weights in zip(morphs.deltas, morphs.weights.T, strict=True):
            if not weights.any() and (delta != 0).any(axis=1).mean() > 0.8:
                out.append(np.zeros_like(self.base))  # head_*: large, and this take does not use it
                continue
            moved = np.zeros_like(self.base)
            moved[keep] = delta
            out.append(self.bend.change(moved))
        return out

    def eye_node(self, ball: rg.RigidPart, turn: np.ndarray, place: np.ndarray) -> int:
        """An eyeball at its centre, turned as in the first frame."""
        primitive, _ = self._primitive(ball.name, ball.centre)
        mesh = self.builder.add("meshes", {"name": ball.name, "primitives": [primitive]})
        item = {
            "name": ball.name,
            "mesh": mesh,
            "translation": _floats(place[0]),
            "rotation": _floats(turn[0]),
            "extras": {
                "gaze": "turn this node: yaw about y, pitch about x; the face's gaze targets move the lids"
            },
        }
        return self.builder.add("nodes", item)


def _space(rig: Any, targets: str) -> Any:
    from omote.controls import ARKIT52

    return ARKIT52 if targets == "arkit" else rig.space


def _eyeballs(
    rig: Any, faces: np.ndarray, parts: np.ndarray, probed: mo.Probe, names: tuple[str, ...]
) -> list[rg.RigidPart]:
    """The eyeballs, where every control moves them rigidly; their centres are what gaze leaves in place."""
    gaze = [i for i, name in enumerate(names) if name.startswith(("gaze_", "eyeLook"))]
    balls = []
    for name in EYE_PARTS:
        if name not in rig.part_names:
            continue
        used = np.unique(faces[parts == list(rig.part_names).index(name)])
        rest = probed.base[used]
        poses = np.concatenate([probed.high[:, used], probed.low[:, used]])
        rotations, translations, error = rg.fit_rigid(rest, poses)
        if error > rg.RIGID_TOLERANCE:
            log.info("%s deforms by %.4f mm: kept as morph targets", name, error * 1e3)
            continue
        looking = np.concatenate([np.asarray(gaze), np.asarray(gaze) + len(names)]).astype(int)
        middle = rest.mean(axis=0).astype(np.float64)
        centre = rg.fixed_point(rotations[looking], translations[looking], middle) if gaze else middle
        balls.append(rg.RigidPart(name, used, centre, rest - centre))
    return balls


def _eye_motion(vertices: ev.TakeVertices, balls: list[rg.RigidPart]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each eyeball quaternions (T, 4) xyzw and node translations (T, 3) metres."""
    turns: list[list[np.ndarray]] = [[] for _ in balls]
    places: list[list[np.ndarray]] = [[] for _ in balls]
    if balls:
        for block in ev.batches(len(vertices)):
            points = vertices.watched(block)
            start = 0
            for k, ball in enumerate(balls):
                end = start + len(ball.vertices)
                rotations, translations, _ = rg.fit_rigid(ball.rest, points[:, start:end])
                start = end
                turns[k].append(rotations)
                places[k].append(translations)
    return [
        (rg.matrix_to_quaternion(np.concatenate(turn)), np.concatenate(place))
        for turn, place in zip(turns, places, strict=True)
    ]


def _animate(builder: GlbBuilder, times: np.ndarray, tracks: list[tuple[int, str, np.ndarray]]) -> None:
    start = min(float(times[0]), 0.0)  # glTF times start at 0 or later
    seconds = (times - start).astype(np.float32)
    if (np.diff(seconds) <= 0).any():
        raise InputError("frame times are too close for 32-bit seconds", where="performance.times")
    clock = builder.accessor(seconds, "times", bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    for node, path, data in tracks:
        output = builder.accessor(np.asarray(data, np.float32), f"track_{path}")
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": clock, "output": output, "interpolation": "LINEAR"})
    builder.add("animations", {"name": "take", "channels": channels, "samplers": samplers})


def _camera(builder: GlbBuilder, camera: Camera) -> dict[str, Any]:
    width, height = (float(n) for n in camera.size)
    centre = np.asarray(camera.principal, np.float64)
    index = builder.add(
        "cameras",
        {
            "name": "camera",
            "type": "perspective",
            "perspective": {
                "yfov": 2.0 * math.atan(height / (2.0 * float(camera.focal))),
                "aspectRatio": width / height,
                "znear": 0.02,
                "zfar": 100.0,
            },
        },
    )
    extras = {
        "focal_px": float(camera.focal),
        "size_px": [int(width), int(height)],
        "principal_px": _floats(centre),
        "principal_shift_px": _floats(centre - np.array([width, height]) / 2),
        "note": "glTF cameras are centred: shift the picture by principal_shift_px to overlay the source",
    }
    return {"name": "camera", "camera": index, "extras": extras}


def _texture(builder: GlbBuilder, rig: Any, albedo: Any) -> int | None:
    """Embed the albedo as JPEG; the index of its texture."""
    pixels = ev.chosen_albedo(rig, albedo)
    if pixels is None:
        return None
    from PIL import Image

    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, subsampling=0)
    image = builder.add(
        "images", {"name": "albedo", "mimeType": "image/jpeg", "bufferView": builder.view(stream.getvalue())}
    )
    sampler = builder.add("samplers", {"magFilter": 9729, "minFilter": 9987})
    return builder.add("textures", {"source": image, "sampler": sampler})


def _report(take: Performance, rig: Any, targets: str, morphs: mo.MorphSet) -> dict[str, Any]:
    return {
        "rig": getattr(rig, "name", "facs"),
        "targets": targets,
        "control_space": take.space.name,
        "frames": len(take.times),
        "replay_error_m": morphs.error,
        "linear_error_m": morphs.linear_error,
        "residual_targets": morphs.residuals,
        "acts_only_with": morphs.gates,
        "multiplied_by": morphs.products,
        "head": "head node: rotation and translation in camera space; world == camera space",
        "source": {k: v for k, v in take.source.items() if isinstance(v, (str, int, float, bool))},
    }


def _floats(values: Any) -> list[float]:
    return [float(x) for x in values]


def _version() -> str:
    from omote import __version__

    return __version__
