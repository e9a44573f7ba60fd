"""A take in a rig's own controls, written for that rig: its own GLB with an animation, or the weights as JSON."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import FormatError, InputError
from omote.export.files import write_bytes, write_text

if TYPE_CHECKING:
    from omote.performance import Performance
    from omote.rigs.blendshapes import BlendshapeRig

ANIMATION = "omote take"
_FLOAT = 5126


def write_rig_take(take: Performance, rig: BlendshapeRig, source: Path, target: Path) -> list[Path]:
    """Write a take for a rig.

    Args:
        take: in the controls of ``rig``.
        rig: the rig, read from ``source``.
        source: its file.
        target: .glb (``source`` must be a .glb or .vrm: its copy with one more animation, everything else as it was),
            .omote, or .json (times and one list of weights for each shape, combination shapes included).

    Returns:
        The path written.

    Raises:
        InputError: another kind of target, or of source for a .glb.
        FormatError: the source cannot be read.
        OutputError: the target cannot be written.
    """
    kind = target.suffix.lower()
    if kind == ".omote":
        take.save(target)
        return [target]
    if kind not in (".glb", ".json"):
        raise InputError(
            f"takes on a rig are not written as '{kind}'", where=target, remedy="Use .glb, .omote or .json."
        )
    weights = shape_weights(take, rig)
    times = np.asarray(take.times - take.times[0], np.float32)
    if kind == ".json":
        document = {
            "rig": rig.name,
            "times": [round(float(t), 6) for t in times],
            "weights": {
                name: [round(float(w), 6) for w in weights[:, index]]
                for index, name in enumerate(rig.shape_names)
            },
        }
        return [write_text(target, json.dumps(document, ensure_ascii=False, indent=1) + "\n")]
    if source.suffix.lower() not in (".glb", ".vrm"):
        what = f"only a .glb can be copied with an animation, not '{source.suffix or source.name}'"
        raise InputError(what, where=source, remedy="Write the take as .json or .omote.")
    return [write_bytes(target, animated_glb(source, rig.shape_names, weights, times))]


def shape_weights(take: Performance, rig: BlendshapeRig) -> np.ndarray:
    """(T, S) float32 weight of each shape of the rig, combination shapes included.

    Raises:
        InputError: the take is in another space.
    """
    import torch

    if take.space.names != rig.space.names:
        what = f"the take is in {take.space.name}, not in the controls of {rig.name}"
        raise InputError(what, where="take", remedy="Map it first: NameMapping.take_to_rig.")
    controls = torch.from_numpy(np.array(take.controls, np.float32))
    with torch.no_grad():
        return np.asarray(rig.activate(controls).numpy(), np.float32)


def animated_glb(source: Path, names: tuple[str, ...], weights: np.ndarray, times: np.ndarray) -> bytes:
    """A GLB with one more animation: weights (T, S) of the shapes ``names`` at times (T,) seconds.

    Raises:
        FormatError: the source is no GLB, or has no targets of these names.
    """
    from omote.rigs.gltf_data import GltfFile
    from omote.rigs.load_gltf import mesh_target_names

    file = GltfFile(source)
    tree: dict[str, Any] = json.loads(json.dumps(file.tree))
    binary = bytearray(file.buffer(0)) if tree.get("buffers") else bytearray()
    columns = {name: index for index, name in enumerate(names)}

    def accessor(data: np.ndarray, kind: str, **bounds: list[float]) -> int:
        binary.extend(bytes(-len(binary) % 4))
        view = {"buffer": 0, "byteOffset": len(binary), "byteLength": data.nbytes}
        binary.extend(np.ascontiguousarray(data, "<f4").tobytes())
        tree.setdefault("bufferViews", []).append(view)
        item = {
            "bufferView": len(tree["bufferViews"]) - 1,
            "componentType": _FLOAT,
            "count": data.size,
            "type": kind,
        }
        tree.setdefault("accessors", []).append({**item, **bounds})
        return len(tree["accessors"]) - 1

    clock = accessor(times, "SCALAR", min=[float(times[0])], max=[float(times[-1])])
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    tracks: dict[int, int] = {}
    for index, node in enumerate(file.items("nodes")):
        if "mesh" not in node:
            continue
        mesh = int(node["mesh"])
        own = mesh_target_names(file, file.item("meshes", mesh))
        if not any(name in columns for name in own):
            continue
        if mesh not in tracks:
            values = np.zeros((len(times), len(own)), np.float32)
            for place, name in enumerate(own):
                if name in columns:
                    values[:, place] = weights[:, columns[name]]
            samplers.append({"input": clock, "output": accessor(values, "SCALAR"), "interpolation": "LINEAR"})
            tracks[mesh] = len(samplers) - 1
        channels.append({"sampler": tracks[mesh], "target": {"node": index, "path": "weights"}})
    if not channels:
        raise FormatError("none of its meshes has targets of these names", where=source)
    tree.setdefault("animations", []).append({"name": ANIMATION, "channels": channels, "samplers": samplers})
    buffers = tree.setdefault("buffers", [{}])
    buffers[0] = {**{k: v for k, v in buffers[0].items() if k != "uri"}, "byteLength": len(binary)}
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary.extend(bytes(-len(binary) % 4))
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + bytes(binary)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
