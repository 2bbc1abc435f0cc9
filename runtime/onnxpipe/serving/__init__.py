"""Serve pipelines over HTTP, in the shapes that existing clients speak: Hugging Face's, OpenAI's, TEI's, KServe's.

    from onnxpipe import pipeline
    from onnxpipe.serving import app

    application = app({"sst2": pipeline("text-classification", model="sst2-bundle")})

The result is an ASGI application: run it with uvicorn, or mount it in another one. `onnxpipe serve` does the same from
the command line. It needs the extra `serve`, which `import onnxpipe` never imports.
"""

from __future__ import annotations

from onnxpipe.serving.settings import ServeSettings

__all__ = ["ServeSettings", "app"]


def __getattr__(name: str) -> object:
    if name == "app":
        from onnxpipe.serving.application import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
