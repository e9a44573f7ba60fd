"""Comparing a computed output with what is stored of the expected one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import FormatError, InputError, OmoteError
from omote.evaluation.parity.manifest import Case, OutputSpec, Piece, is_number
from omote.evaluation.parity.slices import parse_slice

if TYPE_CHECKING:
    from omote.evaluation.parity.systems import System

Array = np.ndarray

RELATIVE_TOLERANCE = 1e-4
"""Of the common rule: times max(1, max|expected|)."""


@dataclass(frozen=True)
class Row:
    """One compared output.

    Attributes:
        output: its name.
        shape: of what was computed; None where nothing was.
        difference: largest absolute difference of the stored parts; None where they could not be compared.
        tolerance: largest that passes; None where it is not known.
        problems: why it failed; empty where it passed.
    """

    output: str
    shape: tuple[int, ...] | None = None
    difference: float | None = None
    tolerance: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it agrees."""
        return not self.problems


class StoredFiles:
    """The safetensors files of a folder, opened when they are needed; a context manager.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}

    def __enter__(self) -> StoredFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.clear()
        self._stack.close()

    def read(self, piece: Piece) -> Array:
        """A stored part, as float64.

        Raises:
            InputError: the file or the tensor is absent.
            FormatError: the file is damaged, or the part has another shape than the manifest says.
        """
        from safetensors import SafetensorError, safe_open

        try:
            if piece.file not in self._open:
                path = self._folder / piece.file
                if not path.is_file():
                    raise InputError(f"the file {piece.file} is missing")
                self._open[piece.file] = self._stack.enter_context(safe_open(path, "numpy"))
            file = self._open[piece.file]
            if piece.key not in file.keys():
                raise InputError(f"the tensor {piece.key} is missing in {piece.file}")
            stored = np.asarray(file.get_tensor(piece.key))
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"{piece.file} cannot be read ({str(error)[:100]})") from error
        if piece.shape is not None and stored.shape != piece.shape:
            raise FormatError(
                f"{piece.key} is stored with shape {stored.shape}, the manifest says {piece.shape}"
            )
        if stored.dtype.kind not in "iufb":
            raise FormatError(f"{piece.key} is stored as {stored.dtype}")
        return stored.astype(np.float64)


def compare(
    case: Case, spec: OutputSpec, computed: Mapping[str, Any], files: StoredFiles, system: System
) -> Row:
    """Compare one output: shape, every stored part, then mean, standard deviation and largest value of all of it.

    Args:
        case: that it belongs to.
        spec: what is expected.
        computed: all outputs of the case, arrays or tensors.
        files: with the stored parts.
        system: may know what a tolerance in words means.
    """
    if spec.name not in computed:
        return Row(spec.name, problems=("was not computed",))
    value = np.asarray(computed[spec.name])
    problems: list[str] = []
    if spec.shape is not None and value.shape != spec.shape:
        problems.append(f"has shape {value.shape}, expected {spec.shape}")
    if not np.isfinite(value).all():
        problems.append("has values that are not finite")
    if not spec.pieces:
        problems.append("nothing is stored of it")
    difference, largest = 0.0, 0.0
    try:
        for piece in spec.pieces:
            expected = files.read(piece)
            part = _part(value, piece)
            if part.shape != expected.shape:
                raise FormatError(
                    f"{piece.key} is stored with shape {expected.shape}, computed is {part.shape}"
                )
            if not expected.size:
                raise FormatError(f"{piece.key} is empty")
            if not np.isfinite(expected).all():
                raise FormatError(f"{piece.key} expects values that are not finite")
            difference = max(difference, float(np.abs(part - expected).max()))
            largest = max(largest, float(np.abs(expected).max()))
        tolerance = _tolerance(case, spec, largest, system)
    except OmoteError as error:
        return Row(spec.name, value.shape, problems=(*problems, error.what))
    if not difference <= tolerance:  # also where it is not a number
        problems.append(f"differs by {difference:.3g}")
    problems += _check_statistics(value, spec, tolerance)
    return Row(
        spec.name, value.shape, difference if math.isfinite(difference) else None, tolerance, tuple(problems)
    )


def _part(value: Array, piece: Piece) -> Array:
    """The part of a computed output that is stored, as float64."""
    if piece.slice is None:
        return value.astype(np.float64)
    try:
        return np.asarray(value[parse_slice(piece.slice)], np.float64)
    except (IndexError, TypeError, ValueError) as error:
        raise FormatError(f"the slice {piece.slice[:80]} does not fit the shape {value.shape}") from error


def _tolerance(case: Case, spec: OutputSpec, largest: float, system: System) -> float:
    if spec.tolerance is None:
        return RELATIVE_TOLERANCE * max(1.0, largest)
    if isinstance(spec.tolerance, float):
        return spec.tolerance
    if system.tolerance is None:
        raise FormatError(f"nobody here knows the tolerance '{spec.tolerance[:80]}'")
    return system.tolerance(case, spec)


def _check_statistics(value: Array, spec: OutputSpec, tolerance: float) -> list[str]:
    """What of the stated numbers about the whole output does not hold.

    None of the three can differ by more than the largest difference between two arrays, so its tolerance is theirs.
    """
    if not spec.statistics or not value.size:
        return []
    whole = value.astype(np.float64)
    problems = []
    for name, stated in spec.statistics.items():
        if name == "std" and stated is None and value.size == 1:
            continue  # of a single number it is not defined
        if not is_number(stated):
            problems.append(f"the expected {name} is {str(stated)[:40]}")
            continue
        if name == "mean":
            ours = [float(whole.mean())]
        elif name == "max_abs":
            ours = [float(np.abs(whole).max())]
        else:  # manifests differ in which of both they mean
            ours = [float(whole.std(ddof=extra)) for extra in (0, 1) if value.size > extra]
        if not min(abs(number - stated) for number in ours) <= tolerance:
            problems.append(f"its {name} is {ours[0]:.6g}, expected {stated:.6g}")
    return problems
