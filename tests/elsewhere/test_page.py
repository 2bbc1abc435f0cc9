"""A bundle on a page: transformers.js with ONNX Runtime for the web, in Chromium without a window."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elsewhere.conftest import HERE, job
from onnxpipe import pipeline

TEXTS = ["Alice met Bob in Paris.", "A longer sentence, in which more happens than in the first one."]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a folder is served inside."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_text_on_a_page(bundles: Callable[..., Path], packages: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium: install the system's package chromium")
    folders = [bundles("bert", "classify"), bundles("llama", "causal")]
    for name in ("page.html", "jobs.mjs"):
        shutil.copyfile(HERE / name, tmp_path / name)
    for name, folder in (("node_modules", packages), ("bert", folders[0]), ("llama", folders[1])):
        (tmp_path / name).symlink_to(folder.resolve())
    # transformers.js goes on with a row that has ended until all rows of the batch have
    options = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}
    with served(tmp_path) as address, playwright.sync_playwright() as play:
        jobs = [
            job("text-classification", "/bert", "fp32", (TEXTS, {"top_k": None})),
            job("text-generation", "/llama", "fp32", (TEXTS, options)),
        ]
        with play.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser:
            page = browser.new_page()
            page.goto(f"{address}/page.html")
            page.wait_for_function("() => window.answers !== undefined")
            classified, generated = page.evaluate("(jobs) => window.answers(jobs)", jobs)
    expected = pipeline("text-classification", folders[0], device="cpu")(TEXTS, top_k=None)
    for row, wanted in zip(classified[0], expected, strict=True):
        scores = [{each["label"]: each["score"] for each in some} for some in (row, wanted)]
        assert scores[0].keys() == scores[1].keys()
        np.testing.assert_allclose([scores[0][label] for label in scores[1]], [*scores[1].values()], atol=1e-5)
    stories = pipeline("text-generation", folders[1], device="cpu")(TEXTS, **options)
    assert [row[0]["generated_text"] for row in generated[0]] == [row[0]["generated_text"] for row in stories]
