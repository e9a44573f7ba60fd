"""The binary glTF container: accessors (dense, sparse, zero), buffer views and the two-chunk GLB file.

Knows nothing about faces. Source: Khronos glTF 2.0 specification, sections 3.6 (accessors) and 4 (GLB).
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

FLOAT, U8, U16, U32 = 5126, 5121, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
_KINDS = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4"}
_DTYPES = {FLOAT: np.float32, U8: np.uint8, U16: np.uint16, U32: np.uint32}


def index_type(count: int) -> int:
    """Smallest component type that indexes ``count`` vertices (the largest value is reserved)."""
    return U16 if count <= 65535 else U32


class GlbBuilder:
    """Collects glTF objects and their binary data, then writes one GLB.

    ``tree`` is the glTF JSON object; lists are appended to with :meth:`add`, which returns the new index.
    """

    def __init__(self, generator: str) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0", "generator": generator}}
        self._views: list[tuple[dict[str, Any], bytearray]] = []
        self._pools: dict[str, int] = {}
        self._zeros: dict[int, int] = {}

    def add(self, kind: str, item: dict[str, Any]) -> int:
        """Append ``item`` to the top-level list ``kind`` and return its index."""
        items = self.tree.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def view(self, data: bytes, target: int | None = None) -> int:
        """A buffer view of its own for ``data``; returns its index."""
        head = {"target": target} if target is not None else {}
        self._views.append((head, bytearray(data)))
        return len(self._views) - 1

    def _pool(
        self, name: str, data: bytes, target: int | None = None, stride: int | None = None
    ) -> tuple[int, int]:
        """Append to the shared view ``name``, 4-byte aligned; returns (view, byte offset)."""
        if name not in self._pools:
            self._pools[name] = self.view(b"", target)
            if stride is not None:
                self._views[self._pools[name]][0]["byteStride"] = stride
        view = self._pools[name]
        store = self._views[view][1]
        store.extend(bytes(-len(store) % 4))
        offset = len(store)
        store.extend(data)
        return view, offset

    def accessor(
        self,
        array: np.ndarray,
        pool: str,
        *,
        component: int = FLOAT,
        target: int | None = None,
        bounds: bool = False,
    ) -> int:
        """A dense accessor.

        Args:
            array: (N,) or (N, 2..4); converted to the component type.
            pool: name of the buffer view that holds all accessors of this kind.
            component: glTF component type.
            target: ARRAY_BUFFER for vertex attributes, ELEMENT_ARRAY_BUFFER for indices.
            bounds: write ``min`` and ``max`` (required for POSITION and animation input).
        """
        data = np.ascontiguousarray(array, dtype=_DTYPES[component])
        stride = data.strides[0] if target == ARRAY_BUFFER else None
        view, offset = self._pool(pool, data.tobytes(), target, stride)
        item: dict[str, Any] = {
            "bufferView": view,
            "byteOffset": offset,
            "componentType": component,
            "count": len(data),
            "type": _KINDS[data.shape[1:]],
        }
        if bounds:
            item.update(_bounds(data))
        return self.add("accessors", _compact(item))

    def deltas(self, delta: np.ndarray, *, threshold: float = 0.0) -> int:
        """A VEC3 accessor for a morph delta: sparse where that is smaller, shared zeros where nothing moves.

        Args:
            delta: (N, 3) float32.
            threshold: vertices whose largest component is at or below it are left out.
        """
        data = np.ascontiguousarray(delta, dtype=np.float32)
        moved = np.flatnonzero(np.abs(data).max(axis=1) > threshold)
        if not len(moved):
            return self.zeros(len(data))
        component = index_type(len(data))
        if len(moved) * (12 + np.dtype(_DTYPES[component]).itemsize) >= data.nbytes:
            return self.accessor(data, "morphs", target=ARRAY_BUFFER, bounds=True)
        indices, values = moved.astype(_DTYPES[component]), data[moved]
        index_view, index_offset = self._pool("sparse_indices", indices.tobytes())
        value_view, value_offset = self._pool("sparse_values", values.tobytes())
        item = {
            "componentType": FLOAT,
            "count": len(data),
            "type": "VEC3",
            **_bounds(np.concatenate([values, np.zeros((1, 3), np.float32)])),
            "sparse": {
                "count": len(moved),
                "indices": _compact(
                    {"bufferView": index_view, "byteOffset": index_offset, "componentType": component}
                ),
                "values": _compact({"bufferView": value_view, "byteOffset": value_offset}),
            },
        }
        return self.add("accessors", item)

    def zeros(self, count: int) -> int:
        """A VEC3 accessor without data: the format defines it as all zeros. Shared per count."""
        if count not in self._zeros:
            item = {
                "componentType": FLOAT,
                "count": count,
                "type": "VEC3",
                "min": [0.0, 0.0, 0.0],
                "max": [0.0, 0.0, 0.0],
            }
            self._zeros[count] = self.add("accessors", item)
        return self._zeros[count]

    def to_bytes(self) -> bytes:
        """The GLB: 12-byte header, JSON chunk padded with spaces, BIN chunk padded with zeros."""
        binary = bytearray()
        views = []
        for head, data in self._views:
            binary.extend(bytes(-len(binary) % 4))
            views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data), **head})
            binary.extend(data)
        byte_length = len(binary)
        binary.extend(bytes(-len(binary) % 4))
        tree = dict(self.tree)
        if views:
            tree["bufferViews"] = [_compact(view) for view in views]
            tree["buffers"] = [{"byteLength": byte_length}]
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
        if views:
            chunks += struct.pack("<II", len(binary), 0x004E4942) + bytes(binary)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _bounds(data: np.ndarray) -> dict[str, list[float]]:
    """Smallest and largest per component, as the shortest numbers that are the same in 32 bits."""
    flat = data.reshape(len(data), -1)
    ends = {"min": flat.min(axis=0), "max": flat.max(axis=0)}
    return {name: [float(str(x)) for x in values] for name, values in ends.items()}


def _compact(item: dict[str, Any]) -> dict[str, Any]:
    """Leave out a zero byteOffset, which is the default."""
    return {key: value for key, value in item.items() if not (key == "byteOffset" and value == 0)}
