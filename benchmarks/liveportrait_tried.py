"""What each way of making LivePortrait faster on a CPU gives, alone, against what it replaces, in the same run.

    python benchmarks/liveportrait_tried.py                 # two threads
    python benchmarks/liveportrait_tried.py --compile       # torch.compile, too; it needs a C++ compiler and minutes
    python benchmarks/liveportrait_tried.py --runtimes      # ONNX Runtime and OpenVINO, too; what they need is told

Layers of the published sizes with random weights. Both sides of a row alternate; medians are told, and how many times
faster the second is. Ways that lost, and are not used, stand among them. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from liveportrait_cpu import keypoints, networks
from torch import Tensor, nn
from torch.nn import functional as F

from omote.models.compiled import as_array
from omote.models.liveportrait.fast import FastGenerator
from omote.models.liveportrait.fast.convolutions import DeepConv, SingleConv
from omote.models.liveportrait.fast.enlarged import CellConv, EnlargedConv
from omote.models.liveportrait.fast.loops import measure, modulate, modulate_cells
from omote.models.liveportrait.fast.winograd import TiledConv, picture_conv
from omote.models.liveportrait.generator import SpectralConv2d
from omote.models.packed import Conv
from omote.models.quantised import PLAIN, ByteConv, Stage, multiplies_bytes

Work = Callable[[], Any]
HALF, FULL = torch.bfloat16, torch.float32
NAMES = {HALF: "bfloat16", FULL: "float32"}


def random(*size: int, dtype: torch.dtype = FULL) -> Tensor:
    return torch.randn(size).to(dtype)


def picture(dtype: torch.dtype, channels: int, side: int) -> Tensor:
    return random(1, channels, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)


def volume(dtype: torch.dtype, channels: int, side: int) -> Tensor:
    made = random(1, channels, 16, side, side, dtype=dtype)
    return made.contiguous(memory_format=torch.channels_last_3d)


def packed(dtype: torch.dtype) -> tuple[Work, Work]:
    """A convolution of the middle blocks: torch's own, and with weights in oneDNN's order."""
    weight, bias, x = random(512, 512, 3, 3) / 70, random(512), picture(dtype, 512, 64)
    ours, (own, more) = Conv(weight, bias, dtype), (part.to(dtype) for part in (weight, bias))
    return lambda: F.conv2d(x, own, more, padding=1), lambda: ours(x)


def tiled(dtype: torch.dtype) -> tuple[Work, Work]:
    """The same with Winograd's products, against oneDNN's."""
    weight, bias, x = random(512, 512, 3, 3) / 70, random(512), picture(dtype, 512, 64)
    one, other = Conv(weight, bias, dtype), TiledConv(weight, bias)
    return lambda: one(x), lambda: other(x)


def sliced(dtype: torch.dtype) -> tuple[Work, Work]:
    """W's weights of the motions: a convolution of volumes, and slice by slice with even and odd rows apart."""
    weight, bias, x = random(22, 142, 7, 7, 7) / 200, random(22), volume(dtype, 142, 64)
    one, other = Conv(weight, bias, dtype), DeepConv(weight, bias, dtype)
    return lambda: one(x), lambda: other(x)


def tapped(dtype: torch.dtype) -> tuple[Work, Work]:
    """W's occlusion map: a convolution with one output, and its taps as outputs."""
    weight, bias, x = random(1, 142, 16, 7, 7) / 200, random(1), volume(dtype, 142, 64)
    one = Conv(weight, bias, dtype, padding=[(0, 0), (3, 3), (3, 3)])
    other = SingleConv(weight, bias, dtype)
    return lambda: one(x), lambda: other(x)


def in_bytes(dtype: torch.dtype) -> tuple[Work, Work]:
    """A convolution of the middle blocks, with its input coded on the way: the fastest otherwise, and of bytes."""
    weight, bias, x = random(512, 512, 3, 3) / 70, random(512), picture(dtype, 512, 64)
    one = picture_conv(weight, bias, dtype)
    other = ByteConv(weight, bias, one, Stage("bytes"), dtype=dtype)
    other.range.see(x)
    return lambda: one(x), lambda: other(x)


