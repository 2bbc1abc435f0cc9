"""The two libraries side by side, and the support table of what passed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.table import Results, write

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"


@pytest.fixture(scope="session")
def ours(bundles: Callable[..., Path]) -> Any:
    """onnxpipe on the zoo's bundles."""
    from conformance.runner import Ours

    return Ours(bundles)


@pytest.fixture(scope="session")
def theirs(models: Callable[[str, str], Path]) -> Any:
    """The installed transformers on the zoo's models."""
    from conformance.runner import Transformers

    return Transformers(models)


class _Collector:
    """Counts the checks of each (task, family). With pytest-xdist, reports arrive here from every worker."""

    def __init__(self) -> None:
        self.results: Results = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        cell = dict(report.user_properties).get("cell")
        if cell is None or (report.when != "call" and report.passed) or report.skipped:
            return
        task, family = str(cell).split("/")
        passed, failed = self.results.get((task, family), (0, 0))
        self.results[task, family] = (passed + report.passed, failed + report.failed)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-table") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(), "conformance-table")


def pytest_sessionfinish(session: pytest.Session) -> None:
    collector = session.config.pluginmanager.get_plugin("conformance-table")
    if collector is not None:
        write(PAGE, collector.results)
