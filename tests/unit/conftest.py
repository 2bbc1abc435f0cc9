"""Fixtures of several test files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.hub_server import Hub, serve


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The Hub, played by a server of the tests."""
    with serve(monkeypatch, tmp_path) as server:
        yield server
