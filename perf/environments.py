"""Environments of the peers: one a peer, made from the list of versions beside its module, `perf/peers/NAME.txt`.

They lie in `.cache/peers`, or in the folder that ONNXPIPE_PERF_CACHE names. A peer that has none is run by this
interpreter where its package is installed, and else left out with the reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType

from perf.turns import ROOT, environment

LOCKS = Path(__file__).parent / "peers"
_LAST_LINES = 12


def cache() -> Path:
    """Return the folder of environments and of what peers convert."""
    return Path(os.environ.get("ONNXPIPE_PERF_CACHE") or ROOT / ".cache" / "peers").resolve()


def names() -> list[str]:
    """Name every environment."""
    return sorted(path.stem for path in LOCKS.glob("*.txt"))


def peer(name: str) -> ModuleType:
    """Import a peer's module; this imports nothing of the peer's."""
    return importlib.import_module(f"perf.peers.{name}")


def environment_of(name: str) -> str:
    """Name the environment in which a peer runs."""
    return str(getattr(peer(name), "ENVIRONMENT", name))


def folder(name: str) -> Path:
    """Return the folder of an environment."""
    return cache() / name


def is_ready(name: str) -> bool:
    """Whether an environment was made from the list as it is now."""
    copy, lock = folder(name) / "lock.txt", LOCKS / f"{name}.txt"
    return copy.is_file() and copy.read_bytes() == lock.read_bytes()


def python(name: str) -> Path | None:
    """Return the interpreter of a peer, None for this one.

    Raises:
        LookupError: there is none; the message says why.
    """
    environment_name = environment_of(name)
    if is_ready(environment_name):
        return folder(environment_name) / "bin" / "python"
    try:
        found = importlib.util.find_spec(peer(name).PACKAGE)
    except ModuleNotFoundError:
        found = None
    if found is not None:
        return None
    failed = cache() / f"{environment_name}.failed"
    if failed.is_file():
        raise LookupError(f"could not be installed: {failed.read_text('utf-8').strip().splitlines()[-1]}")
    raise LookupError(f"not installed: python -m perf setup {environment_name}")


def version(name: str) -> str:
    """Read the version of a peer's package, in its interpreter."""
    package = peer(name).PACKAGE.partition(".")[0]
    code = (
        "import importlib.metadata as m, sys\n"
        f"names = m.packages_distributions().get({package!r}) or [{package!r}]\n"
        f"print(*{{n + ' ' + m.version(n) for n in names if n != 'optimum'}})"
    )
    interpreter = str(python(name) or sys.executable)
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    return done.stdout.strip()


def setup(name: str) -> bool:
    """Make an environment; where that fails, print and note why.

    Returns:
        Whether it is there.
    """
    if is_ready(name):
        print(f"{name}: ready")
        return True
    target, lock, failed = folder(name), LOCKS / f"{name}.txt", cache() / f"{name}.failed"
    shutil.rmtree(target, ignore_errors=True)
    failed.unlink(missing_ok=True)
    venv.create(target, symlinks=True, with_pip=False)
    build = getattr(peer(name), "BUILD", {})
    pip = [sys.executable, "-m", "pip", "--python", str(target / "bin" / "python"), "install", "-q", "-r", str(lock)]
    pip += ["--no-cache-dir"] if build else []  # a wheel that pip kept may have been built for another processor
    done = subprocess.run(pip, env=os.environ | build, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        why = "\n".join(done.stdout.strip().splitlines()[-_LAST_LINES:])
        failed.write_text(why, "utf-8")
        print(f"{name}: could not be installed\n{why}")
        return False
    if build:
        subprocess.run([str(target / "bin" / "python"), "-m", f"perf.peers.{name}"], cwd=ROOT, check=True)
    shutil.copy(lock, target / "lock.txt")
    print(f"{name}: installed in {target}")
    return True
