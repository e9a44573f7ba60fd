"""The ResNet that ArcFace (arXiv 1801.07698) embeds faces with: a training may ask it whether the person stayed.

The weights must be had from elsewhere, with the tensor names of the ArcFace authors' PyTorch code; the depth follows
from them. Those published were trained on data for research only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.checks import check_shape
from omote.errors import WeightsError
from omote.models.vgg19 import read_tensors

SIZE = 112
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where eyes, nose and corners of the mouth are to be in the picture of `SIZE` px, as published."""
_WIDTHS = (64, 128, 256, 512)
_EMBEDDING = 512
_EPS = 1e-5


class _Block(nn.Module):
    """Normalise, convolve, normalise, PReLU, convolve (with the stride), normalise; plus the input."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before, eps=_EPS)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after, eps=_EPS)
        self.prelu = nn.PReLU(after)
        self.conv2 = nn.Conv2d(after, after, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after, eps=_EPS)
        self.downsample = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after, eps=_EPS))
            if stride > 1 or before != after
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return inner + (x if self.downsample is None else self.downsample(x))


class FaceRecognition(nn.Module):
    """A face as a unit vector, frozen.

    Args:
        depths: blocks of the four stages: (3, 4, 14, 3) of the net with 50 layers.
    """

    def __init__(self, depths: tuple[int, ...] = (3, 4, 14, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0], eps=_EPS)
        self.prelu = nn.PReLU(_WIDTHS[0])
        before = _WIDTHS[0]
        for number, (width, depth) in enumerate(zip(_WIDTHS, depths, strict=True), 1):
            blocks = [_Block(before if k == 0 else width, width, 2 if k == 0 else 1) for k in range(depth)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            before = width
        self.bn2 = nn.BatchNorm2d(before, eps=_EPS)
        self.fc = nn.Linear(before * (SIZE // 16) ** 2, _EMBEDDING)
        self.features = nn.BatchNorm1d(_EMBEDDING, eps=_EPS)
        self.requires_grad_(False).eval()

    @classmethod
    def from_published(cls, tensors: Mapping[str, Any]) -> FaceRecognition:
        """From the tensors of an ArcFace checkpoint.

        Raises:
            WeightsError: a tensor is missing, has another shape, or is unexpected.
        """
        depths = [0, 0, 0, 0]
        for name in tensors:
            if found := re.match(r"layer([1-4])\.(\d{1,3})\.", str(name)):
                stage = int(found[1]) - 1
                depths[stage] = max(depths[stage], int(found[2]) + 1)
        if not all(depths):
            raise WeightsError("is not one of ArcFace's networks", where="face recognition")
        with torch.device("meta"):
            net = cls(tuple(depths))
        try:
            net.load_state_dict(dict(tensors), assign=True)
        except RuntimeError as error:
            what = " ".join(str(error).split())[:200]
            raise WeightsError(f"does not fit ({what})", where="face recognition") from error
        return net.float().requires_grad_(False).eval()

    @classmethod
    def load(cls, path: Path) -> FaceRecognition:
        """From a file of PyTorch or safetensors; nothing in it is run.

        Raises:
            WeightsError: missing, damaged, or another network.
        """
        return cls.from_published(read_tensors(path))

    def train(self, mode: bool = True) -> FaceRecognition:
        """Stays in evaluation mode: its statistics are part of what it knows."""
        super().train(False)
        return self

    def forward(self, face: Tensor) -> Tensor:
        """(B, 512) unit vectors of (B, 3, 112, 112) RGB in 0..1, aligned to `TEMPLATE`."""
        check_shape("face", face, "B", 3, SIZE, SIZE)
        x = self.prelu(self.bn1(self.conv1(2 * face - 1)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        return F.normalize(self.features(self.fc(self.bn2(x).flatten(1))).float(), dim=1)


def align_face(image: Tensor, points: Tensor) -> Tensor:
    """(B, 3, 112, 112) the face as `FaceRecognition` wants it, differentiable in the image.

    Args:
        image: (B, 3, H, W).
        points: (B, 5, 2) in -1..1 over the image: eyes, nose and corners of the mouth, as seen from left to right.
    """
    target = points.new_tensor(TEMPLATE) * (2 / SIZE) - 1
    # The similarity from template to image that fits best, as complex numbers: points = a template + b.
    wanted, given = (torch.view_as_complex(p.contiguous()) for p in (points, target))
    middle = wanted.mean(1, keepdim=True)
    centred = given - given.mean()
    a = (centred.conj() * (wanted - middle)).sum(1) / centred.abs().square().sum()
    b = middle[:, 0] - a * given.mean()
    rows = [torch.stack([a.real, -a.imag, b.real], 1), torch.stack([a.imag, a.real, b.imag], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [len(image), 3, SIZE, SIZE], align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)
