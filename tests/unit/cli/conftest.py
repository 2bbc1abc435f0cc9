"""The fixture that all tests of the command line share."""

from __future__ import annotations

import pytest

from unit.cli.fakes import FakeCLI


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> FakeCLI:
    return FakeCLI(monkeypatch)
