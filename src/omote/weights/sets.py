"""Published systems as sets of model files: what belongs to each, where it comes from, what its licence permits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath

HUB = "https://huggingface.co"
TRAINED_HERE = "omote.json"
"""Describes networks that `omote train` saved beside it, by published names though they are not the published ones."""


@dataclass(frozen=True)
class Licence:
    """Terms of use.

    Attributes:
        name: SPDX identifier, or the licence's name.
        permits: what it allows, in one clause.
        commercial: whether it permits commercial use.
    """

    name: str
    permits: str
    commercial: bool


MIT = Licence("MIT", "any use, commercial too, with the notice kept", commercial=True)


@dataclass(frozen=True)
class Origin:
    """One published form of a model file.

    Attributes:
        path: where it lies in the published folder, with forward slashes.
        url: its address; None where it must be asked for or registered for.
        size: bytes; None where nobody has published it.
        sha256: of the whole file; None where nobody has published it.
    """

    path: str
    url: str | None = None
    size: int | None = None
    sha256: str | None = None

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def address(self) -> str | None:
        """The url; on the mirror that ``HF_ENDPOINT`` names, if any, where it is on the Hugging Face hub."""
        mirror = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        if self.url is not None and mirror and self.url.startswith(f"{HUB}/"):
            return mirror + self.url[len(HUB) :]
        return self.url


@dataclass(frozen=True)
class SetFile:
    """One file of a set, in all the forms that it is published in.

    Attributes:
        key: how Omote calls it; unique in its set.
        about: bytes, roughly; a file more than four times as large is refused.
        origins: its forms; the first is fetched, any is imported.
    """

    key: str
    about: int
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class WeightSet:
    """The model files of one published system.

    Attributes:
        name: how Omote calls it.
        title: the system's own name.
        page: where it is published, for people.
        licence: of the files.
        files: what belongs to it alone.
        borrowed: what it uses of other sets, as (set, key).
        marks: if one of these words is in the name of a folder, files there belong to this set rather than to another
            that has files of the same names.
        by_hand: what to do at the page before anything can be downloaded (register, accept terms); "" where nothing.
    """

    name: str
    title: str
    page: str
    licence: Licence
    files: tuple[SetFile, ...]
    borrowed: tuple[tuple[str, str], ...] = ()
    marks: tuple[str, ...] = ()
    by_hand: str = ""


@dataclass(frozen=True)
class NotNeeded:
    """Model files that come with a published system, and that Omote does without.

    Attributes:
        name: how `omote weights` calls them.
        title: what they are.
        filenames: their names on disk.
        licence: of the files.
        instead: why, one clause.
    """

    name: str
    title: str
    filenames: tuple[str, ...]
    licence: Licence
    instead: str
