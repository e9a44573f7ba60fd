"""The data of a glTF or GLB file from anywhere: its JSON, its buffers, and accessors as arrays.

Source: Khronos glTF 2.0, sections 3.6 (accessors, sparse, normalised integers) and 4 (GLB); KHR_mesh_quantization.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from omote.errors import FormatError, InputError

Array = npt.NDArray[Any]

MAX_BYTES = 2 << 30
MAX_JSON = 256 << 20
MAX_NUMBERS = 1 << 28
_DTYPES = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_READ = {
    "KHR_mesh_quantization",
    "KHR_materials_unlit",
    "KHR_texture_transform",
    "KHR_texture_basisu",
    "EXT_texture_webp",
    "KHR_materials_emissive_strength",
    "KHR_lights_punctual",
    "VRM",
    "VRMC_vrm",
    "VRMC_materials_mtoon",
    "VRMC_springBone",
    "VRMC_node_constraint",
}
"""Extensions that a file may require without changing what is read here: names, positions and shapes."""
_COMPRESSED = {
    "KHR_draco_mesh_compression": "Draco",
    "EXT_meshopt_compression": "meshopt",
    "KHR_meshopt_compression": "meshopt",
}


def refuse_compressed(extensions: Any, path: Path) -> None:
    """Say that what has such extensions is not read.

    Raises:
        FormatError: one of them compresses meshes.
    """
    for name, what in _COMPRESSED.items():
        if isinstance(extensions, list | dict) and name in extensions:
            remedy = "Decompress it first, e.g. npx @gltf-transform/cli copy in.glb out.glb"
            raise FormatError(f"its meshes are compressed with {what}", where=path, remedy=remedy)


class GltfFile:
    """A glTF 2.0 file in memory.

    Attributes:
        path: where it is.
        tree: its JSON object.

    Raises:
        InputError: unreadable or too large.
        FormatError: not glTF 2.0, damaged, or compressed in a way that is not read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = self._read(path)
        self._chunk: bytes | None = None
        text = data
        if data[:4] == b"glTF":
            text, self._chunk = self._split(data)
        if len(text) > MAX_JSON:
            raise FormatError("its JSON is larger than 256 MiB", where=path)
        try:
            self.tree: dict[str, Any] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"this is not glTF ({error})", where=path) from None
        version = self.tree.get("asset", {}).get("version") if isinstance(self.tree, dict) else None
        if not str(version).startswith("2."):
            remedy = "Export it again as glTF 2.0."
            raise FormatError(f"glTF version {version}, expected 2.0", where=path, remedy=remedy)
        required = self.tree.get("extensionsRequired", [])
        refuse_compressed(required, path)
        unknown = sorted(set(map(str, required)) - _READ)
        if unknown:
            raise FormatError(f"needs {', '.join(unknown)}, which is not read", where=path)
        self._buffers: dict[int, bytes] = {}

    def _read(self, path: Path) -> bytes:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InputError("the file is larger than 2 GiB", where=path)
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror or error})", where=path) from error

    def _split(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The JSON chunk and the binary chunk of a GLB."""
        if len(data) < 20:
            raise FormatError("the file is cut short", where=self.path)
        version, length = struct.unpack_from("<II", data, 4)
        if version != 2:
            raise FormatError(f"GLB version {version}, expected 2", where=self.path)
        if length > len(data):
            raise FormatError(f"the file is cut short: {len(data)} of {length} bytes", where=self.path)
        chunks: dict[int, bytes] = {}
        at = 12
        while at + 8 <= length:
            size, kind = struct.unpack_from("<II", data, at)
            if at + 8 + size > length:
                raise FormatError("a chunk reaches past the end of the file", where=self.path)
            chunks.setdefault(kind, data[at + 8 : at + 8 + size])
            at += 8 + size + -size % 4
        if 0x4E4F534A not in chunks:
            raise FormatError("this GLB holds no JSON", where=self.path)
        return chunks[0x4E4F534A], chunks.get(0x004E4942)

    def items(self, kind: str) -> list[dict[str, Any]]:
        """The top-level list ``kind``; empty where there is none."""
        found = self.tree.get(kind, [])
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise FormatError(f"'{kind}' is no list of objects", where=self.path)
        return found

    def item(self, kind: str, index: Any) -> dict[str, Any]:
        """One of ``items(kind)``.

        Raises:
            FormatError: the index is outside.
        """
        items = self.items(kind)
        if not isinstance(index, int) or not 0 <= index < len(items):
            raise FormatError(f"there is no {kind}[{index}]", where=self.path)
        return items[index]

    def accessor(self, index: Any) -> Array:
        """(N,) or (N, 2..16) of an accessor: float32 where it holds floats or normalised integers, else integers.

        Raises:
            FormatError: it points outside the data, or is of an unknown type.
        """
        item = self.item("accessors", index)
        kind, component = item.get("type"), item.get("componentType")
        count = item.get("count")
        known = kind in _WIDTHS and component in _DTYPES
        if not known or not isinstance(count, int) or count < 1 or count * _WIDTHS[str(kind)] > MAX_NUMBERS:
            raise FormatError(
                f"accessor {index} has type {kind}, {component}, {count} entries", where=self.path
            )
        width, dtype = _WIDTHS[str(kind)], np.dtype(_DTYPES[int(str(component))])
        if "bufferView" in item:
            data = self._strided(item["bufferView"], item.get("byteOffset", 0), count, width, dtype)
        else:
            data = np.zeros((count, width), dtype)
        if "sparse" in item:
            data = self._overlaid(data.copy(), item["sparse"], index)
        if item.get("normalized") and dtype.kind in "iu":  # 3.6.2.2: c / max, at least -1 for signed
            data = np.maximum(data.astype(np.float32) / np.iinfo(dtype.name).max, -1.0).astype(np.float32)
        return data[:, 0] if width == 1 else data

    def _overlaid(self, data: Array, sparse: Any, index: Any) -> Array:
        count = sparse.get("count") if isinstance(sparse, Mapping) else None
        if not isinstance(count, int) or not 1 <= count <= len(data):
            raise FormatError(f"accessor {index} has a malformed sparse part", where=self.path)
        where, values = sparse.get("indices", {}), sparse.get("values", {})
        kind = _DTYPES.get(where.get("componentType"), "f4")
        if kind[0] != "u":
            raise FormatError(f"accessor {index} has sparse indices that are no integers", where=self.path)
        at = self._strided(where.get("bufferView"), where.get("byteOffset", 0), count, 1, np.dtype(kind))[
            :, 0
        ]
        new = self._strided(
            values.get("bufferView"), values.get("byteOffset", 0), count, data.shape[1], data.dtype
        )
        if int(at.max()) >= len(data):
            raise FormatError(f"accessor {index} has sparse indices outside of it", where=self.path)
        data[at.astype(np.int64)] = new
        return data

    def _strided(self, view: Any, offset: Any, count: int, width: int, dtype: np.dtype[Any]) -> Array:
        """(count, width) of a buffer view."""
        item = self.item("bufferViews", view)
        buffer = self.buffer(item.get("buffer"))
        numbers = (item.get("byteOffset", 0), item.get("byteLength"), item.get("byteStride", 0), offset)
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise FormatError(f"bufferView {view} is malformed", where=self.path)
        start, length, stride, inside = numbers
        wide = width * dtype.itemsize
        stride = stride or wide
        end = inside + stride * (count - 1) + wide
        if end > length or start + end > len(buffer):
            raise FormatError(f"bufferView {view} is too short for what points to it", where=self.path)
        raw = np.frombuffer(buffer, np.uint8, end - inside, start + inside)
        rows = np.lib.stride_tricks.as_strided(raw, (count, wide), (stride, 1), writeable=False)
        return np.ascontiguousarray(rows).view(dtype.newbyteorder("<")).astype(dtype, copy=False)

    def buffer(self, index: Any) -> bytes:
        """The bytes of a buffer: the GLB's own, a data URI, or a file in the folder of the file or below it.

        Raises:
            FormatError: it lies elsewhere, is missing, or is shorter than it says.
        """
        item = self.item("buffers", index)
        if index not in self._buffers:
            uri = item.get("uri")
            if uri is None:
                data = self._chunk if index == 0 else None
                if data is None:
                    raise FormatError(f"buffer {index} has no data", where=self.path)
            else:
                data = self.fetch(str(uri))
            if len(data) < item.get("byteLength", 0):
                raise FormatError(f"buffer {index} is shorter than it says", where=self.path)
            self._buffers[index] = data
        return self._buffers[index]

    def view_bytes(self, index: Any) -> bytes:
        """The bytes of a buffer view.

        Raises:
            FormatError: it reaches past its buffer.
        """
        item = self.item("bufferViews", index)
        start, length = item.get("byteOffset", 0), item.get("byteLength")
        data = self.buffer(item.get("buffer"))
        whole = (
            isinstance(start, int) and isinstance(length, int) and 0 <= start <= start + length <= len(data)
        )
        if not whole:
            raise FormatError(f"bufferView {index} is malformed", where=self.path)
        return data[start : start + length]

    def fetch(self, uri: str) -> bytes:
        """What a URI holds: a data URI, or a file in the folder of this file or below it.

        Raises:
            FormatError: it is damaged, lies elsewhere, or is missing.
        """
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            try:
                return (
                    base64.b64decode(body, validate=True)
                    if head.endswith(";base64")
                    else unquote(body).encode()
                )
            except (binascii.Error, ValueError) as error:
                raise FormatError(f"a data URI is damaged ({error})", where=self.path) from None
        shown = uri if len(uri) < 80 else f"{uri[:77]}..."
        folder = self.path.parent.resolve()
        target = (folder / unquote(uri)).resolve()
        if "://" in uri or "\0" in unquote(uri) or not target.is_relative_to(folder):
            remedy = "Only files in its own folder are read."
            raise FormatError(
                f"its data lies outside of its folder ({shown})", where=self.path, remedy=remedy
            )
        if not target.is_file():
            raise FormatError(f"its data file {shown} is missing", where=self.path)
        return self._read(target)
