"""Fixtures of several test files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxpipe.engine import Device, import_onnxruntime, opening, plugins
from unit.hub_server import Hub, serve


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The Hub, played by a server of the tests."""
    with serve(monkeypatch, tmp_path) as server:
        yield server


@pytest.fixture
def contoso(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A package with an execution provider, `device="contoso"`: ONNX Runtime's own for the CPU, which it is told to add
    as it adds a plug-in's. So nothing is left that could run behind it, and it does not count as built in."""
    provider = "CPUExecutionProvider"
    code = f"get_library_path = lambda: 'libcontoso.so'\nget_ep_names = lambda: [{provider!r}]\n"
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "onnxruntime_ep_contoso.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(plugins, "_REGISTERED", {"libcontoso.so"})
    monkeypatch.setattr(import_onnxruntime(), "get_available_providers", lambda: ["AzureExecutionProvider"])
    usual = opening.provider_list

    def alone(device: Device) -> list[tuple[str, dict[str, str]]]:
        return usual(device)[:1]

    monkeypatch.setattr(opening, "provider_list", alone)
    plugins.plugins.cache_clear()
    yield
    plugins.plugins.cache_clear()
