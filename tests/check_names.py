"""Collect all tests twice, in two processes two seconds apart, and compare their names.

pytest-xdist ends a run whose workers collect different names, so a name must not hold data that differs from process to
process: a clock, an unseeded draw, the order of a set, a path. Run it as `python tests/check_names.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from difflib import unified_diff


def main() -> int:
    """Compare the two collections; returns 0 where they are the same."""
    first = _names("1")
    time.sleep(2)  # the clock of a zip archive counts in steps of two seconds
    second = _names("2")
    if first != second:
        print("\n".join(unified_diff(first, second, "first", "second", lineterm="", n=0)))
        print("Tests have other names in another process: give the parameters ids that hold no data.")
        return 1
    print(f"{len(first)} tests have the same names in two processes")
    return 0


def _names(seed: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, encoding="utf-8"
    )
    names = [line for line in done.stdout.splitlines() if line.startswith("tests/")]
    if done.returncode or not names:
        sys.exit(f"the tests cannot be collected:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return names


if __name__ == "__main__":
    sys.exit(main())
