"""Pictures from keypoints: the one place where the large networks run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
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
from omote.models.quantised import Stage, multiplies_bytes

CLOSE = 40.0
"""PSNR of what is drawn with products of bytes against what is drawn without, dB, from which they are used."""
_FIRST = 2  # with fewer blocks at full precision, pictures of seeded weights were not that close

_log = logging.getLogger("omote.drive.liveportrait")

Example = tuple[Any, Tensor, Tensor]
"""Features of `Renderer.prepare`, keypoints of the source, and those that it is to have; of one picture."""


Told = Callable[[int, int], None]
"""Called with the number of pictures that were drawn, and of those to be drawn as far as is known."""


def _untold(drawn: int, count: int) -> None:
    """Nobody asked."""


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

    def study(self, examples: Sequence[Example], told: Told = _untold) -> None:
        """Choose how to draw many pictures, some of which are given.

        Args:
            examples: of what `render` will be given.
            told: after each picture that is drawn for it.
        """


def make_renderer(nets: LivePortraitNets, processor: Processor | None = None) -> Renderer:
    """The renderer for a processor, by default that of `choose_processor`."""
    on = processor or choose_processor()
    if on.device.type == "cpu":
        return FastRenderer(nets, on.dtype, in_bytes=multiplies_bytes())
    return PlainRenderer(nets, on)


class FastRenderer:
    """The same arithmetic arranged for a CPU, see `omote.models.liveportrait.fast`.

    In float32 pictures differ from the published arithmetic's by rounding; `benchmarks/liveportrait_cpu.py` measures
    how close they are in bfloat16.

    Args:
        nets: the weights of the large ones are copied.
        dtype: of the large convolutions: float32 or bfloat16.
        in_bytes: whether most products may be of bytes, once `study` has found that pictures stay close.

    Attributes:
        warping: W, as it is used.
        generator: G.
    """

    def __init__(self, nets: LivePortraitNets, dtype: torch.dtype, *, in_bytes: bool = False) -> None:
        keep_memory()
        self._stage = Stage() if in_bytes else None
        self._extractor = nets.appearance_feature_extractor
        self.warping = FastWarping(nets.warping_module, dtype, self._stage)
        self.generator = FastGenerator(nets.spade_generator, dtype, self._stage)
        self._blocks = nets.spade_generator.config.num_middle_blocks

    def prepare(self, images: Tensor) -> Volume:
        """The features, ready to be warped; see `Renderer`."""
        check_shape("images", images, "B", 3, "H", "W")
        with torch.inference_mode():
            # In float32, as all that follows magnifies its errors.
            return self.warping.prepare(self._extractor(images))

    def render(self, features: Volume, source: Tensor, driving: Tensor) -> Tensor:
        """(B, 3, 512, 512); see `Renderer`."""
        check_shape("driving keypoints", driving, "B", POINTS, 3)
        with torch.inference_mode():
            return self.generator(self.warping(features, driving.float(), source.float()))

    def study(self, examples: Sequence[Example], told: Told = _untold) -> None:
        """Have most products be of bytes where the examples then stay within `CLOSE` of what they were.

        They also tell how bytes stand for numbers. The more of the generator's first blocks keep their precision, the
        closer pictures are: as few as that takes. Networks that are not close even so are left as they are.
        """
        stage = self._stage
        if stage is None or not examples:
            return
        drawn = 0

        def draw(tried: int) -> list[Tensor]:
            nonlocal drawn
            pictures = []
            for example in examples:
                told(drawn, (1 + tried) * len(examples))
                pictures.append(self.render(*example))
                drawn += 1
            told(drawn, (1 + tried) * len(examples))
            return pictures

        stage.now = "watch"
        wanted = draw(1)
        stage.now = "bytes"
        for tried, first in enumerate(range(min(_FIRST, self._blocks), self._blocks + 1), 1):
            stage.first = first
            close = min(map(peak_ratio, draw(tried), wanted))
            _log.debug("products of bytes from block %d on: %.1f dB", first, close)
            if close >= CLOSE:
                return
        stage.now = "full"


def peak_ratio(pictures: Tensor, wanted: Tensor) -> float:
    """PSNR of pictures in 0..1, dB; infinite where they are the same."""
    error = float((pictures - wanted).square().mean())
    return 10 * math.log10(1 / error) if error else math.inf


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

    def study(self, examples: Sequence[Example], told: Told = _untold) -> None:
        """Nothing is chosen; see `Renderer`."""


def _autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, 3, H, W) float32 in 0..1 of (B, H, W, 3) uint8."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255


def to_pictures(images: Tensor) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 of (B, 3, H, W) in 0..1, cut off rather than rounded, as published."""
    from omote.drive.liveportrait.paste import to_bytes

    return to_bytes(images.permute(0, 2, 3, 1).numpy())
