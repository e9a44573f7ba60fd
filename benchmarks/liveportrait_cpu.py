"""LivePortrait on a CPU: the published arithmetic in float32 as it comes, against ours, in the same run.

    python benchmarks/liveportrait_cpu.py                       # two threads, batches of 1, 2 and 4
    python benchmarks/liveportrait_cpu.py --rounds 5 --batches 1

Seeded weights, published sizes. Both ways draw the same driven frames: M on the driver's crop, stitching, W and G; the
source's features are there already. Ours keeps freed memory, as `omote animate` does; in bytes it has studied another
driven frame before, and the rest is bfloat16 on processors with AMX. Rounds of all ways alternate, so that a noisy
machine troubles all; medians are told. So is how fast matrices are multiplied meanwhile: the gain of bfloat16
moves with it. Memory is measured in processes of their own, for two numbers of frames. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import torch

from omote.drive.liveportrait.renderer import FastRenderer
from omote.models.liveportrait import LivePortraitNets
from omote.models.liveportrait.fast import FastMotion
from omote.models.liveportrait.keypoints import Motion
from omote.models.processor import keep_memory, multiplies_bfloat16
from omote.models.quantised import multiplies_bytes
from omote.models.seeded import fill_seeded

Frames = tuple[torch.Tensor, torch.Tensor]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WAYS = [*DTYPES, *(["bytes"] if multiplies_bytes() else [])]


def networks() -> LivePortraitNets:
    """Of the published sizes, with the weights of the parity kit's rule."""
    with torch.device("meta"):
        nets = LivePortraitNets()
    nets.to_empty(device="cpu")
    for network in nets.children():
        fill_seeded(network, 0)
    return nets.eval().requires_grad_(False)


class Plain:
    """What the published code does for a driven frame."""

    def __init__(self, nets: LivePortraitNets, source: torch.Tensor) -> None:
        self.nets = nets
        self.features = nets.appearance_feature_extractor(source)
        self.motion = nets.motion_extractor

    def warp(self, driving: torch.Tensor, kp_source: torch.Tensor) -> torch.Tensor:
        features = self.features.expand(len(driving), -1, -1, -1, -1)
        out: torch.Tensor = self.nets.warping_module(features, driving, kp_source.expand_as(driving)).out
        return out

    def draw(self, warped: torch.Tensor) -> torch.Tensor:
        image: torch.Tensor = self.nets.spade_generator(warped)
        return image


class Fast:
    """What Omote does, in one of `WAYS`."""

    def __init__(self, nets: LivePortraitNets, source: torch.Tensor, way: str) -> None:
        quick = torch.bfloat16 if multiplies_bfloat16() else torch.float32
        dtype = DTYPES.get(way, quick)
        self.renderer = FastRenderer(nets, dtype, in_bytes=way == "bytes")
        self.volume = self.renderer.prepare(source)
        self.draw = self.renderer.generator
        self.motion = FastMotion(nets.motion_extractor)

    def study(self, driving: torch.Tensor, kp_source: torch.Tensor) -> None:
        self.renderer.study([(self.volume, kp_source, driving)])

    def warp(self, driving: torch.Tensor, kp_source: torch.Tensor) -> torch.Tensor:
        return self.renderer.warping(self.volume, driving, kp_source)


def keypoints(extractor: Callable[..., Any], images: torch.Tensor) -> torch.Tensor:
    """(B, 21, 3) of the motion extractor, with the sizes that trained weights give."""
    outputs = {name: value * 0.1 for name, value in extractor(images).items()}
    return Motion.from_outputs({**outputs, "scale": outputs["scale"] * 0 + 1.3}).points()


def stitched(nets: LivePortraitNets, source: torch.Tensor, driving: torch.Tensor) -> torch.Tensor:
    pair = torch.cat([source.expand_as(driving).flatten(1), driving.flatten(1)], 1)
    change = 0.02 * nets.stitching(pair)
    shift = torch.nn.functional.pad(change[:, None, 63:], (0, 1))
    return driving + change[:, :63].reshape(driving.shape) + shift


def timed(work: Callable[[], Any], times: list[float]) -> Any:
    began = time.perf_counter()
    found = work()
    times.append(time.perf_counter() - began)
    return found


