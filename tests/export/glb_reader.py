"""An independent reader: pygltflib for the file, numpy for morph targets, nodes and animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
from scipy.spatial.transform import Rotation, Slerp

_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class GlbReader:
    """Evaluates a GLB at a time: world vertices of every part, as any viewer would."""

    def __init__(self, path: Path) -> None:
        self.gltf = pygltflib.GLTF2().load_binary(str(path))
        self.blob = self.gltf.binary_blob()
        self.nodes = {node.name: i for i, node in enumerate(self.gltf.nodes)}

    def _raw(self, view: int, offset: int, dtype: Any, count: int, width: int) -> np.ndarray:
        start = (self.gltf.bufferViews[view].byteOffset or 0) + (offset or 0)
        return np.frombuffer(self.blob, dtype, count * width, start).reshape(count, width)

    def accessor(self, index: int) -> np.ndarray:
        item = self.gltf.accessors[index]
        dtype, width = _TYPES[item.componentType], _WIDTH[item.type]
        if item.bufferView is None:
            out = np.zeros((item.count, width), dtype)
        else:
            out = self._raw(item.bufferView, item.byteOffset, dtype, item.count, width).copy()
        if item.sparse is not None:
            part = item.sparse
            kind = _TYPES[part.indices.componentType]
            rows = self._raw(part.indices.bufferView, part.indices.byteOffset, kind, part.count, 1)[:, 0]
            out[rows] = self._raw(part.values.bufferView, part.values.byteOffset, dtype, part.count, width)
        return out

    def track(self, node: str, path: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Times (T,) and values (T, ...) of a channel."""
        for animation in self.gltf.animations:
            for channel in animation.channels:
                if channel.target.node == self.nodes[node] and channel.target.path == path:
                    sampler = animation.samplers[channel.sampler]
                    times = self.accessor(sampler.input)[:, 0]
                    return times, self.accessor(sampler.output).reshape(len(times), -1)
        return None

    def value(self, node: str, path: str, time: float, rest: Any) -> np.ndarray:
        found = self.track(node, path)
        if found is None:
            return np.asarray(rest, np.float64)
        times, values = found
        k = int(np.clip(np.searchsorted(times, time, "right") - 1, 0, len(times) - 2))
        share = np.clip((time - times[k]) / (times[k + 1] - times[k]), 0, 1)
        if path == "rotation":  # the format asks for spherical interpolation
            ends = Rotation.from_quat(values[k : k + 2])
            return Slerp([0, 1], ends)(share).as_quat()
        return values[k] * (1 - share) + values[k + 1] * share

    def weights(self, time: float) -> dict[str, float]:
        mesh = self.gltf.meshes[self.gltf.nodes[self.nodes["face"]].mesh]
        values = self.value("face", "weights", time, mesh.weights)
        return dict(zip(mesh.extras["targetNames"], values, strict=True))

    def local(self, node: str, time: float, points: np.ndarray) -> np.ndarray:
        item = self.gltf.nodes[self.nodes[node]]
        x, y, z, w = self.value(node, "rotation", time, item.rotation or [0, 0, 0, 1])
        move = self.value(node, "translation", time, item.translation or [0, 0, 0])
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return points @ turn.T + move

    def parts(self, time: float, *, world: bool = True) -> dict[str, np.ndarray]:
        """Material name -> vertices (n, 3) in the order of the file."""
        out = {}
        for name in ("face", "eye_L", "eye_R"):
            if name not in self.nodes:
                continue
            mesh = self.gltf.meshes[self.gltf.nodes[self.nodes[name]].mesh]
            weights = list(self.weights(time).values()) if name == "face" else []
            for primitive in mesh.primitives:
                points = self.accessor(primitive.attributes.POSITION).astype(np.float64)
                for weight, target in zip(weights, primitive.targets or [], strict=True):
                    if weight:
                        points = points + weight * self.accessor(target["POSITION"])
                points = self.local(name, time, points)
                material = self.gltf.materials[primitive.material].name
                out[material] = self.local("head", time, points) if world else points
        return out
