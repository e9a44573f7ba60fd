"""Pictures from keypoints: the one place where the large networks run."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.checks import check_shape
from omote.drive.liveportrait.networks import Processor, choose_processor
from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.fast import FastGenerator, FastWarping, Volume
from omote.models.liveportrait.keypoints import POINTS
from omote.models.processor import keep_memory


class Renderer(Protocol):
    """Draws a source whose face has moved."""

    def prepare(self, images: Tensor) -> Any:
        """What is computed once of each source image, for `render`.

        Args:
            images: (B, 3, 256, 256) RGB in 0..1.
        """

    def render(self, features: Any, source: Tensor, driving: Tensor) -> Tensor:
        """(B, 3, 512, 512) RGB in 0..1, float32 on the CPU.

        Args:
            features: from `prepare`, of B sources or of 1 for all.
            source: (B, 21, 3) keypoints of the source, or (1, 21, 3).
            driving: (B, 21, 3) keypoints that it is to have.
        """


def make_renderer(nets: LivePortraitNets, processor: Processor | None = None) -> Renderer:
    """The renderer for a processor, by default that of `choose_processor`."""
    on = processor or choose_processor()
    return FastRenderer(nets, on.dtype) if on.device.type == "cpu" else PlainRenderer(nets, on)


class FastRenderer:
    """The same arithmetic arranged for a CPU, see `omote.models.liveportrait.fast`.

    In float32 pictures differ from the published arithmetic's by rounding; `benchmarks/liveportrait_cpu.py` measures
    how close they are in bfloat16.

    Args:
        nets: the weights of the large ones are copied.
        dtype: of the large convolutions: float32 or bfloat16.
    """

    def __init__(self, nets: LivePortraitNets, dtype: torch.dtype) -> None:
        keep_memory()
        self._dtype = dtype
        self._extractor = nets.appearance_feature_extractor
        self._warping = FastWarping(nets.warping_module, dtype)
        self._generator = FastGenerator(nets.spade_generator, dtype)

    def prepare(self, images: Tensor) -> Volume:
        """The features, ready to be warped; see `Renderer`."""
        check_shape("images", images, "B", 3, "H", "W")
        with torch.inference_mode():
            with _autocast(torch.device("cpu"), self._dtype):
                features = self._extractor(images)
            return self._warping.prepare(features)  # which chooses its own precision

    def render(self, features: Volume, source: Tensor, driving: Tensor) -> Tensor:
        """(B, 3, 512, 512); see `Renderer`."""
        check_shape("driving keypoints", driving, "B", POINTS, 3)
        with torch.inference_mode():
            return self._generator(self._warping(features, driving.float(), source.float()))


class PlainRenderer:
    """The published arithmetic: F, then W and G.

    Args:
        nets: moved to the processor.
        processor: default `choose_processor`.
    """

    def __init__(self, nets: LivePortraitNets, processor: Processor | None = None) -> None:
        self._on = processor or choose_processor()
        self._nets = nets.to(self._on.device)

    def prepare(self, images: Tensor) -> Tensor:
        """(B, 32, 16, 64, 64) features; see `Renderer`."""
        check_shape("images", images, "B", 3, "H", "W")
        with torch.inference_mode():
            features: Tensor = self._nets.appearance_feature_extractor(images.to(self._on.device))
        return features

    def render(self, features: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        """(B, 3, 512, 512); see `Renderer`."""
        check_shape("driving keypoints", driving, "B", POINTS, 3)
        count, device = len(driving), self._on.device
        features = features.expand(count, *features.shape[1:])
        source = source.expand(count, POINTS, 3).to(device)
        with torch.inference_mode(), _autocast(device, self._on.dtype):
            warped = self._nets.warping_module(features, driving.to(device), source)
            image: Tensor = self._nets.spade_generator(warped.out)
        return image.float().cpu()


def _autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, 3, H, W) float32 in 0..1 of (B, H, W, 3) uint8."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def to_pictures(images: Tensor) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 of (B, 3, H, W) in 0..1, cut off rather than rounded, as published."""
    from omote.drive.liveportrait.paste import to_bytes

    return to_bytes(images.permute(0, 2, 3, 1).numpy())
