"""Train what corrects the mesh reader's belief where RGB is all there is, the rest as it is.

    python -m tools.inversion.picture --init net.safetensors --data wild_b --data paper_a --validate-on wild_a \
        --minutes 30 -o trained.safetensors

`omote train inversion` trains it with the share of its batches that have no normals. Here all have none, and pictures
are cropped once and kept in memory (50 kB each at 128 px). Strayed crops, mirrored faces, other tones and patches of
another face vary them.
"""

from __future__ import annotations

import argparse
import copy
import math
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omote.errors import InputError
from omote.models.inversion import InversionNet, load_checkpoint, read_description, save_checkpoint
from omote.models.inversion.mesh import POSE, Belief, MeshReader
from omote.models.inversion.picture import PictureReader
from omote.models.processor import keep_memory
from omote.rigs.open import open_rig
from omote.training.datasets.crops import CropStore
from omote.training.datasets.loader import collate, stray
from omote.training.datasets.shards import complete_shards
from omote.training.mesh_start import mirror_of
from tools.inversion.unwrapped import autocast, check_apart, hide, tone

BATCH, DECAY, WARMUP = 128, 0.998, 100
POSE_WEIGHT, IDENTITY_WEIGHT = 6.0, 0.3
"""How much errors of the pose and of the identity count, those of the controls being 1."""
AWAY = 0.03
"""Crop widths that points may be away to count as much as a usual spread of everything: where the face is decides what
is seen of it."""
NAMES = ("rgb", "controls", "identity", "pose")
Arrays = dict[str, np.ndarray]


@cache
def cropper(init: Path) -> CropStore:
    """Crops RGB alone, as the network of a checkpoint sees it."""
    config, _ = read_description(init)
    return CropStore(replace(config, modalities=("rgb",)), open_rig(config.rig))


def cropped(init: Path, shard: Path) -> Arrays:
    """The RGB crops of a shard, (N, S, S, 3) uint8, and what is known of them."""
    samples = list(cropper(init).read(shard))
    return {name: np.stack([sample[name] for sample in samples]) for name in NAMES}


def gathered(init: Path, shards: Sequence[Path], processes: int) -> list[Arrays]:
    """Those of several shards."""
    torch.set_num_threads(1)
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(cropped, init), shards))


def varied(shards: Sequence[Arrays], where: np.ndarray, rng: np.random.Generator) -> Arrays:
    """Samples (shard, number), their crops strayed, toned and partly hidden."""
    chosen = [stray({name: values[j] for name, values in shards[i].items()}, rng) for i, j in where]
    batch = {name: np.stack([sample[name] for sample in chosen]) for name in NAMES}
    both = np.concatenate([batch["rgb"], np.zeros_like(batch["rgb"])], -1)  # RGB and normals, as there
    hide(both, rng)
    tone([both], rng)
    return {**batch, "rgb": both[..., :3]}


class Feed:
    """Batches of varied samples, made on another thread."""

    def __init__(self, shards: Sequence[Arrays], seed: int) -> None:
        self.shards, self.rng = shards, np.random.default_rng(seed)
        self.where = np.array([(i, j) for i, shard in enumerate(shards) for j in range(len(shard["rgb"]))])
        if len(self.where) < BATCH:
            raise InputError(f"{len(self.where)} samples are not even a batch of {BATCH}", where="--data")
        self.ready: queue.Queue[Arrays] = queue.Queue(4)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            order = self.rng.permutation(len(self.where))
            for first in range(0, len(order) - BATCH + 1, BATCH):
                self.ready.put(varied(self.shards, self.where[order[first : first + BATCH]], self.rng))


def as_batch(arrays: Arrays, mesh: MeshReader) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (B, 3, S, S) and the truth (B, N) in the mesh reader's units."""
    count = len(arrays["rgb"])
    batch = collate([{name: arrays[name][i] for name in NAMES} for i in range(count)])
    pose = torch.where(batch["pose"].isfinite(), batch["pose"], mesh.usual_pose)
    return batch["rgb"], mesh.units(Belief(batch["controls"], batch["identity"], pose))


@torch.no_grad()
def stepped(mesh: MeshReader, rgb: torch.Tensor) -> torch.Tensor:
    """(B, N) what the steps believe."""
    with autocast():
        belief = mesh({"rgb": rgb}, torch.zeros(len(rgb), 0))[-1]
    return mesh.units(mesh.within(Belief(*(part.float() for part in belief))))