def sliced_in_bytes(dtype: torch.dtype) -> tuple[Work, Work]:
    """W's weights of the motions slice by slice, and the same of bytes."""
    weight, bias, x = random(22, 142, 7, 7, 7) / 200, random(22), volume(dtype, 142, 64)
    stage = Stage("watch")
    one, other = DeepConv(weight, bias, dtype), DeepConv(weight, bias, dtype, stage)
    other(x)
    stage.now = "bytes"
    return lambda: one(x), lambda: other(x)


def flat(dtype: torch.dtype) -> tuple[Work, Work]:
    """W's deepest layer, 4 x 4 places: a convolution of volumes, and one product of its patches."""
    weight, bias = random(1024, 512, 3, 3, 3) / 100, random(1024)
    ours, x = Conv(weight, bias, dtype), volume(dtype, 512, 4)
    own, more = (part.to(dtype) for part in (weight, bias))
    return lambda: F.conv3d(x, own, more, padding=1), lambda: ours(x)


def small_picture(dtype: torch.dtype) -> tuple[Work, Work]:
    """The first layers of a SPADE block at 256 px: on the enlarged picture, and on the small one."""
    weight, bias, x = random(384, 256, 3, 3) / 50, random(384), picture(dtype, 256, 64)
    one, other = Conv(weight, bias, dtype), EnlargedConv(weight, bias, 4, dtype, "none")
    return lambda: one(F.interpolate(x, scale_factor=4.0)), lambda: other(x)


def cells(dtype: torch.dtype) -> tuple[Work, Work]:
    """Scale and shift at 256 px with what follows: of 9 taps a pixel, and of the products of cells."""
    weight, bias, x = random(512, 128, 3, 3) / 35, random(512), picture(dtype, 128, 64)
    shared = EnlargedConv(random(128, 128, 3, 3) / 35, random(128), 4, dtype, "relu")
    one, other = Conv(weight, bias, dtype), CellConv(weight, bias, dtype)
    small, statistics = random(1, 128, 128, 256, dtype=dtype), torch.rand(1, 2, 256)
    made = torch.empty(1, 256, 256, 256, dtype=dtype)

    def by_pixel() -> None:
        change = one(shared(x)).movedim(1, -1)
        modulate(*map(as_array, (small, statistics, change)), 0.2, PLAIN, as_array(made))

    def by_cell() -> None:
        for top, products in other(shared.parts(x)[0], 0):
            inputs = (*map(as_array, (small[0], statistics[0])), tuple(map(as_array, products)))
            modulate_cells(*inputs, as_array(other.bias), top, 0.2, PLAIN, as_array(made[0]))

    return by_pixel, by_cell


def compiled(dtype: torch.dtype) -> tuple[Work, Work]:
    """Normalising, scaling, shifting and the activation: operation by operation, and in one compiled loop."""
    x, change = picture(dtype, 512, 64), picture(dtype, 1024, 64)
    sums, statistics = torch.empty(1, 8, 2, 512, dtype=torch.float64), torch.empty(1, 2, 512)
    made = torch.empty(1, 64, 64, 512, dtype=dtype)

    def by_operation() -> Tensor:
        scale, shift = change.chunk(2, 1)
        return F.leaky_relu_(torch.addcmul(shift, F.instance_norm(x), scale), 0.2)

    def in_a_loop() -> None:
        last = x.movedim(1, -1)
        measure(as_array(last), 1e-5, as_array(sums), as_array(statistics))
        modulate(*map(as_array, (last, statistics, change.movedim(1, -1))), 0.2, PLAIN, as_array(made))

    return by_operation, in_a_loop


WAYS: dict[str, tuple[Callable[[torch.dtype], tuple[Work, Work]], tuple[torch.dtype, ...]]] = {
    "weights in oneDNN's order (512 to 512, 64 px)": (packed, (FULL, HALF)),
    "Winograd's products in place of those (512 to 512, 64 px)": (tiled, (FULL,)),
    "volumes slice by slice, rows apart (W's weights of the motions)": (sliced, (FULL, HALF)),
    "products of bytes (512 to 512, 64 px)": (in_bytes, (FULL, HALF)),
    "products of bytes (W's weights of the motions)": (sliced_in_bytes, (FULL, HALF)),
    "taps as outputs (W's occlusion map)": (tapped, (FULL, HALF)),
    "patches as rows (W's deepest layer)": (flat, (FULL, HALF)),
    "on the small picture (first layers of SPADE, 256 px)": (small_picture, (FULL, HALF)),
    "cells of four (scale and shift, 256 px)": (cells, (FULL, HALF)),
    "compiled loops (normalise, scale, shift, activate)": (compiled, (FULL, HALF)),
}


