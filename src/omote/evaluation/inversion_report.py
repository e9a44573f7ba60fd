"""A measured inversion as JSON, a table, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omote.evaluation.inversion import Report
from omote.evaluation.inversion_methods import ALONE, DETECTED, LANDMARKS, MEAN, NEAREST
from omote.evaluation.inversion_metrics import Scores
from omote.evaluation.inversion_regions import REGIONS, hard_indices, region_indices
from omote.media import atomic_path

COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("control_mae", "control MAE", 4),
    ("correlation", "correlation", 3),
    ("r2", "R²", 3),
    ("within_percent", "within 0.1 %", 1),
    ("gaze_degrees", "gaze °", 2),
    ("vertex_median_mm", "vertices mm", 2),
    ("hard_mae", "hard MAE", 4),
)
"""Metric, heading and digits of the main table."""

SUFFIX = {
    LANDMARKS: "_landmark_fit",
    MEAN: "_mean_controls",
    NEAREST: "_nearest_neighbour",
    f"network, {DETECTED}": "_face_detected",
    f"network, {ALONE['rgb']}": "_rgb_alone",
    f"network, {ALONE['normal']}": "_normals_alone",
}
"""What the baselines' metrics end in, in JSON; the regions' are given for the landmark fit only."""


def main_rows(report: Report) -> list[tuple[str, list[str]]]:
    """(method, one text for each of `COLUMNS`)."""
    return [(name, method_texts(scores)) for name, scores in report.scores.items()]


def method_texts(scores: Scores) -> list[str]:
    """One text for each of `COLUMNS`."""
    values = scores.flat()
    return [number_text(values[name], digits) for name, _, digits in COLUMNS]


def region_rows(report: Report) -> list[tuple[str, str, list[str]]]:
    """(region, number of controls, texts) by region: MAE, R², correlation of the first method, then MAE of the others.

    The last row holds the controls that landmarks see badly (MAE only).
    """
    space, others = report.rig.space, [n for n in report.scores if n != report.first]
    first, rows = report.scores[report.first], []
    for region in REGIONS:
        count = len(region_indices(space, region))
        if not count:
            continue
        own = first.regions[region]
        texts = [number_text(own.mae, 4), number_text(own.r2, 3), number_text(own.correlation, 3)]
        texts += [number_text(report.scores[name].regions[region].mae, 4) for name in others]
        rows.append((region, str(count), texts))
    hard = [number_text(report.scores[name].hard_mae, 4) for name in others]
    count = len(hard_indices(space))
    rows.append(("seen badly by landmarks", str(count), [number_text(first.hard_mae, 4), "", "", *hard]))
    return rows


def region_headings(report: Report) -> list[str]:
    """Headings of the texts of `region_rows`."""
    return ["MAE", "R²", "correlation", *(f"{n} MAE" for n in report.scores if n != report.first)]


def number_text(value: float, digits: int) -> str:
    """The number, or a dash where nothing was measured."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def to_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Plain values for one line of JSON.

    Returns:
        Every metric of the first method by name (``control_mae``, ``gaze_mae``, ...), and the baselines' with a suffix
        (``control_mae_landmark_fit``); of the last report, and again for each report with its recipe in front
        (``paper_control_mae``). ``ratio_*``: the landmark fit's error over the method's. ``methods``: recipe -> method
        -> its main numbers. What could not be measured is null.
    """
    result: dict[str, Any] = dict(_one(reports[-1]))
    result["recipe"] = reports[-1].recipe
    for report in reports:
        result |= {f"{report.recipe}_{name}": value for name, value in _one(report).items()}
    result["methods"] = {
        report.recipe: {
            name: {key: plain(scores.flat()[key]) for key, _, _ in COLUMNS}
            for name, scores in report.scores.items()
        }
        for report in reports
    }
    return result


def _one(report: Report) -> dict[str, float | int | str | None]:
    values: dict[str, float | int | str | None] = {"samples": len(report.true)}
    for name, scores in report.scores.items():
        suffix = "" if name == report.first else SUFFIX.get(name)
        if suffix is not None:
            shown = scores.flat() if name in (report.first, LANDMARKS) else scores.overall()
            values |= {f"{key}{suffix}": plain(value) for key, value in shown.items()}
    values |= {f"ratio_{key}": plain(value) for key, value in report.ratios().items()}
    if LANDMARKS in report.scores:
        values["faces_not_found_landmark_fit"] = report.missed
    return values


def plain(value: float) -> float | None:
    """Five digits after the point; None for what is not finite."""
    return round(float(value), 5) if math.isfinite(value) else None


def write_report(
    reports: Sequence[Report],
    folder: Path,
    *,
    command: str = "",
    pictures: Mapping[str, Sequence[Path]] | None = None,
) -> list[Path]:
    """Write ``report.md`` and ``controls.csv``; returns their paths.

    Args:
        reports: one for each set of samples.
        folder: where to; made if missing.
        command: what was typed, for the report.
        pictures: recipe -> files in the folder to show.

    Raises:
        OutputError: the folder cannot be written to.
    """
    texts = {"report.md": _markdown(reports, command, pictures or {}), "controls.csv": _csv(reports)}
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return [folder / name for name in texts]


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, the first column to the left."""
    lines = ["| " + " | ".join(headings) + " |", "|---|" + "---:|" * (len(headings) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def main_table(report: Report) -> list[str]:
    """Lines of the Markdown table of all methods."""
    headings = ["method", *(heading for _, heading, _ in COLUMNS)]
    return markdown_table(headings, [[name, *texts] for name, texts in main_rows(report)])


def region_table(report: Report) -> list[str]:
    """Lines of the Markdown table by region."""
    headings = ["region", "controls", *region_headings(report)]
    return markdown_table(headings, [[name, count, *texts] for name, count, texts in region_rows(report)])


def _markdown(reports: Sequence[Report], command: str, pictures: Mapping[str, Sequence[Path]]) -> str:
    lines = ["# Rig inversion", ""]
    if command:
        lines += ["```", command, "```", ""]
    for report in reports:
        lines += [f"## Recipe {report.recipe}", "", f"{len(report.true)} held-out samples.", ""]
        lines += [*main_table(report), "", *region_table(report), ""]
        ratios = report.ratios()
        if ratios:
            lines += [
                f"The landmark fit's error is {ratios['control_mae']:.2f} times that of {report.first} over all"
                f" controls, {ratios['hard_mae']:.2f} times over those that landmarks see badly. It found no face in"
                f" {report.missed} of the {len(report.true)} pictures.",
                "",
            ]
        for path in pictures.get(report.recipe, ()):
            lines += [f"![{path.stem}]({path.name})", ""]
    return "\n".join(lines)


def _csv(reports: Sequence[Report]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["recipe", "method", "control", "mae"])
    for report in reports:
        for method, scores in report.scores.items():
            for name, value in zip(report.rig.space.names, scores.control, strict=True):
                writer.writerow([report.recipe, method, name, f"{value:.6g}"])
    return stream.getvalue()
