"""Print the lowest versions that pyproject.toml allows, as pins of pip, for one of two environments.

python -m tools.lowest runtime > pins.txt && pip install -r pins.txt

`runtime` holds what runs bundles, without torch; `export` what makes them. What transformers itself needs (numpy,
tokenizers, huggingface-hub) has no pin in `export`: its own lower bounds are higher than those of the runtime.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
#: Extra -> its packages that an environment gets; None means all of them, "dependencies" those of the project itself.
#: kenlm and rapidocr are left out: one is compiled, the other brings OpenCV.
ENVIRONMENTS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "runtime": {
        "dependencies": None, "cpu": None, "vision": None, "video": None, "audio": None, "grammar": None,
        "phonemes": None, "tesseract": None, "lm": ("pyctcdecode",), "export": ("onnx", "protobuf"),
        "dev": ("pytest", "pytest-xdist", "hypothesis", "scipy", "pandas"),
    },
    "export": {
        "cpu": None, "vision": None, "video": None, "audio": None, "grammar": None, "export": None,
        "dev": ("pytest", "pytest-xdist", "hypothesis", "scipy", "pandas"),
    },
}  # fmt: skip

_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(?:(?:>=|==)\s*([0-9][^,;\s]*))?")


def lowest_versions(text: str, environment: str) -> dict[str, str]:
    """Map the packages of `environment` to the lowest version that `text`, a pyproject.toml, allows.

    Raises:
        ValueError: a package without a lower bound, or one that is wanted and not named.
    """
    project = tomllib.loads(text)["project"]
    pins = {}
    for extra, wanted in ENVIRONMENTS[environment].items():
        named = project["dependencies"] if extra == "dependencies" else project["optional-dependencies"][extra]
        found = dict(_pins(named, wanted))
        missing = set(wanted or ()) - found.keys()
        if missing:
            raise ValueError(f"{extra} names no {', '.join(sorted(missing))}")
        pins |= found
    return dict(sorted(pins.items()))


def _pins(requirements: Iterable[str], wanted: tuple[str, ...] | None) -> Iterable[tuple[str, str]]:
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        name = found[1] if found else requirement
        if name == "onnxpipe" or (wanted is not None and name not in wanted):
            continue
        if found is None or found[2] is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        yield name, found[2]


if __name__ == "__main__":
    versions = lowest_versions(PROJECT.read_text("utf-8"), sys.argv[1])
    print("\n".join(f"{name}=={version}" for name, version in versions.items()))
