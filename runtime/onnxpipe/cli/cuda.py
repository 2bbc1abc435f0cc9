"""Check that CUDA really works: run a graph of one node on it, in a process of its own.

`engine.cuda` finds what is missing. Parts that are there but do not fit together (an old driver, no memory, a GPU that
the wheel was not built for) only fail when a graph runs: on stderr, and at worst with a crash; hence the process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

_SECONDS = 120
_CHILD = """
import sys
from pathlib import Path
import numpy as np
from onnxpipe.engine import open_session, parse_device
path = Path(sys.argv[1])
session = open_session(path, root=path.parent, device=parse_device("cuda"))
session.run({"x": np.ones(1, np.float32)})
"""


def run_problem() -> str | None:
    """Return what goes wrong on CUDA, in one line; None if the graph runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.onnx"
        path.write_bytes(one_node_model())
        try:
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(path)],
                capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"a graph of one node did not end within {_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"a graph of one node ended the process with exit code {done.returncode}"


def one_node_model() -> bytes:
    """Build the ONNX model y = Identity(x) of one float by hand: the runtime has no `onnx` package.

    Field numbers are those of onnx.proto3.
    """
    shape = _message(2, _message(1, _number(1, 1)))
    kind = _message(2, _message(1, _number(1, 1) + shape))  # elem_type 1 is float
    node = _message(1, b"x") + _message(2, b"y") + _message(4, b"Identity")
    graph = _message(1, node) + _message(2, b"one") + _message(11, _message(1, b"x") + kind)
    graph += _message(12, _message(1, b"y") + kind)
    return _number(1, 8) + _message(7, graph) + _message(8, _number(2, 13))


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3, value])


def _message(field: int, payload: bytes) -> bytes:
    return bytes([field << 3 | 2, len(payload)]) + payload
