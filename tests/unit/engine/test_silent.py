"""Silent: loading and running a model opens no socket and writes no file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from attacks.graphs import external_folder

#: Run in a process of its own: loads the model in argv[1], runs it, and prints what Python and the kernel saw.
CHILD = """
import os, sys
events = []
def hook(event, args):
    if event.startswith(("socket.", "urllib.", "http.", "os.mkdir", "os.rename", "os.remove", "tempfile.")):
        events.append(f"{event} {args}")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append(f"{event} {args}")
sys.addaudithook(hook)
sys.dont_write_bytecode = True
from pathlib import Path
import numpy as np
from onnxpipe.bundle import fetch, open_bundle
from onnxpipe.engine import open_session, parse_device
folder = fetch(sys.argv[1])
bundle = open_bundle(folder)
precision, path = bundle.choose("model")
bundle.verify_file(path)
session = open_session(path, root=folder, device=parse_device("cpu"), threads=2)
for _ in range(3):
    session.run({"input_ids": np.ones((2, 5), np.int64), "attention_mask": np.ones((2, 5), np.int64)})
session.providers
for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        continue
    if target.startswith("socket:") and int(fd) > 2:
        events.append(f"open socket {fd}")
loaded = {"torch", "transformers", "onnx", "onnxpipe_export", "huggingface_hub", "requests", "httpx", "httpx2"}
events += [f"imported {name}" for name in sorted(loaded & set(sys.modules))]
print("\\n".join(["EVENTS", *events]))
"""

_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
#: Devices and the process's own settings, which are not files; threads are named through /proc/self.
_HARMLESS = re.compile(r'"/dev/(null|tty|urandom|shm/[^"]*)"|"/proc/self/')


def run_child(home: Path, folder: Path, wrapper: list[str]) -> str:
    keep = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name in keep}
    # No ORT_DISABLE_TELEMETRY here: the runtime must see to that itself.
    env |= {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", CHILD, str(folder)],
        env=env,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_nothing_is_written_and_no_socket_opened(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", external_folder(tmp_path / "model")
    home.mkdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_child(home, folder, []).split("EVENTS")[1].strip() == ""
    assert list(home.rglob("*")) == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.skipif(shutil.which("strace") is None, reason="the test above sees Python's side; strace sees the rest")
def test_the_kernel_saw_no_network_and_no_writing(tmp_path: Path) -> None:
    home, folder, log = tmp_path / "home", external_folder(tmp_path / "model"), tmp_path / "log"
    home.mkdir()
    calls = "trace=network,open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,symlink"
    strace = ["strace", "-f", "-qq", "-e", calls, "-e", "signal=none", "-o", str(log)]
    probe = subprocess.run([*strace, "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.strip()}")
    run_child(home, folder, strace)
    lines = log.read_text(errors="replace").splitlines()
    assert any("model.onnx_data" in line for line in lines)  # the trace is of the right process
    network = [line for line in lines if re.search(r"\b(socket|connect|sendto|sendmsg|bind|getaddrinfo)\(", line)]
    assert network == []
    writes = [
        line
        for line in lines
        if (_WRITES.search(line) or re.search(r"\b(creat|mkdir|rename|unlink|symlink)\w*\(", line))
        and not _HARMLESS.search(line)
        and "ENOENT" not in line
    ]
    assert writes == []
    assert list(home.rglob("*")) == []
