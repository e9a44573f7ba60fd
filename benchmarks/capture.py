"""How good and how fast capture is: ``python benchmarks/capture.py [--media DIR]``.

Prints a table for each claim and ends with one JSON line. DIR has ``photos/`` and ``videos/``; by default the folder
``shared/media`` beside the repository. Times are ratios against MediaPipe alone on the same frames in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.signal import find_peaks

from omote.capture.fit import FitOptions, LandmarkFitter
from omote.capture.landmark_model import landmark_model
from omote.capture.observation import Observation, rotation_matrix
from omote.capture.pipeline import capture_file, capture_frames, capture_image
from omote.capture.priors import variables
from omote.capture.tracks import detect_video
from omote.controls import FACS102
from omote.errors import NoFaceError
from omote.evaluation.capture import gaze_to_camera, landmark_error, score_correlations
from omote.media import list_media, open_video, read_image
from omote.weights import locate

SHARED = Path(__file__).resolve().parents[2] / "shared" / "media"
LOOK_AT_CAMERA = ("s9", "astronaut", "d0", "d18")


def astronaut() -> Path:
    """The photograph that scikit-image carries (NASA, public domain)."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("benchmarks/capture.py needs scikit-image: pip install -e .[dev]")
    return Path(spec.origin).parent / "data" / "astronaut.png"


def photos(folder: Path, gaze: dict[str, float]) -> dict[str, float | None]:
    print("\nphotos: mean landmark error, % of the outer-eye-corner distance")
    errors, seconds = [], []
    for path in [*(list_media(folder) if folder.is_dir() else []), astronaut()]:
        image = read_image(path)
        began = time.perf_counter()
        try:
            (found,) = capture_image(image)
        except NoFaceError as error:
            print(f"  {path.name:16s} {error}")
            continue
        seconds.append(time.perf_counter() - began)
        error = 100 * float(landmark_error(found.performance, found.landmarks)[0])
        both = gaze_to_camera(found.performance)
        note = ""
        if path.stem in LOOK_AT_CAMERA:
            gaze[path.stem] = max(both)
        if path == astronaut():
            note = "(not in the mean: it ships with the demo)"
        else:
            errors.append(error)
        print(
            f"  {path.name:16s} {error:5.2f}   eyes {both[0]:4.1f} and {both[1]:4.1f} degrees off the camera"
            f"   {seconds[-1]:.2f} s {note}"
        )
    if not errors:
        return {"photo_error_mean": None, "photo_error_worst": None, "photo_seconds_median": None}
    print(
        f"  mean {np.mean(errors):.3f}   worst {np.max(errors):.3f}   median time {np.median(seconds):.2f} s"
    )
    return {
        "photo_error_mean": round(float(np.mean(errors)), 4),
        "photo_error_worst": round(float(np.max(errors)), 4),
        "photo_seconds_median": round(float(np.median(seconds)), 3),
    }


def mediapipe_seconds(path: Path) -> float:
    """MediaPipe's FaceLandmarker alone (video mode, one face, scores and matrix) on frames that are already decoded."""
    import mediapipe as mp
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(locate("face_landmarker"))),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    total = 0.0
    with vision.FaceLandmarker.create_from_options(options) as network:
        for time_s, frame in open_video(path, max_side=1280):
            image = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
            began = time.perf_counter()
            network.detect_for_video(image, round(time_s * 1000))
            total += time.perf_counter() - began
    return total


def videos(folder: Path, gaze: dict[str, float]) -> dict[str, float | None]:
    print(
        "\nvideos: error of the smoothed result in %; correlation with MediaPipe's scores; cost over MediaPipe alone"
    )
    errors, correlations, blinks, ours, theirs = [], [], [], 0.0, 0.0
    scratch = Path(os.environ.get("TMPDIR", "/tmp")) / f"omote_bench_{os.getpid()}.omote"
    for path in list_media(folder) if folder.is_dir() else []:
        began = time.perf_counter()
        try:
            found = capture_file(path)[0]
        except NoFaceError as error:
            print(f"  {path.name:16s} {error}")
            continue
        found.performance.save(scratch)
        spent = time.perf_counter() - began
        alone = mediapipe_seconds(path)
        ours, theirs = ours + spent, theirs + alone
        error = 100 * float(np.nanmean(landmark_error(found.performance, found.landmarks)))
        track = detect_video(open_video(path, max_side=1280)).tracks[0]
        correlation = list(score_correlations(found.performance, track.scores).values())
        raw = capture_file(path, smooth=0.0)[0].performance
        blinks += blink_ratios(raw.controls, found.performance.controls)
        errors.append(error)
        correlations += correlation
        if path.stem in LOOK_AT_CAMERA:
            gaze[path.stem] = max(gaze_to_camera(found.performance))
        print(
            f"  {path.name:16s} {error:5.2f}   {np.median(correlation):.3f} over {len(correlation):2d} channels"
            f"   {spent / alone:.2f} x   {len(track.found)} frames"
        )
    scratch.unlink(missing_ok=True)
    if not errors:
        return dict.fromkeys(
            ("video_error_mean", "mediapipe_video_correlation", "cost_over_mediapipe", "blink_amplitude_kept")
        )
    kept = float(np.median(blinks)) if blinks else None
    print(
        f"  mean {np.mean(errors):.3f}   median correlation {np.median(correlations):.3f}   cost {ours / theirs:.2f} x"
        f"   {len(blinks)} blinks keep {kept}"
    )
    return {
        "video_error_mean": round(float(np.mean(errors)), 4),
        "mediapipe_video_correlation": round(float(np.median(correlations)), 4),
        "cost_over_mediapipe": round(ours / theirs, 3),
        "blink_amplitude_kept": None if kept is None else round(kept, 4),
    }


