"""Checks and read-only copies of what goes into a Performance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from omote.errors import InputError

Array = npt.NDArray[Any]


def checked(
    name: str, values: Any, shape: tuple[int | None, ...], dtype: npt.DTypeLike = np.float32
) -> Array:
    """A read-only copy of an array of finite numbers; a None in ``shape`` matches any size.

    Raises:
        InputError: not numbers, another shape, not finite.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"not an array ({error})", where=name) from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"expected numbers, got {array.dtype}", where=name)
    if len(array.shape) != len(shape) or any(
        w not in (None, n) for n, w in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("*" if n is None else str(n) for n in shape)
        raise InputError(f"got shape {array.shape}, expected ({wanted})", where=name)
    with np.errstate(over="ignore"):
        array = np.array(array, dtype)
    if not np.isfinite(array).all():
        raise InputError(f"{int((~np.isfinite(array)).sum())} values are not finite", where=name)
    array.setflags(write=False)
    return array


def checked_share(name: str, values: Any, shape: tuple[int | None, ...]) -> Array:
    """`checked`, and within 0..1.

    Raises:
        InputError: as `checked`, or a value outside.
    """
    array = checked(name, values, shape)
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise InputError(f"must be 0..1, is {array.min():g}..{array.max():g}", where=name)
    return array


def checked_identity(identity: Any) -> Mapping[str, Array]:
    """A read-only mapping of rig name to (I,) coefficients.

    Raises:
        InputError: not such a mapping.
    """
    if not isinstance(identity, Mapping):
        raise InputError("expected a mapping of rig name to coefficients", where="identity")
    for rig in identity:
        if not isinstance(rig, str) or not rig or not rig.isprintable():
            raise InputError(f"a rig is named by a word, got {rig!r}", where="identity")
    return MappingProxyType({rig: checked(f"identity {rig}", v, (None,)) for rig, v in identity.items()})


def checked_source(source: Any) -> Mapping[str, Any]:
    """A read-only copy of a JSON-able mapping, as JSON will give it back (tuples become lists).

    Raises:
        InputError: it is not JSON-able.
    """
    if not isinstance(source, Mapping):
        raise InputError("expected a mapping of JSON values", where="source")
    try:
        text = json.dumps(dict(source), allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
        return MappingProxyType(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"not JSON-able ({error})", where="source") from None


def same(one: Any, other: Any) -> bool:
    """Whether two field values are equal, arrays element by element, also within mappings."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and np.array_equal(one, other)
    return bool(one == other)
