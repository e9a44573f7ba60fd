"""How fast is the puppet, how does its time grow, and does its memory?

    python benchmarks/puppet.py [--frames 96]

The photo is scikit-image's astronaut, the motion a spoken sentence. The peer is a piecewise-affine warp of the same
photo to 478 landmarks, the 2-D baseline of `omote eval reenactment`, in alternation with it. Times exclude capture,
preparation and encoding. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from skimage.data import astronaut

import omote
from omote.capture.pipeline import capture_image
from omote.drive import Driver, Portrait, engine_by_name
from omote.edit.motion import MotionOptions, apply_motion
from omote.evaluation.warp_baseline import LandmarkWarp
from omote.performance import Performance

BLOCK = 16


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def drain(engine: Driver, state: object, motion: Performance) -> None:
    """Make all frames."""
    for _ in engine.drive(state, [motion]):
        pass


def peak_memory() -> float:
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prepared(side: int, take: Performance) -> tuple[object, Performance, LandmarkWarp, np.ndarray, float]:
    """The photo at a size, ready: state, motion, peer, landmarks, seconds of preparation."""
    photo = cv2.resize(astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    face = capture_image(photo)[0]
    motion = apply_motion(face.performance, take, MotionOptions(reference="neutral"))
    portrait, engine = Portrait(photo, (face,)), engine_by_name("puppet")
    state = engine.prepare(portrait)
    seconds = timed(lambda: engine.prepare(portrait))
    return state, motion, LandmarkWarp(photo, face.landmarks[0]), face.landmarks[0], seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=96, help="frames for each figure")
    frames = parser.parse_args().frames
    engine = engine_by_name("puppet")
    take = omote.perform(text="an honest puppet says what it is")
    take = take.concatenate(*[take] * (10 * frames // len(take)))
    figures: dict[str, float] = {}
    for side in (512, 1024):
        state, motion, peer, marks, seconds = prepared(side, take)
        list(engine.drive(state, [motion[:4]]))
        ours, theirs = [], []
        for start in range(0, frames, BLOCK):
            part = motion[start : start + BLOCK]
            ours.append(timed(partial(drain, engine, state, part)) / len(part))
            theirs.append(timed(partial(peer.warp, marks + 0.3)))
        figures[f"ms_{side}"] = 1000 * float(np.median(ours))
        figures[f"fps_{side}"] = 1 / float(np.median(ours))
        figures[f"over_warp_{side}"] = float(np.median(np.array(ours) / theirs))
        figures[f"prepare_seconds_{side}"] = seconds
        print(
            f"{side} px: {figures[f'ms_{side}']:.1f} ms a frame, {figures[f'over_warp_{side}']:.2f} times the warp; "
            f"prepared in {seconds:.2f} s"
        )
        if side == 512:
            before = peak_memory()
            drain(engine, state, motion[: 10 * frames])
            figures["memory_growth_mb"] = peak_memory() - before
            print(f"{10 * frames} frames more: peak memory grew by {figures['memory_growth_mb']:.0f} MB")
    figures["time_over_pixels"] = figures["ms_1024"] / figures["ms_512"] / 4
    print(f"four times the pixels take {4 * figures['time_over_pixels']:.2f} times as long")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
