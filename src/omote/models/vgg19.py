"""VGG-19 (arXiv 1409.1556) up to its fifth block: the features that perceptual losses compare.

The weights must be had from elsewhere, with the tensor names under which PyTorch's model zoo publishes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.errors import WeightsError
from omote.weights.loading import is_safetensors, load_safetensors, load_torch_checkpoint

_WIDTHS = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512)
_CONVS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
"""Numbers of the layers in the published ``features``; between them lie the activations and the poolings."""
_TAPS = (0, 5, 10, 19, 28)
"""The first of each block; what is compared is behind its ReLU: relu1_1, 2_1, 3_1, 4_1, 5_1."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Vgg19(nn.Module):
    """relu1_1 to relu5_1, frozen."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                str(index): nn.Conv2d(before, after, 3, padding=1)
                for index, (before, after) in zip(_CONVS, pairwise(_WIDTHS), strict=True)
            }
        )
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    @classmethod
    def from_published(cls, tensors: Mapping[str, Any]) -> Vgg19:
        """From ``features.0.weight`` ...; layers that are not needed (the classifier) are passed over.

        Raises:
            WeightsError: a tensor is missing or has another shape.
        """
        net = cls()
        for name, target in net.state_dict().items():
            value = tensors.get(name)
            if not isinstance(value, Tensor):
                raise WeightsError(f"the tensor {name} is missing", where="VGG-19")
            if value.shape != target.shape:
                what = f"the tensor {name} has shape {tuple(value.shape)}, expected {tuple(target.shape)}"
                raise WeightsError(what, where="VGG-19")
            target.copy_(value)
        return net

    @classmethod
    def load(cls, path: Path) -> Vgg19:
        """From a file of PyTorch or safetensors; nothing in it is run.

        Raises:
            WeightsError: missing, damaged, or not VGG-19.
        """
        return cls.from_published(read_tensors(path))

    def forward(self, image: Tensor) -> list[Tensor]:
        """The five maps of (B, 3, H, W) RGB in 0..1, from (B, 64, H, W) to (B, 512, H / 16, W / 16)."""
        x, found = (image - self.mean) / self.deviation, []
        last = -2
        for name, conv in self.features.items():
            if int(name) > last + 2:  # a pooling lies between
                x = F.max_pool2d(x, 2)
            x = F.relu(conv(x))
            last = int(name)
            if last in _TAPS:
                found.append(x)
        return found


def read_tensors(path: Path) -> Mapping[str, Any]:
    """The tensors of a checkpoint by name, without a ``module.`` in front.

    Raises:
        WeightsError: missing, damaged, or not a dictionary.
    """
    held: Any = (
        load_safetensors(path) if path.is_file() and is_safetensors(path) else load_torch_checkpoint(path)
    )
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping):
        raise WeightsError("holds no tensors by name", where=path)
    return {str(name).removeprefix("module."): value for name, value in held.items()}
