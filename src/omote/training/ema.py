"""An exponential moving average of a network's weights: smoother than the weights themselves, and usually better."""

from __future__ import annotations

import copy

import torch
from torch import nn

from omote.errors import InputError


class Ema:
    """The average.

    After n updates it has moved by ``1 - min(decay, (1 + n) / (10 + n))`` towards the weights, so that a
    short run is not an average of its random start.

    Args:
        net: whose weights are averaged; it is copied.
        decay: within 0 (no average: always the newest weights) to 1 (exclusive).

    Attributes:
        net: the averaged network, in evaluation mode.
        updates: n.

    Raises:
        InputError: ``decay`` is out of range.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"the decay of the average must be in 0..1, below 1, got {decay}")
        self.decay, self.updates = decay, 0
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move towards the weights of ``net``; running statistics are copied."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.decay else 1.0
        mine, theirs = list(self.net.parameters()), [p.detach() for p in net.parameters()]
        trained = [p.requires_grad for p in net.parameters()]
        pairs = [(m, t) for m, t, moves in zip(mine, theirs, trained, strict=True) if moves]
        torch._foreach_lerp_([m for m, _ in pairs], [t for _, t in pairs], share)
        for buffer, newest in zip(self.net.buffers(), net.buffers(), strict=True):
            buffer.copy_(newest)
