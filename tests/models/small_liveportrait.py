"""LivePortrait's networks small enough for tests."""

from __future__ import annotations

import torch

from omote.models.liveportrait import (
    AppearanceConfig,
    DenseMotionConfig,
    GeneratorConfig,
    LivePortraitConfig,
    LivePortraitNets,
    MotionConfig,
    RetargetingConfig,
    WarpingConfig,
)

KEYPOINTS = 5
"""Of `SMALL`, whose sizes are all different, so that none is taken for another."""
SMALL = LivePortraitConfig(
    appearance=AppearanceConfig(
        block_expansion=4,
        num_down_blocks=2,
        max_features=12,
        reshape_channel=3,
        reshape_depth=4,
        num_resblocks=2,
    ),
    motion=MotionConfig(num_kp=KEYPOINTS, num_bins=6, depths=(1, 1, 2, 1), dims=(4, 6, 8, 10)),
    warping=WarpingConfig(
        num_kp=KEYPOINTS,
        block_expansion=4,
        max_features=12,
        num_down_blocks=1,
        reshape_channel=3,
        dense_motion_params=DenseMotionConfig(
            block_expansion=4, max_features=16, num_blocks=2, reshape_depth=4, compress=2
        ),
    ),
    generator=GeneratorConfig(
        block_expansion=4,
        max_features=16,
        num_down_blocks=1,
        out_channels=4,
        num_middle_blocks=2,
        spade_hidden=6,
    ),
    stitching=RetargetingConfig(6 * KEYPOINTS, (7,), 3 * KEYPOINTS + 2),
    eye=RetargetingConfig(3 * KEYPOINTS + 3, (8, 7), 3 * KEYPOINTS),
    lip=RetargetingConfig(3 * KEYPOINTS + 2, (7,), 3 * KEYPOINTS),
)

TINY = LivePortraitConfig(
    appearance=AppearanceConfig(
        block_expansion=4, max_features=16, reshape_channel=8, reshape_depth=2, num_resblocks=1
    ),
    motion=MotionConfig(depths=(1, 1, 1, 1), dims=(4, 4, 8, 8)),
    warping=WarpingConfig(
        block_expansion=4,
        max_features=16,
        reshape_channel=8,
        dense_motion_params=DenseMotionConfig(
            block_expansion=4, max_features=8, num_blocks=2, reshape_depth=2, compress=1
        ),
    ),
    generator=GeneratorConfig(
        block_expansion=4, max_features=16, out_channels=4, num_middle_blocks=1, spade_hidden=4
    ),
    input_size=32,
)
"""With the published keypoints, as small as it gets: 32 px in, 64 px out."""


def small_nets(seed: int = 0) -> LivePortraitNets:
    """With random weights, statistics and GRN, so that nothing is hidden by a zero or a one."""
    torch.manual_seed(seed)
    nets = LivePortraitNets(SMALL)
    with torch.no_grad():
        for name, tensor in nets.state_dict().items():
            if name.endswith(("gamma", "beta", "running_mean")):
                tensor.normal_(std=0.3)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return nets
