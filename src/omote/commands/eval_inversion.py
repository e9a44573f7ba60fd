"""``omote eval inversion``: how far the controls that a network reads from pictures are from the true ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from omote.commands import console
from omote.commands.console import QUIET, Flag
from omote.commands.rig_inspect import Axes, Unit
from omote.commands.rig_landmarks import open_with_landmarks
from omote.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from omote.evaluation.expressions import Picture
    from omote.evaluation.inversion import Report
    from omote.evaluation.inversion_methods import Method, Network, Sample
    from omote.rigs.protocol import Rig

_RENDERED = 500  # training samples that stand in where no training data is given
_Paths = Annotated[
    tyro.conf.UseAppendAction[tuple[Path, ...]],
    tyro.conf.arg(metavar="DIR", help_behavior_hint="(may be given several times)"),
]


@dataclass(frozen=True)
class EvalInversionArgs:
    """Measure how exactly a network reads a rig's controls from pictures, beside what it has to beat.

    Held-out heads and expressions are rendered on the spot, or read from --data. In the same table: the network with
    RGB or normals alone, the mean of the training set, the landmark fit, and the nearest neighbour in the training set.
    With --rig FILE, a head that the network was not made for: each of its named expressions is rendered, and should
    lead the predicted ARKit values.

    Examples:
      omote eval inversion -o results
      omote eval inversion run/model.safetensors --data held_out --train shards -o results
      omote eval inversion --compare resnet50=baseline/model.safetensors --recipe wild --json
      omote eval inversion --rig other_head.glb
    """

    checkpoint: Annotated[
        Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE", help_behavior_hint=QUIET)
    ] = None
    """The network, as `omote train inversion` writes it; default: the one that ships."""
    recipe: Annotated[Literal["both", "paper", "wild"], tyro.conf.arg(metavar="both|paper|wild")] = "both"
    """What is rendered; the last one gives the numbers without a prefix in JSON."""
    samples: Annotated[int, tyro.conf.arg(metavar="N")] = 200
    """Held-out samples, of each recipe (of --data: at most)."""
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 256
    """Width and height of the rendered pictures."""
    seed: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 0
    """Which held-out samples are rendered; none of them is in what `omote synth` makes of the same number."""
    data: _Paths = ()
    """Measure on these shards of `omote synth`, which no training may have seen."""
    train: _Paths = ()
    """The training set, for its mean and the nearest neighbour; else 500 samples are rendered for that."""
    compare: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(metavar="NAME=FILE", help_behavior_hint="(may be given several times)"),
    ] = ()
    """Other checkpoints to put in the table."""
    quick: Flag = False
    """Leave out the landmark fit and the nearest neighbour, which take most of the time."""
    rig: Annotated[str, tyro.conf.arg(metavar="facs|FILE")] = "facs"
    """The rig of the checkpoint; or another one with ARKit-like names, or a folder of pictures named so."""
    unit: Unit = "auto"
    """Unit of the rig's file: auto, m, dm, cm, mm or in."""
    axes: Axes = "auto"
    """Up and forward axes of the rig's file: auto, or such as +y+z or +z-y."""
    mapping: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint=QUIET)] = None
    """A mapping file that names the rig's combination shapes; see `omote rig map`."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR", help_behavior_hint=QUIET)] = (
        None
    )
    """Folder for report.md, controls.csv and the plots."""
    json: Flag = False
    """Print one line of JSON in place of the tables."""

    def run(self) -> int:
        """Measure and tell; return 0."""
        from omote.capture.inverter import shipped_weights
        from omote.evaluation.expressions import is_pictures
        from omote.models.inversion import read_description
        from omote.rigs.open import open_rig

        if self.seed < 0:
            raise InputError(f"{self.seed} is negative", where="--seed", remedy="Use 0 or more.")
        if self.samples < 1:
            raise InputError(f"{self.samples} samples", where="--samples", remedy="Use 1 or more.")
        path = self.checkpoint or shipped_weights()
        made_for = read_description(path)[0]
        pictures = is_pictures(self.rig)
        if pictures or self.rig == "facs":
            self._refuse_reading("pictures have none" if pictures else "the embedded head has its own")
        rig = None
        if not pictures:
            rig = open_rig(self.rig, unit=self.unit, axes=self.axes, mapping=self.mapping)
        if rig is None or (rig.name, tuple(rig.space.names)) != (made_for.rig, made_for.controls):
            return self._expressions(path, rig)
        rig, _ = open_with_landmarks(
            self.rig, quiet=self.json, unit=self.unit, axes=self.axes, mapping=self.mapping
        )
        return self._measure(path, rig)

    def _refuse_reading(self, why: str) -> None:
        """Refuse the options that say how a rig's file is read."""
        for name, given in (("unit", self.unit), ("axes", self.axes), ("mapping", self.mapping)):
            if given not in ("auto", None):
                raise InputError(f"{given}: {why}", where=f"--{name}", remedy="Leave it out.")

    def _measure(self, path: Path, rig: Rig) -> int:
        from omote.evaluation.inversion import evaluate
        from omote.evaluation.inversion_methods import FoundByDetector, LandmarkFit, MeanControls, Network
        from omote.evaluation.inversion_pictures import write_pictures
        from omote.evaluation.inversion_report import to_json, write_report
        from omote.evaluation.inversion_samples import training_controls
        from omote.media.paths import prepare_target

        if self.output is not None:
            prepare_target(self.output / "report.md")
        network = Network.load(path, rig.space, rig.name)
        others = [self._other(text, rig) for text in self.compare]
        for other in others:
            if other.config.normals != network.config.normals:
                what = f"{other.name} is for normals of the kind '{other.config.normals}'"
                raise InputError(what, where="--compare", remedy="Compare networks for the same pictures.")
        fitted = not self.quick and rig.name == "facs"
        if fitted:
            from omote.commands.weights import ensure

            ensure("face_landmarker", quiet=self.json)
        reports: list[Report] = []
        with console.progress_bar(quiet=self.json) as progress:
            for recipe, count, samples in self._sets(rig, network.config.normals):
                methods: list[Method] = [network, *network.alone(), *others]
                if fitted:
                    landmarks = LandmarkFit()
                    methods += [FoundByDetector(network, landmarks), landmarks]
                if self.quick:
                    methods.append(MeanControls(training_controls(rig, _drawn(recipe))))
                else:
                    nearest = self._nearest(rig, recipe, network.config.normals, progress)
                    methods += [nearest, MeanControls(nearest.controls)]
                bar = progress.add_task(f"{recipe}: held-out samples", total=count)
                reports.append(
                    evaluate(
                        samples,
                        methods,
                        rig,
                        recipe=recipe,
                        limit=self.samples,
                        progress=lambda done, bar=bar: progress.update(bar, completed=done),  # type: ignore[misc]
                    )
                )
        written: list[Path] = []
        if self.output is not None:
            pictures = {report.recipe: write_pictures(report, self.output) for report in reports}
            written = write_report(reports, self.output, command=self._command(), pictures=pictures)
            written += [picture for group in pictures.values() for picture in group]
        if self.json:
            console.say(json.dumps(to_json(reports), ensure_ascii=False, allow_nan=False))
            return 0
        for report in reports:
            _show(report)
        for file in written:
            console.say(str(file))
        return 0

    def _sets(self, rig: Rig, normals: str) -> Iterator[tuple[str, int, Iterable[Sample]]]:
        """(name, number, samples) of each set of held-out samples."""
        from omote.evaluation.inversion_samples import TEST_SEED, count_of, held_out, read_samples, recipe_of

        if self.data:
            groups: dict[str, list[Path]] = {}
            for folder in self.data:
                groups.setdefault(recipe_of(folder), []).append(folder)
            for recipe in sorted(groups):
                count = min(self.samples, sum(count_of(folder) for folder in groups[recipe]))
                yield recipe, count, read_samples(groups[recipe], rig, normals)
            return
        seed = TEST_SEED + self.seed
        for recipe in ("paper", "wild") if self.recipe == "both" else (self.recipe,):
            rendered = held_out(rig, recipe, self.samples, size=self.size, seed=seed, normals=normals)
            yield recipe, self.samples, rendered

    def _nearest(self, rig: Rig, recipe: str, normals: str, progress: Progress) -> Any:
        from omote.evaluation.inversion_methods import NearestNeighbour
        from omote.evaluation.inversion_samples import TRAIN_SEED, count_of, held_out, read_samples

        if self.train:
            samples = read_samples(self.train, rig, normals)
            count = sum(count_of(folder) for folder in self.train)
        else:
            samples = held_out(
                rig, _drawn(recipe), _RENDERED, size=self.size, seed=TRAIN_SEED, normals=normals
            )
            count = _RENDERED
        bar = progress.add_task(f"{recipe}: training samples", total=count)
        return NearestNeighbour(progress_over(samples, progress, bar))

    def _other(self, text: str, rig: Rig) -> Network:
        from omote.evaluation.inversion_methods import Network

        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise InputError(f"'{text}' is not NAME=FILE", where="--compare")
        return Network.load(path, rig.space, rig.name, name)

    def _expressions(self, path: Path, rig: Rig | None) -> int:
        from omote.commands.weights import ensure
        from omote.controls import FACS102
        from omote.evaluation.expression_report import HEADINGS, rows, write_expressions
        from omote.evaluation.expressions import SIZE, RigPictures, rank_expressions, read_pictures
        from omote.evaluation.inversion_methods import Network
        from omote.media.paths import prepare_target

        defaults = EvalInversionArgs()
        for name in ("data", "train", "compare", "recipe", "samples", "seed", "quick"):
            if getattr(self, name) != getattr(defaults, name):
                option = f"--{name}"
                what = "goes with the rig that the network was made for"
                raise InputError(what, where=option, remedy=f"Leave it out, or leave out --rig {self.rig}.")
        if self.output is not None:
            prepare_target(self.output / "report.md")
        network = Network.load(path, FACS102, "facs")
        if network.config.normals != "camera":
            what = "reads normals in tangent frames, which renders of other heads do not have"
            raise InputError(
                what, where=path, remedy="Train on the camera's normals, as omote synth makes them."
            )
        ensure("face_landmarker", quiet=self.json)
        pictures: RigPictures | list[Picture]
        if rig is None:
            pictures, left_out = read_pictures(Path(self.rig))
        else:
            for told in getattr(rig, "notes", ()):
                console.note(f"omote: note: {self.rig}: {told}")
            size = SIZE if self.size == defaults.size else self.size
            pictures = RigPictures(rig, size=size)
            left_out = pictures.left_out
        with console.progress_bar(quiet=self.json) as progress:
            bar = progress.add_task("expressions", total=len(pictures))
            try:
                report = rank_expressions(
                    pictures,
                    network,
                    left_out=left_out,
                    progress=lambda done: progress.update(bar, completed=done),
                )
            except InputError as error:
                raise InputError(
                    f"{error.where}: {error.what}", where=self.rig, remedy=error.remedy
                ) from error
        head = Path(self.rig).stem
        written = [] if self.output is None else write_expressions(report, self.output, head)
        summary = {name: round(value, 5) for name, value in report.summary().items()}
        if self.json:
            ranked = [
                {"name": r.name, "arkit": r.arkit, "rank": r.rank, "relative_rank": r.relative_rank}
                | {"value": round(r.value, 5), "margin": round(r.margin, 5), "leader": r.leader}
                for r in report.rows
            ]
            found = {**summary, "expressions_ranked": ranked, "left_out": list(report.left_out)}
            console.say(json.dumps(found, ensure_ascii=False, allow_nan=False))
            return 0
        table = console.table(*HEADINGS, title=f"{self.rig}", right=HEADINGS[2:-1])
        for texts in rows(report):
            table.add_row(*texts)
        console.show(table)
        console.say("  ".join(f"{name} {value:g}" for name, value in summary.items()))
        if report.left_out:
            console.say(f"left out, no ARKit name or nothing moves: {', '.join(report.left_out)}")
        if 0 < report.without_normals:
            console.say(
                f"{report.without_normals} of {len(pictures)} pictures have no normals: judged by RGB alone"
            )
        for file in written:
            console.say(str(file))
        return 0

    def _command(self) -> str:
        """What was typed, as far as it decides the result."""
        parts = ["omote eval inversion"]
        parts += [] if self.checkpoint is None else [self.checkpoint.name]
        parts += [f"--rig {Path(self.rig).name}"] * (self.rig != "facs")
        parts += [f"--recipe {self.recipe}"] * (self.recipe != "both" and not self.data)
        parts += [f"--samples {self.samples}"] * (self.samples != 200)
        parts += [f"--size {self.size}"] * (self.size != 256 and not self.data)
        parts += [f"--seed {self.seed}"] * (self.seed != 0)
        for option, folders in (("--data", self.data), ("--train", self.train)):
            parts += [f"{option} {folder.name}" for folder in folders]
        for text in self.compare:
            name, _, path = text.partition("=")
            parts.append(f"--compare {name}={Path(path).name}")
        return " ".join(parts + ["--quick"] * self.quick)


