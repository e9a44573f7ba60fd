"""Train what reads the unwrapped face alone, the mesh reader as it is.

    python -m tools.inversion.unwrapped --init net.safetensors --data wild_b --data paper_a --validate-on wild_a \
        --cache crops --store unwrapped --minutes 65 --lr 1e-3 -o trained.safetensors

`omote train inversion` trains both at once, each picture strayed a little and looked at anew in each pass. Here every
sample is unwrapped twice, as it is and as uncertain landmarks would crop it, and kept (170 kB), after which a step
costs only the small network's own time: about twice as many pairs in the same time. Mirrored faces, shifts by a pixel,
eye crops that stray, other tones, patches of another face and missing modalities vary the samples. Controls that are
seldom used count more in the loss than their variance gives them: otherwise they are learned last.
"""

from __future__ import annotations

import argparse
import copy
import math
import mmap
import queue
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from omote.models.inversion import InversionNet, load_checkpoint, save_checkpoint
from omote.models.inversion.config import IMAGENET_MEAN, IMAGENET_STD, MODALITIES
from omote.models.inversion.mesh import CONTROL_SPREAD, Belief
from omote.models.processor import keep_memory
from omote.rigs.open import open_rig
from omote.training.datasets.crops import CropStore
from omote.training.datasets.loader import collate, stray, stray_eyes
from omote.training.datasets.shards import complete_shards

EYES, LOOK = "eyes", ("seen", "state", "truth")
BATCH, DROP, DECAY, WARMUP = 128, 0.12, 0.998, 100
LOOKS = 2
SELDOM = 0.7
"""Controls count in the loss by this power of their precision (1 / variance)."""
TONE = 0.25
"""Standard deviation of the logarithm of gamma, of colours."""
HIDDEN, PATCH = 0.4, (0.1, 0.45)
"""How many pictures have a patch of another face; its sides, as shares of the picture's."""
POSE_MIRROR = (1, -1, -1, 1, -1, 1, 1)
Shard = dict[str, np.ndarray]


def stored(net: InversionNet, store: CropStore, shard: Path, folder: Path, looks: int) -> list[Shard]:
    """Each look at the samples of a shard, the first as they are, the others strayed.

    "seen" (N, H, W, 6) and "eyes" (N, 2, h, w, 6; as they are) uint8, "state" and "truth" (N, S).
    """
    samples: list[dict[str, Any]] = []
    found = []
    for look in range(looks):
        stem = f"{shard.parent.name}_{shard.stem}"
        where = {part: folder / f"{stem}{f'.{look}' if look else ''}.{part}.npy" for part in LOOK}
        where[EYES] = folder / f"{stem}.{EYES}.npy"
        if not where["truth"].exists():
            samples = samples or list(store.read(shard))
            rng = np.random.default_rng(look)
            shown = [stray(sample, rng) for sample in samples] if look else samples
            made: dict[str, list[np.ndarray]] = {part: [] for part in LOOK}
            for first in range(0, len(shown), 64):
                for part, values in unwrap(net, shown[first : first + 64]).items():
                    made[part].append(values)
            if not look:
                made[EYES] = [
                    np.stack([np.concatenate([s["eyes_rgb"], s["eyes_normal"]], -1) for s in samples])
                ]
            for part, values in made.items():
                np.save(where[part], np.concatenate(values))
        found.append({part: mapped(path) for part, path in where.items()})
    return found


def mapped(path: Path) -> np.ndarray:
    """An array on disk, of which rows will be read here and there."""
    array = np.load(path, mmap_mode="r")
    array._mmap.madvise(mmap.MADV_RANDOM)  # or the system reads megabytes around each
    return array


@torch.inference_mode()
def unwrap(net: InversionNet, samples: list[dict[str, Any]]) -> Shard:
    """One batch of `stored`, without the eyes."""
    mesh, batch = net.mesh, collate(samples)
    with torch.autocast("cpu", torch.bfloat16):
        images = mesh.surfaces(batch)
        found = mesh(images, torch.zeros(len(samples), 0))[-1]
        belief = mesh.within(Belief(*(part.float() for part in found)))
    seen = as_pixels(net.unwrapped.unwrap(mesh, images, belief))
    pose = torch.where(batch["pose"].isfinite(), batch["pose"], mesh.usual_pose)
    truth = mesh.units(Belief(batch["controls"], batch["identity"], pose))
    return {"seen": seen, "state": mesh.units(belief).numpy(), "truth": truth.numpy()}


