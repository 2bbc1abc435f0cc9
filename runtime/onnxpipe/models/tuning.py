"""The settings that `onnxpipe tune` found best for a bundle on this machine, which dtype="auto" obeys.

A choice stands in onnxpipe's cache, one file for each content of a bundle. It holds for the machine and the ONNX
Runtime that it was measured with: elsewhere it is not used, and a warning says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.files import read_json
from onnxpipe.bundle.processor import cpu_flags
from onnxpipe.engine.runtime import import_onnxruntime
from onnxpipe.engine.threads import available_threads
from onnxpipe.errors import OnnxPipeError

logger = logging.getLogger("onnxpipe")


@dataclass(frozen=True)
class Tuning:
    """A choice.

    Attributes:
        dtype: the precision.
        threads: threads of an operator.
        device: where it runs, as `device=` names it.
        machine: what it was measured on, see `this_machine`.
        measured: figures of the choice, for people.
    """

    dtype: str
    threads: int
    machine: Mapping[str, Any]
    measured: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"


def cache_home() -> Path:
    """onnxpipe's own cache: `ONNXPIPE_CACHE`, else `onnxpipe` in `XDG_CACHE_HOME`, else in `~/.cache`."""
    own = os.environ.get("ONNXPIPE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(own or Path(base) / "onnxpipe").expanduser()


def this_machine() -> dict[str, Any]:
    """Describe what a measurement depends on: the processor's instruction sets, the threads, ONNX Runtime."""
    flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:12]
    return {
        "processor": f"{platform.machine()} {flags}",
        "threads": available_threads(),
        "onnxruntime": import_onnxruntime().__version__,
    }


def place_of(bundle: Bundle) -> Path | None:
    """Return the file of a bundle's choice; None for folders of other exporters, whose content is not listed."""
    if bundle.manifest is None:
        return None
    content = json.dumps(bundle.manifest["files"], sort_keys=True).encode()
    name = bundle.folder.resolve().name or "model"
    return cache_home() / "tuning" / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.json"


def read_tuning(bundle: Bundle) -> Tuning | None:
    """Read the choice for a bundle that holds on this machine; a file that is damaged is none, with a warning."""
    place = place_of(bundle)
    if place is None or not place.is_file():
        return None
    try:
        values = read_json(place.parent, place.name)
        device = str(values.get("device", "cpu"))
        tuning = Tuning(str(values["dtype"]), int(values["threads"]), dict(values["machine"]), device=device)
    except (OnnxPipeError, OSError, ValueError, KeyError, TypeError):
        logger.warning("%s is damaged, so it is not obeyed: run onnxpipe tune again.", place)
        return None
    if tuning.machine != this_machine():
        logger.warning(
            "%s was tuned on another machine or with another ONNX Runtime, so that choice is not obeyed: run onnxpipe "
            "tune again, or delete %s.", bundle.folder, place,
        )  # fmt: skip
        return None
    return tuning


def write_tuning(bundle: Bundle, tuning: Tuning) -> Path:
    """Store the choice for a bundle; returns its file.

    Raises:
        ValueError: the bundle has no bundle.json.
    """
    place = place_of(bundle)
    if place is None:
        raise ValueError(f"{bundle.folder} has no bundle.json: only what onnxpipe exported can be tuned")
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(asdict(tuning), indent=2) + "\n", encoding="utf-8")
    unfinished.replace(place)
    return place
