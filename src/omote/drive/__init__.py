"""Performance + photo -> frames: what an animating engine takes and gives, and the engines by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omote.errors import InputError

if TYPE_CHECKING:
    from omote.capture.pipeline import Captured
    from omote.performance import Performance

ENGINES = ("puppet",)
"""Engines that are driven by performances: each is a `Driver`."""
ANIMATORS = (*ENGINES, "liveportrait")
"""All engines; LivePortrait takes more than performances, see `omote.drive.liveportrait.pipeline.LivePortrait`."""


@dataclass(frozen=True)
class Portrait:
    """A photo and the faces in it that are to move.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        faces: what `omote.capture.pipeline.capture_image` found in this very image; each holds one frame.
    """

    image: NDArray[np.uint8]
    faces: tuple[Captured, ...]


class Driver(Protocol):
    """An engine that animates photos."""

    def prepare(self, portrait: Portrait) -> Any:
        """Everything about a photo that does not depend on the motion; done once."""

    def drive(self, state: Any, motions: Sequence[Performance | None]) -> Iterator[NDArray[np.uint8]]:
        """Yield one (H, W, 3) uint8 frame of the photo's own size for each frame of the motions.

        Args:
            state: from `prepare`.
            motions: one a face of the portrait, in its order: controls and pose *of that face, in the photo's camera*
                (see `omote.edit.motion.apply_motion`); None leaves a face as it is in the photo. All have the same
                number of frames.
        """


def engine_by_name(name: str) -> Driver:
    """The engine of that name, one of ENGINES.

    Raises:
        InputError: there is none.
    """
    if name == "puppet":
        from omote.drive.puppet import Puppet

        return Puppet()
    raise InputError(f"there is no engine '{name}'", remedy=f"Engines: {', '.join(ENGINES)}.")
