"""Ranked expressions of a head as a table, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from omote.evaluation.expressions import ExpressionReport
from omote.evaluation.inversion_report import markdown_table
from omote.media import atomic_path

HEADINGS = ("expression", "ARKit", "rank", "margin", "value", "rank over rest", "margin over rest", "leader")


def rows(report: ExpressionReport) -> list[list[str]]:
    """A text for each of `HEADINGS`, of each expression; the leader where that is another."""
    return [
        [
            row.name,
            row.arkit,
            str(row.rank),
            f"{row.margin:+.3f}",
            f"{row.value:.3f}",
            str(row.relative_rank),
            f"{row.relative_margin:+.3f}",
            "" if row.rank == 1 else row.leader,
        ]
        for row in report.rows
    ]


def write_expressions(report: ExpressionReport, folder: Path, head: str) -> list[Path]:
    """Write ``report.md`` and ``expressions.csv``; returns their paths.

    Args:
        report: of one head.
        folder: where to; made if missing.
        head: what it is called.

    Raises:
        OutputError: the folder cannot be written to.
    """
    lines = [f"# Expressions of {head}", ""]
    lines += [f"- {name}: {value:g}" for name, value in report.summary().items()]
    if report.left_out:
        lines.append(f"- left out, no ARKit name or nothing moves: {', '.join(report.left_out)}")
    lines += ["", *markdown_table(HEADINGS, rows(report))]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([HEADINGS, *rows(report)])
    texts = {"report.md": "\n".join(lines) + "\n", "expressions.csv": table.getvalue()}
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    return [folder / name for name in texts]
