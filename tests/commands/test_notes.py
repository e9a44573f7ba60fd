"""Warnings of the library become sentences for the user, each once, and nothing leaks out."""

from __future__ import annotations

import logging
import warnings

import pytest

from omote.commands.notes import notes_to


def test_each_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []
    with notes_to(heard.append):
        for _ in range(2):
            logging.getLogger("omote.media").warning("%s: holds %d frames", "a.gif", 3)
            warnings.warn("no time\ncolumn", stacklevel=1)
        logging.getLogger("omote.media").info("not for users")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert heard == ["a.gif: holds 3 frames", "no time column"]


def test_inner_blocks_take_over_and_give_back() -> None:
    outer: list[str] = []
    inner: list[str] = []
    logger = logging.getLogger("omote")
    before = logger.handlers, logger.propagate
    with notes_to(outer.append):
        with notes_to(inner.append):
            logger.warning("a")
        logger.warning("b")
    assert (inner, outer) == (["a"], ["b"])
    assert (logger.handlers, logger.propagate) == before
