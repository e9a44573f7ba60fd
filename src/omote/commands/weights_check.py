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

    from omote.models import liveportrait as nets

    sizes = nets.LivePortraitConfig()
    build: dict[str, Callable[[], torch.nn.Module]] = {
        "appearance_feature_extractor": lambda: nets.AppearanceFeatureExtractor(sizes.appearance),
        "motion_extractor": lambda: nets.MotionExtractor(sizes.motion),
        "warping_module": lambda: nets.WarpingModule(sizes.warping),
        "spade_generator": lambda: nets.SpadeGenerator(sizes.generator),
        "stitching": lambda: nets.RetargetingNet(sizes.stitching),
        "lip": lambda: nets.RetargetingNet(sizes.lip),
        "eye": lambda: nets.RetargetingNet(sizes.eye),
    }
    with torch.device("meta"):  # shapes without memory
        if key in nets.BASE_FILES:
            nets.load_tensors(build[key](), held, where=key)
        elif key == nets.RETARGETING_FILE:
            for name, entry in nets.RETARGETING_KEYS.items():
                nets.load_tensors(build[name](), _entry(held, entry), where=entry)


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