def as_pixels(seen: dict[str, torch.Tensor]) -> np.ndarray:
    """The inverse of `as_images`, rounded."""
    mean, spread = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pictures = ((seen["rgb"] * spread + mean) * 255, (seen["normal"] + 1) * 127.5)
    return torch.cat(pictures, 1).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def as_images(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """(..., h, w, 6) uint8 to RGB (ImageNet-normalised) and normals (-1..1), (..., 3, h, w) each."""
    mean, spread = (torch.tensor(values) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
    scale = torch.cat([1 / spread, torch.full((3,), 1 / 127.5)])
    shift = torch.cat([-mean / spread, torch.full((3,), -1.0)])
    made = torch.addcmul(shift, pixels.float(), scale).movedim(-1, -3)
    return {"rgb": made[..., :3, :, :], "normal": made[..., 3:, :, :]}


class Feed:
    """Batches of varied samples, made on another thread."""

    def __init__(self, shards: list[list[Shard]], mirror: np.ndarray, seed: int) -> None:
        self.shards, self.mirror, self.rng = shards, mirror, np.random.default_rng(seed)
        self.where = np.array(
            [(i, j) for i, looks in enumerate(shards) for j in range(len(looks[0]["truth"]))]
        )
        self.ready: queue.Queue[Shard] = queue.Queue(4)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            order = self.rng.permutation(len(self.where))
            for first in range(0, len(order) - BATCH, BATCH):
                self.ready.put(self._varied(self.where[order[first : first + BATCH]]))

    def _varied(self, where: np.ndarray) -> Shard:
        looks = self.rng.integers(0, len(self.shards[0]), len(where))
        picked = [(self.shards[i][look], j) for (i, j), look in zip(where, looks, strict=True)]
        batch = {part: np.stack([shard[part][j] for shard, j in picked]) for part in (*LOOK, EYES)}
        batch[EYES] = np.stack([stray_eyes(eyes, self.rng) for eyes in batch[EYES]])
        if self.rng.random() < 0.5:
            batch["seen"] = np.roll(batch["seen"], self.rng.integers(-1, 2, 2), (1, 2))
        mirrored = self.rng.random(len(where)) < 0.5
        turned = batch["seen"][mirrored][:, :, ::-1].copy()
        turned[..., 3] = 255 - turned[..., 3]  # x of the normals
        batch["seen"][mirrored] = turned
        hide(batch["seen"], self.rng)
        tone([batch["seen"], batch[EYES]], self.rng)
        batch[EYES][mirrored] = batch[EYES][mirrored][:, ::-1]
        for part in ("state", "truth"):
            batch[part][mirrored] = batch[part][mirrored] @ self.mirror
        return batch


def hide(pictures: np.ndarray, rng: np.random.Generator) -> None:
    """Cover a patch of some pictures (B, H, W, 6) by the same place of the picture before, in place."""
    before, (height, width) = np.roll(pictures, 1, 0), pictures.shape[1:3]
    for i in np.flatnonzero(rng.random(len(pictures)) < HIDDEN):
        h, w = (int(side * rng.uniform(*PATCH)) for side in (height, width))
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        pictures[i, y : y + h, x : x + w] = before[i, y : y + h, x : x + w]


def tone(pictures: list[np.ndarray], rng: np.random.Generator) -> None:
    """Raise the colours of each sample, in all of its pictures (B, ..., 6), to a power; in place."""
    steps = np.tile(np.arange(256, dtype=np.uint8)[:, None], 6)[None]
    for i in range(len(pictures[0])):
        table = steps.copy()
        table[..., :3] = 255 * (steps[..., :3] / 255) ** np.exp(rng.normal(0, TONE)) + 0.5
        for part in pictures:
            flat = part[i].reshape(-1, part.shape[-2], 6)
            cv2.LUT(flat, table, dst=flat)


def read(reader: Any, batch: Shard, gone: str | None = None) -> torch.Tensor:
    """(B, C) controls of a batch, as when one modality is missing."""
    shown = [name for name in MODALITIES if name != gone]
    pictures = [as_images(torch.from_numpy(np.array(batch[part]))) for part in ("seen", EYES)]
    seen, eyes = ({name: part[name] for name in shown} for part in pictures)
    with torch.autocast("cpu", torch.bfloat16):
        found: torch.Tensor = reader.read(seen, eyes, torch.from_numpy(np.array(batch["state"])))
    return found


def validate(net: InversionNet, reader: Any, shards: list[Shard]) -> dict[str, float]:
    """Correlation and mean absolute error of the controls."""
    made, truth = [], []
    count = len(net.config.controls)
    reader.eval()
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


def precision(shards: list[list[Shard]], count: int) -> torch.Tensor:
    """(C,) how much each control counts in the loss; together as much as if all counted one."""
    controls = np.concatenate([looks[0]["truth"][:, :count] for looks in shards])
    variance = torch.from_numpy(controls.var(0))
    weight = (variance + 0.05).pow(-SELDOM)
    return weight * (variance.sum() / (weight * variance).sum())


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

    count = len(net.config.controls)
    chosen = [shard for folder in options.data for shard in complete_shards(folder)[:-1]]
    training = [stored(net, store, shard, options.store, LOOKS) for shard in chosen]
    last = [shard for folder in options.validate_on for shard in complete_shards(folder)]
    held_out = [stored(net, store, shard, options.store, 1)[0] for shard in last]
    feed, weight = Feed(training, mirror_of(rig), options.seed), precision(training, count)
    print(f"{len(feed.where)} samples", flush=True)
    reader = net.unwrapped.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(reader)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=options.lr, weight_decay=0.02)
    rng, began, losses, step, told = np.random.default_rng(options.seed), time.monotonic(), [], 0, 0.0
    while (spent := (time.monotonic() - began) / 60) < options.minutes:
        rate = min(1, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * spent / options.minutes))
        for group in optimiser.param_groups:
            group["lr"] = options.lr * rate
        batch = feed.ready.get()
        draw = rng.random()
        gone = "rgb" if draw < DROP else "normal" if draw < 2 * DROP else None
        wanted = torch.from_numpy(batch["truth"][:, :count]) * CONTROL_SPREAD
        error = (read(reader, batch, gone) - wanted).square().mean(0)
        optimiser.zero_grad()
        (10 * (error * weight).mean()).backward()
        optimiser.step()
        step += 1
        if gone is None:
            losses.append(error.mean().item())
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
