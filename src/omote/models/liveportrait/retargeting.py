"""S, R_eyes and R_lip: small networks that move the driving keypoints."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from omote.checks import check_shape
from omote.models.liveportrait.config import RetargetingConfig


class RetargetingNet(nn.Module):
    """Linear layers with ReLU between them (arXiv 2407.03168, §3.3).

    Stitching takes source and driving keypoints; the eye network the source's keypoints and [left ratio, right ratio,
    wanted ratio]; the lip network the source's keypoints and [ratio, wanted ratio].

    Args:
        config: sizes: `STITCHING`, `EYE` or `LIP` of `omote.models.liveportrait.config`.
    """

    def __init__(self, config: RetargetingConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.input_size, *config.hidden_sizes, config.output_size)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, *parts: Tensor) -> Tensor:
        """The offsets.

        Args:
            parts: tensors (B, ...) that are flattened, keypoint-major, and put one after the other; together
                input_size numbers a row.

        Returns:
            (B, output_size): an offset for each coordinate, keypoint-major; for stitching then one shift of all x and
            one of all y.

        Raises:
            InputError: other sizes.
        """
        joined = torch.cat([part.flatten(1) for part in parts], 1)
        check_shape("retargeting input", joined, "B", self.config.input_size)
        offsets: Tensor = self.mlp(joined)
        return offsets
