"""What it does to LivePortrait's pictures to round parts of its networks to bytes, one part at a time.

    python benchmarks/liveportrait_rounding.py          # two threads, two minutes

Seeded weights, published sizes, float32. Inputs and weights of a part's convolutions are rounded as products of bytes
round them (`omote.models.quantised`), all else is as it was. Tells the PSNR of the picture, and ends with one line of
JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import torch
from liveportrait_cpu import Plain, keypoints, networks, stitched
from torch import Tensor, nn

from omote.drive.liveportrait.renderer import peak_ratio
from omote.models.liveportrait.generator import SpectralConv2d
from omote.models.quantised import Range, coded_weight

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, SpectralConv2d)
_DENSE, _MIDDLE = "warping_module.dense_motion_network.", "spade_generator.G_middle_"
PARTS: dict[str, Callable[[str], bool]] = {
    "W: hourglass": lambda name: name.startswith(f"{_DENSE}hourglass"),
    "W: weights of the motions": lambda name: name == f"{_DENSE}mask",
    "W: occlusion map": lambda name: name == f"{_DENSE}occlusion",
    "W: last but one": lambda name: name == "warping_module.third.conv",
    "W: last": lambda name: name == "warping_module.fourth",
    "G: first": lambda name: name == "spade_generator.fc",
    "G: first layers of SPADE": lambda name: "mlp_shared" in name,
    "G: scales and shifts": lambda name: "mlp_gamma" in name or "mlp_beta" in name,
    **{
        f"G: convolutions of block {n}": lambda name, n=n: name.startswith(f"{_MIDDLE}{n}.conv")
        for n in range(6)
    },
    "G: convolutions of enlarging blocks": lambda name: "generator.up_" in name and ".conv_" in name,
    "G: last": lambda name: name.startswith("spade_generator.conv_img"),
}


def _rounded_input(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    seen = Range()
    seen.see(inputs[0])
    return (seen.rounded(inputs[0]), *inputs[1:])


def _rounded_weight(module: nn.Module, whole: ExitStack) -> None:
    # A spectral norm divides all of a weight by one number, which rounds alike.
    weight: Any = module.weight_orig if isinstance(module, SpectralConv2d) else module.weight
    before = weight.detach().clone()
    made, steps = coded_weight(before)
    weight.copy_(made * steps.view(-1, *[1] * (before.ndim - 1)))
    whole.callback(weight.copy_, before)


@torch.no_grad()
def main() -> None:
    """Round, and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    nets, rng = networks(), np.random.default_rng(0)
    source, driver = (
        torch.from_numpy(rng.uniform(0, 1, (1, 3, 256, 256)).astype(np.float32)) for _ in range(2)
    )
    plain, kp_source = Plain(nets, source), keypoints(nets.motion_extractor, source)
    driving = stitched(nets, kp_source, keypoints(nets.motion_extractor, driver))
    wanted = plain.draw(plain.warp(driving, kp_source))
    found = {}
    print("| part rounded to bytes | PSNR dB |\n|---|---:|")
    for part, belongs in PARTS.items():
        chosen = [m for name, m in nets.named_modules() if isinstance(m, CONVOLUTIONS) and belongs(name)]
        with ExitStack() as whole:
            for module in chosen:
                whole.callback(module.register_forward_pre_hook(_rounded_input).remove)
                _rounded_weight(module, whole)
            found[part] = peak_ratio(plain.draw(plain.warp(driving, kp_source)), wanted)
        print(f"| {part} | {found[part]:.1f} |", flush=True)
    print(json.dumps({part: round(value, 2) for part, value in found.items()}))


if __name__ == "__main__":
    main()
