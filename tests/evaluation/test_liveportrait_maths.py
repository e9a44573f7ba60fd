"""LivePortrait's maths cases: the published numbers, and any other batch sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omote.errors import FormatError
from omote.evaluation.parity.liveportrait_maths import MATHS
from omote.evaluation.parity.runner import run_folder

RANGES = {"kp": 0.5, "exp": 0.03, "t": 0.1, "pitch": 25.0, "yaw": 25.0, "roll": 25.0}


def test_every_published_number_is_met(shared_dir: Path) -> None:
    result = run_folder(shared_dir / "parity" / "liveportrait", pattern="math_*")
    names = {case.case.rpartition("_s")[0] for case in result.cases}
    assert names == set(MATHS)
    failed = [
        (case.case, case.problem, [row for row in case.rows if not row.passed])
        for case in result.cases
        if not case.passed
    ]
    assert not failed
    assert sum(len(case.rows) for case in result.cases) == 2 * 185


def motion(who: str, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {"kp": (21, 3), "exp": (21, 3), "t": (3,)}
    drawn = {
        f"{who}_{name}": rng.uniform(-limit, limit, (count, *shapes.get(name, (1,)))).astype(np.float32)
        for name, limit in RANGES.items()
    }
    return {**drawn, f"{who}_scale": rng.uniform(1.1, 1.7, (count, 1)).astype(np.float32)}


def composing(sources: int, drivers: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        **motion("source", sources, rng),
        **motion("driving", drivers, rng),
        "driving_eye_ratio": rng.uniform(0, 0.5, (drivers, 1, 2)).astype(np.float32),
        "driving_lip_ratio": rng.uniform(0, 0.5, (drivers, 1, 1)).astype(np.float32),
        "source_lmk203": rng.uniform(0, 512, (sources, 203, 2)).astype(np.float32),
    }


def constants(*outputs: str) -> dict[str, Any]:
    """What a case says, with networks that add a thousandth of the first keypoint to everything."""

    def mlp(count: int) -> Any:
        return lambda x: x[:, :1].expand(len(x), count) / 1000

    return {
        "lip_array": np.zeros((21, 3)).tolist(),
        "options": {
            "abs_all": {"flag_relative_motion": False},
            "rel_all_eye": {"flag_eye_retargeting": True},
        },
        "option_defaults": {"flag_relative_motion": True, "driving_smooth_observation_variance": 1e-4},
        "outputs": [{"name": name} for name in outputs],
        "stitching": mlp(65),
        "eye": mlp(63),
        "lip": mlp(63),
    }


@pytest.mark.parametrize(("sources", "drivers", "frames"), [(1, 1, 1), (3, 7, 3), (6, 2, 2)])
def test_composition_takes_any_number_of_frames(sources: int, drivers: int, frames: int) -> None:
    said = constants("x_s", "abs_all", "rel_all_eye", "rel_all_eye_srceye", "drvimg_abs_all")
    inputs = composing(sources, drivers)
    video = MATHS["math_compose_video_source"](inputs, said)
    assert {name: len(value) for name, value in video.items()} == {
        "x_s": sources,
        "abs_all": frames,
        "rel_all_eye": frames,
        "rel_all_eye_srceye": frames,
        "drvimg_abs_all": sources,
    }
    photo = {name: value[:1] if name.startswith("source") else value for name, value in inputs.items()}
    image = MATHS["math_compose_image_source"](photo, said)
    assert len(image["abs_all"]) == len(image["rel_all_eye"]) == drivers
    assert len(image["drvimg_abs_all"]) == 1
    # A photo's frames do not depend on how many there are.
    fewer = {name: value[:1] for name, value in photo.items()}
    np.testing.assert_allclose(
        MATHS["math_compose_image_source"](fewer, said)["abs_all"], image["abs_all"][:1], atol=1e-6
    )


def test_sequences_and_landmarks_of_any_kind() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(5, 2))
    smoothed = MATHS["math_kalman"]({"any": samples}, constants("any_obs0.01", "any_obs0.0"))
    np.testing.assert_allclose(smoothed["any_obs0.0"], samples, atol=1e-12)
    assert smoothed["any_obs0.01"].std() < samples.std()
    cropped = MATHS["math_crop"]({"lmk68": rng.uniform(0, 100, (68, 2))}, constants())
    assert cropped["lmk68_source_pt_crop"].shape == (68, 2)
    assert "bbox_crop_lmk" not in cropped


def test_keypoints_of_any_batch() -> None:
    rng = np.random.default_rng(1)
    inputs = {
        **motion("source", 5, rng),
        **motion("driving", 5, rng),
        "pose_logits": rng.normal(size=(2, 66)).astype(np.float32),
        "lmk203": rng.uniform(0, 512, (4, 203, 2)).astype(np.float32),
        "eye_target": np.full((1, 1), 0.4, np.float32),
        "lip_target": np.full((1, 1), 0.2, np.float32),
    }
    found = MATHS["math_keypoints"](inputs, constants())
    assert found["motion_multiplier"].shape == (5,)
    assert found["eye_close_ratio"].shape == (4, 2)
    assert found["degree"].shape == (2,)
    x_s = torch.from_numpy(found["x_s"])
    np.testing.assert_allclose(found["lip_delta"], np.full((1, 21, 3), x_s[0, 0, 0] / 1000), rtol=1e-6)


def test_options_that_no_one_says_are_an_error() -> None:
    with pytest.raises(FormatError, match="rel_all_mystery"):
        MATHS["math_compose_image_source"](composing(1, 2), constants("rel_all_mystery"))
