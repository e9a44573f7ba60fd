"""One file holds an inversion network: safetensors, with its description as metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from omote.controls import ControlSpace
from omote.errors import InputError, OutputError, WeightsError
from omote.media import atomic_path
from omote.models.inversion.config import InversionConfig
from omote.models.inversion.network import InversionNet

_FORMAT = "omote inversion 1"
_SCALE = ".scale"
_LEAST_BYTES = 1 << 16  # entries of a matrix or kernel that is worth rounding to bytes
_WEIGHTS = (2, 4)  # dimensions of those: their first axis is that of the outputs

Precision = Literal["float32", "float16", "int8"]


def save_checkpoint(
    path: str | Path, net: InversionNet, *, precision: Precision = "float16", **notes: Any
) -> None:
    """Write a network to one safetensors file.

    Args:
        path: `.safetensors`.
        net: what to write.
        precision: of the weights. "float16": half the size, a relative error up to 0.0005. "int8": large trained
            matrices and kernels as bytes with a scale for each output (errors up to 0.4 % of its largest weight), the
            rest in float16.
        **notes: anything JSON holds, kept beside the description (how it was trained, what it reaches).

    Raises:
        OutputError: the file cannot be written, or a weight is not finite.
    """
    from safetensors.torch import save

    state: dict[str, Tensor] = {}
    large = {
        name
        for name, value in net.named_parameters()
        if value.requires_grad and value.ndim in _WEIGHTS and value.numel() >= _LEAST_BYTES
    }
    for name, value in net.state_dict().items():
        stored = value.detach().cpu().contiguous()
        if stored.is_floating_point():
            stored = stored.to(torch.float32 if precision == "float32" else torch.float16)
            if not bool(stored.isfinite().all()):
                raise OutputError(f"the weights {name} are not finite", where=path)
        if precision == "int8" and name in large:
            stored, state[name + _SCALE] = _as_bytes(value.detach().cpu().float())
        state[name] = stored
    metadata = {"format": _FORMAT, "config": net.config.to_json(), "notes": json.dumps(notes)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(state, metadata))


def load_checkpoint(
    path: str | Path, space: ControlSpace | None = None, *, rig: str | None = None
) -> InversionNet:
    """Read a network, in float32 and evaluation mode.

    Args:
        path: as written by `save_checkpoint`.
        space: the controls it must predict, if given.
        rig: the name of the rig it must be for, if given.

    Raises:
        WeightsError: no such file, not an inversion network, damaged, or made for another rig or other controls.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config, _ = read_description(path)
    if rig is not None and config.rig != rig:
        remedy = f"Give the rig that it was made for with --rig, or a network for '{rig}'."
        raise WeightsError(f"made for the rig '{config.rig}', not for '{rig}'", where=path, remedy=remedy)
    if space is not None and config.controls != space.names:
        ours, theirs = set(space.names), set(config.controls)
        some = next(iter(sorted(ours ^ theirs)), "their order")
        what = (
            f"predicts {len(theirs)} controls of the rig '{config.rig}', "
            f"not the {len(ours)} of '{space.name}' (they differ in {some})"
        )
        raise WeightsError(what, where=path)
    try:
        net = InversionNet(config)
        net.load_state_dict(_as_floats(load_file(path)))
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"the weights do not fit their description ({reason})", where=path) from error
    return net.eval()


def _as_bytes(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N, ...) as int8, and the scale of each output (N,)."""
    rows = weights.flatten(1)
    scale = rows.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (rows / scale[:, None]).round().to(torch.int8).view_as(weights), scale


def _as_floats(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of what `save_checkpoint` does to weights; integers that were integers stay."""
    scales = {name: stored.pop(name) for name in list(stored) if name.endswith(_SCALE)}
    for name, value in stored.items():
        if name + _SCALE in scales:
            scale = scales.pop(name + _SCALE)
            stored[name] = value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
        elif value.is_floating_point():
            stored[name] = value.float()
    return stored | scales  # a scale of nothing does not fit the description, which the caller finds


def read_description(path: str | Path) -> tuple[InversionConfig, dict[str, Any]]:
    """The description and the notes of a checkpoint, without its weights.

    Raises:
        WeightsError: no such file, or not an inversion network.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise WeightsError("no such file", where=path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a safetensors file, or damaged ({error})", where=path) from error
    if metadata.get("format") != _FORMAT:
        remedy = "Omote reads what `omote train inversion` writes."
        raise WeightsError("no inversion network of this version", where=path, remedy=remedy)
    try:
        return InversionConfig.from_json(metadata.get("config", "")), json.loads(metadata.get("notes", "{}"))
    except (InputError, ValueError) as error:
        raise WeightsError(str(error), where=path) from error
