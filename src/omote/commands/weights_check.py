"""Whether what a model file holds is what the networks of its system expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check_tensors(name: str, key: str, held: dict[str, Any]) -> None:
    """Compare the names and shapes of tensors with the networks'.

    Args:
        name: of the set of model files.
        key: of the file in the set.
        held: what it holds: tensors by name, in dictionaries of dictionaries where the published file has them so.

    Raises:
        WeightsError: names the first tensor that is missing, unexpected or of another shape.
    """
    check = _CHECKS.get(name)
    if check is not None:
        check(key, held)


def _check_liveportrait(key: str, held: dict[str, Any]) -> None:
    import torch

    from omote.models.liveportrait import (
        BASE_FILES,
        RETARGETING_FILE,
        RETARGETING_KEYS,
        LivePortraitNets,
        load_tensors,
    )

    with torch.device("meta"):  # shapes without memory
        nets = LivePortraitNets()
    if key in BASE_FILES:
        load_tensors(nets.get_submodule(key), held, where=key)
    elif key == RETARGETING_FILE:
        for network, entry in RETARGETING_KEYS.items():
            load_tensors(nets.get_submodule(network), _entry(held, entry), where=entry)


def _entry(held: dict[str, Any], entry: str) -> dict[str, Any]:
    """The tensors of one small network: an entry of its own, or flat with its name in front."""
    prefix = f"{entry}_module."
    flat = {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
    own = held.get(entry)
    found: dict[str, Any] = own if isinstance(own, dict) else flat
    return {name.replace("module.", ""): value for name, value in found.items()}


_CHECKS: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "liveportrait": _check_liveportrait,
    "liveportrait_animals": _check_liveportrait,
}
