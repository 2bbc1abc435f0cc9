"""The versions of torch and transformers with which exporting was tried."""

from __future__ import annotations

import importlib.metadata
import re
import warnings
from collections.abc import Callable, Mapping

TRIED: Mapping[str, tuple[str, str]] = {"torch": ("2.13", "2.13"), "transformers": ("5.3", "5.24")}
"""Package -> the first and the last version (major and minor) that was tried."""


def warn_of_untried(installed: Callable[[str], str] = importlib.metadata.version) -> None:
    """Warn if torch or transformers is older or newer than what was tried; the export goes on.

    Args:
        installed: gives a package's version.
    """
    for package, (first, last) in TRIED.items():
        version = installed(package)
        if not _minor(first) <= _minor(version) <= _minor(last):
            tried = f"{first}" if first == last else f"{first} to {last}"
            warnings.warn(
                f"exporting was tried with {package} {tried}, and {version} is installed. The certificate decides "
                "whether the bundle is right: a wrong one is refused, not written",
                stacklevel=3,
            )


def _minor(version: str) -> tuple[int, ...]:
    """Return major and minor of a version: (2, 13) for "2.13.0+cpu"."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
