"""The values of a case: its marks as each library takes them; answers in a form that both and JSON share."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from conformance.cases.common import (
    Audio,
    Floats,
    Generator,
    Ids,
    Image,
    Keyed,
    KeyedPair,
    PipeTokenizer,
    ReturnType,
    Settings,
    Squad,
    Video,
)
from conformance.compare import ImagePixels
from zoo.audio import recordings
from zoo.vision import images as zoo_images

Outcome = dict[str, Any]
"""`{"value": …}`, `{"lazy": […]}` for an iterator's items, or `{"error": type name, "bases": […], "message": str}`."""

Marks = Mapping[str, str]
"""A mark in the texts of the cases -> what it stands for."""


def to_json(value: Outcome) -> Any:
    """An outcome as JSON keeps it: floats of 7 significant digits, an error by its name and message alone."""
    kept = {name: item for name, item in value.items() if name != "bases"}
    text = json.dumps(kept, default=_as_json)
    return json.loads(text, parse_float=lambda digits: float(f"{float(digits):.7g}"))


def _as_json(value: Any) -> dict[str, Any]:
    if isinstance(value, ImagePixels):
        return {_IMAGE: value.mode, "png": zoo_images.in_base64(value.pixels)}
    return {_ARRAY: str(value.dtype), "values": value.tolist()}


def from_json(value: Any) -> Any:
    """Read what `to_json` wrote, with its arrays and images. Recorded images were rounded from floats."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return np.array(value["values"], value[_ARRAY])
        if _IMAGE in value:
            return ImagePixels(value[_IMAGE], zoo_images.from_base64(value["png"]), exact=False)
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


_ARRAY, _IMAGE = "__array__", "__image__"


def resolved(library: Any, pipe: Any, value: Any) -> Any:
    """The value that a mark stands for, in `library` (see `conformance.runner.Library`)."""
    if isinstance(value, Generator):
        return (item for item in resolved(library, pipe, list(value.items)))
    if isinstance(value, Keyed):
        return library.keyed(resolved(library, pipe, list(value.rows)), value.key)
    if isinstance(value, KeyedPair):
        return library.keyed_pair(_copied(list(value.rows)), value.key, value.pair)
    if isinstance(value, Squad):
        return library.squad(value.question, value.context)
    if isinstance(value, Settings):
        return library.settings(_copied(dict(value.values)))
    if isinstance(value, Ids):
        return library.ids([list(row) for row in value.values])
    if isinstance(value, PipeTokenizer):
        return pipe.tokenizer
    if isinstance(value, ReturnType):
        homes = (sys.modules[base.__module__] for base in type(pipe).__mro__)
        return next(home.ReturnType[value.name] for home in homes if hasattr(home, "ReturnType"))
    if isinstance(value, Image):
        return _image_form(value)
    if isinstance(value, Video):
        return str(zoo_images.clip(value.name, _files(), value.count))
    if isinstance(value, Audio):
        return library.decoded(_audio_form(value), pipe)
    if isinstance(value, Floats):
        seeded = np.random.default_rng(value.seed)
        return library.floats(seeded.standard_normal((value.rows, value.columns)).astype(np.float32))
    if isinstance(value, list | tuple):
        return type(value)(resolved(library, pipe, item) for item in value)
    if isinstance(value, dict):
        return {key: resolved(library, pipe, item) for key, item in value.items()}
    return _copied(value)


def _image_form(wanted: Image) -> Any:
    """A fresh image in the form that the case names."""
    if wanted.form == "path":
        return str(zoo_images.write(wanted.name, _files()))
    if wanted.form in ("base64", "data"):
        return zoo_images.as_base64(wanted.name, prefix=wanted.form == "data")
    return zoo_images.pixels(wanted.name).copy() if wanted.form == "array" else zoo_images.pil_image(wanted.name)


def _audio_form(wanted: Audio) -> Any:
    """A fresh recording in the form that the case names."""
    if wanted.form in ("path", "bytes", "broken"):
        data = recordings.encoded(wanted.name)[0]
        path = recordings.write(wanted.name, _files())
        return {"path": str(path), "bytes": data, "broken": data[:20]}[wanted.form]
    array = recordings.mono(wanted.name).copy()
    if wanted.form in ("raw", "array dict"):
        rate, extra = recordings.KINDS[wanted.name].rate, _copied(dict(wanted.extra))
        if wanted.form == "raw":
            return {"raw": array, "sampling_rate": rate, **extra}
        return {"path": "not/read.wav", "array": array, "sampling_rate": rate, **extra}
    return _FORMS[wanted.form](array, wanted.name)


def _tensor(array: np.ndarray, name: str) -> Any:
    import torch

    return torch.from_numpy(array)


_FORMS: Mapping[str, Callable[[np.ndarray, str], Any]] = {
    "array": lambda array, name: array,
    "float64": lambda array, name: array.astype(np.float64),
    "int16": lambda array, name: (array * 32767).astype(np.int16),
    "tensor": _tensor,
    "list": lambda array, name: array[:50].tolist(),
    "one channel": lambda array, name: array[None],
    "three axes": lambda array, name: array[None, None],
    "channels": lambda array, name: np.ascontiguousarray(recordings.samples(name).T),
    "channels last": lambda array, name: recordings.samples(name).copy(),
}


@cache
def _files() -> Path:
    """Where the files of the images and recordings lie while the process lives."""
    return Path(tempfile.mkdtemp(prefix="onnxpipe-files-"))


def _copied(value: Any) -> Any:
    """A fresh copy of the containers: transformers changes some of the arguments it is given."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def marked(value: Any, marks: Marks) -> Any:
    """Every text with what its marks stand for."""
    if isinstance(value, str):
        for mark, meaning in marks.items():
            value = value.replace(mark, meaning)
        return value
    if isinstance(value, list | tuple):
        return type(value)(marked(item, marks) for item in value)
    if isinstance(value, dict):
        return {key: marked(item, marks) for key, item in value.items()}
    if isinstance(value, Generator):
        return Generator(marked(list(value.items), marks))
    if isinstance(value, Keyed):
        return Keyed(marked(list(value.rows), marks), value.key)
    return value


def plain(value: Any, *, exact: bool = True) -> Any:
    """Convert an answer for comparison: torch tensors to numpy arrays, numpy floats to Python's, PIL images to pixels.

    Args:
        exact: images must be equal to the grey level.
    """
    if hasattr(value, "detach"):
        return np.asarray(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, np.floating):
        return value.item()
    if hasattr(value, "getbands"):
        return ImagePixels(value.mode, np.asarray(value), exact=exact)
    if isinstance(value, dict):
        exact = "predicted_depth" not in value  # The image beside it is cut from those floats.
        return {key: plain(item, exact=exact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item, exact=exact) for item in value)
    return value