def blink_ratios(raw: np.ndarray, smoothed: np.ndarray) -> list[float]:
    """Height of each blink (narrower than 15 frames, higher than 0.35) after smoothing over before."""
    ratios = []
    for name in ("lid_close_L", "lid_close_R"):
        before, after = raw[:, FACS102.index(name)], smoothed[:, FACS102.index(name)]
        peaks, facts = find_peaks(before, prominence=0.35, width=(1, 15))
        for peak, left, right in zip(peaks, facts["left_bases"], facts["right_bases"], strict=True):
            base = max(before[left], before[right])
            near = slice(max(0, peak - 2), peak + 3)
            ratios.append(float((after[near].max() - base) / (before[peak] - base)))
    return ratios


def exact_landmarks(count: int = 60, seed: int = 11) -> dict[str, float]:
    """Known controls on random heads and poses, landmarks projected exactly: what the solver alone recovers."""
    rng = np.random.default_rng(seed)
    model, table = landmark_model(), variables()
    fitter = LandmarkFitter(
        FitOptions(noise=2e-5, scores=0.0, focal_spread=0.0, effective=478.0, identity=1.0, robust=1e3)
    )
    truth, found = [], []
    for _ in range(count):
        head = model.prepare(rng.normal(0, 0.7, model.identities))
        values = np.zeros(len(table.positive))
        chosen = rng.choice(len(values), 5, replace=False)
        values[chosen] = np.clip(
            rng.uniform(0.2, 0.9, 5) * rng.choice([1, -1], 5), table.low[chosen], table.high[chosen]
        )
        # Lips that meet act only while the jaw is open.
        jaw = int(np.flatnonzero(table.positive == FACS102.index("jaw_open"))[0])
        values[jaw] = max(values[jaw], 0.3)
        controls = table.controls(values)
        rotation = rotation_matrix(rng.normal(0, 0.25, 3))
        points = model.points(head, controls) @ rotation.T + [*rng.normal(0, 0.02, 2), -0.55]
        image = 256 + 1.8 * 512 * points[:, :2] * (1, -1) / -points[:, 2:]
        eyes = float(np.linalg.norm(image[33] - image[263]))
        fit = fitter.fit_photo(Observation(image, eyes, (512, 512), None), iterations=300, tolerance=3e-4)
        truth.append(values)
        found.append(fit.values)
    correlation = float(np.corrcoef(np.ravel(truth), np.ravel(found))[0, 1])
    print(
        f"\nexact landmarks: {count} random heads, correlation of {np.size(truth)} recovered with true variables"
        f" {correlation:.4f}"
    )
    return {"exact_landmark_correlation": round(correlation, 5)}


def still(frames: int = 100, seed: int = 5) -> dict[str, float]:
    """One photograph repeated with sensor noise (Gaussian, 3 of 255)."""
    rng = np.random.default_rng(seed)
    image = read_image(astronaut()).astype(np.float32)

    def noisy() -> Any:
        for i in range(frames):
            yield i / 30, np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)

    (found,) = capture_frames(noisy())
    deviation = found.performance.controls.std(0)
    worst = int(np.argmax(deviation))
    print(
        f"\nstill photo x {frames}: deviation of controls, mean {deviation.mean():.5f},"
        f" largest {deviation[worst]:.5f} ({FACS102.names[worst]})"
    )
    return {
        "still_noise_std": round(float(deviation.mean()), 6),
        "still_noise_std_worst": round(float(deviation[worst]), 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, default=SHARED, help="a folder with photos/ and videos/")
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        " one thread a process"
    )
    gaze: dict[str, float] = {}
    figures: dict[str, Any] = {}
    figures |= photos(arguments.media / "photos", gaze)
    figures |= videos(arguments.media / "videos", gaze)
    figures |= exact_landmarks()
    figures |= still()
    print("\ngaze: worse eye's angle to the camera, degrees:", {k: round(v, 1) for k, v in gaze.items()})
    figures["gaze_degrees"] = round(max(gaze.values()), 2) if gaze else None
    figures |= raster()
    print(json.dumps(figures))


def raster() -> dict[str, float]:
    """Milliseconds to rasterise the head at 512 x 512, from the rasteriser's own benchmark."""
    script = Path(__file__).with_name("raster.py")
    run = subprocess.run(
        [sys.executable, str(script), "--repeats", "20"], capture_output=True, text=True, check=True
    )
    figures = json.loads(run.stdout.splitlines()[-1])
    print(
        f"\nrasteriser, head at 512 x 512: {figures['raster_ms_512']:.2f} ms,"
        f" {figures['ratio']:.2f} of a numba z-buffer's time"
    )
    return {"raster_ms_512": figures["raster_ms_512"], "raster_over_numba": figures["ratio"]}


if __name__ == "__main__":
    main()