def compare(nets: LivePortraitNets, batch: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a frame of each network in each way, and how far apart the pictures are."""
    rng = np.random.default_rng(0)
    source, driver, example = (
        torch.from_numpy(rng.uniform(0, 1, (count, 3, 256, 256)).astype(np.float32))
        for count in (1, batch, 1)
    )
    plain = Plain(nets, source)
    fast = {name: Fast(nets, source, name) for name in WAYS}
    kp_source = keypoints(nets.motion_extractor, source)
    for way in fast.values():
        way.study(stitched(nets, kp_source, keypoints(nets.motion_extractor, example)), kp_source)
    times: dict[str, dict[str, list[float]]] = {}
    pictures: dict[str, torch.Tensor] = {}
    for turn in range(rounds + 1):
        for name, way in {"plain": plain, **fast}.items():
            keep_memory(keep=name != "plain")
            kept = times.setdefault(name, {n: [] for n in "MSWG"})
            if turn == 1:  # the first round warms up
                for values in kept.values():
                    values.clear()
            driving = timed(lambda way=way: keypoints(way.motion, driver), kept["M"])
            driving = timed(lambda moved=driving: stitched(nets, kp_source, moved), kept["S"])
            warped = timed(lambda moved=driving, way=way: way.warp(moved, kp_source), kept["W"])
            pictures[name] = timed(lambda seen=warped, way=way: way.draw(seen), kept["G"])
    found: dict[str, Any] = {
        name: {net: 1000 * median(values) / batch for net, values in kept.items()}
        for name, kept in times.items()
    }
    wanted = pictures["plain"]
    for name in WAYS:
        apart = pictures[name] - wanted
        found[name]["difference"] = float(apart.abs().max())
        found[name]["psnr"] = float(10 * torch.log10(1 / apart.square().mean()))
    return found


def total(times: dict[str, float]) -> float:
    return sum(times[net] for net in "MSWG")


def rates() -> dict[str, float]:
    """TFLOP/s of a product of matrices of the middle blocks' size: what this machine gives just now."""
    found = {}
    for name, dtype in DTYPES.items():
        one, other = torch.randn(4096, 512).to(dtype), torch.randn(512, 512).to(dtype)
        times: list[float] = []
        for _ in range(50):
            timed(lambda a=one, b=other: a @ b, times)
        found[name] = 2 * 4096 * 512 * 512 / median(times) / 1e12
    return found


def peak_mb(frames: int) -> float:
    """Peak memory of a process that draws so many frames in the last of `WAYS`, one at a time, megabytes."""
    made = subprocess.run(
        [sys.executable, __file__, "--draw", str(frames)], check=True, capture_output=True, text=True
    )
    return float(made.stdout.split()[-1])


def draw(frames: int) -> None:
    """The work of `peak_mb`."""
    import resource

    keep_memory()

    nets = networks()
    rng = np.random.default_rng(0)
    source = torch.from_numpy(rng.uniform(0, 1, (1, 3, 256, 256)).astype(np.float32))
    fast = Fast(nets, source, WAYS[-1])
    kp_source = keypoints(fast.motion, source)
    for number in range(frames):
        driving = keypoints(
            fast.motion, torch.from_numpy(rng.uniform(0, 1, (1, 3, 256, 256)).astype(np.float32))
        )
        if not number:
            fast.study(driving, kp_source)
        fast.draw(fast.warp(driving, kp_source))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _of_bytes(results: dict[int, Any], best: dict[str, Any]) -> dict[str, float]:
    """What is told of products of bytes, where the processor has them."""
    if "bytes" not in best:
        return {}
    return {
        "speedup_bytes": total(best["bytes"]["plain"]) / total(best["bytes"]["bytes"]),
        "psnr_bytes_db": min(found["bytes"]["psnr"] for found in results.values()),
    }


@torch.inference_mode()
def main() -> None:
    """Measure and tell."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--batches", default="1,2,4")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--memory", type=int, nargs=2, default=(2, 8), metavar="FRAMES")
    arguments.add_argument("--draw", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    if options.draw is not None:
        draw(options.draw)
        return
    # First, as a process starts with the peak of the one that started it.
    peaks = {frames: peak_mb(frames) for frames in options.memory}
    nets = networks()
    before = rates()
    results = {batch: compare(nets, batch, options.rounds) for batch in map(int, options.batches.split(","))}
    print(f"milliseconds a driven frame, {options.threads} threads\n")
    print("| batch | way | M | stitching | W | G | all | times faster | largest difference | PSNR dB |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for batch, found in results.items():
        for name in ("plain", *WAYS):
            times = found[name]
            row = " | ".join(f"{times[net]:.1f}" for net in "MSWG")
            faster = total(found["plain"]) / total(times)
            apart = f"{times['difference']:.1e} | {times['psnr']:.1f}" if "psnr" in times else " | "
            print(f"| {batch} | {name} | {row} | {total(times):.0f} | {faster:.2f} | {apart} |")
    few, many = options.memory
    multiplied = {name: (before[name] + value) / 2 for name, value in rates().items()}
    told = ", ".join(f"{value:.2f} in {name}" for name, value in multiplied.items())
    print(f"\nmatrices were multiplied at {told} TFLOP/s (before and after, mean)")
    print(f"peak memory: {peaks[few]:.0f} MB for {few} frames, {peaks[many]:.0f} MB for {many}")
    one = results[min(results)]
    fastest = {
        name: max(results, key=lambda b, n=name: total(results[b]["plain"]) / total(results[b][n]))
        for name in WAYS
    }
    best = {name: results[batch] for name, batch in fastest.items()}
    summary = {
        "speedup_bf16": total(best["bfloat16"]["plain"]) / total(best["bfloat16"]["bfloat16"]),
        "speedup_bf16_batch_1": total(one["plain"]) / total(one["bfloat16"]),
        "best_batch": fastest["bfloat16"],
        "psnr_bf16_db": min(found["bfloat16"]["psnr"] for found in results.values()),
        "speedup_fp32": total(best["float32"]["plain"]) / total(best["float32"]["float32"]),
        "max_abs_diff_fp32": max(found["float32"]["difference"] for found in results.values()),
        **_of_bytes(results, best),
        "peak_mb": peaks[many],
        **{f"tflops_{name}": value for name, value in multiplied.items()},
    }
    print(json.dumps({name: round(value, 7 if "diff" in name else 3) for name, value in summary.items()}))


if __name__ == "__main__":
    main()
