"""Versions of torch and transformers that were not tried: a warning, and the export goes on."""

from __future__ import annotations

import tomllib
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")

from onnxpipe_export.versions import TRIED, warn_of_untried

OTHERS = {
    "older transformers": {"transformers": "5.2.9"},
    "newer transformers": {"transformers": "5.99.0"},
    "the next major version": {"transformers": "6.0.0.dev0"},
    "older torch": {"torch": "2.9.1+cpu"},
    "newer torch": {"torch": "2.100.0"},
}


@pytest.mark.parametrize("versions", OTHERS.values(), ids=OTHERS)
def test_a_warning_names_what_was_tried(versions: dict[str, str]) -> None:
    known = {package: last for package, (_, last) in TRIED.items()} | versions
    ((package, version),) = versions.items()
    with pytest.warns(UserWarning, match="The certificate decides") as caught:
        warn_of_untried(known.__getitem__)
    (message,) = [str(each.message) for each in caught]
    assert all(part in message for part in (package, version, *TRIED[package]))


@pytest.mark.parametrize("end", [0, 1], ids=["first", "last"])
def test_no_warning_inside(end: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_untried(lambda package: f"{TRIED[package][end]}.7+cpu")


def test_the_lower_bounds_were_tried() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = project["optional-dependencies"]["export"]
    for package, (first, _) in TRIED.items():
        assert any(bound.startswith(f"{package}>={first}") for bound in bounds)
