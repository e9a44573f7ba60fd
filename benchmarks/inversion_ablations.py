"""What brings what in rig inversion: small trainings of equal budget, measured on the same held-out samples.

    python benchmarks/inversion_ablations.py -o ablations                      # renders its own data first (an hour)
    python benchmarks/inversion_ablations.py -o ablations --wild data/wild --paper data/paper \
        --wild-test data/wild_test --paper-test data/paper_test --samples 16000
    python benchmarks/inversion_ablations.py -o ablations --only main,eyes --table

Every run sees the same number of pairs of pictures, in an order of its seed, by the same recipe of optimisation: only
what its row names differs. Networks with a backbone, several times slower, get the same time. A run whose result is
there is not repeated; one that was stopped goes on. Ends with one line of JSON: run -> mean numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np

RECIPES = ("wild", "paper")
TRAIN_SEEDS, TEST_SEEDS = {"wild": 101, "paper": 102}, {"wild": 1101, "paper": 1102}
METRICS = (
    "control_mae",
    "correlation",
    "r2",
    "within_percent",
    "gaze_degrees",
    "vertex_median_mm",
    "hard_mae",
)
HEADINGS = ("control MAE", "correlation", "R²", "within 0.1 %", "gaze °", "vertices mm", "hard MAE")
DIGITS = (4, 3, 3, 1, 2, 2, 4)


@dataclass(frozen=True)
class Run:
    """One row: what it is called, and how it differs from the main one."""

    name: str
    title: str
    changes: dict[str, Any] = field(default_factory=dict)
    loss: str = "controls"
    recipe: str = "both"
    start: str = ""
    seeds: int = 1
    equal_time: bool = False


_UNREAD: dict[str, Any] = {"grid": (0, 0), "window": (0, 0), "both_ways": False}
_NO_MESH: dict[str, Any] = {**_UNREAD, "mesh_points": 0, "picture_features": 0, "quiet": ()}
_HIERA: dict[str, Any] = {
    "backbone": "hiera",
    "embed_dim": 32,
    "depths": (1, 2, 4, 1),
    "patch_stride": 8,
    "place_features": 48,
    "hidden": 448,
}
RUNS = (
    Run("main", "main: RGB and normals, control loss, unwrapped on the mesh, eyes, both recipes", seeds=3),
    Run("rgb", "RGB only", {"modalities": ("rgb",), "modality_dropout": (0.0, 0.0)}),
    Run("normals", "normals only", {"modalities": ("normal",), "modality_dropout": (0.0, 0.0)}),
    Run("no_dropout", "without modality dropout", {"modality_dropout": (0.0, 0.0)}),
    Run("both_losses", "control and mesh loss", loss="both"),
    Run("mesh_loss", "mesh loss only", loss="mesh"),
    Run("one_look", "one step, then unwrapped", {"mesh_steps": 1, "mesh_again": 0}),
    Run("no_unwrapping", "the mesh's steps alone", {**_UNREAD, "eye_branch": False}),
    Run("no_eyes", "without the eye branch", {"eye_branch": False}),
    Run("paper", "recipe paper only", recipe="paper"),
    Run("wild", "recipe wild only", recipe="wild"),
    Run("hiera", "two Hiera instead of the mesh, equal time", _HIERA | _NO_MESH, equal_time=True),
    Run("hiera_mesh", "Hiera before the mesh, equal time", _HIERA, equal_time=True),
    Run(
        "tuned",
        "the Hiera trained on, equal time again",
        _HIERA | _NO_MESH,
        start="hiera",
        equal_time=True,
    ),
    Run(
        "frozen",
        "as that, three stages frozen",
        _HIERA | _NO_MESH | {"frozen_stages": 3},
        start="hiera",
        equal_time=True,
    ),
    Run(
        "resnet50",
        "ResNet-50 instead of the mesh, equal time",
        _HIERA | _NO_MESH | {"backbone": "resnet50", "place_features": 0},
        equal_time=True,
    ),
)


class Bench:
    """Data, budget and folders that all runs share."""

    def __init__(self, options: argparse.Namespace) -> None:
        from omote.models.inversion import InversionConfig
        from omote.rigs.facs import load_rig
        from omote.training.datasets.crops import CropStore

        self.options, self.out = options, Path(options.output)
        self.rig = load_rig()
        identity = len(self.rig.identity_space)
        self.base = InversionConfig.shipped(self.rig.space, self.rig.name, identity=identity)
        self.store = CropStore(self.base, self.rig, Path(options.cache or self.out / "crops"))
        self.ends = time.monotonic() + 3600 * options.hours
        (self.out / "results").mkdir(parents=True, exist_ok=True)

    def result(self, run: Run, seed: int) -> Path:
        """Where the numbers of a run are kept."""
        return self.out / "results" / f"{run.name}-{seed}.json"

    # ---- data ---------------------------------------------------------------------------------------------------

    def folders(self, recipe: str, kind: str) -> list[Path]:
        """Shards of a recipe for "train" or "test": those that were named, or rendered ones."""
        given = getattr(self.options, recipe if kind == "train" else f"{recipe}_test")
        if given:
            return [Path(folder) for folder in given]
        count = self.options.samples if kind == "train" else self.options.held_out
        seed = (TRAIN_SEEDS if kind == "train" else TEST_SEEDS)[recipe]
        folder = self.out / "data" / f"{recipe}_{kind}"
        self._render(folder, recipe, count, seed)
        return [folder]

    def _render(self, folder: Path, recipe: str, count: int, seed: int) -> None:
        import multiprocessing

        from omote.training.datasets.shards import write_info
        from omote.training.datasets.synthetic import SynthOptions

        made = SynthOptions(recipe=recipe, count=count, seed=seed, size=256, per_shard=256, vertices=False)
        info = made.describe(self.rig)
        write_info(folder, info)
        missing = [k for k, name in enumerate(info.shard_names()) if not (folder / name).exists()]
        if missing:
            print(f"rendering {count} samples of recipe {recipe} to {folder}", flush=True)
            with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
                pool.starmap(_shard, [(made, folder, number) for number in missing])

    def pairs(self, run: Run) -> Any:
        """The training data of a run: varied crops, in an order of its seed."""
        from omote.training.datasets.loader import InversionData

        recipes = RECIPES if run.recipe == "both" else (run.recipe,)
        return InversionData(
            [folder for recipe in recipes for folder in self.folders(recipe, "train")],
            self.store,
            space=self.rig.space,
            identity_mirror=self.rig.identity_mirror.numpy(),
        )

    # ---- training and measuring -------------------------------------------------------------------------------------

    def prepare(self, net: Any, data: Any, run: Run, seed: int) -> None:
        """Set what is not trained, once for all runs that read the same meshes of the same pictures."""
        import torch

        from omote.models.processor import without_denormals
        from omote.training.mesh_start import prepare_mesh

        if net.mesh is None or (self.out / "runs" / f"{run.name}-{seed}" / "last.pt").exists():
            return
        config = net.config
        same = (config.modalities, config.mesh_steps, config.mesh_again, config.mesh_axes, config.quiet)
        same += (config.grid, run.recipe, seed, self.options.samples)
        path = self.out / "ready" / f"{hashlib.sha256(repr(same).encode()).hexdigest()[:16]}.pt"
        own = net.state_dict()
        if not path.exists():
            before = {name: value.clone() for name, value in own.items()}
            with without_denormals():
                prepare_mesh(
                    net, self.rig, self.shown(data, net.config, seed), count=self.options.samples // 2
                )
            found = {name: value for name, value in net.state_dict().items() if (value != before[name]).any()}
            path.parent.mkdir(exist_ok=True)
            torch.save(found, path)
        net.load_state_dict(own | torch.load(path, weights_only=True))

    def shown(self, data: Any, config: Any, seed: int, epoch: int = 0) -> Iterable[dict[str, Any]]:
        """An epoch of samples; a network that sees one modality is not handed the other."""
        from omote.models.inversion import MODALITIES

        unseen = {n for m in MODALITIES if m not in config.modalities for n in (m, f"eyes_{m}")}
        data.seed, data.epoch = seed, epoch
        return ({n: value for n, value in sample.items() if n not in unseen} for sample in data)

    def train(self, run: Run, seed: int) -> tuple[Path, dict[str, float]]:
        """Train one run, or go on with it; its weights and what it took."""
        from omote.models.inversion import load_checkpoint
        from omote.training.inversion import InversionOptions, make_net, shipped_recipe, train_inversion
        from omote.training.schedule import Budget, LearningRate

        data, batch = self.pairs(run), self.options.batch
        config = replace(self.base, **run.changes)
        net = make_net(config, seed=seed)
        if run.start:
            start = load_checkpoint(self.out / "runs" / f"{run.start}-0" / "model.safetensors")
            net.load_state_dict(start.state_dict())
        self.prepare(net, data, run, seed)
        steps = self.options.samples // batch
        minutes = None
        if run.equal_time:
            minutes = json.loads(self.result(RUNS[0], 0).read_text())["seconds"] / 60
        engine = shipped_recipe(
            Budget(steps=steps, minutes=minutes),
            rate=LearningRate(self.options.lr, warmup=steps // 10, cosine=True),
            seed=seed,
            threads=self.options.threads,
            ema=0.98,
        )
        options = InversionOptions(
            data=(),
            batch=batch,
            loss=run.loss,
            mesh_samples=16,
            validation=0,
            workers=0,
            seed=seed,
        )

        def samples(split: str, epoch: int) -> Iterable[dict[str, Any]]:
            return self.shown(data, config, seed, epoch)

        def tell(kind: str, numbers: Any) -> None:
            if kind == "step" and numbers["step"] % 100 == 0:
                speed = numbers["images_per_second"]
                print(
                    f"  step {numbers['step']} of {steps}, loss {numbers['loss']:.4f}, {speed:.0f} pairs/s",
                    flush=True,
                )

        folder = self.out / "runs" / f"{run.name}-{seed}"
        place = train_inversion(net, self.rig, options, engine, folder, samples=samples, tell=tell)
        parameters = sum(p.numel() for p in net.parameters())
        took = {"seconds": place.seconds, "pairs": float(place.step * batch), "parameters": float(parameters)}
        return folder / "model.safetensors", took

    def measure(self, methods: Sequence[Any], recipe: str) -> dict[str, dict[str, float]]:
        """Method -> numbers on the held-out samples of a recipe."""
        from omote.evaluation.inversion import evaluate
        from omote.evaluation.inversion_samples import read_samples

        samples = read_samples(self.folders(recipe, "test"), self.rig)
        report = evaluate(samples, methods, self.rig, recipe=recipe, limit=self.options.held_out)
        return {name: {k: float(v) for k, v in s.flat().items()} for name, s in report.scores.items()}

    def do(self, run: Run, seed: int) -> None:
        """Train and measure, unless that was done."""
        from omote.evaluation.inversion_methods import Network

        path = self.result(run, seed)
        if path.exists():
            return
        print(f"{run.name}, seed {seed}: {run.title}", flush=True)
        weights, took = self.train(run, seed)
        network = Network.load(weights, self.rig.space, self.rig.name)
        methods = [network, *(network.alone() if run.name == "main" else ())]
        found: dict[str, Any] = {"run": run.name, "seed": seed, **took}
        for recipe in RECIPES:
            scores = self.measure(methods, recipe)
            found[recipe] = scores.pop("network")
            if scores:
                found[f"{recipe}_alone"] = scores
        _write(path, found)
        print(f"  {_short(found['wild'])}", flush=True)

    def baselines(self) -> None:
        """Mean controls, nearest neighbour in the same training pairs, landmark fit; of each recipe."""
        from itertools import islice

        from omote.evaluation.inversion_methods import LandmarkFit, MeanControls, NearestNeighbour
        from omote.evaluation.inversion_samples import read_samples

        for recipe in RECIPES:
            path = self.out / "results" / f"baselines-{recipe}.json"
            if path.exists():
                continue
            print(f"baselines, recipe {recipe}", flush=True)
            seen = read_samples(self.folders(recipe, "train"), self.rig)
            nearest = NearestNeighbour(islice(seen, self.options.samples))
            _write(path, self.measure([MeanControls(nearest.controls), nearest, LandmarkFit()], recipe))


def _shard(options: Any, folder: Path, number: int) -> None:
    import torch

    from omote.rigs.facs import load_rig
    from omote.training.datasets.synthetic import make_shard

    torch.set_num_threads(1)
    make_shard(load_rig(), options, folder, number)


def _write(path: Path, value: Any) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)


def _short(numbers: dict[str, float]) -> str:
    return ", ".join(f"{name} {numbers[name]:.4g}" for name in METRICS)


# ---- what is told ----------------------------------------------------------------------------------------------------


def results(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Run -> what its seeds reached."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in RUNS:
        paths = sorted((out / "results").glob(f"{run.name}-[0-9]*.json"))
        if paths:
            found[run.name] = [json.loads(path.read_text()) for path in paths]
    return found


def table(out: Path, recipe: str) -> list[str]:
    """Lines of a Markdown table: every run and baseline on the held-out samples of a recipe."""
    done = results(out)
    rows: list[tuple[str, list[dict[str, float]], str]] = []
    for run in RUNS:
        for_run = done.get(run.name, [])
        if not for_run:
            continue
        minutes, pairs = (float(np.mean([each[n] for each in for_run])) for n in ("seconds", "pairs"))
        rows.append((run.title, [each[recipe] for each in for_run], f"{pairs:.0f} | {minutes / 60:.1f}"))
        for name in for_run[0].get(f"{recipe}_alone", {}):
            alone = [each[f"{recipe}_alone"][name] for each in for_run]
            rows.append((f"main, shown {name.partition(', ')[2]}", alone, " | "))
    path = out / "results" / f"baselines-{recipe}.json"
    if path.exists():
        rows += [(name, [numbers], " | ") for name, numbers in json.loads(path.read_text()).items()]
    lines = ["| | " + " | ".join(HEADINGS) + " | pairs | minutes |", "|---|" + "---:|" * (len(HEADINGS) + 2)]
    for title, numbers, took in rows:
        cells = [
            _cell([n[key] for n in numbers], digits) for key, digits in zip(METRICS, DIGITS, strict=True)
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {took} |")
    return lines


def _cell(values: Sequence[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else mean


def plots(out: Path, folder: Path) -> list[Path]:
    """``inversion_ablations.png`` and ``inversion_regions.png`` in ``folder``."""
    from matplotlib.figure import Figure

    done = results(out)
    folder.mkdir(parents=True, exist_ok=True)
    names = [run.name for run in RUNS if run.name in done]
    shown = (
        ("correlation", "correlation"),
        ("gaze_degrees", "gaze error, degrees"),
        ("vertex_median_mm", "vertices, mm"),
    )
    figure = Figure(figsize=(10, 0.33 * len(names) + 1.1), layout="constrained")
    places = np.arange(len(names))[::-1]
    for column, (metric, label) in enumerate(shown):
        axes = figure.add_subplot(1, 3, column + 1)
        values = [[each["wild"][metric] for each in done[name]] for name in names]
        spread = [np.std(v, ddof=1) if len(v) > 1 else 0 for v in values]
        colours = ["#c8501e" if name == "main" else "#b8bcc2" for name in names]
        axes.barh(places, [np.mean(v) for v in values], 0.72, xerr=spread, color=colours)
        axes.set_yticks(places, names if column == 0 else [""] * len(names), fontsize=8)
        axes.set_title(label, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "inversion_ablations.png", dpi=130)
    return [folder / "inversion_ablations.png"]


def fill(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put lines between ``<!-- name -->`` and ``<!-- /name -->`` of a page."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = page.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no {begin} ... {end}")
    body = "\n".join(lines)
    page.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}", encoding="utf-8")


def measured(page: Path, folder: Path) -> None:
    """Put a report of ``omote eval inversion -o FOLDER`` on a page, and its plots into ``images/`` beside it."""
    from PIL import Image

    lines = []
    for line in (folder / "report.md").read_text(encoding="utf-8").rstrip().splitlines()[2:]:
        found = re.fullmatch(r"!\[(\w+)\]\((\w+\.png)\)", line)
        if found:
            name = f"inversion_{found[1]}.webp"
            (page.parent / "images").mkdir(exist_ok=True)
            Image.open(folder / found[2]).convert("RGB").save(page.parent / "images" / name, quality=82)
            line = f"![{found[1].replace('_', ', ')}](images/{name})"
        lines.append(re.sub(r"^## ", "### ", line))
    fill(page, "measured", lines)


def heads(page: Path, reports: Sequence[Path]) -> None:
    """Put what ``omote eval inversion --rig HEAD --json > NAME.json`` found on a page, a row for each file."""
    names = ("expressions", "top1_percent", "top3_percent", "margin")
    names += ("relative_top1_percent", "relative_top3_percent", "relative_margin")
    again = ("first three %", "margin")
    headings = ("expressions", "first %", *again, "over rest: first %", *again)
    lines = ["| head | " + " | ".join(headings) + " |", "|---|" + "---:|" * len(headings)]
    for path in reports:
        numbers = json.loads(path.read_text(encoding="utf-8"))
        cells = [f"{numbers[n]:.2f}" if "margin" in n else f"{numbers[n]:.0f}" for n in names]
        lines.append(f"| {path.stem.replace('_', ' ')} | " + " | ".join(cells) + " |")
    fill(page, "heads", lines)


def main() -> None:
    """Run what is missing; print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", default="ablations", help="folder of data, runs and results")
    for recipe in RECIPES:
        parser.add_argument(
            f"--{recipe}", action="append", metavar="DIR", help=f"training shards, recipe {recipe}"
        )
        parser.add_argument(f"--{recipe}-test", action="append", metavar="DIR", help="held-out shards")
    parser.add_argument("--samples", type=int, default=16_000, help="pairs that every run sees")
    parser.add_argument("--held-out", type=int, default=400, help="samples to measure on, of each recipe")
    parser.add_argument("--cache", metavar="DIR", help="folder of crops, as omote train --cache")
    parser.add_argument("--seeds", type=int, default=3, help="at most so many of the main run")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--hours", type=float, default=1e9, help="begin no run after so many hours")
    parser.add_argument("--only", default="", help="runs, separated by commas; baselines is one of them")
    parser.add_argument("--table", action="store_true", help="run nothing; only write tables and plots")
    parser.add_argument(
        "--docs", metavar="PAGE", help="fill the tables of this page, plots into images/ beside it"
    )
    parser.add_argument(
        "--report", metavar="DIR", help="put this report of omote eval inversion on the page too"
    )
    parser.add_argument(
        "--head", action="append", default=[], metavar="JSON", help="and these of omote eval --rig"
    )
    options = parser.parse_args()
    out = Path(options.output)
    if not options.table:
        bench = Bench(options)
        wanted = options.only.split(",") if options.only else [*(run.name for run in RUNS), "baselines"]
        most = min(options.seeds, max(run.seeds for run in RUNS))
        queue = [
            (run, seed) for seed in range(most) for run in RUNS if seed < run.seeds and run.name in wanted
        ]
        for run, seed in queue:
            if time.monotonic() < bench.ends:
                bench.do(run, seed)
        if "baselines" in wanted and time.monotonic() < bench.ends:
            bench.baselines()
    text: list[str] = []
    for recipe in RECIPES:
        text += [f"Held-out samples of recipe {recipe}:", "", *table(out, recipe), ""]
    (out / "ablations.md").write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))
    page = Path(options.docs) if options.docs else None
    plots(out, out if page is None else page.parent / "images")
    if page is not None:
        figure = "![correlation, gaze and vertices of every run](images/inversion_ablations.png)"
        fill(page, "ablations", [*text, figure])
        if options.report:
            measured(page, Path(options.report))
        if options.head:
            heads(page, [Path(name) for name in options.head])
    summary = {
        name: {
            recipe: {m: round(float(np.mean([s[recipe][m] for s in seeds])), 5) for m in METRICS}
            for recipe in RECIPES
        }
        for name, seeds in results(out).items()
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
