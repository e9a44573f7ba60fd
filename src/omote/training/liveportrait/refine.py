"""The second stage: small networks that stitch, and that open and close eyes and lips (arXiv 2407.03168, §3.3).

F, M, W and G stay as they are. The mask of stitching follows the sense of the paper's text, where its formula has the
opposite sign: only what is below the chin must stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.keypoints import (
    eye_close_ratio,
    lip_close_ratio,
    transform,
)
from omote.models.liveportrait.ratios import RatioNet
from omote.training.datasets.clips import Clip
from omote.training.engine import Batch
from omote.training.liveportrait.data import StageTask
from omote.training.liveportrait.losses import masked_difference
from omote.training.liveportrait.networks import exactly, motion_of, paint
from omote.training.liveportrait.options import LivePortraitOptions
from omote.training.liveportrait.regions import eye_mask, lip_mask, shoulder_mask

MOST_OPEN = 0.8
"""Wanted ratios are drawn from 0 to this, as published."""


@dataclass(frozen=True)
class Refined:
    """Results with changed keypoints.

    Attributes:
        images: (B, 3, S, S) by what was changed.
        kept: (B, 3, S, S) the source reconstructed with its own keypoints.
        offsets: (B, N) by what was changed.
    """

    images: dict[str, Tensor]
    kept: Tensor
    offsets: dict[str, Tensor]


class _FrozenBase(nn.Module):
    """F, M, W and G in evaluation mode, whatever the training is in."""

    def __init__(self, nets: LivePortraitNets, trained: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nets.requires_grad_(False)
        for part in trained:
            part.requires_grad_(True)

    def train(self, mode: bool = True) -> _FrozenBase:
        super().train(mode)
        self.nets.eval()
        return self


class StitchingNet(_FrozenBase):
    """S on frozen networks."""

    def __init__(self, nets: LivePortraitNets) -> None:
        super().__init__(nets, [nets.stitching])

    def forward(self, source: Tensor, other: Tensor) -> Refined:
        """Drive a source by another person, stitched and (``plain``, where nothing is learned) as it is.

        Args:
            source: (B, 3, H, W) RGB in 0..1.
            other: another person, alike.
        """
        nets, count = self.nets, len(source)
        with torch.no_grad():
            state = motion_of(nets, torch.cat([source, other])).state
            feature = nets.appearance_feature_extractor(source)
            with exactly(source.device):
                parts = [(state.rotation, state.exp, state.scale, state.t)]
                own, driven = (
                    transform(state.kp[:count], *(p[k * count : (k + 1) * count] for p in parts[0]))
                    for k in (0, 1)
                )
            kept = paint(nets, feature, own, own)
        with exactly(source.device):
            offsets = nets.stitching(own, driven)
            stitched = stitch(driven, offsets)
        images = {"stitched": paint(nets, feature, stitched, own)}
        if not self.training:
            images["plain"] = paint(nets, feature, driven, own)
        return Refined(images, kept, {"stitched": offsets})


def stitch(driven: Tensor, offsets: Tensor) -> Tensor:
    """Keypoints (B, K, 3) plus an offset for each coordinate and one shift of all x and y; offsets (B, 3 K + 2)."""
    moved = driven + offsets[:, :-2].view_as(driven)
    return torch.cat([moved[..., :2] + offsets[:, None, -2:], moved[..., 2:]], -1)


class RetargetingPair(_FrozenBase):
    """R_eyes and R_lip on frozen networks; they share no weights, so that each is trained as if alone."""

    def __init__(self, nets: LivePortraitNets) -> None:
        super().__init__(nets, [nets.eye, nets.lip])

    def forward(self, source: Tensor, eyes: Tensor, lip: Tensor) -> Refined:
        """Open or close eyes and lips.

        Args:
            source: (B, 3, H, W) RGB in 0..1.
            eyes: (B, 3) ratios of the left and right eye of the image, and the wanted one.
            lip: (B, 2) ratio of the lips, and the wanted one.
        """
        nets = self.nets
        with torch.no_grad():
            own = motion_of(nets, source).state.points()
            feature = nets.appearance_feature_extractor(source)
            kept = paint(nets, feature, own, own)
        with exactly(source.device):
            offsets = {"eye": nets.eye(own, eyes), "lip": nets.lip(own, lip)}
        images = {
            name: paint(nets, feature, own + change.view_as(own), own) for name, change in offsets.items()
        }
        return Refined(images, kept, offsets)


class StitchingTask(StageTask):
    """The `omote.training.engine.Task` of stitching.

    Args:
        nets: trained.
        options: data and losses.
        clips: to train and to validate on.
    """

    def __init__(self, nets: LivePortraitNets, options: LivePortraitOptions, clips: Sequence[Clip]) -> None:
        super().__init__(options, clips)
        self.net: nn.Module = StitchingNet(nets)

    def loss(self, net: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Each source is driven by the next sample's driver, mostly another person, which is harder, as published."""
        made = self._made(net, batch)
        mask = shoulder_mask(batch["source_marks"], self.sizes.size)
        shoulders = masked_difference(made.images["stitched"], made.kept, mask)
        offsets = made.offsets["stitched"].abs().sum(1).mean()
        total = self.weights.shoulders * shoulders + self.weights.offsets * offsets
        return {"shoulders": shoulders, "offsets": offsets, "loss": total}

    def measure(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The loss, and how much changes below the chin with stitching and without."""
        made = self._made(net, batch)
        mask = shoulder_mask(batch["source_marks"], self.sizes.size)
        found = {
            name: masked_difference(made.images[name], made.kept, mask) for name in ("stitched", "plain")
        }
        offsets = made.offsets["stitched"].abs().sum(1).mean()
        total = self.weights.shoulders * found["stitched"] + self.weights.offsets * offsets
        return {"loss": total, "shoulders": found["stitched"], "shoulders_plain": found["plain"]}

    def _made(self, net: nn.Module, batch: Batch) -> Refined:
        _, source = self.shown(batch["source"])
        _, driver = self.shown(batch["driver"])
        made: Refined = net(source, driver.roll(1, 0))
        return made


class RetargetingTask(StageTask):
    """The `omote.training.engine.Task` of eye and lip retargeting.

    Args:
        nets: trained.
        options: data and losses.
        clips: to train and to validate on.
        ratios: measures the results (`omote.training.liveportrait.ratio_start`).
    """

    def __init__(
        self,
        nets: LivePortraitNets,
        options: LivePortraitOptions,
        clips: Sequence[Clip],
        ratios: RatioNet,
    ) -> None:
        super().__init__(options, clips)
        self.net: nn.Module = RetargetingPair(nets)
        self.ratios = ratios.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move what measures the results."""
        super().to(device)
        self.ratios.to(device)

    def loss(self, net: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Outside of eyes or lips nothing may change, inside the ratio must be the wanted one."""
        made, wanted = self._made(net, batch, step)
        found = self._errors(made, wanted, batch["source_marks"])
        weights = self.weights
        total = weights.outside * (found["eye_outside"] + found["lip_outside"])
        total = total + weights.ratio * (found["eye_ratio"] + found["lip_ratio"])
        return {**found, "loss": total + weights.offsets * found["offsets"]}

    def measure(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """As `loss`, with the same wanted ratios each time; ``*_still``: the ratio's error if nothing is changed."""
        made, wanted = self._made(net, batch, 0)
        marks = batch["source_marks"]
        found = self._errors(made, wanted, marks)
        still = Refined({"eye": made.kept, "lip": made.kept}, made.kept, made.offsets)
        for name, value in self._errors(still, wanted, marks).items():
            if name.endswith("ratio"):
                found[f"{name}_still"] = value
        found["loss"] = self.weights.ratio * (
            found["eye_ratio"] + found["lip_ratio"]
        ) + self.weights.outside * (found["eye_outside"] + found["lip_outside"])
        return found

    def _made(self, net: nn.Module, batch: Batch, step: int) -> tuple[Refined, dict[str, Tensor]]:
        _, source = self.shown(batch["source"])
        marks = batch["source_marks"]
        drawn = MOST_OPEN * torch.rand(len(source), 2, generator=self.chance(step)).to(self.device)
        wanted = {"eye": drawn[:, :1], "lip": drawn[:, 1:]}
        eyes = torch.cat([eye_close_ratio(marks), wanted["eye"]], 1)
        lip = torch.cat([lip_close_ratio(marks), wanted["lip"]], 1)
        made: Refined = net(source, eyes, lip)
        return made, wanted

    def _errors(self, made: Refined, wanted: dict[str, Tensor], marks: Tensor) -> dict[str, Tensor]:
        masks = {"eye": eye_mask(marks, self.sizes.size), "lip": lip_mask(marks, self.sizes.size)}
        found: dict[str, Tensor] = {}
        for name, image in made.images.items():
            found[f"{name}_outside"] = masked_difference(image, made.kept, 1 - masks[name])
            with exactly(image.device):
                measured = self.ratios(image, marks, name)
            found[f"{name}_ratio"] = (measured - wanted[name]).abs().mean()
        found["offsets"] = torch.stack([o.abs().sum(1).mean() for o in made.offsets.values()]).sum()
        return found
