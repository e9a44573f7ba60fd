"""How fast training data are rendered, on all cores: samples a second with normals, masks and files on disk.

    python benchmarks/synth.py

The aim is 22,575 samples (the paper's data set) at 256 px in less than 30 minutes on two cores. Workers start once for
a whole data set and paint skins as they meet them: that time is told apart. Ends with one line of JSON.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from omote.commands import batch, synth
from omote.training.datasets.synthetic import SynthOptions

PAPER_COUNT, AIM_MINUTES = 22_575, 30
SHARD, SHARDS = 48, 4  # a core


def measure(recipe: str, size: int, cores: int) -> tuple[float, float]:
    """Samples a second once the workers are warm, and the seconds until then."""
    options = SynthOptions(
        recipe=recipe, count=SHARD * SHARDS * cores, size=size, per_shard=SHARD, vertices=False
    )
    with tempfile.TemporaryDirectory() as folder:
        tasks = [synth.Shard("facs", options, Path(folder), number) for number in range(SHARDS * cores)]
        ends: list[float] = []
        began = time.monotonic()
        for _, outcome in batch.run_batch(tasks, synth.render_shard, jobs=cores, on_progress=lambda *_: None):
            if isinstance(outcome, batch.WorkerLost) or outcome["error"]:
                raise SystemExit(f"a shard failed: {outcome}")
            ends.append(time.monotonic())
    warm = ends[cores - 1]  # the first shard of each worker has its start in it
    return (len(ends) - cores) * SHARD / (ends[-1] - warm), warm - began


def main() -> None:
    cores = min(2, batch.available_cores())
    figures: dict[str, float] = {"cores": cores}
    for recipe in ("paper", "wild"):
        for size in (256, 512):
            rate, start = measure(recipe, size, cores)
            minutes = (start + PAPER_COUNT / rate) / 60
            print(f"{recipe} {size} px: {rate:.1f} samples a second, {PAPER_COUNT} in {minutes:.1f} minutes")
            figures[f"{recipe}_{size}_per_second"] = round(rate, 2)
            figures[f"{recipe}_{size}_minutes"] = round(minutes, 2)
    figures["aim_over_paper_256"] = round(AIM_MINUTES / figures["paper_256_minutes"], 2)
    figures["aim_over_wild_256"] = round(AIM_MINUTES / figures["wild_256_minutes"], 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
