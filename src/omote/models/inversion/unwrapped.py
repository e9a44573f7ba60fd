"""Reading a face that is unwrapped: the picture as the skin's own map shows it, both eyes and the mouth, to controls.

`MeshReader` finds pose, identity and controls well enough to know where each place of the skin is in the picture. Seen
along the skin, every face is upright, of one size and in one place, so that a small convolutional network, which from
plain pictures would first have to find mouths, learns quickly. It predicts the controls afresh: what is left of them
when the mesh reader has had its say is mostly noise, from which nothing can be learned.

What such a network learns last is what is seldom and small: a nose tip drawn down, a narrowed nostril. A perceptron
therefore looks at the same face on its principal axes, each made of unit spread, beside what the convolutions found,
what the mesh reader believes and what eyes and mouth look like, and has the last word.

A tongue lies on no skin: where a mouth is open, the map shows its two lips as neighbours. The lower face is therefore
also looked at through a window that moves with the head's pose alone.

A mirrored face is a face. In use all of this is read twice, once mirrored, and the mean of both counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from omote.models.inversion.config import IMAGENET_STD, MODALITIES, InversionConfig
from omote.models.inversion.layers import TILE, trunk
from omote.models.inversion.mesh import (
    BRIGHTEST,
    CONTROL_SPREAD,
    FARTHEST,
    POSE,
    Belief,
    MeshReader,
    principal_axes,
    projected,
    rotation,
)

_DARKEST = 6 / 255  # spread of colours below which differences are not magnified further
EVERY = 4
"""Pixels of which one is looked at for mean and spread."""
_PLACE_FEATURES = 32
_FACE_WIDTH, _DIRECT_WIDTH, _LAST_WIDTH = 640, 256, 1024
_CROP_WIDTHS, _FACE_WIDTHS = (64, 96), (64, 128)
_WINDOW = ((-0.07, 0.07), (-0.02, -0.125), 0.03)
"""Left and right, top and bottom, and depth of the window, metres, head space."""


class CropNet(nn.Module):
    """Crops (N, 6, h, w), RGB and normals, to (N, F) features. Where things are in the crop is kept.

    Args:
        size: (width, height) of a crop, multiples of 8.
        features: F.
    """

    def __init__(self, size: tuple[int, int], features: int) -> None:
        super().__init__()
        self.convolutions: nn.Module = trunk(6, _CROP_WIDTHS, _PLACE_FEATURES)
        self.project = nn.Linear(_PLACE_FEATURES * (size[0] // 8) * (size[1] // 8), features)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, F) features."""
        maps = self.convolutions(crops.contiguous(memory_format=torch.channels_last))
        return functional.gelu(self.project(maps.flatten(1)))


