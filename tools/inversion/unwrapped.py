"""Train what reads the unwrapped face alone, the mesh reader as it is.

    python -m tools.inversion.unwrapped --init net.safetensors --data wild_b --data paper_a --validate-on wild_a \
        --cache crops --store unwrapped --minutes 65 --lr 1e-3 -o trained.safetensors

`omote train inversion` trains both at once, each picture strayed a little and looked at anew in each pass. Here every
sample is unwrapped once and kept (100 kB each), after which a step costs only the small network's own time: about
twice as many pairs in the same time. Mirrored faces, shifts by a pixel and missing modalities vary the samples.
"""

from __future__ import annotations

import argparse
import copy
import math
import queue
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omote.models.inversion import InversionNet, load_checkpoint, save_checkpoint
from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD, MODALITIES
from omote.models.inversion.mesh import CONTROL_SPREAD, Belief
from omote.models.inversion.network import surfaces
from omote.models.processor import keep_memory
from omote.rigs.open import open_rig
from omote.training.datasets.crops import CropStore
from omote.training.datasets.loader import collate
from omote.training.datasets.shards import complete_shards

PARTS = ("seen", "eyes", "state", "truth")
BATCH, DROP, DECAY, WARMUP = 128, 0.12, 0.999, 100
POSE_MIRROR = (1, -1, -1, 1, -1, 1, 1)
Shard = dict[str, np.ndarray]


def stored(net: InversionNet, store: CropStore, shard: Path, folder: Path) -> Shard:
    """Samples of a shard: "seen" (N, H, W, 6) and "eyes" (N, 2, h, w, 6) uint8, "state" and "truth" (N, S)."""
    where = {part: folder / f"{shard.parent.name}_{shard.stem}.{part}.npy" for part in PARTS}
    if not where["truth"].exists():
        samples = list(store.read(shard))
        made: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
        for first in range(0, len(samples), 64):
            for part, values in unwrap(net, samples[first : first + 64]).items():
                made[part].append(values)
        for part in PARTS:
            np.save(where[part], np.concatenate(made[part]))
    return {part: np.load(path, mmap_mode="r") for part, path in where.items()}


@torch.inference_mode()
def unwrap(net: InversionNet, samples: list[dict[str, Any]]) -> Shard:
    """One batch of `stored`."""
    mesh, batch = net.mesh, collate(samples)
    with torch.autocast("cpu", torch.bfloat16):
        images = surfaces(batch, MODALITIES)
        found = mesh(images, torch.zeros(len(samples), 0))[-1]
        belief = mesh.within(Belief(*(part.float() for part in found)))
    seen = net.unwrapped.unwrap(mesh, images, belief)
    mean, spread = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pictures = ((seen["rgb"] * spread + mean) * 255, (seen["normal"] + 1) * 127.5)
    pixels = torch.cat(pictures, 1).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    pose = torch.where(batch["pose"].isfinite(), batch["pose"], mesh.usual_pose)
    truth = mesh.units(Belief(batch["controls"], batch["identity"], pose))
    eyes = np.stack([np.concatenate([s["eyes_rgb"], s["eyes_normal"]], -1) for s in samples])
    return {
        "seen": pixels.numpy(),
        "eyes": eyes,
        "state": mesh.units(belief).numpy(),
        "truth": truth.numpy(),
    }