def timed(work: Work) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def compare(before: Work, after: Work, rounds: int) -> tuple[float, float]:
    """Milliseconds of both."""
    before(), after()
    times = [(timed(before), timed(after)) for _ in range(rounds)]
    return median(one for one, _ in times), median(other for _, other in times)


def runtimes(generator: nn.Module, feature: Tensor) -> dict[str, Work]:
    """G in other runtimes, float32: its spectral norm is folded in before it is exported to ONNX."""
    import onnxruntime
    import openvino

    folded = copy.deepcopy(generator)
    for block in list(folded.modules()):
        for name, conv in list(block.named_children()):
            if isinstance(conv, SpectralConv2d):
                weight = conv.weight
                made = nn.Conv2d(*weight.shape[1::-1], weight.shape[2], padding=weight.shape[2] // 2)
                made.weight.copy_(weight)
                made.bias.copy_(torch.zeros(len(weight)) if conv.bias is None else conv.bias)
                setattr(block, name, made)
    threads, array = torch.get_num_threads(), feature.numpy()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "g.onnx")
        torch.onnx.export(folded, (feature,), file, dynamo=True, opset_version=20, verbose=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(file, "CPU", hints)
    name = session.get_inputs()[0].name
    return {"ONNX Runtime": lambda: session.run(None, {name: array}), "OpenVINO": lambda: compiled(array)}


def whole_networks(rounds: int, *, compiling: bool, elsewhere: bool) -> dict[str, tuple[float, float]]:
    """What was tried on networks as they are, against float32 or bfloat16 as it comes."""
    nets, found = networks(), {}
    image, feature = torch.rand(1, 3, 256, 256), random(1, 256, 64, 64)
    extractor, generator = nets.motion_extractor, nets.spade_generator

    def in_half(network: Callable[[Tensor], Any], x: Tensor) -> Work:
        def work() -> Any:
            with torch.autocast("cpu", HALF):
                return network(x)

        return work

    found["bfloat16 autocast (G)"] = compare(lambda: generator(feature), in_half(generator, feature), rounds)
    found["bfloat16 autocast (M; not used)"] = compare(
        lambda: keypoints(extractor, image), in_half(extractor, image), rounds
    )
    for stage in (None, *([Stage()] if multiplies_bytes() else [])):
        ours = FastGenerator(generator, FULL, stage)
        if stage is not None:
            stage.now, stage.first = "watch", 2
            ours(feature)
            stage.now = "bytes"
        told = "as it is used (G), float32" + (", products of bytes" if stage else "")
        found[told] = compare(lambda: generator(feature), lambda ours=ours: ours(feature), rounds)
    if elsewhere:
        for name, work in runtimes(generator, feature).items():
            found[f"{name} (G, float32; not used)"] = compare(lambda: generator(feature), work, rounds)
    if compiling:
        faster = torch.compile(generator)
        found["torch.compile (G, float32; not used)"] = compare(
            lambda: generator(feature), lambda: faster(feature), rounds
        )
        found["torch.compile after autocast (G; not used)"] = compare(
            in_half(generator, feature), in_half(faster, feature), rounds
        )
    return found


@torch.inference_mode()
def main() -> None:
    """Measure and tell."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument(
        "--runtimes", action="store_true", help="needs: pip install onnx onnxscript onnxruntime openvino"
    )
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = {
        f"{name}, {NAMES[dtype]}": compare(*make(dtype), options.rounds)
        for name, (make, dtypes) in WAYS.items()
        for dtype in dtypes
        if multiplies_bytes() or "bytes" not in name
    }
    rows |= whole_networks(max(3, options.rounds // 2), compiling=options.compile, elsewhere=options.runtimes)
    print(
        f"milliseconds, {options.threads} threads\n\n| way | before | after | times faster |\n|---|---:|---:|---:|"
    )
    for name, (before, after) in rows.items():
        print(f"| {name} | {before:.1f} | {after:.1f} | {before / after:.2f} |")
    print(json.dumps({name: round(before / after, 3) for name, (before, after) in rows.items()}))


if __name__ == "__main__":
    main()
