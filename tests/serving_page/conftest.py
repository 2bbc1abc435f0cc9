"""A server with the models of models.py, and Chromium without a window that opens its page."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def served(pipes: Any, **settings: Any) -> Iterator[str]:
    """Serve pipelines in a thread; the address."""
    uvicorn = pytest.importorskip("uvicorn")
    from onnxpipe.serving import app

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app(pipes, **settings), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()  # the port is open: requests wait until the server takes them
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture(scope="module")
def pipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from serving_page.models import pipes as every_kind

    return every_kind(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def address(pipes: dict[str, Any]) -> Iterator[str]:
    with served(pipes) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Where pages are opened. Its event loop is the thread's, so it ends before other tests begin theirs."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium: install the system's package chromium")
    with (
        playwright.sync_playwright() as play,
        play.chromium.launch(executable_path=program, args=["--no-sandbox"]) as running,
    ):
        yield running.new_context()  # one for all pages: making one takes longer than a page


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """`open_page(model, expect=())`: the page with a model chosen; at the end nothing may have gone wrong in it.

    `expect` are words of messages of the console that are no fault: Chromium writes one for each answer of 4xx.
    """
    opened: list[tuple[Any, list[str], tuple[str, ...], str]] = []

    def open_one(model: str, expect: tuple[str, ...] = (), url: str = address) -> Any:
        page = browser.new_page()
        page.set_default_timeout(15_000)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append("a dialog"), dialog.dismiss()))
        page.on("request", lambda request: None if _own(request.url, url) else wrong.append(request.url))
        page.goto(f"{url}#{model}")
        opened.append((page, wrong, expect, url))
        return page

    yield open_one
    for page, wrong, expect, _ in opened:
        page.close()
        assert not [each for each in wrong if not any(word in each for word in expect)]


def _own(asked: str, url: str) -> bool:
    return asked.startswith((url, f"blob:{url}", "data:"))


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blue image of 300 x 200 pixels."""
    image = pytest.importorskip("PIL.Image")
    path = tmp_path_factory.mktemp("photo") / "my photo's.png"
    image.new("RGB", (300, 200), (40, 60, 200)).save(path)
    return path


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from unit.audio_files import wav
    from unit.tasks.test_speech_recognition import said

    path = tmp_path_factory.mktemp("recording") / "said.wav"
    path.write_bytes(wav(said("hello wide world")))
    return path
