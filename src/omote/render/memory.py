"""Image memory that is used again: fresh memory costs a page fault per 4 KB, often more than drawing into it."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KEPT = 3
_local = threading.local()


class Arena:
    """Images out of one block, which serves again once every array and tensor that lies in it is gone (CPU only).

    Args:
        device: where the images live; other devices have allocators of their own.
        height: rows of each image.
        width: columns of each image.
        channels: of all images together.
    """

    def __init__(self, device: torch.device, height: int, width: int, channels: int) -> None:
        self._shape, self._device, self._used = (height, width), device, 0
        if device.type != "cpu":
            return
        size = height * width * channels
        pool: list[np.ndarray[Any, Any]] = _local.__dict__.setdefault("pool", [])
        for k in range(len(pool)):
            if (
                pool[k].size == size and sys.getrefcount(pool[k]) == 2
            ):  # the pool's reference and the call's own
                self._block = pool.pop(k)
                break
        else:
            self._block = np.empty(size, np.float32)
        pool[:] = [*pool[1 - _KEPT :], self._block]

    def image(self, *channels: int) -> Tensor:
        """(H, W, *channels) float32, not initialised."""
        if self._device.type != "cpu":
            return torch.empty(*self._shape, *channels, device=self._device)
        start = self._used
        self._used += math.prod(self._shape) * math.prod(channels)
        return torch.from_numpy(self._block[start : self._used].reshape(*self._shape, *channels))
