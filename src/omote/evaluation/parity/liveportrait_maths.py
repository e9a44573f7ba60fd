"""LivePortrait's maths cases: keypoints, composition, smoothing, crops and sliders without a base network.

Each function takes a case's inputs and what else the case says, and gives every output of the case, whatever the batch
sizes and seeds are. What else it says (``constants``): the manifest's constants, the case's own entry (its options and
slider values) and the three small networks with the case's weights as "stitching", "eye" and "lip".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omote.drive.liveportrait import crops
from omote.drive.liveportrait.composition import compose_image, compose_video
from omote.drive.liveportrait.finishing import finish
from omote.drive.liveportrait.kalman import smooth
from omote.drive.liveportrait.offsets import Mlps, eye_offsets, lip_offsets, stitch
from omote.drive.liveportrait.options import Composition, Ratios
from omote.drive.liveportrait.sliders import Sliders, edit_keypoints, expression_offsets
from omote.errors import FormatError
from omote.models.liveportrait.keypoints import (
    Motion,
    degrees,
    eye_close_ratio,
    lip_close_ratio,
    motion_multiplier,
)

Array = NDArray[Any]
Inputs = Mapping[str, Array]
Constants = Mapping[str, Any]
Outputs = dict[str, Array]

_STILL = "drvimg_"
_SMOOTHED = "_obs"
_BOX = (50.25, 61.5, 400.25, 411.5)
"""Of the crop by a given box, px; only the case's note says it."""
_BOXED = "lmk203"

_OPTIONS = {
    "flag_relative_motion": "relative",
    "animation_region": "region",
    "driving_multiplier": "multiplier",
    "flag_stitching": "stitching",
    "flag_normalize_lip": "normalize_lip",
    "flag_eye_retargeting": "eye_retargeting",
    "flag_lip_retargeting": "lip_retargeting",
    "flag_source_video_eye_retargeting": "source_video_eye_retargeting",
    "driving_smooth_observation_variance": "observation_variance",
    "lip_normalize_threshold": "lip_threshold",
    "source_video_eye_retargeting_threshold": "eye_threshold",
}
"""Published option -> ours. "driving_option" is left out because it changes nothing."""
_SUFFIX_OPTIONS = {"_srceye": {"flag_source_video_eye_retargeting": True}}
"""Options of outputs that the case does not list, by the end of their names."""

_SLIDERS = {
    "eyeball_pos": ("gaze_x", "gaze_y"),
    "eyeball_neg": ("gaze_x", "gaze_y"),
    "smile": ("smile",),
    "wink": ("wink",),
    "eyebrow_pos": ("eyebrow",),
    "eyebrow_neg": ("eyebrow",),
    "lip_zero": ("pouting",),
    "lip_one": ("pursing",),
    "lip_two": ("grin",),
    "lip_three": ("lip_open",),
    "mov_x": ("move_x",),
    "mov_y": ("move_y",),
}
"""Output -> the sliders whose values the case gives."""
_EDITS = {
    "input_head_pitch_variation": "pitch",
    "input_head_yaw_variation": "yaw",
    "input_head_roll_variation": "roll",
    "mov_x": "move_x",
    "mov_y": "move_y",
    "mov_z": "move_z",
    "lip_variation_zero": "pouting",
    "lip_variation_one": "pursing",
    "lip_variation_two": "grin",
    "lip_variation_three": "lip_open",
    "smile": "smile",
    "wink": "wink",
    "eyebrow": "eyebrow",
    "eyeball_direction_x": "gaze_x",
    "eyeball_direction_y": "gaze_y",
    "input_eye_ratio": "eye_ratio",
    "input_lip_ratio": "lip_ratio",
}
"""Published name of an edit -> our slider."""
_SOURCE_RATIOS = {"input_eye_ratio": "source_eye_ratio", "input_lip_ratio": "source_lip_ratio"}


def keypoints(inputs: Inputs, constants: Constants) -> Outputs:
    """Degrees, rotation, keypoints, ratios, the small networks' offsets, motion multiplier."""
    x, mlps = _tensors(inputs), _mlps(constants)
    source, driving = _motion(x, "source"), _motion(x, "driving")
    x_s, x_d = source.points(), driving.points()
    eyes, lip = eye_close_ratio(x["lmk203"]), lip_close_ratio(x["lmk203"])
    return _arrays(
        degree=degrees(x["pose_logits"]),
        rotation=source.rotation,
        x_s=x_s,
        x_d_stitched=stitch(x_s, x_d, mlps.stitching),
        eye_close_ratio=eyes,
        lip_close_ratio=lip,
        eye_delta=eye_offsets(x_s[:1], eyes[:1], x["eye_target"], mlps.eye),
        lip_delta=lip_offsets(x_s[:1], lip[:1], x["lip_target"], mlps.lip),
        motion_multiplier=motion_multiplier(x_s, x_d),
    )


def kalman(inputs: Inputs, constants: Constants) -> Outputs:
    """Each sequence smoothed with the observation variances that the outputs' names say."""
    x = _tensors(inputs)
    results = {}
    for name in _output_names(constants):
        sequence, _, variance = name.partition(_SMOOTHED)
        results[name] = smooth(x[sequence], float(variance))
    return _arrays(**results)


