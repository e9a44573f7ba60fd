"""The mesh reader and the unwrapped reader arranged for a CPU: compiled loops look, packed products weigh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from omote.models.compiled import as_array, use_torch_threads
from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD, MODALITIES
from omote.models.inversion.fast.convolutions import PackedConvolutions
from omote.models.inversion.fast.loops import crop_tiles, look_at_points, look_through, unwrap
from omote.models.inversion.layers import TILE
from omote.models.inversion.mesh import BRIGHTEST, DARKEST, FARTHEST, NEAREST, Belief, MeshReader, rotation
from omote.models.inversion.unwrapped import UnwrappedReader
from omote.models.products import Product, pack

Floats = np.ndarray
Fast = TypeVar("Fast", bound=nn.Module)

_CHANNELS = (
    np.stack([np.ones(3), 2 * np.array(IMAGENET_STD)]).astype(np.float32),
    np.stack([np.zeros(3), 2 * np.array(IMAGENET_MEAN) - 1]).astype(np.float32),
)
"""Scale and shift, of colours and of normals: `MeshReader.surfaces`, done to what is looked at alone."""
_LEAST = {
    "rgb": np.array([DARKEST, BRIGHTEST, NEAREST], np.float32),
    "normal": np.array([-1, 0, NEAREST], np.float32),
}
_LIMITS = np.array([NEAREST, BRIGHTEST], np.float32)


class FastMesh(MeshReader):
    """A `MeshReader`; where its points are is still found in float32."""

    products: dict[str, Product]
    dtype: torch.dtype

    @classmethod
    def of(cls, mesh: MeshReader, dtype: torch.dtype) -> FastMesh:
        """``mesh`` itself, changed."""
        made = _turned_into(cls, mesh)
        made.dtype = dtype
        pack(made.steps.to(dtype), dtype)
        if made.picture is not None:
            made.picture.convolutions = PackedConvolutions(made.picture.convolutions.children(), dtype)
            pack(made.picture.to(dtype), dtype)
        made.products = {}
        for name in made.modalities:
            axes = getattr(made, f"{name}_axes")
            made.products[name] = Product(axes.T, axes.new_zeros(axes.shape[1]), dtype)
        return made

    def surfaces(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pictures as they are."""
        return {name: images[name].float().contiguous() for name in self.modalities if name in images}

    def seen(self, images: Mapping[str, Tensor], belief: Belief) -> dict[str, Tensor]:
        """(B, K) of each modality, see `MeshReader.seen`."""
        use_torch_threads()
        turn = rotation(belief.pose[:, :3])
        head = _arrays(self.points(belief), turn, belief.pose)
        found = {}
        for name, image in images.items():
            which = MODALITIES.index(name)
            made = self.rest.new_empty(len(turn), self.rest.numel(), dtype=self.dtype)
            mean = getattr(self, f"{name}_mean").numpy()
            channels = (_CHANNELS[0][which], _CHANNELS[1][which])
            look_at_points(image.numpy(), channels, head, _LEAST[name], mean, as_array(made))
            found[name] = self.products[name].alone(made).clamp(-FARTHEST, FARTHEST)
        return found


class FastUnwrapped(UnwrappedReader):
    """An `UnwrappedReader` of a `FastMesh`."""

    dtype: torch.dtype

    @classmethod
    def of(cls, reader: UnwrappedReader, dtype: torch.dtype) -> FastUnwrapped:
        """``reader`` itself, changed."""
        made = _turned_into(cls, reader)
        made.dtype = dtype
        for net in (made.face, made.eyes, made.window):
            if net is not None:  # the loops make the tiles
                net.convolutions = PackedConvolutions(list(net.convolutions.children())[1:], dtype)
        for part in made.children():
            pack(part.to(dtype), dtype)
        return made

    def forward(
        self, mesh: MeshReader, images: Mapping[str, Tensor], eyes: Mapping[str, Tensor], belief: Belief
    ) -> Tensor:
        """(B, C), see `UnwrappedReader.forward`."""
        use_torch_threads()
        batch, (height, width) = len(belief.pose), self.size
        turn = rotation(belief.pose[:, :3])
        pictures, dark = _both(images), self.dark.flatten().numpy()
        shown = batch * (2 if self.both_ways else 1)
        tiles = self._tiles(shown, height, width)
        coarse = self.weight.new_empty(shown, 2, 3 * height * width // TILE**2)
        unwrap(
            pictures,
            _CHANNELS,
            _arrays(mesh.points(belief), turn, belief.pose),
            _arrays(self.index, self.weight),
            dark,
            _LIMITS,
            as_array(tiles),
            coarse.numpy(),
        )
        small: dict[str, Tensor] = {name: coarse[:, k] for k, name in enumerate(MODALITIES) if name in images}
        framed = None
        if self.window is not None:
            frame = self._tiles(shown, *self.window_size)
            posed = _arrays(turn, belief.pose)
            places = self.window_places.numpy()
            look_through(pictures, _CHANNELS, places, posed, dark, _LIMITS[0], as_array(frame))
            framed = frame.permute(0, 3, 1, 2)
        crops = self._crops(eyes) if eyes and self.eyes is not None else None
        return self.conclude(tiles.permute(0, 3, 1, 2), small, framed, crops, mesh.units(belief))

    def _tiles(self, count: int, height: int, width: int) -> Tensor:
        return self.weight.new_empty(count, height // TILE, width // TILE, 6 * TILE**2, dtype=self.dtype)

    def _crops(self, eyes: Mapping[str, Tensor]) -> Tensor:
        both = {name: crop.flatten(0, 1) for name, crop in eyes.items()}
        count, _, height, width = next(iter(both.values())).shape
        tiles = self._tiles(count, height, width)
        crop_tiles(_both(both), _CHANNELS, self.dark.flatten().numpy(), as_array(tiles))
        return tiles.permute(0, 3, 1, 2)


def _turned_into(cls: type[Fast], module: nn.Module) -> Fast:
    """A module of a class that it did not have: the same weights, other ways of use."""
    module.__class__ = cls
    assert isinstance(module, cls)  # noqa: S101 - for the type checker
    return module


def _both(images: Mapping[str, Tensor]) -> tuple[Floats, ...]:
    """RGB and normals; no picture for what is missing."""
    some = next(iter(images.values()))
    return _arrays(*(images.get(name, some[:0]).float() for name in MODALITIES))


def _arrays(*tensors: Tensor) -> tuple[Floats, ...]:
    return tuple(tensor.contiguous().numpy() for tensor in tensors)
