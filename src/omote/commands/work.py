"""What ``omote capture`` does for one file, in its own process: skip what is complete, capture, write, tell."""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING, Any

from omote.commands.batch import Report
from omote.commands.tasks import Busy, Task, locked
from omote.errors import OmoteError

if TYPE_CHECKING:
    pass

OUR_FAULT = "This is a fault in Omote; OMOTE_DEBUG=1 shows where."
_MARK = "capture"
"""The key of a performance's ``source`` that says with which options it was captured, to know when to redo it."""


def capture_task(task: Task, report: Report) -> dict[str, Any]:
    """Do one task in this process. A bad input does not raise: the result says what happened.

    Returns:
        ``input``, ``status`` ("captured", "complete", "busy" or "failed"), ``outputs`` (paths), ``frames``,
        ``faces``, ``confidence`` (mean over frames, 0..1), ``seconds``, ``warnings``, ``error`` (a line or None)
        and ``exit_code``.
    """
    began = time.monotonic()
    result = blank(task)
    try:
        with locked(task):
            result.update(_capture_one(task, report))
    except Busy as busy:
        result.update(status="busy", error=f"{task.source}: {busy}", exit_code=2)
    except OmoteError as error:
        result.update(status="failed", error=str(error), exit_code=error.exit_code)
    except Exception as error:  # noqa: BLE001 - one file's fault must not stop the others; it is reported
        if os.environ.get("OMOTE_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        result.update(status="failed", error=f"{task.source}: {text}. {OUR_FAULT}", exit_code=1)
    result["seconds"] = round(time.monotonic() - began, 3)
    return result


def lost(task: Task) -> dict[str, Any]:
    """The result of a task whose process died."""
    line = f"{task.source}: the process working on it died. Is there enough memory? Try --jobs 1."
    return {**blank(task), "status": "failed", "error": line, "exit_code": 1}


def blank(task: Task) -> dict[str, Any]:
    """A result to be filled in."""
    return {
        "input": str(task.source),
        "status": "captured",
        "outputs": [],
        "frames": 0,
        "faces": 0,
        "confidence": None,
        "seconds": 0.0,
        "warnings": [],
        "error": None,
        "exit_code": 0,
    }