class UnwrappedReader(nn.Module):
    """What is seen along the skin, through the window and in crops of the eyes, to controls.

    Args:
        config: ``grid`` and ``grid_axes`` above 0.
    """

    index: Tensor
    weight: Tensor
    dark: Tensor
    eye_index: Tensor
    window_places: Tensor
    mirror_index: Tensor
    mirror_sign: Tensor

    def __init__(self, config: InversionConfig) -> None:
        super().__init__()
        height, width = config.grid
        controls = len(config.controls)
        self.size, self.modalities = config.grid, config.modalities
        self.both_ways = config.both_ways
        around = config.identity + len(POSE) + len(MODALITIES)
        self.face = _FaceNet(config.grid, around, controls)
        self.axes = config.grid_axes
        self.eyes, self.eye_controls, self.eye_features = None, None, 2 * config.eye_features
        known = 2 * controls + around + self.axes * len(config.modalities)
        if config.eye_branch:
            chosen = [config.controls.index(name) for name in config.eye_controls]
            self.eyes = CropNet(config.eye_size, config.eye_features)
            self.eye_controls = _direct(self.eye_features, len(chosen))
            self.register_buffer("eye_index", torch.tensor(chosen, dtype=torch.int64), persistent=False)
            known += self.eye_features
        self.window, self.window_controls, self.window_size = None, None, config.window
        if config.window[0]:
            self.window = CropNet((config.window[1], config.window[0]), config.window_features)
            self.window_controls = _direct(config.window_features, controls)
            self.register_buffer("window_places", _window_places(config.window), persistent=False)
            known += config.window_features
        self.conclusion = _Perceptron(known, _LAST_WIDTH, controls)
        for name in config.modalities:
            pixels = 3 * height * width // TILE**2
            self.register_buffer(f"{name}_mean", torch.zeros(pixels))
            self.register_buffer(f"{name}_axes", torch.zeros(pixels, self.axes))
        self.register_buffer("index", torch.zeros(height * width, 3, dtype=torch.int16))
        self.register_buffer("weight", torch.zeros(height * width, 3))
        state = controls + config.identity + len(POSE)
        self.register_buffer("mirror_index", torch.arange(state, dtype=torch.int16))
        self.register_buffer("mirror_sign", torch.ones(state))
        dark = torch.tensor([_DARKEST / spread for spread in IMAGENET_STD])[:, None, None]
        self.register_buffer("dark", dark, persistent=False)

    def place(self, index: NDArray[np.int64], weight: NDArray[np.float32]) -> None:
        """Set the map: each place of the grid lies between three points (G, 3) of the mesh, weighted (G, 3).

        See `omote.rigs.surface_points.face_grid`.
        """
        self.index.copy_(torch.from_numpy(index))
        self.weight.copy_(torch.from_numpy(weight))

    def set_mirror(self, index: NDArray[np.int64], sign: NDArray[np.float32]) -> None:
        """Set what a belief in the mesh reader's units is where the face is mirrored: ``belief[:, index] * sign``.

        See `omote.training.mesh_start.mirror_of`.
        """
        self.mirror_index.copy_(torch.from_numpy(index))
        self.mirror_sign.copy_(torch.from_numpy(sign))

    def whiten(self, seen: dict[str, Tensor], least: float) -> None:
        """Set the principal axes from what is seen of many faces, (N, P) of each modality; see `coarse`.

        Args:
            seen: of `coarse`.
            least: see `omote.models.inversion.mesh.principal_axes`.
        """
        for name, values in seen.items():
            mean, axes = principal_axes(values, self.axes, least)
            getattr(self, f"{name}_mean").copy_(mean)
            getattr(self, f"{name}_axes").copy_(axes)

    def coarse(self, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is seen along the skin (B, 3, H, W), a quarter as fine: (B, 3 H W / 16) float32 of each modality."""
        return self._coarse(self._whole(seen), seen)

    def _coarse(self, whole: Tensor, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        small = functional.avg_pool2d(whole.float().clamp(-BRIGHTEST, BRIGHTEST), TILE)
        parts = zip(MODALITIES, small.split(3, 1), strict=True)
        return {name: part.flatten(1) for name, part in parts if name in seen}

    def forward(
        self, mesh: MeshReader, images: Mapping[str, Tensor], eyes: Mapping[str, Tensor], belief: Belief
    ) -> Tensor:
        """(B, C) float32 controls, unbounded.

        Args:
            mesh: projects the points.
            images: see `MeshReader.forward`.
            eyes: (B, 2, 3, h, w) of the same modalities, likewise; none: the eyes' controls are those of the belief.
            belief: of the mesh reader, within its ranges.
        """
        seen, framed = self.unwrap(mesh, images, belief), self.look_through(images, belief)
        return self.read(seen, framed, eyes, mesh.units(belief))

    def read(
        self,
        seen: Mapping[str, Tensor],
        framed: Mapping[str, Tensor],
        eyes: Mapping[str, Tensor],
        state: Tensor,
    ) -> Tensor:
        """`forward` from what was seen along the skin and through the window.

        Args:
            seen: of `unwrap`.
            framed: of `look_through`.
            eyes: see `forward`.
            state: (B, C + I + 7) the belief in the mesh reader's units.
        """
        whole = self._in_use(self._whole(seen))
        crops = None
        if eyes and self.eyes is not None:
            crops = self._whole({name: crop.flatten(0, 1) for name, crop in eyes.items()})
        window = self._in_use(self._whole(framed)) if framed else None
        return self.conclude(whole, self._coarse(whole, seen), window, crops, state)

    def _in_use(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 6, h, w), in use those and the mirrored ones (2 B, 6, h, w)."""
        if self.training or not self.both_ways:
            return pictures
        mirrored = pictures.flip(3)
        mirrored[:, 3] *= -1  # x of the normals
        return torch.cat([pictures, mirrored])

    def conclude(
        self,
        whole: Tensor,
        coarse: Mapping[str, Tensor],
        framed: Tensor | None,
        crops: Tensor | None,
        state: Tensor,
    ) -> Tensor:
        """`forward` from pictures whose colours are relative already.

        Args:
            whole: (N, 6, H, W) along the skin; N is B, or 2 B: the mirrored ones follow.
            coarse: (N, 3 H W / 16) of each modality that is there.
            framed: (N, 6, h, w) through the window, if there is one.
            crops: (2 B, 6, h, w) of the eyes.
            state: see `read`.
        """
        features = None if crops is None or self.eyes is None else self.eyes(crops).unflatten(0, (-1, 2))
        if len(whole) == len(state):
            return self._conclude(whole, coarse, framed, features, state)
        index, sign = self.mirror_index.int(), self.mirror_sign
        mirrored = state[:, index] * sign
        if features is not None:
            features = torch.cat([features, features.flip(1)])
        found = self._conclude(whole, coarse, framed, features, torch.cat([state, mirrored]))
        plain, mirrored = found.chunk(2)
        controls = plain.shape[1]
        return (plain + mirrored[:, index[:controls]] * sign[:controls]) / 2

    def _conclude(
        self,
        whole: Tensor,
        coarse: Mapping[str, Tensor],
        framed: Tensor | None,
        of_eyes: Tensor | None,
        state: Tensor,
    ) -> Tensor:
        """`conclude` of (N, 2, E) features of the eyes and (N, S) beliefs."""
        controls = self.face.last.weight.shape[0]
        around = state[:, controls:]
        flags = around.new_tensor([float(name in coarse) for name in MODALITIES]).expand(len(around), -1)
        found: Tensor = self.face(whole, torch.cat([around, flags], 1)).float()
        known = [*self._on_axes(coarse, len(around)), state, flags]
        beside = torch.cat([around[:, -len(POSE) :], flags], 1)
        if self.eyes is not None and self.eye_controls is not None:
            features = around.new_zeros(len(around), self.eye_features)
            if of_eyes is not None:
                features = of_eyes.flatten(1)
                more = self.eye_controls(torch.cat([features, beside.to(features.dtype)], 1))
                found = found.index_add(1, self.eye_index, more.float())
            known.append(features.float())
        if self.window is not None and self.window_controls is not None:
            features = self.window(framed)
            found = found + self.window_controls(torch.cat([features, beside.to(features.dtype)], 1)).float()
            known.append(features.float())
        found = found + self.conclusion(torch.cat([found, *known], 1).to(whole.dtype)).float()
        if self.eyes is not None and of_eyes is None:
            found = found.index_copy(1, self.eye_index, state[:, :controls][:, self.eye_index])
        return found * CONTROL_SPREAD

    def _on_axes(self, coarse: Mapping[str, Tensor], batch: int) -> list[Tensor]:
        """(B, K) of each modality, zeros for what is missing."""
        made = []
        with torch.autocast(self.weight.device.type, enabled=False):
            for name in self.modalities:
                if name in coarse:
                    away = coarse[name] - getattr(self, f"{name}_mean")
                    made.append((away @ getattr(self, f"{name}_axes")).clamp(-FARTHEST, FARTHEST))
                else:
                    made.append(self.weight.new_zeros(batch, self.axes))
        return made

    @torch.no_grad()
    def unwrap(self, mesh: MeshReader, images: Mapping[str, Tensor], belief: Belief) -> dict[str, Tensor]:
        """What is seen along the skin: (B, 3, H, W) of each modality that is there; normals in head space."""
        with torch.autocast(self.weight.device.type, enabled=False):
            turn = rotation(belief.pose[:, :3])
            points = mesh.project(belief, turn).transpose(0, 1)
            where = functional.embedding_bag(
                self.index.int(), points.flatten(1), mode="sum", per_sample_weights=self.weight
            )
            return _looked(images, where.reshape(*self.size, -1, 2).permute(2, 0, 1, 3), turn)

    @torch.no_grad()
    def look_through(self, images: Mapping[str, Tensor], belief: Belief) -> dict[str, Tensor]:
        """What is seen through the window: (B, 3, h, w) of each modality, likewise; nothing without a window."""
        if self.window is None:
            return {}
        with torch.autocast(self.weight.device.type, enabled=False):
            turn = rotation(belief.pose[:, :3])
            where = projected(self.window_places, belief.pose, turn)
            return _looked(images, where.unflatten(1, self.window_size), turn)

    def _whole(self, seen: Mapping[str, Tensor]) -> Tensor:
        """(N, 6, h, w): colours relative to their mean and spread, normals; zeros for what is missing."""
        parts = []
        blank = torch.zeros_like(next(iter(seen.values())))
        for name in MODALITIES:
            part = seen.get(name, blank)
            if name == "rgb" and name in seen:
                few = part[:, :, ::EVERY, ::EVERY]
                spread = few.std((2, 3), keepdim=True)
                part = (part - few.mean((2, 3), keepdim=True)) / (spread + self.dark)
            parts.append(part)
        return torch.cat(parts, 1).to(self.face.last.weight.dtype)


def _window_places(size: tuple[int, int]) -> Tensor:
    """(h w, 3) metres, head space, row by row."""
    (left, right), (top, bottom), depth = _WINDOW
    y, x = torch.meshgrid(
        torch.linspace(top, bottom, size[0]), torch.linspace(left, right, size[1]), indexing="ij"
    )
    return torch.stack([x, y, torch.full_like(x, depth)], -1).flatten(0, 1)


def _looked(images: Mapping[str, Tensor], where: Tensor, turn: Tensor) -> dict[str, Tensor]:
    """(B, 3, h, w) of each picture at places (B, h, w, 2), 0..1; normals turned back with the head."""
    found = {}
    for name, image in images.items():
        seen = functional.grid_sample(
            image.float(), where * 2 - 1, align_corners=False, padding_mode="border"
        )
        found[name] = (turn.mT @ seen.flatten(2)).view_as(seen) if name == "normal" else seen
    return found


def _direct(features: int, controls: int) -> nn.Sequential:
    """Features of a crop, the pose and what is there, to controls; or they would be learned last, if at all."""
    beside = len(POSE) + len(MODALITIES)
    first = nn.Linear(features + beside, _DIRECT_WIDTH)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(_DIRECT_WIDTH, controls))


