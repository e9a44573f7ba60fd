"""Many files at once: worker processes that report progress, survive a crash, and stop cleanly on Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import FrameType
from typing import Any

Report = Callable[[int, int | None], None]
"""Called with (steps done, steps in all or None when that is not known)."""
Work = Callable[[Any, Report], dict[str, Any]]
"""A function of a module: (task, report) -> a dictionary of plain values. It catches its own errors."""
OnProgress = Callable[[int, int, int | None], None]
"""Called with (index of the task, steps done, steps in all or None)."""

_SECONDS_BETWEEN_REPORTS = 0.1
_SECONDS_TO_STOP = 10.0


class WorkerLost(Exception):
    """The process that worked on a task was killed or crashed in native code."""


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_batch(
    tasks: Sequence[Any], work: Work, *, jobs: int, on_progress: OnProgress
) -> Iterator[tuple[int, dict[str, Any] | WorkerLost]]:
    """Yield (index, result) as each task ends.

    Args:
        tasks: picklable when ``jobs`` > 1.
        work: run in this process when ``jobs`` is 1 or there is one task; else in spawned processes.
        jobs: how many at a time.
        on_progress: called in this process, at most about ten times a second for each task.

    A worker that dies yields `WorkerLost` for its own task; those it took down are run again, one by one.
    """
    if jobs <= 1 or len(tasks) <= 1:
        for index, task in enumerate(tasks):
            yield index, work(task, _throttled(lambda done, total, i=index: on_progress(i, done, total)))  # type: ignore[misc]
        return
    left, alone = list(range(len(tasks))), 0
    while left:
        now = left[:1] if alone else list(left)
        alone, lost = max(0, alone - 1), False
        for index, result in _run_pool(tasks, now, work, jobs, on_progress):
            if isinstance(result, WorkerLost) and len(now) > 1:
                lost = True  # whose fault it was shows when each runs alone
                continue
            left.remove(index)
            yield index, result
        if lost:
            alone = 2 * jobs + 1  # so many can have been with the workers


def _run_pool(
    tasks: Sequence[Any], indices: list[int], work: Work, jobs: int, on_progress: OnProgress
) -> Iterator[tuple[int, dict[str, Any] | WorkerLost]]:
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(
        min(jobs, len(indices)), mp_context=context, initializer=_start_worker, initargs=(reports,)
    )
    finished = False
    try:
        running: dict[Future[dict[str, Any]], int] = {}
        for index in indices:
            with _without_interrupts():  # processes started now must not answer Ctrl-C themselves
                running[pool.submit(_work_in_worker, work, index, tasks[index])] = index
        while running:
            done, _ = wait(running, timeout=_SECONDS_BETWEEN_REPORTS, return_when=FIRST_COMPLETED)
            while not reports.empty():
                on_progress(*reports.get())
            for future in done:
                index = running.pop(future)
                try:
                    yield index, future.result()
                except BrokenProcessPool:
                    yield index, WorkerLost()
        finished = True
    finally:
        _stop(pool, gently=finished)
        reports.close()


def _stop(pool: ProcessPoolExecutor, *, gently: bool) -> None:
    pool.shutdown(wait=gently, cancel_futures=True)
    if gently:
        return
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.is_alive():
            child.kill()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _throttled(report: Report) -> Report:
    last = -1.0

    def throttled(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_REPORTS or done == total:
            last = now
            report(done, total)

    return throttled


_reports: Any = None
_stopping = False


def _start_worker(reports: Any) -> None:
    global _reports
    _reports = reports
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_worker)


def _stop_worker(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, once, so that unfinished files and locks are removed."""
    global _stopping
    if not _stopping:
        _stopping = True
        raise SystemExit(128 + number)


def _work_in_worker(work: Work, index: int, task: Any) -> dict[str, Any]:
    if _stopping:
        raise SystemExit(128 + signal.SIGTERM)
    return work(task, _throttled(lambda done, total: _reports.put((index, done, total))))