def progress_over(samples: Iterable[Sample], progress: Progress, bar: Any) -> Iterator[Sample]:
    """The samples, each advancing a bar."""
    for sample in samples:
        yield sample
        progress.advance(bar)


def _drawn(recipe: str) -> str:
    """The recipe to draw training samples by, for a set of any name."""
    return recipe if recipe in ("paper", "wild") else "wild"


def _show(report: Report) -> None:
    from omote.evaluation.inversion_report import COLUMNS, main_rows, region_headings, region_rows

    headings = [heading for _, heading, _ in COLUMNS]
    title = f"recipe {report.recipe}, {len(report.true)} held-out samples"
    table = console.table("method", *headings, title=title, right=headings)
    for name, texts in main_rows(report):
        table.add_row(name, *texts)
    console.show(table)
    columns = ["controls", *region_headings(report)]
    table = console.table("region", *columns, title=f"{report.recipe}: by region", right=columns)
    for name, count, texts in region_rows(report):
        table.add_row(name, count, *texts)
    console.show(table)
    ratios = report.ratios()
    if ratios:
        console.say(
            f"landmark fit over {report.first}: {ratios['control_mae']:.2f} over all controls, "
            f"{ratios['hard_mae']:.2f} over those that landmarks see badly; "
            f"no face found in {report.missed} of {len(report.true)}"
        )
