"""LivePortrait (arXiv 2407.03168): the published networks in plain float32, tensor for tensor."""

from omote.models.liveportrait.appearance import AppearanceFeatureExtractor
from omote.models.liveportrait.config import (
    EYE,
    LIP,
    STITCHING,
    AppearanceConfig,
    DenseMotionConfig,
    GeneratorConfig,
    LivePortraitConfig,
    MotionConfig,
    RetargetingConfig,
    WarpingConfig,
)
from omote.models.liveportrait.generator import SpadeGenerator
from omote.models.liveportrait.motion import MotionExtractor
from omote.models.liveportrait.published import (
    BASE_FILES,
    RETARGETING_FILE,
    RETARGETING_KEYS,
    LivePortraitNets,
    load_tensors,
)
from omote.models.liveportrait.retargeting import RetargetingNet
from omote.models.liveportrait.warping import Warped, WarpingModule

__all__ = [
    "BASE_FILES",
    "EYE",
    "LIP",
    "RETARGETING_FILE",
    "RETARGETING_KEYS",
    "STITCHING",
    "AppearanceConfig",
    "AppearanceFeatureExtractor",
    "DenseMotionConfig",
    "GeneratorConfig",
    "LivePortraitConfig",
    "LivePortraitNets",
    "MotionConfig",
    "MotionExtractor",
    "RetargetingConfig",
    "RetargetingNet",
    "SpadeGenerator",
    "Warped",
    "WarpingConfig",
    "WarpingModule",
    "load_tensors",
]
