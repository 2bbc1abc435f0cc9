"""The documentation's pages: generated ones are up to date, links lead somewhere, README.md is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools.write_docs import pages as generated

from documentation.blocks import ROOT, pages

_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"`([\w.-]+/[\w./-]*|[\w.-]+\.py)`")
"""A path between backticks: with a slash, or a Python file."""


@pytest.mark.parametrize("page", sorted(generated()), ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_pages_are_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == generated()[page], "run make docs-pages"


def test_no_page_of_a_task_that_is_gone() -> None:
    assert set((ROOT / "docs" / "tasks").glob("*.md")) <= generated().keys()


@pytest.mark.parametrize(
    "page", [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"], ids=lambda page: str(page.name)
)
def test_links_lead_to_files(page: Path) -> None:
    missing = [link for link in _LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("index", ["README.md", "docs/index.md", "zensical.toml"])
def test_every_page_is_named(index: str) -> None:
    text = (ROOT / index).read_text(encoding="utf-8")
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert not {name for name in names if name not in re.split(r"[()/\"]", text)}


def test_contributing_names_files_that_exist() -> None:
    """A path in it begins at the root, or in one of the two packages."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    starts = (ROOT, ROOT / "runtime" / "onnxpipe", ROOT / "export" / "onnxpipe_export")
    named = _PATH.findall(text)
    assert len(named) > 20
    assert [path for path in named if not any((start / path).exists() for start in starts)] == []


def test_the_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 8192
