"""Control and ControlSpace: one named rig control, and an ordered set of them."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from omote.checks import check_shape
from omote.controls.conversion import Conversion, ConversionReport
from omote.errors import InputError

Side = Literal["L", "R", "C"]
Array = npt.NDArray[Any]

_LEARNED = "holds points that a network found, which have no names to go by"
_INSTEAD = (
    "Drive a photo with it (omote animate PHOTO TAKE --engine liveportrait), "
    "or capture the video it was made from."
)


@dataclass(frozen=True)
class Control:
    """One rig control.

    Args:
        name: unique in its space.
        low: the least value an animator uses (raw imports may hold values outside).
        high: the largest.
        neutral: the value at rest.
        mirror: the partner's name; its own for a centre control (None becomes that).
        mirror_sign: what the value is multiplied by when mirrored (-1 for yaw and roll).
        action_units: FACS action units, as text ("25 inverse" holds together what AU25 parts).
        side: the subject's own left or right, or C.
        unit: "" for a share of the full motion, "±30°" when -1..1 spans that angle.
        doc: one sentence for an animator.

    Raises:
        InputError: an empty range, or a mirror_sign other than 1 and -1.
    """

    name: str
    low: float
    high: float
    neutral: float = 0.0
    mirror: str | None = None
    mirror_sign: float = 1.0
    action_units: tuple[str, ...] = ()
    side: Side = "C"
    unit: str = ""
    doc: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.neutral <= self.high or not self.low < self.high:
            raise InputError(f"bad range {self.low}..{self.high}, neutral {self.neutral}", where=self.name)
        if self.mirror_sign not in (1.0, -1.0):
            raise InputError(f"mirror_sign must be 1 or -1, got {self.mirror_sign}", where=self.name)
        if self.mirror is None:
            object.__setattr__(self, "mirror", self.name)


@dataclass(frozen=True)
class ControlSpace:
    """An ordered set of named controls. Arrays of values have the controls on their last axis, in this order.

    Args:
        name: of the space.
        controls: in order.
        learned: a network found the controls, so that what each does is not known by name: they neither
            convert to another space nor mirror.

    Raises:
        InputError: no controls, a name used twice, or mirror partners that do not agree.
    """

    name: str
    controls: tuple[Control, ...]
    learned: bool = False

    def __post_init__(self) -> None:
        if not self.controls:
            raise InputError("a control space needs at least one control", where=self.name)
        if len(self._positions) != len(self.controls):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})
            raise InputError(f"control names used twice: {', '.join(twice[:5])}", where=self.name)
        for control in self.controls:
            partner = self._positions.get(str(control.mirror))
            back = None if partner is None else self.controls[partner]
            if back is None or back.mirror != control.name or back.mirror_sign != control.mirror_sign:
                what = f"{control.name} and its mirror {control.mirror} do not agree"
                raise InputError(what, where=self.name)

    def __hash__(self) -> int:
        return hash((self.name, self.names))

    def __len__(self) -> int:
        return len(self.controls)

    def __contains__(self, name: object) -> bool:
        return name in self._positions

    def __getitem__(self, name: str) -> Control:
        return self.controls[self.index(name)]

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "controls": self.controls, "learned": self.learned}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Control names in order."""
        return tuple(control.name for control in self.controls)

    @cached_property
    def low(self) -> Array:
        """(C,) float32, the least value of each control."""
        return _frozen([c.low for c in self.controls], np.float32)

    @cached_property
    def high(self) -> Array:
        """(C,) float32, the largest value of each control."""
        return _frozen([c.high for c in self.controls], np.float32)

    @cached_property
    def neutral(self) -> Array:
        """(C,) float32, each control at rest."""
        return _frozen([c.neutral for c in self.controls], np.float32)

    @cached_property
    def mirror_indices(self) -> Array:
        """(C,) int64: mirrored values are ``values[..., mirror_indices] * mirror_signs``."""
        return _frozen([self._positions[str(c.mirror)] for c in self.controls], np.int64)

    @cached_property
    def mirror_signs(self) -> Array:
        """(C,) float32 of 1 and -1."""
        return _frozen([c.mirror_sign for c in self.controls], np.float32)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def index(self, name: str) -> int:
        """The position of a control.

        Raises:
            InputError: no such control; names the nearest spellings.
        """
        if name not in self._positions:
            raise InputError(f"{self.name} has no control '{name}'", remedy=_nearest(name, self.names))
        return self._positions[name]

    def match(self, pattern: str) -> Array:
        """(N,) int64 positions of the controls that fit a pattern such as ``"corner_pull_*"``.

        Raises:
            InputError: nothing fits.
        """
        found = [i for i, name in enumerate(self.names) if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            remedy = _nearest(pattern, self.names)
            raise InputError(f"no control of {self.name} fits '{pattern}'", remedy=remedy)
        return np.array(found, np.int64)

    def mirror(self, values: npt.ArrayLike) -> Array:
        """(..., C) values of the mirrored face: left and right swapped, yaw and roll negated.

        Raises:
            InputError: wrong shape, or a learned space, whose mirror partners are not known.
        """
        if self.learned:
            remedy = "Mirror the result instead."
            raise InputError(f"cannot be mirrored: {self.name} {_LEARNED}", where="take", remedy=remedy)
        array = self._checked(values)
        return array[..., self.mirror_indices] * self.mirror_signs.astype(array.dtype)

    def clamp(self, values: npt.ArrayLike) -> Array:
        """(..., C) values limited to each control's range."""
        array = self._checked(values)
        return np.clip(array, self.low.astype(array.dtype), self.high.astype(array.dtype))

    def convert(self, values: npt.ArrayLike, to: ControlSpace) -> Array:
        """Convert (..., C) values to (..., C') of another space, by name.

        Controls of the same name are copied; the rest follows ``omote.controls.arkit52.CONVERSIONS``.
        ARKit's ``mouthClose`` is relative to ``jawOpen`` while FACS ``lips_together_*`` multiply
        ``jaw_open``: the one is divided, the other multiplied. Both ends are clamped to their ranges.
        ARKit to FACS and back is the identity where mouthClose <= jawOpen and no eye looks two opposite
        ways at once. It commutes with `mirror`. `conversion_report` says what merges and what is lost.

        Raises:
            InputError: wrong shape, or the spaces have nothing in common.
        """
        if to == self:
            return self.clamp(values)
        return to.clamp(self._conversion(to).apply(self.clamp(values), self.neutral, to.neutral))

    def convert_confidence(self, confidence: npt.ArrayLike, to: ControlSpace) -> Array:
        """Convert (..., C) evidence: the weighted mean over what feeds a target, 0 where nothing does.

        Raises:
            InputError: wrong shape, or the spaces have nothing in common.
        """
        array = self._checked(confidence)
        if to == self:
            return array.copy()
        weights = self._conversion(to).weights()
        return array @ (weights / np.maximum(weights.sum(0), 1e-12)).astype(array.dtype)

    def conversion_report(self, to: ControlSpace) -> ConversionReport:
        """Which controls survive a conversion exactly, which merge with others, and which are lost.

        Raises:
            InputError: the spaces have nothing in common.
        """
        return self._conversion(to).report(self.names, to.names)

    @cached_property
    def _conversions(self) -> dict[ControlSpace, Conversion]:
        return {}

    def _conversion(self, to: ControlSpace) -> Conversion:
        if self.learned or to.learned:
            what = f"no way from control space {self.name} to {to.name}: "
            if self.learned:
                raise InputError(f"{what}{self.name} {_LEARNED}", remedy=_INSTEAD)
            raise InputError(f"{what}{to.name} {_LEARNED}", remedy="Start from a motion template (.pkl).")
        if to not in self._conversions:
            made = Conversion.between(self.names, to.names, [c.low < 0 for c in to.controls])
            if not made.weights().any():
                remedy = "Rename controls to facs102 or arkit52 names first."
                raise InputError(f"no way from control space {self.name} to {to.name}", remedy=remedy)
            self._conversions[to] = made
        return self._conversions[to]

    def _checked(self, values: npt.ArrayLike) -> Array:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            raise InputError(f"expected numbers, got {array.dtype}", where=f"{self.name} values")
        array = array if array.dtype.kind == "f" else array.astype(np.float32)
        check_shape(f"{self.name} values", array, "...", len(self))
        return array


def _frozen(values: list[Any], dtype: npt.DTypeLike) -> Array:
    array = np.array(values, dtype)
    array.setflags(write=False)
    return array


def _nearest(name: str, names: tuple[str, ...]) -> str:
    lowered = {n.lower(): n for n in names}
    close = [lowered[n] for n in difflib.get_close_matches(name.lower(), list(lowered), n=3, cutoff=0.5)]
    return f"Did you mean {', '.join(close)}?" if close else f"Its first are {', '.join(names[:3])}."
