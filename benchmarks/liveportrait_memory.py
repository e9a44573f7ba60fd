"""Does the memory of LivePortrait's pipeline grow with the length of a video?

    python benchmarks/liveportrait_memory.py                    # 60 and 600 frames
    python benchmarks/liveportrait_memory.py --frames 60 3000

Decodes, finds the face, reads the motion, draws, pastes back and encodes: a photo, and a video, driven by a video of so
many frames of 1280 x 720 px (our own head, talking). Small networks with seeded weights, so that what a frame costs is
not hidden by the 500 MB of the published ones. Each run is a process of its own. Ends with one line of JSON: peaks in
megabytes, and by how much they grow over a hundred frames.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

WIDTH, HEIGHT, FPS = 1280, 720, 30
SHOWN = 40
"""Different frames; longer videos play them back and forth."""


def make_inputs(folder: Path, counts: list[int]) -> None:
    """A photo, a video of each length, and networks."""
    import numpy as np

    from omote.edit.perform import perform
    from omote.media import VideoWriter, write_image
    from omote.models.liveportrait import LivePortraitNets
    from omote.models.liveportrait.checkpoint import save_nets
    from omote.models.seeded import fill_seeded
    from omote.performance import Camera
    from omote.render.overlay_panels import NEUTRAL, HeadPainter
    from omote.training.liveportrait import PRESETS

    nets = LivePortraitNets(PRESETS["small"].network)
    for network in nets.children():
        fill_seeded(network, 0)
    save_nets(folder / "networks", nets, {})
    camera = Camera(1400.0, (WIDTH / 2, HEIGHT / 2), (WIDTH, HEIGHT))
    take = perform("talk", fps=FPS, duration=SHOWN / FPS)[:SHOWN]
    take = take.with_(camera=camera, head_translation=np.tile([0.0, 0.0, -0.6], (len(take), 1)))
    painter, pictures = HeadPainter(), []
    for vertices in painter.vertices(take, range(len(take))):
        drawn = painter.render(vertices, camera, supersample=1)
        ground = np.full((HEIGHT, WIDTH, 3), NEUTRAL, np.float32)
        ground += (drawn.rgb - ground) * drawn.alpha[..., None]
        pictures.append(np.round(ground.clip(0, 1) * 255).astype(np.uint8))
    write_image(folder / "photo.png", pictures[0])
    to_and_fro = [*range(SHOWN), *range(SHOWN - 2, 0, -1)]
    for count in counts:
        with VideoWriter(folder / f"{count}.mp4", (WIDTH, HEIGHT), fps=FPS) as writer:
            for number in range(count):
                writer.write(pictures[to_and_fro[number % len(to_and_fro)]])


def animate(folder: Path, source: str, count: int) -> None:
    """The work that is measured; prints frames, seconds and the peak in megabytes."""
    import omote

    began = time.perf_counter()
    made = omote.animate(
        folder / source,
        folder / f"{count}.mp4",
        folder / f"{Path(source).stem}_{count}_made.mp4",
        engine="liveportrait",
        weights=folder / "networks",
        credentials=False,
    )
    print(made.frames, time.perf_counter() - began, peak_mb())


def peak_mb() -> float:
    """Peak memory of this process; of Linux's own count, which does not include what the parent had at the fork."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def child(*words: object) -> list[float]:
    """What a process of this script printed last."""
    command = [sys.executable, __file__, *map(str, words)]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in made.stdout.split()[-3:]]


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs=2, default=(60, 600), metavar="N")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--animate", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make is not None:
        make_inputs(options.make, list(options.frames))
        return
    if options.animate is not None:
        folder, source, count = options.animate
        animate(Path(folder), source, int(count))
        return
    few, many = sorted(options.frames)
    summary: dict[str, object] = {"frames": [few, many]}
    with tempfile.TemporaryDirectory() as folder:
        child("--make", folder, "--frames", few, many)
        for name, sources in {"photo": ("photo.png",) * 2, "video": (f"{few}.mp4", f"{many}.mp4")}.items():
            peaks = []
            for source, count in zip(sources, (few, many), strict=True):
                frames, seconds, peak = child("--animate", folder, source, count)
                peaks.append(peak)
                each = 1000 * seconds / frames
                print(
                    f"{name:5s} {frames:6.0f} frames: peak {peak:.0f} MB, {each:.0f} ms a frame", flush=True
                )
            summary[f"{name}_peak_mb"] = [round(peak) for peak in peaks]
            summary[f"{name}_mb_per_100_frames"] = round(100 * (peaks[1] - peaks[0]) / (many - few), 2)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
