"""The two kinds of backbone, of Hugging Face `transformers`, behind one face: an image in, one vector out."""

from __future__ import annotations

import contextlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omote.errors import WeightsError
from omote.models.inversion.config import InversionConfig

_HUB = "https://huggingface.co"
_PATIENCE_S = 5.0


class Backbone(nn.Module):
    """An image (B, 3, S, S), ImageNet-normalised, to (B, F) features.

    Args:
        config: of the whole network; says which backbone and how large.

    Attributes:
        features: F.
    """

    def __init__(self, config: InversionConfig) -> None:
        super().__init__()
        self.kind = config.backbone
        self.net: Any = make_hiera(config) if config.backbone == "hiera" else make_resnet()
        width = config.embed_dim * 8 if config.backbone == "hiera" else 2048
        self.features = width
        self.places: nn.Module | None = None
        if config.place_features:
            self.places = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.place_features))
            self.features += config.final_tokens * config.place_features
        self.frozen: list[nn.Module] = []

    def forward(self, image: Tensor) -> Tensor:
        """(B, F) pooled features, then those of each place, if the configuration asks for them."""
        seen = self.net(image)
        pooled: Tensor = seen.pooler_output.flatten(1)
        if self.places is None:
            return pooled
        tokens = seen.last_hidden_state
        if self.kind != "hiera":  # (B, D, h, w)
            tokens = tokens.flatten(2).transpose(1, 2)
        return torch.cat([pooled, self.places(tokens).flatten(1)], 1)

    def freeze(self, stages: int) -> None:
        """Stop training the stem and the first ``stages`` stages; 0 trains all."""
        if self.kind == "hiera":
            stem, blocks = self.net.embeddings, self.net.encoder.stages
        else:
            stem, blocks = self.net.embedder, self.net.encoder.stages
        self.frozen = [stem, *blocks[:stages]] if stages else []
        self.net.requires_grad_(True)
        for part in self.frozen:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Backbone:
        """As usual, but frozen parts keep the running statistics of their normalisation."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self


def make_hiera(config: InversionConfig) -> nn.Module:
    """A Hiera (Ryali et al., 2023) with random weights."""
    from transformers import HieraConfig, HieraModel

    stride = config.patch_stride
    return HieraModel(
        HieraConfig(
            embed_dim=config.embed_dim,
            image_size=[config.size, config.size],
            patch_size=[2 * stride - 1] * 2,
            patch_stride=[stride] * 2,
            patch_padding=[stride - 1] * 2,
            depths=list(config.depths),
            num_heads=list(config.heads),
        )
    )


def make_resnet() -> nn.Module:
    """A ResNet-50 (He et al., 2016) with random weights."""
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(ResNetConfig())


def fill_pretrained(backbone: Backbone, source: str) -> None:
    """Fill a backbone with published weights; a Hiera's position embeddings are interpolated to its own size.

    Args:
        backbone: of the same kind, width and depth as the published one.
        source: a name on the Hugging Face hub (also looked for in its cache) or a folder.

    Raises:
        WeightsError: the weights cannot be had, or are of another shape.
    """
    from transformers import HieraModel, ResNetModel

    kind = HieraModel if backbone.kind == "hiera" else ResNetModel
    remedy = "Give a folder that holds them, or train from random weights with --pretrained none."
    with _quiet():
        try:
            published = kind.from_pretrained(source, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError):
            if Path(source).exists() or not _reachable():
                what = (
                    "no pretrained backbone there" if Path(source).exists() else "the hub cannot be reached"
                )
                raise WeightsError(what, where=source, remedy=remedy) from None
            try:
                published = kind.from_pretrained(source, use_safetensors=True)
            except Exception as error:  # the hub's client raises many kinds
                what = f"the pretrained backbone cannot be had ({type(error).__name__})"
                raise WeightsError(what, where=source, remedy=remedy) from error
    state = published.state_dict()
    own = backbone.net.state_dict()
    place = "embeddings.position_embeddings"
    if place in state and place in own:
        state[place] = resize_positions(state[place], own[place].shape[1])
    differing = [n for n in own if n not in state or state[n].shape != own[n].shape]
    if differing:
        what = f"the pretrained backbone is of another shape ({differing[0]} and {len(differing) - 1} more)"
        raise WeightsError(what, where=source, remedy=remedy)
    backbone.net.load_state_dict({n: state[n] for n in own})


def resize_positions(positions: Tensor, count: int) -> Tensor:
    """(1, N, D) embeddings of a square of tokens to (1, ``count``, D), bicubic as in the Hiera code."""
    old, new = round(positions.shape[1] ** 0.5), round(count**0.5)
    if old == new:
        return positions
    grid = positions.reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
    grid = nn.functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).reshape(1, count, -1).to(positions.dtype)


def _reachable() -> bool:
    """Whether the hub answers within a few seconds; its own client retries for minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return False
    request = urllib.request.Request(os.environ.get("HF_ENDPOINT", _HUB), method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own warnings off the terminal."""
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
