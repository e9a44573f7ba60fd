"""The inversion network made ready: pictures of a face in, FACS-102 controls out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.capture.face_crop import network_images, to_tensors
from omote.controls import FACS102
from omote.errors import WeightsError

BATCH = 16
"""Pictures that pass the network at once."""
_RIG = "facs"
_HEAD = FACS102.match("head_*")

Samples = Sequence[Mapping[str, NDArray[Any]]]


def shipped_weights() -> Path:
    """The network that ships with the package."""
    return Path(str(resources.files("omote") / "assets" / "inversion" / "inversion.safetensors"))


@lru_cache(maxsize=2)
def load_inverter(path: Path | None = None) -> Inverter:
    """A network, kept for the next file.

    Args:
        path: a checkpoint; None is the one that ships.

    Raises:
        WeightsError: missing, damaged, or for another rig or other controls.
    """
    return Inverter(path)


class Inverter:
    """Predicts the embedded rig's controls.

    Args:
        path: a checkpoint as `omote train inversion` writes it; None is the one that ships.

    Raises:
        WeightsError: missing, damaged, or for another rig or other controls; names both.
    """

    def __init__(self, path: Path | None = None) -> None:
        from omote.models.inversion import FastInversion, load_checkpoint

        if path is None and not shipped_weights().is_file():
            remedy = "Train one (`omote train inversion --help`) and give it with --weights."
            raise WeightsError("this installation has no inversion network", remedy=remedy)
        net = load_checkpoint(path or shipped_weights(), FACS102, rig=_RIG)
        self.config = net.config
        self._predict = FastInversion(net)  # bfloat16 where that is faster

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it can look at: "rgb", "normal" or both."""
        return tuple(self.config.modalities)

    def sample(
        self, rgb: NDArray[np.uint8] | None, normal: NDArray[np.uint8] | None, landmarks: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        """The crops of one face, of those pictures that the network can look at.

        Args:
            rgb: (H, W, 3) sRGB, or None.
            normal: (H, W, 3) encoded camera-space normals of the same view, or None.
            landmarks: (478, 2 or 3) px.

        Raises:
            WeightsError: the network looks at neither of them.
        """
        rgb = rgb if "rgb" in self.modalities else None
        normal = normal if "normal" in self.modalities else None
        if rgb is None and normal is None:
            needed = "a normal map" if "normal" in self.modalities else "an RGB picture"
            raise WeightsError(f"this network needs {needed}", remedy="Give one, or other --weights.")
        return network_images(self.config, rgb, normal, landmarks[:, :2])

    def controls(self, samples: Samples) -> NDArray[np.float64]:
        """(B, 102) controls within their ranges; the head's own are 0, since its movement is the pose."""
        batches = [samples[first : first + BATCH] for first in range(0, len(samples), BATCH)]
        results = [self._predict(**to_tensors(batch)).numpy() for batch in batches]
        controls = FACS102.clamp(np.concatenate(results)).astype(np.float64)
        controls[:, _HEAD] = 0.0
        return controls