def crop(inputs: Inputs, constants: Constants) -> Outputs:
    """Squares, boxes and maps from each kind of landmarks."""
    results: Outputs = {}
    for kind, points in inputs.items():
        source = crops.face_square(points, crops.SOURCE)
        maps = {
            "source": source.to_crop(),
            "norot": source.upright().to_crop(),
            "landmark": crops.face_square(points, crops.LANDMARKS).to_crop(224),
        }
        for use, matrix in maps.items():
            results[f"{kind}_{use}_M_o2c"] = matrix
            results[f"{kind}_{use}_pt_crop"] = crops.to_points(matrix, points)
        driver = crops.face_square(points, crops.DRIVER)
        results[f"{kind}_bbox"] = driver.upright().corners()
        results[f"{kind}_bbox_rot"] = driver.corners()
        shifted = crops.face_square(points, crops.Placement(2.2, 0.05, -0.1))
        results[f"{kind}_rect_vx0.05"] = _rectangle(shifted)
        from_eyes = crops.face_square(points, crops.Placement(1.5), use_lips=False)
        results[f"{kind}_rect_nolip"] = _rectangle(from_eyes)
    results["bbox_crop_M_o2c"] = matrix = crops.box_to_crop(np.array(_BOX))
    if _BOXED in inputs:
        results["bbox_crop_lmk"] = crops.to_points(matrix, inputs[_BOXED])
    return results


def compose_image_source(inputs: Inputs, constants: Constants) -> Outputs:
    """Driving keypoints of an animated photo for each listed set of options."""
    return _composed(inputs, constants, video_source=False)


def compose_video_source(inputs: Inputs, constants: Constants) -> Outputs:
    """Driving keypoints of an animated video for each listed set of options."""
    return _composed(inputs, constants, video_source=True)


def _composed(inputs: Inputs, constants: Constants, *, video_source: bool) -> Outputs:
    x, mlps = _tensors(inputs), _mlps(constants)
    source, driving = _motion(x, "source"), _motion(x, "driving")
    x_s = source.points()
    neutral = torch.tensor(constants["lip_array"], dtype=torch.float64).to(x_s)[None]
    results = {"x_s": x_s}
    for name in _output_names(constants):
        if name == "x_s":
            continue
        still = name.startswith(_STILL)
        frames = slice(0, 1) if still else slice(None)
        options = _options(name.removeprefix(_STILL), constants)
        compose = compose_video if video_source else compose_image
        composed = compose(source, driving[frames], options, still=still, neutral=neutral).points()
        count = len(composed)
        ratios = Ratios(
            eye_close_ratio(x["source_lmk203"])[:count],
            lip_close_ratio(x["source_lmk203"])[:count],
            x["driving_eye_ratio"].reshape(-1, 2)[frames][:count],
            x["driving_lip_ratio"].reshape(-1, 1)[frames][:count],
        )
        results[name] = finish(x_s[:count], composed, options, mlps, ratios, video_source=video_source)
    return _arrays(**results)


def _options(name: str, constants: Constants) -> Composition:
    all_listed: Mapping[str, Mapping[str, Any]] = constants["options"]
    listed = all_listed.get(name)
    for end, more in _SUFFIX_OPTIONS.items():
        if listed is None and name.endswith(end) and name.removesuffix(end) in all_listed:
            listed = {**all_listed[name.removesuffix(end)], **more}
    if listed is None:
        raise FormatError("the case does not say the options of this output", where=name)
    values = {**constants["option_defaults"], **listed}
    return Composition(**{ours: values[theirs] for theirs, ours in _OPTIONS.items() if theirs in values})


def sliders(inputs: Inputs, constants: Constants) -> Outputs:
    """Expression offsets after one slider each, and keypoints after whole edits."""
    x, mlps = _tensors(inputs), _mlps(constants)
    results = {}
    for name, values in constants["slider_values"].items():
        chosen = dict(zip(_SLIDERS[name], values, strict=True))
        if "move_x" in chosen:  # the case gives what is added
            chosen["move_x"] = -chosen["move_x"]
        offsets = expression_offsets(Sliders(**chosen)).to(x["source_exp"])
        results[name] = x["source_exp"] + offsets
    motion = _motion(x, "edit")
    landmarks = x["edit_lmk203"].reshape(-1, *x["edit_lmk203"].shape[-2:])
    eyes, lip = eye_close_ratio(landmarks), lip_close_ratio(landmarks)
    own = constants["edit_source_ratios"]
    for name, edit in constants["edit_values"].items():
        # A ratio equal to what the case calls the source's own asks for nothing.
        chosen = {
            _EDITS[key]: value
            for key, value in edit.items()
            if key != "stitch" and not (key in _SOURCE_RATIOS and value == own[_SOURCE_RATIOS[key]])
        }
        stitching = bool(edit.get("stitch", True))
        results[name] = edit_keypoints(motion, Sliders(**chosen), mlps, eyes, lip, stitching=stitching)
    return _arrays(**results)


def _output_names(constants: Constants) -> list[str]:
    return [output["name"] for output in constants["outputs"]]


def _tensors(inputs: Inputs) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(value)) for name, value in inputs.items()}


def _arrays(**tensors: Tensor) -> Outputs:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _motion(x: Mapping[str, Tensor], who: str) -> Motion:
    names = ("kp", "exp", "t", "scale", "pitch", "yaw", "roll")
    return Motion.from_outputs({name: x[f"{who}_{name}"] for name in names})


def _mlps(constants: Constants) -> Mlps:
    return Mlps(constants["stitching"], constants["eye"], constants["lip"])


def _rectangle(square: crops.Square) -> Array:
    """(5,) centre x, y, width, height, angle (radians)."""
    return np.array([*square.centre, square.side, square.side, square.angle])


MATHS: dict[str, Callable[[Inputs, Constants], Outputs]] = {
    "math_keypoints": keypoints,
    "math_kalman": kalman,
    "math_crop": crop,
    "math_compose_image_source": compose_image_source,
    "math_compose_video_source": compose_video_source,
    "math_sliders": sliders,
}
"""Case name without its seed -> the function that computes all of its outputs."""
