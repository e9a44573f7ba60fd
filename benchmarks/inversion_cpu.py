"""How fast the inversion network is on a CPU: ``python benchmarks/inversion_cpu.py [--threads 2] [--rounds 7]``.

Milliseconds for an image pair (RGB and normals) at the shipped size and at the paper's (two Hiera-T, 512 px): the
plain network of Hugging Face `transformers` in float32, the same under bfloat16 autocast, and `FastInversion` in
float32 and in bfloat16 (in use, the latter where that is faster). All take turns in one run and the medians
count, so that a busy machine slows all alike. A training step of the shipped network follows. Ends with one JSON line;
``speedup_bf16`` is the smaller of both sizes' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from omote.controls import FACS102
from omote.models.inversion import FastInversion, InversionConfig, InversionNet
from omote.models.processor import keep_memory
from omote.rigs.facs import load_rig
from omote.training.mesh_start import place_mesh


def measure(ways: dict[str, Callable[[], Any]], rounds: int, pairs: int) -> dict[str, float]:
    """Median milliseconds for a pair of each way, and "NAME cpu", those that the processor spent on this process.

    The ways take turns, after one turn to warm up. The processor's time counts no waiting for other programs.
    """
    times: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            began, spent = time.perf_counter(), time.process_time()
            way()
            took = {name: time.perf_counter() - began, f"{name} cpu": time.process_time() - spent}
            for kind, seconds in took.items() if turn else ():
                times.setdefault(kind, []).append(1000 * seconds / pairs)
    found = {name: median(values) for name, values in times.items()}
    found["speedup"] = found["float32"] / found["bfloat16"]
    found["speedup cpu"] = found["float32 cpu"] / found["bfloat16 cpu"]
    return found


def images(config: InversionConfig, batch: int) -> dict[str, torch.Tensor]:
    pictures = {name: torch.randn(batch, 3, config.size, config.size) for name in config.modalities}
    width, height = config.eye_size
    eyes = {f"eyes_{name}": torch.randn(batch, 2, 3, height, width) for name in config.modalities}
    return pictures | (eyes if config.eye_branch else {})


def prepared(config: InversionConfig) -> InversionNet:
    """A random network; one that reads the mesh looks at the rig's points."""
    net = InversionNet(config)
    if net.mesh is not None:
        place_mesh(net, load_rig())
        for name in config.modalities:
            getattr(net.mesh, f"{name}_axes").normal_(0, 0.02)
    return net


def inference(config: InversionConfig, batch: int, rounds: int) -> dict[str, float]:
    net = prepared(config).eval()
    arranged, fast = (FastInversion(net, dtype) for dtype in (torch.float32, torch.bfloat16))
    given = images(config, batch)

    def plain() -> torch.Tensor:
        with torch.inference_mode():
            return net(**given)

    def autocast() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            return net(**given)

    ways = {"float32": plain, "autocast": autocast}
    ways |= {"arranged": lambda: arranged(**given), "bfloat16": lambda: fast(**given)}
    found = measure(ways, rounds, batch)
    found["speedup arranged"] = found["float32"] / found["arranged"]
    found["difference"] = float((fast(**given) - plain()).abs().mean())
    return found


def training(config: InversionConfig, batch: int, rounds: int) -> dict[str, float]:
    net = prepared(config).train()
    given = images(config, batch)

    def step(enabled: bool) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            beliefs = net(**given)
            loss = torch.stack([part.square().mean() for belief in beliefs for part in belief]).mean()
        loss.backward()
        net.zero_grad(set_to_none=True)

    return measure({"float32": lambda: step(False), "bfloat16": lambda: step(True)}, rounds, batch)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way at the shipped size")
    parser.add_argument(
        "--batch", type=int, default=16, help="pairs at a time at the shipped size (the paper's: 1)"
    )
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    identity = len(load_rig().identity_space)
    shipped = InversionConfig.shipped(FACS102, "facs", identity=identity)
    shipped = replace(shipped, quiet=())  # random weights say little, which would all be put to rest
    paper = InversionConfig.paper(FACS102, "facs")
    batch = options.batch
    ways = ("float32", "autocast", "arranged", "bfloat16")
    print(f"{'ms for a pair':24s}{''.join(f' {way:>9s}' for way in ways)}  ratio CPU time  mean difference")
    rows = {}
    for name, config, pairs, rounds in (
        ("shipped, many at a time", shipped, batch, options.rounds),
        ("shipped, one at a time", shipped, 1, 2 * options.rounds),
        ("paper, one at a time", paper, 1, max(3, options.rounds // 2)),
    ):
        rows[name] = row = inference(config, pairs, rounds)
        shown = "".join(f" {row[way]:9.2f}" for way in ways)
        print(
            f"{name:24s}{shown} {row['speedup']:6.2f} {row['speedup cpu']:8.2f}  {row['difference']:.5f}",
            flush=True,
        )
    trained = training(shipped, batch, max(3, options.rounds // 2))
    ratios = f"{trained['speedup']:6.2f} {trained['speedup cpu']:8.2f}"
    print(f"{'training, shipped':24s} {trained['float32']:9.2f} {trained['bfloat16']:9.2f} {'':19s} {ratios}")
    first, last = rows["shipped, many at a time"], rows["paper, one at a time"]
    summary = {
        "speedup_bf16": round(min(first["speedup"], last["speedup"]), 2),
        "speedup_bf16_cpu_time": round(min(first["speedup cpu"], last["speedup cpu"]), 2),
        "speedup_bf16_shipped": round(first["speedup"], 2),
        "speedup_bf16_paper": round(last["speedup"], 2),
        "speedup_bf16_training": round(trained["speedup"], 2),
        "speedup_fp32_shipped": round(first["speedup arranged"], 2),
        "speedup_fp32_paper": round(last["speedup arranged"], 2),
        "shipped_ms": round(first["bfloat16"], 2),
        "paper_ms": round(last["bfloat16"], 1),
        "training_ms": round(trained["bfloat16"], 2),
        "threads": options.threads,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
