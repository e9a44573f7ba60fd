"""Training of LivePortrait (arXiv 2407.03168): the published losses, what was not published said plainly."""

from omote.training.liveportrait.losses import SMALL_WEIGHTS, LossWeights
from omote.training.liveportrait.options import (
    PRESETS,
    STAGES,
    LivePortraitOptions,
    Preset,
    Stage,
    recipe,
)
from omote.training.liveportrait.run import MODEL, train_liveportrait

__all__ = [
    "MODEL",
    "PRESETS",
    "SMALL_WEIGHTS",
    "STAGES",
    "LivePortraitOptions",
    "LossWeights",
    "Preset",
    "Stage",
    "recipe",
    "train_liveportrait",
]
