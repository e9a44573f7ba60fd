"""The first stage: F, M, W and G from scratch (arXiv 2407.03168, §3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from omote.models.face_recognition import FaceRecognition, align_face
from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.discriminators import Discriminators
from omote.models.vgg19 import Vgg19
from omote.training.adversarial import feature_matching, hinge_critic, hinge_maker
from omote.training.datasets.clips import Clip
from omote.training.engine import Batch
from omote.training.equivariance import RandomWarp, equivariance_loss
from omote.training.liveportrait.data import StageTask
from omote.training.liveportrait.losses import expression_prior, guided, keypoint_prior, pose_loss
from omote.training.liveportrait.networks import BaseNet, Reenacted, exactly
from omote.training.liveportrait.options import LivePortraitOptions
from omote.training.liveportrait.regions import REGIONS, cut_regions
from omote.training.perceptual import ImageLoss, PerceptualLoss, StructuralLoss

_FIVE = (468, 473, 1, 61, 291)
"""Landmarks of the 478 by which a face is aligned for recognition: eyes, tip of the nose, corners of the mouth."""
_TINY = 1e-10


class BaseTask(StageTask):
    """The `omote.training.engine.Task` of the first stage; `omote.training.critic.Adversarial` too.

    Args:
        nets: with their first weights.
        options: data and losses.
        clips: to train and to validate on.

    Raises:
        InputError: fewer clips than make a batch.
        WeightsError: the files of VGG-19 or ArcFace cannot be read.
    """

    def __init__(self, nets: LivePortraitNets, options: LivePortraitOptions, clips: Sequence[Clip]) -> None:
        super().__init__(options, clips)
        self.net: nn.Module = BaseNet(nets)
        self.image_loss: ImageLoss = (
            StructuralLoss() if options.vgg is None else PerceptualLoss(Vgg19.load(options.vgg))
        )
        self.recognition = None if options.face_id is None else FaceRecognition.load(options.face_id)
        self.critic: nn.Module | None = None
        if options.adversarial:
            torch.manual_seed(options.seed)
            self.critic = Discriminators(self.sizes.discriminators)
        begins = options.adversarial_start
        self.begins = self.sizes.adversarial_start if begins is None else begins
        self._judged: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None

    def to(self, device: torch.device) -> None:
        """Move the networks that the losses ask."""
        super().to(device)
        for part in (self.image_loss, self.recognition):
            if isinstance(part, nn.Module):
                part.to(device)

    def loss(self, net: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The sum of all terms, and each by its name, before its weight."""
        weights = self.weights
        source, small_source = self.shown(batch["source"])
        driver, small_driver = self.shown(batch["driver"])
        warp = RandomWarp.draw(len(source), self.chance(step)).to(self.device)
        made: Reenacted = net(small_source, small_driver, warp.picture(small_driver))
        marks = batch["source_marks"], batch["driver_marks"]
        regions = cut_regions(made.image, marks[1]), cut_regions(driver, marks[1])
        found = {"image": self._likeness(*regions)}
        self._judged = None
        if self.critic is not None and step >= self.begins:
            found |= self._opinion(self.critic, *regions)
        with exactly(self.device):
            if made.warped is not None:
                found["equivariance"] = equivariance_loss(warp, made.driver[..., :2], made.warped[..., :2])
            found["prior"] = keypoint_prior(made.driver)
            found["pose"] = pose_loss(
                torch.cat([made.source_angles, made.driver_angles]),
                torch.cat([batch["source_angles"], batch["driver_angles"]]),
            )
            found["expression"] = expression_prior(made.expression)
            found["guide"] = guided((made.source, made.driver), marks, weights)
        if self.recognition is not None:
            found["identity"] = self._identity(self.recognition, made.image, source, marks)
        total = torch.stack([getattr(weights, name) * value for name, value in found.items()]).sum()
        return {**found, "loss": total}

    def critic_loss(self, critic: nn.Module, step: int) -> dict[str, Tensor]:
        """Hinge loss of the three critics on what the last step made; nothing before they join."""
        if self._judged is None:
            return {}
        made, real = self._judged
        says = critic({name: torch.cat([made[name], real[name]]) for name in made})
        terms = []
        for _, patches in says.values():
            of_made, of_real = patches.chunk(2)
            terms.append(hinge_critic(of_real, of_made))
        return {"critic": torch.stack(terms).sum()}

    def measure(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Likeness, and the PSNR of the result and of the source as it is, both to the driver."""
        source, small_source = self.shown(batch["source"])
        driver, small_driver = self.shown(batch["driver"])
        made: Reenacted = net(small_source, small_driver)
        marks = batch["driver_marks"]
        angles, wanted = made.driver_angles, batch["driver_angles"]
        return {
            "loss": self._likeness(cut_regions(made.image, marks), cut_regions(driver, marks)),
            "psnr": psnr(made.image, driver).mean(),
            "copy_psnr": psnr(source, driver).mean(),
            "degrees": pose_loss(angles, wanted) / 3,
        }

    def summary(self, means: Mapping[str, float]) -> dict[str, float]:
        """The means, and by how many decibels the result is nearer to the driver than the source is."""
        made = dict(means)
        if "psnr" in made:
            made["gain"] = made["psnr"] - made["copy_psnr"]
        return made

    def _likeness(self, made: dict[str, Tensor], real: dict[str, Tensor]) -> Tensor:
        counts = {"whole": 1.0, "face": self.weights.face, "lip": self.weights.lip}
        terms = [counts[name] * self.image_loss(made[name], real[name]) for name in REGIONS if counts[name]]
        return torch.stack(terms).sum()

    def _opinion(
        self, critic: nn.Module, made: dict[str, Tensor], real: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """What the critics say of the result, and how far their features are from those of the driver."""
        critic.requires_grad_(False)
        says = critic(made)
        with torch.no_grad():
            wanted = critic(real)
        critic.requires_grad_(True)
        self._judged = {name: value.detach() for name, value in made.items()}, real
        return {
            "adversarial": torch.stack([hinge_maker(patches) for _, patches in says.values()]).sum(),
            "features": torch.stack([feature_matching(says[n][0], wanted[n][0]) for n in says]).sum(),
        }

    def _identity(
        self, net: FaceRecognition, made: Tensor, source: Tensor, marks: tuple[Tensor, Tensor]
    ) -> Tensor:
        """One minus the cosine between the person in the result and in the source."""
        with torch.no_grad():
            wanted = net(align_face(source, marks[0][:, list(_FIVE)]))
        found = net(align_face(made, marks[1][:, list(_FIVE)]))
        return 1 - (found * wanted).sum(1).mean()


def psnr(made: Tensor, real: Tensor) -> Tensor:
    """(B,) decibels between pictures (B, 3, H, W) in 0..1."""
    error = (made.float() - real.float()).square().mean((1, 2, 3))
    return -10 * (error + _TINY).log10()