def as_images(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """(..., h, w, 6) uint8 to RGB (ImageNet-normalised) and normals (-1..1), (..., 3, h, w) each."""
    mean, spread = (torch.tensor(values) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    scale = torch.cat([1 / spread, torch.full((3,), 1 / 127.5)])
    shift = torch.cat([-mean / spread, torch.full((3,), -1.0)])
    made = torch.addcmul(shift, pixels.float(), scale).movedim(-1, -3)
    return {"rgb": made[..., :3, :, :], "normal": made[..., 3:, :, :]}


class Feed:
    """Batches of varied samples, made on another thread."""

    def __init__(self, shards: list[Shard], mirror: np.ndarray, seed: int) -> None:
        self.shards, self.mirror, self.rng = shards, mirror, np.random.default_rng(seed)
        self.where = np.array([(i, j) for i, shard in enumerate(shards) for j in range(len(shard["truth"]))])
        self.ready: queue.Queue[Shard] = queue.Queue(4)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            order = self.rng.permutation(len(self.where))
            for first in range(0, len(order) - BATCH, BATCH):
                self.ready.put(self._varied(self.where[order[first : first + BATCH]]))

    def _varied(self, where: np.ndarray) -> Shard:
        batch = {part: np.stack([self.shards[i][part][j] for i, j in where]) for part in PARTS}
        if self.rng.random() < 0.5:
            batch["seen"] = np.roll(batch["seen"], self.rng.integers(-1, 2, 2), (1, 2))
        mirrored = self.rng.random(len(where)) < 0.5
        turned = batch["seen"][mirrored][:, :, ::-1].copy()
        turned[..., 3] = 255 - turned[..., 3]  # x of the normals
        batch["seen"][mirrored] = turned
        batch["eyes"][mirrored] = batch["eyes"][mirrored][:, ::-1]
        for part in ("state", "truth"):
            batch[part][mirrored] = batch[part][mirrored] @ self.mirror
        return batch


def read(reader: Any, batch: Shard, gone: str | None = None) -> torch.Tensor:
    """(B, C) controls of a batch, as when one modality is missing."""
    shown = [name for name in MODALITIES if name != gone]
    pictures = [as_images(torch.from_numpy(np.array(batch[part]))) for part in ("seen", "eyes")]
    seen, eyes = ({name: part[name] for name in shown} for part in pictures)
    with torch.autocast("cpu", torch.bfloat16):
        found: torch.Tensor = reader.read(seen, eyes, torch.from_numpy(np.array(batch["state"])))
    return found


def validate(net: InversionNet, reader: Any, shards: list[Shard]) -> dict[str, float]:
    """Correlation and mean absolute error of the controls."""
    made, truth = [], []
    count = len(net.config.controls)
    with torch.no_grad():
        for shard in shards:
            for first in range(0, len(shard["truth"]), BATCH):
                part = {name: values[first : first + BATCH] for name, values in shard.items()}
                made.append(read(reader, part).clamp(net.low, net.high))
                truth.append(torch.from_numpy(part["truth"][:, :count] * CONTROL_SPREAD))
    p, t = torch.cat(made), torch.cat(truth)
    together = torch.stack([p.flatten(), t.flatten()])
    return {"correlation": float(torch.corrcoef(together)[0, 1]), "mae": float((p - t).abs().mean())}


def mirror_of(rig: Any) -> np.ndarray:
    """(S, S) what a belief (in units) is multiplied with where the face is mirrored."""
    controls = np.stack([rig.space.mirror(row) for row in np.eye(len(rig.space), dtype=np.float32)])
    signs = np.concatenate([rig.identity_mirror.numpy(), POSE_MIRROR])
    whole = np.diag(np.concatenate([np.zeros(len(controls)), signs])).astype(np.float32)
    whole[: len(controls), : len(controls)] = controls
    return whole


def main() -> None:
    """Unwrap, train, save."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("init", "cache", "store"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("-o", "--output", type=Path, required=True)
    for name in ("data", "validate-on"):
        arguments.add_argument(f"--{name}", type=Path, action="append", required=True)
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--lr", type=float, default=1e-3)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)

    net = load_checkpoint(options.init)
    rig = open_rig(net.config.rig)
    store = CropStore(net.config, rig, options.cache)
    options.store.mkdir(parents=True, exist_ok=True)

    def shards(folders: list[Path], *, held_out: bool) -> list[Shard]:
        chosen = []
        for folder in folders:
            there = complete_shards(folder)
            chosen += there if held_out else there[:-1]
        return [stored(net, store, shard, options.store) for shard in chosen]

    feed = Feed(shards(options.data, held_out=False), mirror_of(rig), options.seed)
    held_out = shards(options.validate_on, held_out=True)
    print(f"{len(feed.where)} samples", flush=True)
    reader = net.unwrapped.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(reader)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=options.lr, weight_decay=0.02)
    rng, began, losses, step, told = np.random.default_rng(options.seed), time.monotonic(), [], 0, 0.0
    count = len(net.config.controls)
    while (spent := (time.monotonic() - began) / 60) < options.minutes:
        rate = min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * spent / options.minutes))
        for group in optimiser.param_groups:
            group["lr"] = options.lr * rate
        batch = feed.ready.get()
        draw = rng.random()
        gone = "rgb" if draw < DROP else "normal" if draw < 2 * DROP else None
        wanted = torch.from_numpy(batch["truth"][:, :count]) * CONTROL_SPREAD
        loss = (read(reader, batch, gone) - wanted).square().mean()
        optimiser.zero_grad()
        (10 * loss).backward()
        optimiser.step()
        step += 1
        if gone is None:
            losses.append(loss.item())
        with torch.no_grad():
            decay = min(DECAY, step / (step + 20))
            torch._foreach_lerp_(list(average.parameters()), list(reader.parameters()), 1 - decay)
        if spent - told > 5:
            told = spent
            net.unwrapped = average
            save_checkpoint(options.output, net)
            found = validate(net, average, held_out)
            print(f"{spent:.0f} min, {step} steps, loss {np.mean(losses[-200:]):.5f}, {found}", flush=True)
    net.unwrapped = average
    save_checkpoint(options.output, net, trained="see the card")
    print(f"{step} steps of {BATCH} in {options.minutes:g} min: {validate(net, average, held_out)}")


if __name__ == "__main__":
    main()
