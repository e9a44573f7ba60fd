"""Frames from the engine to the file, with the encoder on a thread of its own: neither waits for the other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_AHEAD = 4
"""Frames that may wait for the encoder; memory does not grow beyond them."""


def pump(
    frames: Iterable[tuple[Picture, float]],
    write: Callable[[Picture, float], Any],
    written: Callable[[int], None] | None = None,
) -> int:
    """Hand each frame to ``write`` on another thread, while the next one is made on this one.

    Args:
        frames: (frame, time in seconds).
        write: called with them, in order.
        written: told on this thread, after each frame that was made, how many there are.

    Returns:
        How many frames there were.

    Raises:
        Exception: what ``frames`` or ``write`` raise; writing has stopped by then.
    """
    waiting: queue.Queue[tuple[Picture, float] | None] = queue.Queue(_AHEAD)
    failures: list[BaseException] = []
    stopped = threading.Event()

    def work() -> None:
        while (item := waiting.get()) is not None:
            if stopped.is_set():
                continue  # emptied, so that nobody waits for room
            try:
                write(*item)
            except BaseException as error:  # raised again on the thread that asked  # noqa: BLE001
                failures.append(error)
                stopped.set()

    thread = threading.Thread(target=work, name="omote-encode", daemon=True)
    thread.start()
    count = 0
    try:
        for item in frames:
            if stopped.is_set():
                break
            waiting.put(item)
            count += 1
            if written is not None:
                written(count)
    except BaseException:
        stopped.set()
        raise
    finally:
        waiting.put(None)
        thread.join()
    if failures:
        raise failures[0]
    return count
