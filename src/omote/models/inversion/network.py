"""The inversion network (arXiv 2510.13933, §3): images of a face to the controls of a rig.

RGB and normals pass two independent backbones; their pooled features, joined, pass an MLP. Ours beyond the paper: crops
of the eyes at full resolution with a small network of their own, learned stand-ins for a modality that is missing,
reading the face on its mesh (`omote.models.inversion.mesh`), after the backbones or in their place, and then unwrapped
(`omote.models.inversion.unwrapped`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from omote.checks import check_shape
from omote.errors import InputError
from omote.models.inversion.backbones import Backbone, fill_pretrained
from omote.models.inversion.config import MODALITIES, InversionConfig
from omote.models.inversion.mesh import Belief, MeshReader
from omote.models.inversion.unwrapped import CropNet, UnwrappedReader


class InversionNet(nn.Module):
    """Images to rig controls.

    In training mode the output is what each step believes, unbounded; in evaluation mode it is the controls of the
    last, limited to their ranges.

    Args:
        config: what to build. The weights are random; `load_pretrained` fills the backbones,
            `omote.training.mesh_start.prepare_mesh` sets what the mesh reader needs.
    """

    low: Tensor
    high: Tensor
    head: nn.Sequential | None
    eyes: CropNet | None
    mesh: MeshReader | None
    unwrapped: UnwrappedReader | None

    def __init__(self, config: InversionConfig) -> None:
        super().__init__()
        self.config = config
        self.missing = nn.ParameterDict()
        self.backbones, self.head = nn.ModuleDict(), None
        self.eyes, self.mesh, self.unwrapped = None, None, None
        if config.backbone != "none":
            around = 0
            if config.eye_branch:
                self.eyes = CropNet(config.eye_size, config.eye_features)
                self.missing["eyes"] = nn.Parameter(0.02 * torch.randn(2 * config.eye_features))
                around = 2 * config.eye_features
            self.backbones = nn.ModuleDict({name: Backbone(config) for name in config.modalities})
            widths = {name: self._backbone(name).features for name in config.modalities}
            for name, width in widths.items():
                self.missing[name] = nn.Parameter(0.02 * torch.randn(width))
            first = nn.Linear(sum(widths.values()) + around, config.hidden)
            self.head = nn.Sequential(first, nn.GELU(), nn.Linear(config.hidden, len(config.controls)))
        if config.mesh_points:
            self.mesh = MeshReader(config, len(config.controls) if self.head is not None else 0)
        if config.grid[0]:
            self.unwrapped = UnwrappedReader(config)
        self.register_buffer("low", torch.tensor(config.low), persistent=False)
        self.register_buffer("high", torch.tensor(config.high), persistent=False)
        if config.backbone != "none":
            self.freeze(config.frozen_stages)

    def freeze(self, stages: int) -> None:
        """Train neither the stem nor the first ``stages`` stages of the backbones; 0 trains all."""
        for name in self.backbones:
            self._backbone(name).freeze(stages)

    def forward(
        self,
        rgb: Tensor | None = None,
        normal: Tensor | None = None,
        eyes_rgb: Tensor | None = None,
        eyes_normal: Tensor | None = None,
    ) -> Tensor | list[Belief]:
        """(B, C) float32 controls.

        In training mode, what the head (if there are backbones), each step of the mesh reader and the unwrapped reader
        believe. What is None is missing; an input that the network does not look at is ignored.

        Args:
            rgb: (B, 3, S, S), ImageNet-normalised.
            normal: (B, 3, S, S), camera-space normals encoded to 0..1, then ImageNet-normalised likewise.
            eyes_rgb: (B, 2, 3, h, w) crops of the subject's left eye and of the mirrored right one.
            eyes_normal: likewise, of the normals.

        Raises:
            InputError: wrong shapes, or every modality is missing.
        """
        images = {"rgb": rgb, "normal": normal}
        seen: dict[str, Tensor] = {
            name: image for name in self.config.modalities if (image := images[name]) is not None
        }
        if not seen:
            raise InputError(
                "no image to look at", where=f"network of {' and '.join(self.config.modalities)}"
            )
        size = self.config.size
        batch = next(iter(seen.values())).shape[0]
        for name, image in seen.items():
            check_shape(name, image, batch, 3, size, size)
        crops = {"rgb": eyes_rgb, "normal": eyes_normal}
        eyes: dict[str, Tensor] = {
            name: crop for name in self.config.modalities if (crop := crops[name]) is not None
        }
        width, height = self.config.eye_size
        for kind, crop in eyes.items() if self.config.eye_branch else ():
            check_shape(f"eyes_{kind}", crop, batch, 2, 3, height, width)
        found: list[Belief] = []
        extra = self.low.new_zeros(batch, 0)
        if self.head is not None:
            parts = [
                self.backbones[name](seen[name].to(self.dtype))
                if name in seen
                else self.missing[name].expand(batch, -1)
                for name in self.config.modalities
            ]
            if self.eyes is not None:
                parts.append(self._eye_features(self.eyes, eyes, batch))
            controls = self.head(torch.cat([part.to(parts[0].dtype) for part in parts], 1)).float()
            found.append(_of_controls(controls))
            extra = controls.detach().clamp(self.low, self.high)
        if self.mesh is not None:
            looked = self.mesh.surfaces(seen)
            found += self.mesh(looked, extra)
            if self.unwrapped is not None:
                last = self.mesh.within(found[-1])
                closer = self.mesh.surfaces(eyes)
                found.append(_of_controls(self.unwrapped(self.mesh, looked, closer, last)))
        return found if self.training else self._concluded(found)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    def _concluded(self, found: Sequence[Belief]) -> Tensor:
        """(B, C) the controls of the last that looked, within their ranges; some as two of them agree on."""
        controls = found[-1].controls.clamp(self.low, self.high)
        if self.unwrapped is not None and self.config.agreed:
            index = torch.tensor([self.config.controls.index(name) for name in self.config.agreed])
            both = [belief.controls[:, index].clamp_min(0) for belief in found[-2:]]
            agreed = (both[0] * both[1]).sqrt()
            controls = controls.index_copy(1, index.to(controls.device), agreed).clamp(self.low, self.high)
        if self.mesh is not None and self.config.quiet:
            controls = firm(controls, self.mesh.neutral, controls.new_tensor(self.config.quiet))
        return controls

    def _eye_features(self, net: CropNet, eyes: Mapping[str, Tensor], batch: int) -> Tensor:
        if not eyes:
            return self.missing["eyes"].expand(batch, -1)
        both = _both(eyes, self.config.modalities, channels=2).to(self.dtype)
        features: Tensor = net(both.flatten(0, 1))
        return features.reshape(batch, -1)

    def _backbone(self, name: str) -> Backbone:
        found = self.backbones[name]
        assert isinstance(found, Backbone)  # noqa: S101 - for the type checker
        return found


def firm(controls: Tensor, neutral: Tensor, quiet: Tensor) -> Tensor:
    """Controls (B, C) that are hardly away from rest, at rest; others as they are.

    Least squares leaves a little of everything everywhere, which an animator would have to clear away. Nearer to
    ``neutral`` (C,) than ``quiet`` (C,) is neutral, twice as far is unchanged, straight in between: nothing jumps
    ("firm shrinkage", Gao & Bruce, Statistica Sinica 7, 1997).
    """
    away = controls - neutral
    size = away.abs()
    return neutral + away.sign() * torch.minimum(size, 2 * (size - quiet).clamp_min(0))


def _of_controls(controls: Tensor) -> Belief:
    nothing = controls.new_zeros(len(controls), 0)
    return Belief(controls, nothing, nothing)


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
