"""The packages of the extra `serve`, asked for where they are used."""

from __future__ import annotations

from importlib.util import find_spec

from onnxpipe.errors import MissingDependencyError

#: Module -> package.
_NEEDED = {
    "starlette": "starlette",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
    "uvicorn": "uvicorn",
    "websockets": "websockets",
}


def check_packages(*modules: str) -> None:
    """Raise MissingDependencyError unless these modules can be imported; by default all of the extra."""
    missing = [_NEEDED[name] for name in modules or _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'serving needs {", ".join(missing)}: pip install "onnxpipe[serve]", or from a clone pip install ".[serve]"'
        )
