"""Warnings as transformers logs them: some each time, some once a process."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger("onnxpipe")


@functools.cache
def warn_once(message: str) -> None:
    """Logs a warning, the first time only."""
    logger.warning(message)
