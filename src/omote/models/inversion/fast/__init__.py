"""The inversion network for use on a CPU: the same weights and formulas, arranged for speed.

Against `InversionNet` with the blocks of `transformers` (the plain reference, which the tests compare with): weights
and activations are bfloat16 throughout where that is faster (autocast would convert back and forth); queries,
keys and values come from separate products, so that the windows of an attention count as heads and nothing is copied
between products; the largest of pooled values is found by ``amax`` (``max`` also finds where it was, slowly); products
and convolutions are fused with the activation or the sum that follows; a picture's tokens are put into Hiera's order
together with their position embeddings. Where the network looks at points of a surface, one compiled loop projects
them, samples the picture and writes what the next product takes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from omote.models.inversion.fast.hiera import FastHiera
from omote.models.inversion.fast.reading import FastMesh, FastUnwrapped
from omote.models.inversion.network import InversionNet
from omote.models.processor import multiplies_bfloat16


class FastInversion:
    """Predicts like ``net.eval()`` does; see `InversionNet.forward`. Call it like a function.

    In bfloat16 the controls differ from float32's by 0.001 on average and 0.01 at most on random networks
    (``tests/models/test_inversion_fast.py`` holds them to twice that).

    Args:
        net: its weights are copied.
        dtype: of weights and activations; None: bfloat16 where that is faster, else float32.
    """

    def __init__(self, net: InversionNet, dtype: torch.dtype | None = None) -> None:
        self.config = net.config
        self.dtype = dtype or (torch.bfloat16 if multiplies_bfloat16() else torch.float32)
        self._net: Any = copy.deepcopy(net).eval().requires_grad_(False)
        if self._net.mesh is not None:
            self._net.mesh = FastMesh.of(self._net.mesh, self.dtype)
        if self._net.unwrapped is not None:
            self._net.unwrapped = FastUnwrapped.of(self._net.unwrapped, self.dtype)
        for name, part in self._net.named_children():
            if name not in ("mesh", "unwrapped"):
                part.to(self.dtype)
        for backbone in self._net.backbones.values():
            if backbone.kind == "hiera":
                backbone.net = FastHiera(backbone.net)
        for module in self._net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(
        self,
        rgb: Tensor | None = None,
        normal: Tensor | None = None,
        eyes_rgb: Tensor | None = None,
        eyes_normal: Tensor | None = None,
    ) -> Tensor:
        """(B, C) float32 controls of the images that are given; see `InversionNet.forward`."""
        images = {"rgb": rgb, "normal": normal, "eyes_rgb": eyes_rgb, "eyes_normal": eyes_normal}
        controls: Tensor = self._net(**images)
        return controls
