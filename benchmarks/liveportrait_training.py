"""Does a training of LivePortrait learn? ``python benchmarks/liveportrait_training.py [--minutes 25] [--threads 2]``.

Renders clips with our own rig, trains the small preset of the base stage on them for the minutes given, without critics
(these sharpen pictures, and cost time), and compares driven pictures of heads of another seed, which it never saw and
was not chosen by, with what the drivers really show: PSNR of the results, of the source copied as it is, and of the
source blurred. By PSNR whatever is blurred beats a sharp copy, so that only what beats the blurred copy, too, has been
driven. And each source is driven by another frame of the clip, too: the nearer results are to their own drivers, the
more motion there is in them. Writes a strip (source, driver, result) to ``--output``; ends with one JSON line. Stopped,
it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from omote.commands.train_liveportrait import TrainClipsArgs
from omote.drive.liveportrait.networks import load_nets
from omote.media import write_image
from omote.training.curves import read_log
from omote.training.datasets.clips import Clip, open_clip
from omote.training.liveportrait import MODEL, PRESETS, LivePortraitOptions, recipe, train_liveportrait
from omote.training.liveportrait.base import psnr
from omote.training.liveportrait.networks import BaseNet, shrink
from omote.training.liveportrait.pairs import pair_of, to_batch
from omote.training.schedule import Budget

_BLUR = 4.0  # pixels, about the best for such a copy


@dataclass(frozen=True)
class Measured:
    """PSNR to the driver, (clips, later frames) each; a strip of some pairs.

    Attributes:
        made: of the results.
        misled: of the results of another driver.
        copied: of the source.
        blurred: of the source, blurred.
        strip: (H, W, 3) uint8.
    """

    made: np.ndarray
    misled: np.ndarray
    copied: np.ndarray
    blurred: np.ndarray
    strip: np.ndarray


def compare(net: BaseNet, clips: list[Clip]) -> Measured:
    """Of each clip the first frame, driven by every later one."""
    size, found, rows = PRESETS["small"].network.input_size, [], []
    for clip in clips:
        later = clip.count - 1
        batch = to_batch([pair_of(clip.frame(0), clip.frame(index)) for index in range(1, clip.count)])
        source, driver = (batch[name].float() / 255 for name in ("source", "driver"))
        with torch.inference_mode():
            image = net(shrink(source, size), shrink(driver, size)).image
        smooth = torch.from_numpy(gaussian_filter(source.numpy(), (0, 0, _BLUR, _BLUR)))
        other = image.roll(later // 2, 0)
        found.append([psnr(shown, driver).numpy() for shown in (image, other, source, smooth)])
        rows.append(torch.cat([source, driver, image], 3)[-1])
    each = max(1, len(rows) // 8)
    strip = torch.cat(rows[::each][:8], 1).permute(1, 2, 0).numpy()
    made, misled, copied, blurred = np.array(found).transpose(1, 0, 2)
    return Measured(made, misled, copied, blurred, np.rint(255 * strip.clip(0, 1)).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clips", type=int, default=1000, help="heads to train on; one in ten only validates"
    )
    parser.add_argument("--test-clips", type=int, default=50, help="heads that results are measured on")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--output", type=Path, default=Path("build/liveportrait_training"))
    options = parser.parse_args()
    data, test, run = (options.output / name for name in ("clips", "test", "run"))
    TrainClipsArgs(data, options.clips, options.frames, seed=0, jobs=options.threads).run()
    TrainClipsArgs(test, options.test_clips, options.frames, seed=1, jobs=options.threads).run()
    engine = recipe(
        "small", Budget(minutes=options.minutes), threads=options.threads, validate_every=250, report_every=25
    )

    def tell(kind: str, numbers: object) -> None:
        if kind == "validation" and isinstance(numbers, dict):
            shown = {
                name: round(numbers[name], 3) for name in ("seconds", "loss", "psnr", "copy_psnr", "gain")
            }
            print(f"step {numbers['step']}: {shown}", flush=True)

    chosen = LivePortraitOptions((data,), run / "crops", preset="small", adversarial=False)
    place = train_liveportrait(chosen, engine, run, tell=tell)
    torch.set_num_threads(options.threads)
    strangers = [open_clip(path) for path in sorted(test.glob("*.clip"))]
    found = compare(BaseNet(load_nets(run / MODEL)).eval(), strangers)
    write_image(options.output / "strip.png", found.strip)
    gains = found.made - found.copied
    print(
        "| frames from the source | PSNR | copied | gain | share that is better |\n|---:|---:|---:|---:|---:|"
    )
    for index in range(gains.shape[1]):
        means = " | ".join(f"{part[:, index].mean():.2f}" for part in (found.made, found.copied, gains))
        print(f"| {index + 1} | {means} | {(gains[:, index] > 0).mean():.2f} |")
    steps = [entry for entry in read_log(run) if entry["kind"] == "train"]
    summary = {
        "psnr_db": round(float(found.made.mean()), 2),
        "other_driver_psnr_db": round(float(found.misled.mean()), 2),
        "blurred_copy_psnr_db": round(float(found.blurred.mean()), 2),
        "copy_psnr_db": round(float(found.copied.mean()), 2),
        "gain_db": round(float(gains.mean()), 2),
        "gain_db_far": round(float(gains[:, gains.shape[1] // 2 :].mean()), 2),
        "better_share": round(float((gains > 0).mean()), 3),
        "pairs": gains.size,
        "image_loss_first": round(steps[0]["image"], 3),
        "image_loss_last": round(steps[-1]["image"], 3),
        "guide_loss_first": round(steps[0]["guide"], 4),
        "guide_loss_last": round(steps[-1]["guide"], 4),
        "steps": place.step,
        "minutes": round(place.seconds / 60, 1),
        "threads": options.threads,
        "strip": str(options.output / "strip.png"),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
