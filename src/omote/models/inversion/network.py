"""The inversion network (arXiv 2510.13933, §3): images of a face to the controls of a rig.

RGB and normals pass two independent backbones; their pooled features, joined, pass an MLP. Ours beyond the paper: crops
of the eyes at full resolution with a small network of their own, and learned stand-ins for a modality that is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from omote.checks import check_shape
from omote.errors import InputError
from omote.models.inversion.backbones import Backbone, fill_pretrained
from omote.models.inversion.config import MODALITIES, InversionConfig

_EYE_WIDTHS = (32, 64, 96, 128)
_DETAIL_WIDTHS = (32, 64, 128, 192, 256)
_QUIET = 0.1


class EyeNet(nn.Module):
    """Crops of one eye, (N, 6, h, w) RGB and normals, to (N, E) features. Where things are in the crop is kept.

    Args:
        size: (width, height) of a crop, multiples of 16.
        features: E.
    """

    def __init__(self, size: tuple[int, int], features: int) -> None:
        super().__init__()
        self.convolutions = _halving(_EYE_WIDTHS)
        cells = (size[0] // 16) * (size[1] // 16)
        self.project = nn.Linear(_EYE_WIDTHS[-1] * cells, features)
        self.norm = nn.LayerNorm(features)

    def forward(self, crops: Tensor) -> Tensor:
        """(N, E) features."""
        maps = self.convolutions(crops)
        features: Tensor = self.norm(self.project(maps.flatten(1)))
        return features


class DetailNet(nn.Module):
    """The whole face, (B, 6, S, S) RGB and normals, to (B, D) features, by convolutions down to 1/32 of the size.

    Args:
        size: S, a multiple of 32.
        features: D.
    """

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.convolutions = _halving(_DETAIL_WIDTHS)
        self.project = nn.Linear(_DETAIL_WIDTHS[-1] * (size // 32) ** 2, features)
        self.norm = nn.LayerNorm(features)

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) features."""
        maps = self.convolutions(images.contiguous(memory_format=torch.channels_last))
        features: Tensor = self.norm(self.project(maps.flatten(1)))
        return features


def _halving(widths: Sequence[int]) -> nn.Sequential:
    """Convolutions of pictures with 6 channels; each halves the size."""
    layers: list[nn.Module] = []
    for before, after in pairwise((6, *widths)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.GELU()]
    return nn.Sequential(*layers)


class InversionNet(nn.Module):
    """Images to rig controls.

    In training mode the output is unbounded; in evaluation mode it is limited to each control's range.

    Args:
        config: what to build. The weights are random; `load_pretrained` fills the backbones.
    """

    low: Tensor
    high: Tensor

    def __init__(self, config: InversionConfig) -> None:
        super().__init__()
        self.config = config
        self.backbones = nn.ModuleDict({name: Backbone(config) for name in config.modalities})
        width = sum(self._backbone(name).features for name in config.modalities)
        self.missing = nn.ParameterDict(
            {
                name: nn.Parameter(0.02 * torch.randn(self._backbone(name).features))
                for name in config.modalities
            }
        )
        self.eyes: EyeNet | None = None
        if config.eye_branch:
            self.eyes = EyeNet(config.eye_size, config.eye_features)
            self.missing["eyes"] = nn.Parameter(0.02 * torch.randn(2 * config.eye_features))
            width += 2 * config.eye_features
        self.detail: DetailNet | None = None
        if config.detail:
            self.detail = DetailNet(config.size, config.detail)
            width += config.detail
        first = nn.Linear(width, config.hidden)
        if (
            config.detail
        ):  # a Hiera of random weights sees nothing yet: its noise must not drown the convolutions
            seen = sum(self._backbone(name).features for name in config.modalities)
            first.weight.data[:, :seen] *= _QUIET
        self.head = nn.Sequential(first, nn.GELU(), nn.Linear(config.hidden, len(config.controls)))
        self.register_buffer("low", torch.tensor(config.low), persistent=False)
        self.register_buffer("high", torch.tensor(config.high), persistent=False)
        self.freeze(config.frozen_stages)

    def freeze(self, stages: int) -> None:
        """Train neither the stem nor the first ``stages`` stages of the backbones; 0 trains all."""
        for name in self.config.modalities:
            self._backbone(name).freeze(stages)

    def forward(
        self,
        rgb: Tensor | None = None,
        normal: Tensor | None = None,
        eyes_rgb: Tensor | None = None,
        eyes_normal: Tensor | None = None,
    ) -> Tensor:
        """(B, C) float32 controls. What is None is missing; an input that the network does not look at is ignored.

        Args:
            rgb: (B, 3, S, S), ImageNet-normalised.
            normal: (B, 3, S, S), camera-space normals encoded to 0..1, then ImageNet-normalised likewise.
            eyes_rgb: (B, 2, 3, h, w) crops of the subject's left eye and of the mirrored right one.
            eyes_normal: likewise, of the normals.

        Raises:
            InputError: wrong shapes, or every modality is missing.
        """
        images = {"rgb": rgb, "normal": normal}
        seen = [images[name] for name in self.config.modalities if images[name] is not None]
        if not seen:
            raise InputError(
                "no image to look at", where=f"network of {' and '.join(self.config.modalities)}"
            )
        batch = seen[0].shape[0]  # type: ignore[union-attr]
        parts = []
        for name in self.config.modalities:
            image = images[name]
            if image is None:
                parts.append(self.missing[name].expand(batch, -1))
            else:
                check_shape(name, image, batch, 3, self.config.size, self.config.size)
                parts.append(self.backbones[name](image))
        if self.eyes is not None:
            parts.append(self._eye_features(eyes_rgb, eyes_normal, batch))
        if self.detail is not None:
            parts.append(self.detail(_both(images, self.config.modalities, channels=1)))
        controls: Tensor = self.head(torch.cat([part.to(parts[0].dtype) for part in parts], 1)).float()
        return controls if self.training else controls.clamp(self.low, self.high)

    def _eye_features(self, rgb: Tensor | None, normal: Tensor | None, batch: int) -> Tensor:
        crops = {"rgb": rgb, "normal": normal}
        seen = {name: crops[name] for name in self.config.modalities if crops[name] is not None}
        if not seen or self.eyes is None:
            return self.missing["eyes"].expand(batch, -1)
        width, height = self.config.eye_size
        for name, crop in seen.items():
            check_shape(f"eyes_{name}", crop, batch, 2, 3, height, width)
        features: Tensor = self.eyes(_both(crops, self.config.modalities, channels=2).flatten(0, 1))
        return features.reshape(batch, -1)

    def _backbone(self, name: str) -> Backbone:
        found = self.backbones[name]
        assert isinstance(found, Backbone)  # noqa: S101 - for the type checker
        return found


def _both(images: Mapping[str, Tensor | None], modalities: Sequence[str], channels: int) -> Tensor:
    """RGB and normals joined along ``channels``, zeros for what is missing or not looked at; at least one is there."""
    seen = {name: image for name, image in images.items() if name in modalities and image is not None}
    blank = torch.zeros_like(next(iter(seen.values())))
    return torch.cat([seen.get(name, blank) for name in MODALITIES], channels)


def load_pretrained(net: InversionNet, source: str) -> None:
    """Fill every backbone of a network with the same published weights (`fill_pretrained`).

    Args:
        net: of the same backbone, width and depth as the published one.
        source: a name on the Hugging Face hub (also looked for in its cache) or a folder.

    Raises:
        WeightsError: the weights cannot be had, or are of another shape.
    """
    for name in net.config.modalities:
        fill_pretrained(net._backbone(name), source)
