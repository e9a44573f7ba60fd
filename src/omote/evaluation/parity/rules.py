"""The rule that makes a case's inputs from their names and seeds; that of the weights is `omote.models.seeded`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from omote.errors import FormatError, InputError
from omote.models.seeded import generator

if TYPE_CHECKING:
    from omote.evaluation.parity.manifest import InputSpec

Array = np.ndarray


def draw_input(spec: InputSpec) -> Array:
    """An input by the common rule: uniform in float64, then float32; or the values that the manifest gives.

    Raises:
        InputError: the manifest gives neither limits and shape nor values, or no seed.
        FormatError: values that are no array.
    """
    if spec.values is not None:
        try:
            values = np.asarray(spec.values)
        except ValueError as error:
            raise FormatError(f"input {spec.name}: its values are no array") from error
        if values.dtype.kind not in "iufb":
            raise FormatError(f"input {spec.name}: its values are no numbers")
        return values.astype(np.float32) if values.dtype.kind == "f" else values
    if spec.shape is None:
        raise InputError(f"input {spec.name}: the manifest gives no shape, low and high")
    if spec.seed is None:
        raise InputError(f"input {spec.name}: the manifest gives no seed")
    drawn = generator(spec.drawn_as, spec.seed).uniform(spec.low, spec.high, spec.shape)
    return np.asarray(drawn, np.float32)
