"""A finished evaluation as JSON, CSV, Markdown and frame strips."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from omote.evaluation.reenactment_methods import BASELINES, STATIC, WARP
from omote.evaluation.reenactment_rows import Report
from omote.media import atomic_path, read_image, write_image

PREFIX = {STATIC: "static_", WARP: "warp_"}
"""How a baseline's metrics are called beside an engine's."""

COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("face_psnr", "face PSNR dB", 2),
    ("face_ssim", "face SSIM", 3),
    ("image_psnr", "image PSNR dB", 2),
    ("image_ssim", "image SSIM", 3),
    ("image_l1", "image L1", 4),
    ("mouth_psnr", "mouth PSNR dB", 2),
    ("eyes_psnr", "eyes PSNR dB", 2),
    ("akd_percent", "AKD %", 2),
    ("aed", "AED", 4),
    ("apd_degrees", "APD °", 2),
    ("gaze_degrees", "gaze °", 2),
    ("identity_percent", "identity %", 2),
    ("jitter_percent", "jitter %", 3),
    ("fps", "frames/s", 1),
)
"""Metric, heading and digits of the tables; the CSV and JSON hold all metrics."""


def shown_columns(report: Report) -> list[tuple[str, str, int]]:
    """The columns that hold anything: without truth there are no pixel metrics."""
    present = {name for row in report.rows for name, value in row.metrics.items() if math.isfinite(value)}
    return [column for column in COLUMNS if column[0] in present]


def table_rows(report: Report) -> list[tuple[str, str, list[str]]]:
    """(video or "median", method, one text for each of `shown_columns`) for every row, medians last."""
    columns = shown_columns(report)

    def texts(values: Mapping[str, float]) -> list[str]:
        return [_text(values.get(name, math.nan), digits) for name, _, digits in columns]

    rows = [(row.video, row.method, texts(row.metrics)) for row in report.rows]
    return rows + [("median", method, texts(report.median(method))) for method in report.methods]


def _text(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def to_json(report: Report) -> dict[str, Any]:
    """Plain values for one line of JSON.

    Returns:
        ``videos``: name -> metrics of the first engine, and those of the baselines as ``static_*`` and ``warp_*``;
        ``median``: the same over the videos; ``engine``: its name (null if only baselines were measured); with
        several engines also ``engines``: name -> ``videos`` and ``median``; ``skipped``: video -> why. What could not
        be measured is null.
    """
    engines = [method for method in report.methods if method not in BASELINES]
    first = engines[0] if engines else None
    found: dict[str, Any] = _one_engine(report, first)
    found["engine"] = first
    if len(engines) > 1:
        found["engines"] = {name: _one_engine(report, name) for name in engines}
    found["skipped"] = dict(report.skipped)
    return found


def _one_engine(report: Report, engine: str | None) -> dict[str, Any]:
    methods = [*([(engine, "")] if engine else []), *PREFIX.items()]

    def merged(of: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
        values: dict[str, float | None] = {}
        for method, prefix in methods:
            for name, value in of.get(method, {}).items():
                values[prefix + name] = round(value, 5) if math.isfinite(value) else None
        return values

    videos = {}
    for video in report.videos:
        rows = {row.method: row.metrics for row in report.rows if row.video == video}
        videos[video] = merged(rows)
    return {"videos": videos, "median": merged({method: report.median(method) for method, _ in methods})}


def write_report(report: Report, folder: Path, *, command: str = "") -> list[Path]:
    """Write ``report.md``, ``metrics.csv`` and a ``VIDEO_strip.png`` for each video; returns their paths.

    Args:
        report: what was measured.
        folder: where to; made if missing.
        command: what was typed, for the report.

    Raises:
        OutputError: the folder cannot be written to.
    """
    strips = []
    for video, parts in report.strips.items():
        path = folder / f"{video.replace(' < ', '_by_')}_strip.png"
        write_image(path, label_parts(parts))
        strips.append(path)
    texts = {"metrics.csv": _csv(report), "report.md": _markdown(report, strips, command)}
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return [*(folder / name for name in texts), *strips]


def label_parts(parts: Sequence[tuple[str, Path]]) -> np.ndarray:
    """(H, W, 3) uint8 strip of kept parts, each under its name."""
    from omote.evaluation.reenactment_strips import label_strip

    return label_strip([(name, read_image(path)) for name, path in parts])


def _csv(report: Report) -> str:
    names = list(dict.fromkeys(name for row in report.rows for name in row.metrics))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "method", *names])
    for row in report.rows:
        values = [row.metrics.get(name, math.nan) for name in names]
        writer.writerow([row.video, row.method, *(f"{v:.6g}" if math.isfinite(v) else "" for v in values)])
    return stream.getvalue()


def _markdown(report: Report, strips: Sequence[Path], command: str) -> str:
    options = report.options
    kind = "Cross" if options.cross else "Self"
    columns = shown_columns(report)
    lines = [f"# {kind}-reenactment", ""]
    if command:
        lines += ["```", command, "```", ""]
    lines += [
        f"{len(report.videos)} videos at {options.size} px, {options.frames} frames of each; means over frames. PSNR"
        " is the mean of the frames' PSNR; AKD, identity and jitter are percent of the outer-eye-corner distance.",
        "",
        "| video | method | " + " | ".join(heading for _, heading, _ in columns) + " |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for video, method, texts in table_rows(report):
        lines.append(f"| {video} | {method} | " + " | ".join(texts) + " |")
    if report.skipped:
        lines += ["", "Skipped:", ""] + [f"- {name}: {why}" for name, why in report.skipped]
    for path in strips:
        lines += ["", f"## {path.stem.removesuffix('_strip')}", "", f"![{path.stem}]({path.name})"]
    return "\n".join(lines) + "\n"
