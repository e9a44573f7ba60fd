"""What the library warns of on the way (logging and warnings), as plain sentences for the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Handler(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


@contextmanager
def notes_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Within the block, hand each distinct warning of Omote to ``tell``, and to nobody else.

    Args:
        tell: called with one line.
    """
    told: set[str] = set()

    def once(text: str) -> None:
        line = " ".join(text.split())
        if line not in told:
            told.add(line)
            tell(line)

    logger = logging.getLogger("omote")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Handler(once)], False
    try:
        with warnings.catch_warnings():
            for quiet in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning):
                warnings.simplefilter("ignore", quiet)
            warnings.showwarning = lambda message, *_, **__: once(str(message))
            yield
    finally:
        logger.handlers, logger.propagate = before