def corrected(reader: Any, rgb: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """(B, N) what is believed after a look at the picture."""
    with autocast():
        change: torch.Tensor = reader(rgb, state)
    return state + change.float()


@torch.no_grad()
def validate(mesh: MeshReader, reader: PictureReader, shards: Sequence[Arrays]) -> dict[str, float]:
    """Correlation of the controls; spread of the pose's error, usual spreads; where points are, crop widths."""
    controls, found, true, away = mesh.counts[0], [], [], []
    for shard in shards:
        rgb, truth = as_batch(shard, mesh)
        belief = mesh.within(mesh.belief(corrected(reader, rgb, stepped(mesh, rgb))))
        found.append(mesh.units(belief))
        true.append(truth)
        away.append((mesh.project(belief) - mesh.project(mesh.belief(truth))).norm(dim=2).mean(1))
    f, t = torch.cat(found), torch.cat(true)
    both = torch.stack([f[:, :controls].flatten(), t[:, :controls].flatten()])
    pose = (f - t)[:, -len(POSE) :].square().mean().sqrt()
    return {
        "correlation": round(float(torch.corrcoef(both)[0, 1]), 4),
        "pose": round(float(pose), 3),
        "points": round(float(torch.cat(away).mean()), 5),
    }


def main() -> None:
    """Crop, train, save."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--init", type=Path, required=True)
    arguments.add_argument("-o", "--output", type=Path, required=True)
    for name in ("data", "validate-on"):
        arguments.add_argument(f"--{name}", type=Path, action="append", required=True)
    arguments.add_argument("--features", type=int, default=256)
    arguments.add_argument("--minutes", type=float, default=30)
    arguments.add_argument("--lr", type=float, default=2e-3)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    keep_memory()
    torch.set_flush_denormal(True)
    torch.manual_seed(options.seed)
    net = load_checkpoint(options.init)
    mesh = net.mesh
    if mesh is None or mesh.extra or "rgb" not in net.config.modalities:
        raise InputError("it reads no mesh from RGB, or has backbones before that", where="--init")
    check_apart(options.data, options.validate_on)
    mesh.picture, reader = None, mesh.picture
    state = sum(mesh.counts)
    if reader is None:
        reader = PictureReader(state, options.features)
    shards = [shard for folder in options.data for shard in complete_shards(folder)[:-1]]
    training = gathered(options.init, shards, options.threads)
    held_out = {
        folder.name: gathered(options.init, complete_shards(folder), options.threads)
        for folder in options.validate_on
    }
    torch.set_num_threads(options.threads)
    index, sign = (torch.from_numpy(part) for part in mirror_of(open_rig(net.config.rig)))
    weight = torch.ones(state)
    weight[mesh.counts[0] :], weight[-len(POSE) :] = IDENTITY_WEIGHT, POSE_WEIGHT
    feed = Feed(training, options.seed)
    print(f"{len(feed.where)} samples", flush=True)
    reader.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = copy.deepcopy(reader).eval()
    optimiser = torch.optim.AdamW(reader.parameters(), lr=options.lr, weight_decay=0.02)
    rng, began, losses, step, told = np.random.default_rng(options.seed), time.monotonic(), [], 0, 0.0
    while (spent := (time.monotonic() - began) / 60) < options.minutes:
        rate = min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * spent / options.minutes))
        for group in optimiser.param_groups:
            group["lr"] = options.lr * rate
        rgb, truth = as_batch(feed.ready.get(), mesh)
        if rng.random() < 0.5:
            rgb, truth = rgb.flip(3), truth[:, index] * sign
        found = corrected(reader, rgb, stepped(mesh, rgb))
        away = mesh.project(mesh.belief(found)) - mesh.project(mesh.belief(truth))
        error = ((found - truth).square() * weight).mean() + (away / AWAY).square().sum(2).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        step += 1
        losses.append(error.item())
        with torch.no_grad():
            decay = min(DECAY, step / (step + 20))
            torch._foreach_lerp_(list(average.parameters()), list(reader.parameters()), 1 - decay)
        if spent - told > 4:
            told = spent
            keep(options.output, net, average)
            told_of = {name: validate(mesh, average, part) for name, part in held_out.items()}
            print(f"{spent:.0f} min, {step} steps, loss {np.mean(losses[-100:]):.4f}, {told_of}", flush=True)
    keep(options.output, net, average)
    told_of = {name: validate(mesh, average, part) for name, part in held_out.items()}
    print(f"{step} steps of {BATCH} in {options.minutes:g} min: {told_of}")


def keep(path: Path, net: InversionNet, reader: PictureReader) -> None:
    """Write the network with this reader."""
    mesh = net.mesh
    assert mesh is not None  # noqa: S101 - for the type checker
    was = net.config
    net.config = replace(was, picture_features=reader.first.out_features)
    mesh.picture = reader
    save_checkpoint(path, net, trained="see the card")
    net.config, mesh.picture = was, None


if __name__ == "__main__":
    main()
