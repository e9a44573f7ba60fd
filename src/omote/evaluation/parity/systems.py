"""The published systems whose networks can be run: how each is built, and how its cases are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from omote.errors import InputError
from omote.evaluation.parity.manifest import Case, InputSpec, OutputSpec
from omote.models.seeded import seeded_weights

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = np.ndarray
Outputs = Mapping[str, "Tensor | Array"]


@dataclass(frozen=True)
class Call:
    """What a system is given to compute one case.

    Attributes:
        case: with its whole entry in the manifest.
        inputs: by name, in the manifest's order.
        manifest: the whole document, with constants and conventions.
        network: gives a network by name: filled with the case's seed, its overrides applied, in evaluation mode.
    """

    case: Case
    inputs: Mapping[str, Array]
    manifest: Mapping[str, Any]
    network: Callable[[str], nn.Module]


@dataclass(frozen=True)
class System:
    """A published system.

    Attributes:
        name: as the manifest's ``system`` says.
        build: a network by its name in the manifest and its hyper-parameters; InputError if there is none.
        compute: all outputs of a case, whole; slices are taken by the runner.
        fill: the weights, from the empty network's tensors and the seed; default: the common rule.
        make_input: an input whose entry says more than the common rule, from the entry and what the common rule draws
            (None where it draws nothing); None where the system has no such inputs.
        tolerance: the number that a tolerance in words stands for; None where the system has no such words.
    """

    name: str
    build: Callable[[str, Mapping[str, Any]], nn.Module]
    compute: Callable[[Call], Outputs]
    fill: Callable[[Mapping[str, Tensor], int], Mapping[str, Array]] = seeded_weights
    make_input: Callable[[InputSpec, Array | None], Array] | None = None
    tolerance: Callable[[Case, OutputSpec], float] | None = None


SYSTEMS = {"liveportrait": "omote.evaluation.parity.liveportrait"}
"""By the manifest's ``system``: the module whose ``SYSTEM`` it is; imported when it is needed."""


def get_system(name: str) -> System:
    """The system of that name.

    Raises:
        InputError: there are no networks of that system here.
    """
    module = SYSTEMS.get(name)
    if module is None:
        known = ", ".join(SYSTEMS)
        raise InputError(
            f"there are no networks here for the system '{name[:80]}'", remedy=f"There are: {known}."
        )
    system: System = import_module(module).SYSTEM
    return system
