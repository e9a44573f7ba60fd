"""Colours of a glTF file's surface, brought to its vertices: textures, vertex colours and plain materials.

Source: Khronos glTF 2.0, sections 3.9.2 (base colour: factor times texture times vertex colour, in linear light) and
3.8.4 (wrapping).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import OmoteError
from omote.rigs.gltf_data import GltfFile

Array = npt.NDArray[Any]

_MIRRORED, _CLAMPED = 33648, 33071


class Surfaces:
    """Reads base colours; each image of the file is opened once.

    Attributes:
        notes: images that are not read, such as KTX2.
    """

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.notes: list[str] = []
        self._images: dict[int, Array | None] = {}

    def colours(self, primitive: dict[str, Any], count: int) -> tuple[Array, bool]:
        """(N, 3) uint8 sRGB of a primitive's vertices, and whether the file says any but white."""
        attributes = primitive["attributes"]
        material = self.file.item("materials", primitive["material"]) if "material" in primitive else {}
        surface = material.get("pbrMetallicRoughness", {})
        factor = np.asarray(surface.get("baseColorFactor", [1.0, 1.0, 1.0, 1.0])[:3], np.float64)
        linear = np.broadcast_to(factor, (count, 3))
        if "COLOR_0" in attributes:
            own = self.file.accessor(attributes["COLOR_0"])[:, :3]
            linear = linear * (own if own.dtype.kind == "f" else own / np.iinfo(own.dtype).max)
        texture = surface.get("baseColorTexture")
        known = bool((linear < 0.999).any())
        if texture is not None:
            picture = self._texture(texture, attributes, count)
            if picture is not None:
                linear, known = linear * picture, True
        low = np.clip(np.nan_to_num(linear), 0, 1)
        srgb = np.where(low <= 0.0031308, 12.92 * low, 1.055 * low ** (1 / 2.4) - 0.055)
        return np.round(np.clip(srgb, 0, 1) * 255).astype(np.uint8), known

    def _texture(self, texture: dict[str, Any], attributes: dict[str, Any], count: int) -> Array | None:
        """(N, 3) linear colours of a texture at the vertices, bilinear; None where it cannot be read."""
        item = self.file.item("textures", texture.get("index"))
        coordinates = attributes.get(f"TEXCOORD_{int(texture.get('texCoord', 0))}")
        if coordinates is None or "source" not in item:
            return None
        pixels = self._image(item["source"])
        uv = self.file.accessor(coordinates).astype(np.float64)
        if pixels is None or uv.shape[0] != count or uv.ndim != 2:
            return None
        moved = texture.get("extensions", {}).get("KHR_texture_transform", {})
        uv = uv[:, :2] * np.asarray(moved.get("scale", (1, 1))) + np.asarray(moved.get("offset", (0, 0)))
        sampler = self.file.item("samplers", item["sampler"]) if "sampler" in item else {}
        size = np.array([pixels.shape[1], pixels.shape[0]])
        wraps = (sampler.get("wrapS"), sampler.get("wrapT"))
        at = np.stack([_wrapped(uv[:, i], wraps[i]) for i in range(2)], axis=1) * size - 0.5
        low = np.floor(at).astype(np.int64)
        share = at - low
        total = np.zeros((count, 3))
        for dx in (0, 1):
            for dy in (0, 1):
                weight = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
                column, row = np.clip(low + (dx, dy), 0, size - 1).T
                value = pixels[row, column] / 255.0
                value = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
                total += weight[:, None] * value
        return total

    def _image(self, index: Any) -> Array | None:
        """(H, W, 3) uint8 of an image, or None with a note where it cannot be read."""
        if index in self._images:
            return self._images[index]
        from PIL import Image

        from omote.media.images import check_size, to_rgb8

        item = self.file.item("images", index)
        name = item.get("name") or item.get("uri") or index
        try:
            if "bufferView" in item:
                data = self.file.view_bytes(item["bufferView"])
            else:
                data = self.file.fetch(str(item["uri"]))
            with Image.open(io.BytesIO(data)) as image:
                check_size(*image.size, self.file.path)
                self._images[index] = to_rgb8(image)
        except (OSError, ValueError, KeyError, SyntaxError, OmoteError, Image.DecompressionBombError):
            self.notes.append(f"texture {str(name)[:60]} is not read")
            self._images[index] = None
        return self._images[index]


def _wrapped(values: Array, mode: Any) -> Array:
    """Texture coordinates brought to 0..1: repeated, mirrored or clamped."""
    values = np.nan_to_num(values)
    if mode == _CLAMPED:
        return np.clip(values, 0, 1)
    if mode == _MIRRORED:
        return np.asarray(1 - np.abs(values % 2 - 1))
    return np.where((values >= 0) & (values <= 1), values, values % 1)