class _FaceNet(nn.Module):
    """An unwrapped face (B, 6, H, W), and numbers beside it (B, N), to (B, C)."""

    def __init__(self, size: tuple[int, int], around: int, controls: int) -> None:
        super().__init__()
        self.convolutions: nn.Module = trunk(6, _FACE_WIDTHS, _PLACE_FEATURES, last=2)
        places = (size[0] // (2 * TILE)) * (size[1] // (2 * TILE))
        self.first = nn.Linear(places * _PLACE_FEATURES + around, _FACE_WIDTH)
        self.second = nn.Linear(_FACE_WIDTH, _FACE_WIDTH)
        self.last = nn.Linear(_FACE_WIDTH, controls)

    def forward(self, face: Tensor, around: Tensor) -> Tensor:
        """(B, C), control units a spread."""
        maps = self.convolutions(face.contiguous(memory_format=torch.channels_last))
        hidden = functional.relu(self.first(torch.cat([maps.flatten(1), around.to(maps.dtype)], 1)))
        hidden = hidden + functional.relu(self.second(hidden))
        found: Tensor = self.last(hidden)
        return found


class _Perceptron(nn.Module):
    """Numbers (B, N) to (B, C); at first nothing comes out of it."""

    def __init__(self, known: int, width: int, controls: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(known, width), nn.LayerNorm(width)
        self.second, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(width, controls)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, known: Tensor) -> Tensor:
        """(B, C), control units a spread."""
        hidden = self.drop(functional.gelu(self.norm(self.first(known))))
        hidden = hidden + self.drop(functional.gelu(self.norm2(self.second(hidden))))
        found: Tensor = self.last(hidden)
        return found
