"""How a rig's controls stand to ARKit's 52 or the 102 FACS controls: found by name, kept as JSON, used both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from omote.controls import ControlSpace, space_by_name
from omote.controls.arkit52 import LIPS_TOGETHER
from omote.errors import FormatError, InputError
from omote.rigs.name_matching import Matching, Row, match_names, suggestions

if TYPE_CHECKING:
    from omote.performance import Performance

Array = npt.NDArray[Any]

FORMAT, VERSION = "omote rig mapping", 1
MAX_BYTES = 16 << 20
_SHUT = 1e-7  # a jaw opened less than this counts as shut
_CLOSE = "mouthClose"


@dataclass(frozen=True)
class NameMapping:
    """A correspondence of a rig's controls with those of ``to``.

    A rig control at 1 adds its row's weights to the targets. Two halves of one target weigh 0.5 each; a control that
    is twice as strong as its target weighs 2. Back, each target is made of the rig's controls by the smallest values
    that add up to it (least squares, none below 0). In a mapping to FACS, "mouthClose" may stand as a target: ARKit's,
    which is relative to the jaw, is divided by it into ``lips_together_*`` and back.

    Args:
        rig: the space of the rig's controls.
        to: ``ARKIT52`` or ``FACS102``.
        rows: rig control -> {target: weight}.
        combinations: combination shape -> its factors, for files whose names do not say so.
        matching: how the names were matched, where they were.

    Raises:
        InputError: a name that neither side has, or a weight that is no finite number.
    """

    rig: ControlSpace
    to: ControlSpace
    rows: Mapping[str, Row]
    combinations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    matching: Matching | None = None

    def __post_init__(self) -> None:
        for name, row in self.rows.items():
            self.rig.index(name)
            for target, weight in row.items():
                if target != _CLOSE:
                    self.to.index(target)
                if not np.isfinite(weight):
                    raise InputError(f"'{name}' has a weight of {weight} on '{target}'", where="mapping")

    @classmethod
    def by_name(
        cls,
        rig: ControlSpace,
        to: ControlSpace,
        combinations: Mapping[str, tuple[str, ...]] | None = None,
    ) -> NameMapping:
        """The mapping that the names alone give; `matching` tells what they did not."""
        matching = match_names(rig.names, to)
        return cls(rig, to, matching.rows, combinations or {}, matching)

    @property
    def unreached(self) -> tuple[str, ...]:
        """Targets that no control of the rig moves."""
        reached = {target for row in self.rows.values() for target in row}
        if _CLOSE in reached:
            reached |= set(LIPS_TOGETHER)
        return tuple(name for name in self.to.names if name not in reached)

    # ---- values ----------------------------------------------------------------

    def from_rig(self, values: npt.ArrayLike) -> Array:
        """(..., C) values of the rig's controls as (..., C') of the target's."""
        array = self.rig.clamp(values)
        result = array @ self._forward[0].astype(array.dtype) - array @ self._forward[1].astype(array.dtype)
        if self._closing is not None:
            jaw, lips, weights = self._closing
            opened = result[..., jaw]
            ratio = np.where(opened > _SHUT, (array @ weights) / np.maximum(opened, _SHUT), 0)
            result[..., lips] = np.clip(ratio, 0, 1)[..., None]
        return self.to.clamp(result)

    def to_rig(self, values: npt.ArrayLike) -> Array:
        """(..., C') values of the target's controls as (..., C) of the rig's."""
        array = self.to.clamp(values)
        up, down = self._backward
        result = np.maximum(array, 0) @ up.astype(array.dtype) + np.maximum(-array, 0) @ down.astype(
            array.dtype
        )
        if self._closing is not None:
            jaw, lips, weights = self._closing
            closed = array[..., jaw] * array[..., lips].mean(-1)
            share = weights / max(float(weights @ weights), 1e-12)
            result = result + closed[..., None] * share.astype(array.dtype)
        return self.rig.clamp(result)

    def take_to_rig(self, take: Performance) -> Performance:
        """The take in the rig's own controls; converted to ``to`` first where it is in another space."""
        take = take.with_space(self.to)
        return replace(take, space=self.rig, controls=self.to_rig(take.controls), control_confidence=None)

    def take_from_rig(self, take: Performance) -> Performance:
        """A take in the rig's own controls, in those of ``to``.

        Raises:
            InputError: the take is in another space.
        """
        if take.space.names != self.rig.names:
            what = f"the take is in {take.space.name}, not in the controls of {self.rig.name}"
            raise InputError(what, where="mapping")
        return replace(take, space=self.to, controls=self.from_rig(take.controls), control_confidence=None)

    @cached_property
    def _forward(self) -> tuple[Array, Array]:
        """(C, C') what raises and what lowers each target."""
        matrix = np.zeros((len(self.rig), len(self.to)))
        for name, row in self.rows.items():
            for target, weight in row.items():
                if target != _CLOSE or _CLOSE in self.to:
                    matrix[self.rig.index(name), self.to.index(target)] = weight
        return np.maximum(matrix, 0), np.maximum(-matrix, 0)

    @cached_property
    def _backward(self) -> tuple[Array, Array]:
        """(C', C) the rig's controls for each target above 0, and for each below."""
        return _solved(self._forward[0]), _solved(self._forward[1])

    @cached_property
    def _closing(self) -> tuple[int, Array, Array] | None:
        """In a mapping to FACS: jaw_open, the lips_together controls, and the weights (C,) of mouthClose."""
        weights = np.array([self.rows.get(name, {}).get(_CLOSE, 0.0) for name in self.rig.names])
        if _CLOSE in self.to or not weights.any():
            return None
        return self.to.index("jaw_open"), np.array([self.to.index(name) for name in LIPS_TOGETHER]), weights

    # ---- files -----------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """The JSON document: what to edit is in "controls"; "unmatched" holds suggestions and is not read back."""
        matched = self.matching
        unmatched = {**matched.unmatched, **matched.ambiguous} if matched else {}
        left = [name for name in self.rig.names if name not in self.rows and name not in unmatched]
        return {
            "format": FORMAT,
            "version": VERSION,
            "rig": self.rig.name,
            "to": self.to.name,
            "controls": {name: dict(self.rows[name]) for name in self.rig.names if name in self.rows},
            "unmatched": {name: list(unmatched.get(name, ())) for name in [*unmatched, *left]},
            "combinations": {name: list(factors) for name, factors in self.combinations.items()},
        }


