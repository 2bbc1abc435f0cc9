"""Log warnings as transformers does: some each time, some once per process."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger("onnxpipe")


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, the first time only."""
    logger.warning(message)
