"""Save an image generator as a folder that `from_pretrained` loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxpipe.bundle.diffusion_folder import INDEX
from onnxpipe.bundle.files import read_json
from onnxpipe.bundle.manifest import relist
from onnxpipe.errors import UnsupportedError

if TYPE_CHECKING:
    from onnxpipe.tasks.image_generation.base import ImageGenerator

_CERTIFICATE = "certificate.json"


def save(pipe: ImageGenerator, target: Path) -> None:
    """Write a pipeline's folder, with its class, scheduler and tokenizers as they are now.

    Raises:
        UnsupportedError: it has a graph of another folder.
        OSError: the folder cannot be written.
    """
    model = pipe.model
    parts = {"vae": model.vae.graphs, **{name: encoder.graphs for name, encoder in model.text_encoders.items()}}
    for name, graphs in parts.items():
        if graphs is not model.graphs:
            raise UnsupportedError(
                f"the {name} is of another folder than {model.name_or_path}, and graphs are saved with their own: load "
                f"the pipeline again and pass {name}= then"
            )
    model.save_pretrained(target)
    for name, tokenizer in pipe.components["tokenizers"].items():
        tokenizer.save_pretrained(target / name)
    _write_index(pipe, target)
    _write_scheduler(pipe, target)
    relist(target)


def _write_index(pipe: ImageGenerator, target: Path) -> None:
    index = read_json(target, INDEX)
    index["_class_name"] = type(pipe).__name__
    index["scheduler"] = ["diffusers", type(pipe.scheduler).__name__]
    _write(target / INDEX, index)


def _write_scheduler(pipe: ImageGenerator, target: Path) -> None:
    """Write the scheduler's config; the run that can be repeated is of the folder's first one, and is left out."""
    folder = target / "scheduler"
    before = read_json(target, "scheduler/scheduler_config.json")
    pipe.scheduler.save_pretrained(folder)
    after = read_json(target, "scheduler/scheduler_config.json")
    same = type(pipe.scheduler).from_config(before).config == pipe.scheduler.config
    if before.get("_class_name") != after["_class_name"] or not same:
        path = target / _CERTIFICATE
        if path.is_file():
            certificate = read_json(target, _CERTIFICATE)
            certificate.get("images", {}).pop("repeated", None)
            _write(path, certificate)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
