"""Dictionaries of dictionaries of tensors as one flat dictionary, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omote.errors import WeightsError

if TYPE_CHECKING:
    import torch

_MOST_ENTRIES = 200_000
_DEEPEST = 8


def flatten(held: Any, *, where: Path) -> tuple[dict[str, torch.Tensor], bool]:
    """The tensors of a checkpoint by name; entries that are no tensors are passed over.

    Names of a plain dictionary stay as they are. Where there are dictionaries in it, the names on the way to a tensor
    are joined by "/", and "/" and "%" inside them become "%2F" and "%25"; `unflatten` undoes it.

    Args:
        held: what the checkpoint holds.
        where: the file, for messages; also, no tensor may be larger than it.

    Returns:
        The tensors, contiguous and with memory of their own; and whether there were dictionaries inside.

    Raises:
        WeightsError: not a dictionary, no tensors in it, tensors of a kind that safetensors does not know, values that
            are not finite, or more and larger ones than the file could hold.
    """
    import torch

    if not isinstance(held, Mapping):
        raise WeightsError(f"holds a {type(held).__name__}, not a dictionary of tensors", where=where)
    leaves: dict[tuple[str, ...], torch.Tensor] = {}
    open_ones: list[tuple[tuple[str, ...], Any]] = [((), held)]
    visited = 0
    while open_ones:
        above, value = open_ones.pop()
        if isinstance(value, Mapping):
            visited += len(value)
            if visited > _MOST_ENTRIES or len(above) > _DEEPEST:
                raise WeightsError("holds more dictionaries than any checkpoint does", where=where)
            open_ones += [((*above, key), value[key]) for key in reversed(value) if isinstance(key, str)]
        elif isinstance(value, torch.Tensor):
            leaves[above] = value
    if not leaves:
        raise WeightsError("is a dictionary without a single tensor", where=where)
    nested = any(len(names) > 1 for names in leaves)
    flat = {"/".join(map(_escape, names)) if nested else names[0]: value for names, value in leaves.items()}
    _check(flat, where)
    return _own(flat), nested


def unflatten(flat: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Undo `flatten` where there were dictionaries inside."""
    held: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = (part.replace("%2F", "/").replace("%25", "%") for part in name.split("/"))
        place = held
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return held


def _escape(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def _check(flat: Mapping[str, torch.Tensor], where: Path) -> None:
    """A few bytes can claim to be any number of values (a stride of zero): bound them by the size of the file."""
    import torch

    size = where.stat().st_size
    total = 0
    for name, value in flat.items():
        if name == "__metadata__":
            raise WeightsError("a tensor has a name that safetensors keeps for itself", where=where)
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise WeightsError(f"the tensor {name[:80]} is of an unusual kind", where=where)
        count = value.numel() * value.element_size()
        total += count
        if count > size or total > 4 * size:
            raise WeightsError(f"the tensor {name[:80]} claims to be larger than the file", where=where)
        if (value.is_floating_point() or value.is_complex()) and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"the tensor {name[:80]} holds values that are not finite", where=where)


def _own(flat: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, contiguous, each without what else its memory may hold or share."""
    seen: set[int] = set()
    own = {}
    for name, value in flat.items():
        value = value.detach().contiguous()
        if value.untyped_storage().nbytes() != value.nbytes or value.data_ptr() in seen:
            value = value.clone()
        seen.add(value.data_ptr())
        own[name] = value
    return own
