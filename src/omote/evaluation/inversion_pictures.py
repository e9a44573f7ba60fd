"""Pictures of a measured inversion: error of each control, scatter by region, and example heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omote.evaluation.inversion import Report
from omote.evaluation.inversion_methods import LANDMARKS
from omote.evaluation.inversion_regions import REGIONS, region_indices, region_of
from omote.media import atomic_path, write_image

Image = NDArray[np.uint8]

CELL = 224
"""px of a picture among the examples."""
_POINTS = 6000
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb5566", "#004488", "#888888")
_OTHER = "#b8bcc2"


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """Write ``RECIPE_controls.png``, ``RECIPE_scatter.png`` and ``RECIPE_examples.png``; returns their paths.

    Raises:
        OutputError: the folder cannot be written to.
    """
    names = [folder / f"{report.recipe}_{kind}.png" for kind in ("controls", "scatter", "examples")]
    _save(control_chart(report), names[0])
    _save(region_scatter(report), names[1])
    write_image(names[2], example_strip(report))
    return names


def control_chart(report: Report) -> Any:
    """A matplotlib figure: mean absolute error of each control, by region, beside that of the landmark fit."""
    space, own = report.rig.space, report.scores[report.first].control
    groups = [(region, region_indices(space, region)) for region in REGIONS]
    order = np.concatenate([indices for _, indices in groups])
    figure, axes = _figure(max(6.0, 0.155 * len(order) + 1.2), 4.2)
    places = np.arange(len(order))
    if LANDMARKS in report.scores and report.first != LANDMARKS:
        axes.bar(places, report.scores[LANDMARKS].control[order], 0.9, color=_OTHER, label=LANDMARKS)
    colours = [_COLOURS[REGIONS.index(region_of(space.names[i]))] for i in order]
    axes.bar(places, own[order], 0.55, color=colours, label=report.first)
    axes.set_xticks(places, [space.names[i] for i in order], rotation=90, fontsize=6)
    axes.set_xlim(-0.8, len(order) - 0.2)
    axes.set_ylabel("mean absolute error")
    axes.set_title(
        f"{report.first}, recipe {report.recipe}, {len(report.true)} held-out samples", fontsize=10
    )
    axes.legend(fontsize=8, frameon=False)
    return figure


def region_scatter(report: Report) -> Any:
    """A matplotlib figure: predicted over true controls that act, a panel for each region."""
    from matplotlib.figure import Figure

    space, predicted = report.rig.space, report.predicted[report.first]
    shown = [(region, i) for region in REGIONS if len(i := region_indices(space, region))]
    columns = 3
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(9, 3 * rows), layout="constrained")
    draw = np.random.default_rng(0)
    for number, (region, indices) in enumerate(shown):
        axes = figure.add_subplot(rows, columns, number + 1)
        x, y = report.true[:, indices].ravel(), predicted[:, indices].ravel()
        acting = np.flatnonzero((np.abs(x) > 0.01) | (np.abs(y) > 0.05))
        acting = draw.permutation(acting)[:_POINTS]
        axes.plot([-1, 1], [-1, 1], color="#999999", linewidth=0.8)
        colour = _COLOURS[REGIONS.index(region)]
        axes.scatter(x[acting], y[acting], s=4, alpha=0.35, color=colour, linewidths=0)
        score = report.scores[report.first].regions[region]
        axes.set_title(f"{region}: MAE {score.mae:.3f}, R² {score.r2:.2f}", fontsize=9)
        low = -1.05 if x.min(initial=0) < -0.35 else -0.35
        axes.set(xlim=(low, 1.05), ylim=(low, 1.05), xlabel="true", ylabel="predicted")
        axes.tick_params(labelsize=7)
    return figure


def example_strip(report: Report) -> Image:
    """(H, W, 3) uint8: rows of RGB, normals, the rig with the true controls, the rig with the predicted ones."""
    from omote.render.sheets import tile

    cells = []
    for index, sample in report.examples:
        true, guessed = report.true[index], report.predicted[report.first][index]
        away = float(np.abs(true - guessed).mean())
        cells += [
            ("RGB", f"sample {index}", _fit(sample.rgb)),
            ("normals", "", _fit(np.zeros_like(sample.rgb) if sample.normal is None else sample.normal)),
            ("true controls", "on the rig", rig_picture(report, true, sample.identity)),
            (report.first, f"MAE {away:.3f}", rig_picture(report, guessed, sample.identity)),
        ]
    return tile(cells, 4, CELL)


def rig_picture(report: Report, controls: NDArray[np.float32], identity: NDArray[np.float32]) -> Image:
    """(CELL, CELL, 3) uint8: the rig under controls (C,) and identity (I,), in clay, from the front."""
    import torch

    from omote.render import render_mesh
    from omote.rigs.surface_points import average_head
    from omote.training.datasets.synthetic import CENTRE, DISTANCE, SPAN

    rig = report.rig
    with torch.no_grad():
        vertices = rig(torch.from_numpy(controls[None]), torch.from_numpy(identity[None]))[0].numpy()
    camera = _camera(CELL, DISTANCE, SPAN)
    placed = average_head(rig).apply(vertices) - CENTRE - np.array([0, 0, DISTANCE], np.float32)
    weld = rig.weld.numpy()
    drawn = render_mesh(placed, rig.faces.numpy(), camera, weld=weld, background=np.ones(3, np.float32))
    return np.rint(np.clip(drawn.rgb, 0, 1) * 255).astype(np.uint8)


def _camera(size: int, distance: float, span: float) -> Any:
    from omote.performance import Camera

    return Camera(size * distance / span, (size / 2, size / 2), (size, size))


def _fit(picture: Image) -> Image:
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(picture).resize((CELL, CELL), Pillow.Resampling.LANCZOS))


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    """A `matplotlib.figure.Figure` needs no display: it draws with Agg."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
