"""Interrupted work goes on where it was: pictures that took long to make are kept until everything is done."""

from __future__ import annotations

import hashlib
import shutil
import time as clock
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omote.errors import OmoteError

Picture = NDArray[np.uint8]
Pictures = NDArray[np.uint8]

WORTH_S = 0.3
"""Pictures that took longer than this, each, are kept: a GPU makes them sooner than a disk takes them."""
_SPARE = 1 << 30
"""Bytes that are left on the disk: the output needs them more."""


class Unfinished:
    """Pictures that took long, in a hidden folder beside the output, by all that decides them.

    So it does not matter how another run goes: what it asks for is there, or is made. The folder stays until `drop`,
    which belongs after the output is complete.

    Args:
        output: what is being made.
        maker: what makes the pictures: the networks and the processor.

    Attributes:
        found: pictures that were there from an interrupted run.
    """

    def __init__(self, output: Path, maker: str = "") -> None:
        self.folder = output.with_name(f".{output.name}.omote-unfinished")
        self.found = 0
        self._maker = hashlib.sha256(maker.encode())
        self._keeps = True

    def __call__(self, names: Sequence[str], make: Callable[[], Pictures]) -> Pictures:
        """(B, S, S, 3) uint8: the pictures of these names that were kept, or else what ``make`` makes.

        Args:
            names: each tells a picture from all others of the same maker.
            make: called unless all of them are there.
        """
        from omote.media import read_image

        places = [self._place(name) for name in names]
        with suppress(OmoteError, ValueError):  # not there, damaged, or of different sizes
            pictures = np.stack([read_image(place) for place in places])
            self.found += len(places)
            return pictures
        began = clock.monotonic()
        made = make()
        if self._keeps and clock.monotonic() - began > WORTH_S * len(places):
            self._keep(dict(zip(places, made, strict=True)))
        return made

    def drop(self) -> None:
        """Throw away what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, name: str) -> Path:
        full = self._maker.copy()
        full.update(name.encode())
        return self.folder / f"{full.hexdigest()[:32]}.png"

    def _keep(self, pictures: Mapping[Path, Picture]) -> None:
        from omote.media import write_image

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._keeps = shutil.disk_usage(self.folder).free > _SPARE
            for place, picture in pictures.items() if self._keeps else ():
                write_image(place, picture)
        except (OmoteError, OSError):
            self._keeps = False
