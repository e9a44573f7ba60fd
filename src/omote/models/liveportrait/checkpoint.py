"""A folder holds a portrait animator: the published five files as safetensors, and how large its networks are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omote.errors import OutputError, WeightsError
from omote.models.liveportrait.config import (
    AppearanceConfig,
    DenseMotionConfig,
    GeneratorConfig,
    LivePortraitConfig,
    MotionConfig,
    RetargetingConfig,
    WarpingConfig,
)
from omote.models.liveportrait.published import LivePortraitNets
from omote.weights.sets import TRAINED_HERE

_FORMAT = "omote liveportrait 1"
_MOST_BYTES = 1 << 20


def save_nets(folder: Path, nets: LivePortraitNets, notes: Mapping[str, Any]) -> None:
    """Write all networks by their published tensor names; an older folder of the same name is replaced.

    Args:
        folder: gets five ``.safetensors`` files in the community's layout, and ``omote.json``.
        nets: what to write.
        notes: plain JSON values, kept in ``omote.json`` (how they were trained, what they reach).

    Raises:
        OutputError: it cannot be written, or a weight is not finite.
    """
    from safetensors.torch import save_file

    fresh, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("new", "old"))
    try:
        for place in (fresh, old):
            shutil.rmtree(place, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, tensors in nets.to_published("community").items():
            made = {key: value.cpu().contiguous() for key, value in tensors.items()}
            broken = next((key for key, value in made.items() if not bool(value.isfinite().all())), None)
            if broken is not None:
                raise OutputError(f"the weights {broken} are not finite", where=folder / name)
            save_file(made, fresh / f"{name}.safetensors")
        facts = {"format": _FORMAT, "config": asdict(nets.config), "notes": dict(notes)}
        (fresh / TRAINED_HERE).write_text(json.dumps(facts, indent=1), "utf-8")
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror or error})", where=folder) from error


def read_config(path: Path) -> LivePortraitConfig:
    """The sizes of networks, from ``omote.json``.

    Raises:
        WeightsError: it cannot be read, or says something impossible.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too large")
        facts = json.loads(path.read_text("utf-8"))
        if facts["format"] != _FORMAT:
            raise ValueError("another format")
        held = facts["config"]
        warping = dict(held["warping"])
        warping["dense_motion_params"] = DenseMotionConfig(**warping["dense_motion_params"])
        motion = {name: _tuples(value) for name, value in held["motion"].items()}
        small = {
            name: RetargetingConfig(**{key: _tuples(value) for key, value in held[name].items()})
            for name in ("stitching", "eye", "lip")
        }
        return LivePortraitConfig(
            appearance=AppearanceConfig(**held["appearance"]),
            motion=MotionConfig(**motion),
            warping=WarpingConfig(**warping),
            generator=GeneratorConfig(**held["generator"]),
            input_size=held["input_size"],
            **small,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        short = " ".join(str(error).split())[:120]
        raise WeightsError(f"does not describe networks of LivePortrait ({short})", where=path) from error


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
