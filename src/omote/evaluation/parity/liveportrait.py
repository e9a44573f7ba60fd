"""LivePortrait's parity cases: its networks one by one, all together, and its mathematics."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omote.drive.liveportrait.composition import compose_image
from omote.drive.liveportrait.offsets import stitch
from omote.drive.liveportrait.options import Composition
from omote.errors import InputError
from omote.evaluation.parity.systems import Call, Outputs, System
from omote.models.liveportrait import (
    AppearanceConfig,
    AppearanceFeatureExtractor,
    DenseMotionConfig,
    GeneratorConfig,
    MotionConfig,
    MotionExtractor,
    RetargetingConfig,
    RetargetingNet,
    SpadeGenerator,
    Warped,
    WarpingConfig,
    WarpingModule,
)
from omote.models.liveportrait.keypoints import POINTS, Motion, degrees

_FIXED = {"backbone": "convnextv2_tiny", "drop_path_rate": 0.0}
"""Published options of which our networks have this one value only."""
_CELL = 32
"""In the composed case every drawn pixel is repeated so often, each way."""
_RETARGETING = ("stitching", "eye", "lip")


def build(name: str, hyperparameters: Mapping[str, Any]) -> nn.Module:
    """A network by its name in the manifest.

    Raises:
        InputError: no such network, or options that it does not have.
    """
    if name == "appearance_feature_extractor":
        return AppearanceFeatureExtractor(_config(AppearanceConfig, name, hyperparameters))
    if name == "motion_extractor":
        return MotionExtractor(_config(MotionConfig, name, hyperparameters))
    if name == "warping_module":
        values = dict(hyperparameters)
        dense = values.pop("dense_motion_params", {})
        if not isinstance(dense, Mapping):
            raise InputError("dense_motion_params is no object", where=name)
        values["dense_motion_params"] = _config(DenseMotionConfig, name, dense)
        return WarpingModule(_config(WarpingConfig, name, values))
    if name == "spade_generator":
        return SpadeGenerator(_config(GeneratorConfig, name, hyperparameters))
    if name in _RETARGETING:
        return RetargetingNet(_config(RetargetingConfig, name, hyperparameters))
    raise InputError(f"LivePortrait has no network '{name[:80]}'")


def compute(call: Call) -> Outputs:
    """All outputs of a case.

    Raises:
        InputError: a network or mathematics that LivePortrait does not have, or inputs that do not fit it.
    """
    name = call.case.network
    if name == "all":
        return _composed(call)
    if name == "none" or name is None:
        return _mathematics(call)
    network = call.network(name)
    inputs = {key: torch.from_numpy(value) for key, value in call.inputs.items()}
    if name == "appearance_feature_extractor":
        return {"feature_3d": network(_only(inputs))}
    if name == "motion_extractor":
        found: Outputs = network(_only(inputs))
        return found
    if name == "spade_generator":
        steps: dict[str, Tensor] = {}
        image = network(_only(inputs), keep=steps)
        return {"image": image, **steps}
    if name == "warping_module":
        return _warped(network, inputs)
    return {"delta": network(*inputs.values())}


def _only(inputs: Mapping[str, Tensor]) -> Tensor:
    if len(inputs) != 1:
        raise InputError(f"one input is expected, got {', '.join(inputs) or 'none'}")
    return next(iter(inputs.values()))


def _warped(network: nn.Module, inputs: Mapping[str, Tensor]) -> Outputs:
    missing = {"feature_3d", "kp_driving", "kp_source"} - set(inputs)
    if missing:
        raise InputError(f"the input {sorted(missing)[0]} is missing")
    steps: dict[str, Tensor] = {}
    warped: Warped = network(inputs["feature_3d"], inputs["kp_driving"], inputs["kp_source"], keep=steps)
    outputs = {"out": warped.out, "deformation": warped.deformation, **steps}
    if warped.occlusion_map is not None:
        outputs["occlusion_map"] = warped.occlusion_map
    return outputs


def _composed(call: Call) -> Outputs:
    """A source and two driving frames: relative motion of everything, stitched, from images to an image."""
    if len(call.inputs) != 3:
        raise InputError(f"a source and two driving images are expected, got {len(call.inputs)} inputs")
    extractor = call.network("motion_extractor")
    images: list[Tensor] = []
    motions: list[Motion] = []
    outputs: dict[str, Tensor | np.ndarray] = {}
    for name, drawn in call.inputs.items():
        image = F.interpolate(torch.from_numpy(drawn), scale_factor=float(_CELL), mode="nearest")
        found = extractor(image)
        for key, value in found.items():
            if key in ("pitch", "yaw", "roll"):
                value = degrees(value)[:, None]
            elif key in ("exp", "kp"):
                value = value.reshape(-1, POINTS, 3)
            outputs[f"{name}.{key}"] = value
        images.append(image)
        motions.append(Motion.from_outputs(found))
    source, first, shown = motions
    x_s = source.points()
    x_d = compose_image(source, shown, Composition(), reference=first).points()
    stitched = stitch(x_s, x_d, call.network("stitching"))
    feature_3d = call.network("appearance_feature_extractor")(images[0])
    warped: Warped = call.network("warping_module")(feature_3d, stitched, x_s)
    image = call.network("spade_generator")(warped.out)
    eight_bit = (image.clamp(0, 1) * 255).to(torch.uint8)  # cut off, not rounded, as published
    outputs |= {
        "x_s": x_s,
        "x_d": x_d,
        "x_d_stitched": stitched,
        "feature_3d": feature_3d,
        "deformation": warped.deformation,
        "warped": warped.out,
        "image": image,
        "image_uint8_as_float": eight_bit.permute(0, 2, 3, 1).float(),
    }
    if warped.occlusion_map is not None:
        outputs["occlusion_map"] = warped.occlusion_map
    return outputs


def _mathematics(call: Call) -> Outputs:
    from omote.evaluation.parity.liveportrait_maths import MATHS

    kind = re.sub(r"_s\d+$", "", call.case.name)
    if kind not in MATHS:
        raise InputError(
            f"LivePortrait has no mathematics called '{kind[:80]}'; there are {', '.join(MATHS)}"
        )
    known = {**call.manifest.get("constants", {}), **call.case.entry}
    return MATHS[kind](call.inputs, known | {name: call.network(name) for name in _RETARGETING})


def _config(kind: Any, name: str, hyperparameters: Mapping[str, Any]) -> Any:
    """A configuration from a manifest's hyper-parameters; what is absent is as published."""
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in hyperparameters.items()
        if not (key in _FIXED and value == _FIXED[key])
    }
    unknown = sorted(set(values) - {entry.name for entry in fields(kind)})
    if unknown:
        raise InputError(f"the option {unknown[0]} = {values[unknown[0]]} is not known here", where=name)
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"its options do not fit ({str(error)[:100]})", where=name) from error


SYSTEM = System(name="liveportrait", build=build, compute=compute)