def load_mapping(path: str | Path, rig: ControlSpace) -> NameMapping:
    """Read a mapping file for a rig with the controls ``rig``.

    Raises:
        InputError: missing or unreadable.
        FormatError: not a mapping, of a newer version, or with names that the rig or the target does not have.
    """
    document = read_document(path)
    try:
        to = space_by_name(str(document.get("to")))
        rows = {str(n): _row(n, row, rig, to) for n, row in _object(document, "controls").items()}
        return NameMapping(rig, to, rows, read_combinations(path, document))
    except InputError as error:
        raise FormatError(error.what, where=path, remedy=error.remedy) from None


def read_document(path: str | Path) -> dict[str, Any]:
    """The JSON object of a mapping file.

    Raises:
        InputError: missing or unreadable.
        FormatError: not a mapping, or of a newer version.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise InputError("the file is larger than 16 MiB", where=path)
        document = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", where=path) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"this is not JSON ({error})", where=path) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(
            "this is no rig mapping", where=path, remedy="Make one with omote rig map RIG -o FILE."
        )
    if document.get("version") != VERSION:
        what = f"written in version {document.get('version')}, this Omote reads version {VERSION}"
        raise FormatError(what, where=path, remedy="Upgrade it: pip install --upgrade omote")
    return document


def read_combinations(path: str | Path, document: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Combination shape -> factors, of a mapping's document.

    Raises:
        FormatError: they are no lists of two names or more.
    """
    found = {}
    for name, factors in _object(document, "combinations").items():
        whole = isinstance(factors, list) and len(factors) > 1 and all(isinstance(f, str) for f in factors)
        if not whole or name in factors:
            raise FormatError(f"combination '{name}' needs a list of two other names or more", where=path)
        found[str(name)] = tuple(factors)
    return found


def _object(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"'{key}' is no object")
    return found


def _row(name: str, row: Any, rig: ControlSpace, to: ControlSpace) -> Row:
    rig.index(name)
    if isinstance(row, str):
        row = {row: 1.0}
    good = isinstance(row, dict) and all(type(w) in (int, float) and np.isfinite(w) for w in row.values())
    if not good:
        raise InputError(f"'{name}' needs an object of target names and weights")
    for target in row:
        if target not in to and target != _CLOSE:
            near = suggestions(str(target), to)
            raise InputError(
                f"'{name}' points to '{target}', which {to.name} does not have",
                remedy=f"Did you mean {', '.join(near)}?" if near else None,
            )
    return {str(target): float(weight) for target, weight in row.items()}


def _solved(forward: Array) -> Array:
    """(C', C) smallest values >= 0 of the sources that make each target 1, given what each source adds (C, C')."""
    plain = np.linalg.pinv(forward)
    if (plain >= -1e-9).all():
        return np.maximum(plain, 0)
    from scipy.optimize import nnls

    ridge = 1e-4
    system = np.concatenate([forward.T, ridge * np.eye(len(forward))])
    result = np.zeros((forward.shape[1], forward.shape[0]))
    for target in np.flatnonzero(forward.any(axis=0)):
        wanted = np.zeros(len(system))
        wanted[target] = 1
        result[target] = nnls(system, wanted)[0]
    return result
