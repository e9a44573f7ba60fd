"""Interrupted work goes on where it was: pictures that took long to make are kept until everything is done."""

from __future__ import annotations

import shutil
import time as clock
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from omote.errors import OmoteError

Picture = NDArray[np.uint8]
Pictures = NDArray[np.uint8]

WORTH_S = 0.1
"""Pictures that took longer than this, each, are kept: a GPU makes them sooner than a disk."""
_KEY = "key"


class Unfinished:
    """Pictures that took long, in a hidden folder beside the output, by the order in which they are asked for.

    A context manager. The folder goes when the block ends well or with an error of ours, which the same command would
    meet again; it stays when the block was interrupted, or the process killed.

    Args:
        output: what is being made.
        key: of everything that decides the pictures (`omote.animation.stamps.key_of`); others are thrown away.
        anew: throw away what is there in any case.

    Attributes:
        found: pictures that were there from an interrupted run.
    """

    def __init__(self, output: Path, key: str, *, anew: bool = False) -> None:
        self.folder = output.with_name(f".{output.name}.omote-unfinished")
        self.found = 0
        self._key, self._anew = key, anew
        self._asked = 0
        self._keeps = True

    def __enter__(self) -> Unfinished:
        if self._anew or self._read_key() != self._key:
            self._drop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, OmoteError):
            self._drop()

    def __call__(self, count: int, make: Callable[[], Pictures]) -> Pictures:
        """(B, S, S, 3) uint8: the pictures that were kept at these places in the order, or else what ``make`` makes.

        Args:
            count: B, how many that are.
            make: called unless all of them are there.
        """
        from omote.media import read_image

        places = [self.folder / f"{self._asked + number:06d}.png" for number in range(count)]
        self._asked += count
        with suppress(OmoteError, ValueError):  # not there, damaged, or of different sizes
            pictures = np.stack([read_image(place) for place in places])
            self.found += count
            return pictures
        began = clock.monotonic()
        made = make()
        if self._keeps and clock.monotonic() - began > WORTH_S * count:
            self._keep(dict(zip(places, made, strict=True)))
        return made

    def _keep(self, pictures: Mapping[Path, Picture]) -> None:
        from omote.media import write_image

        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                (self.folder / _KEY).write_text(self._key, encoding="utf-8")
            for place, picture in pictures.items():
                write_image(place, picture)
        except (OmoteError, OSError):  # a full disk: the output needs the place more
            self._keeps = False
            self._drop()

    def _read_key(self) -> str | None:
        with suppress(OSError, ValueError):
            return (self.folder / _KEY).read_text(encoding="utf-8")
        return None

    def _drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
