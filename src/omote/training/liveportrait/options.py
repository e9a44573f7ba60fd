"""What a training of LivePortrait is told, and its two presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from omote.errors import InputError
from omote.models.liveportrait import (
    AppearanceConfig,
    DenseMotionConfig,
    GeneratorConfig,
    LivePortraitConfig,
    MotionConfig,
    WarpingConfig,
)
from omote.models.liveportrait.discriminators import DiscriminatorConfig
from omote.training.engine import EngineOptions
from omote.training.liveportrait.losses import SMALL_WEIGHTS, LossWeights
from omote.training.liveportrait.regions import REGIONS
from omote.training.schedule import Budget, LearningRate

Stage = Literal["base", "stitching", "retargeting"]
STAGES: tuple[Stage, ...] = ("base", "stitching", "retargeting")

SMALL = LivePortraitConfig(
    appearance=AppearanceConfig(
        block_expansion=16, max_features=128, reshape_channel=32, reshape_depth=4, num_resblocks=2
    ),
    motion=MotionConfig(depths=(1, 1, 3, 1), dims=(32, 64, 128, 256)),
    warping=WarpingConfig(
        block_expansion=16,
        max_features=128,
        reshape_channel=32,
        dense_motion_params=DenseMotionConfig(
            block_expansion=16, max_features=64, num_blocks=3, reshape_depth=4, compress=2
        ),
    ),
    generator=GeneratorConfig(
        block_expansion=16, max_features=128, out_channels=32, num_middle_blocks=2, spade_hidden=32
    ),
    input_size=64,
)
"""Of the published kind with the published names, 40 times smaller: a CPU trains it at 64 px in, 128 px out."""


@dataclass(frozen=True)
class Preset:
    """Sizes that belong together.

    Attributes:
        network: of all networks.
        discriminators: by region.
        weights: of the losses.
        adversarial_start: step from which the critics join; none was published.
        batch: pairs in a step of each process.
    """

    network: LivePortraitConfig
    discriminators: Mapping[str, DiscriminatorConfig]
    weights: LossWeights
    adversarial_start: int
    batch: int

    @property
    def size(self) -> int:
        """Side of the results and of the clips, px."""
        return self.network.output_size


PRESETS: dict[str, Preset] = {
    "published": Preset(
        LivePortraitConfig(),
        discriminators={name: DiscriminatorConfig() for name in REGIONS},
        weights=LossWeights(),
        adversarial_start=0,
        batch=13,  # published: 104 on 8 processors
    ),
    "small": Preset(
        SMALL,
        discriminators={
            "whole": DiscriminatorConfig(16, 4, 64),
            "face": DiscriminatorConfig(16, 4, 64),
            "lip": DiscriminatorConfig(16, 3, 64),
        },
        weights=SMALL_WEIGHTS,
        adversarial_start=2000,
        batch=8,
    ),
}


def recipe(preset: str, budget: Budget, **changes: Any) -> EngineOptions:
    """The optimisation of a preset.

    Published (arXiv 2407.03168, §4.1): Adam at 2e-4 with betas 0.5 and 0.999; the schedule was not. "small" is ours: a
    higher rate that warms up and falls, gradients clipped, weights averaged.

    Args:
        preset: of `PRESETS`.
        budget: how long.
        changes: replace single entries.
    """
    if preset == "published":
        rate = LearningRate(2e-4)
        options = EngineOptions(budget, rate, weight_decay=0.0, betas=(0.5, 0.999), ema=0.0)
    else:
        rate = LearningRate(8e-4, warmup=50, cosine=True)
        options = EngineOptions(budget, rate, weight_decay=0.0, betas=(0.5, 0.99), clip=1.0, ema=0.995)
    return replace(options, **changes)


@dataclass(frozen=True)
class LivePortraitOptions:
    """What LivePortrait is trained on, and for.

    Args:
        data: folders of clips, images and videos, mixed.
        crops: folder for the crops of images and videos.
        stage: "base" trains F, M, W and G; "stitching" and "retargeting" train the small networks on frozen ones.
        preset: of `PRESETS`.
        base: stages after the first: folder of the networks that are frozen.
        batch: pairs in a step; None: the preset's.
        repeats: pairs of each clip in a pass.
        adversarial: whether there are critics.
        adversarial_start: step from which they join; None: the preset's.
        vgg: file with VGG-19's published weights, for a perceptual loss; None: pixels and edges
            (`omote.training.perceptual.StructuralLoss`).
        face_id: file with ArcFace's published weights, for the loss of identity; None: without that loss.
        weights: of the losses; None: the preset's.
        validation: at most so many held-out pairs.
        workers: processes that read pictures ahead; 0 reads them between the steps.
        seed: of the order, the variations and the choices.

    Raises:
        InputError: an entry that makes no training.
    """

    data: tuple[Path, ...]
    crops: Path
    stage: Stage = "base"
    preset: str = "published"
    base: Path | None = None
    batch: int | None = None
    repeats: int = 4
    adversarial: bool = True
    adversarial_start: int | None = None
    vgg: Path | None = None
    face_id: Path | None = None
    weights: LossWeights | None = None
    validation: int = 64
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise InputError(f"no stage is called '{self.stage}'", remedy=f"There are: {', '.join(STAGES)}.")
        if self.preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise InputError(f"no preset is called '{self.preset}'", remedy=f"There are: {known}.")
        if self.stage == "base" and self.base is not None:
            raise InputError("the stage base trains these networks itself", where="--base")
        if self.stage != "base" and self.base is None:
            remedy = (
                "Give --base RUN/liveportrait, of a training of the stage base, or the published weights."
            )
            raise InputError(f"the stage {self.stage} needs trained networks", where="--base", remedy=remedy)
        for name, count in {"--batch": self.batch, "--repeats": self.repeats}.items():
            if count is not None and count < 1:
                raise InputError(f"must be at least 1, got {count}", where=name)
        if self.stage == "stitching" and self.batch == 1:
            raise InputError("stitching pairs faces within a batch: at least 2", where="--batch")
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"must be within 0..{(1 << 31) - 1}, got {self.seed}", where="--seed")
        if self.validation < 0 or self.workers < 0:
            raise InputError("--validation and --workers must not be negative")

    @property
    def sizes(self) -> Preset:
        """The preset."""
        return PRESETS[self.preset]

    @property
    def loss_weights(self) -> LossWeights:
        """Of the losses."""
        return self.weights or self.sizes.weights
