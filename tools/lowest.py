"""Print the lowest versions that pyproject.toml allows of what the runtime and its tests need, as pins of pip.

python -m tools.lowest > lowest.txt && pip install -r lowest.txt
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
#: The extras of the runtime for CPUs, and what the exporter and the tests bring that unit tests and attacks use.
EXTRAS = ("cpu", "vision", "video", "audio", "grammar")
TESTS = ("onnx", "protobuf", "pytest", "pytest-xdist", "hypothesis", "scipy")

_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(?:(?:>=|==)\s*([0-9][^,;\s]*))?")


def lowest_versions(text: str) -> dict[str, str]:
    """Map the packages that `text`, a pyproject.toml, names to the lowest version that each may have.

    Raises:
        ValueError: a package without a lower bound.
    """
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in EXTRAS for one in extras[name])]
    wanted += [one for name in ("export", "dev") for one in extras[name] if _name(one) in TESTS]
    return dict(sorted(_pins(wanted)))


def _name(requirement: str) -> str:
    found = _REQUIREMENT.match(requirement)
    return found[1] if found else ""


def _pins(requirements: Iterable[str]) -> Iterable[tuple[str, str]]:
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found is None or (found[2] is None and found[1] != "onnxpipe"):
            raise ValueError(f"{requirement!r} has no lower bound")
        if found[1] != "onnxpipe":
            yield found[1], found[2]


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest_versions(PROJECT.read_text("utf-8")).items()))
