"""Load a PyTorch model from a Hub id or a folder. Runs no code of the model's repository and reads no pickles."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpipe.bundle import HubOptions
from onnxpipe.bundle.files import read_json
from onnxpipe.bundle.foreign import foreign
from onnxpipe.bundle.timm_config import needs_timm
from onnxpipe.errors import ExportError, ModelNotFoundError
from onnxpipe_export import tasks, timm_backbones
from onnxpipe_export.refusals import ELSE
from onnxpipe_export.tokenizers import convert as tokenizer
from onnxpipe_export.tracing import quiet

_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja", "*.vocab", "*.tiktoken", "*_Dense/*", "*.npy")
_SAFE_WEIGHTS = ("*.safetensors",)
# Read with torch's weights_only loader, which builds tensors and nothing else.
_TORCH_WEIGHTS = ("pytorch_model*.bin",)

_TRAINING_ONLY = ("masked_spec_embed",)
"""Ends of the names of weights that no answer depends on, and that checkpoints may lack: the embedding of the frames
that are masked while wav2vec 2.0 is trained."""

_FEATURES = frozenset({"feature-extraction", "image-feature-extraction"})


@dataclass(frozen=True)
class Checkpoint:
    """A loaded PyTorch model and where it comes from.

    Attributes:
        name: the model as the user named it: a Hub id or a path.
        revision: the commit on the Hub, None for a folder.
        folder: where its files are.
        config: the transformers config.
        task: the task it is exported for.
        model: the torch module, float32, in eval mode.
        tokenizer: transformers' tokenizer; None for a model of images or audio that has none.
        calibration: a folder of the user's own images or recordings, to verify and calibrate with beside the synthetic
            ones, or None.
    """

    name: str
    revision: str | None
    folder: Path
    config: Any
    task: tasks.Task
    model: Any
    tokenizer: Any = None
    calibration: Path | None = None

    @cached_property
    def preprocessor(self) -> dict[str, Any]:
        """The image (or video) processor's configuration; empty if the folder has none."""
        for name in ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"):
            path = self.folder / name
            if path.is_file():
                content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
                inner = content.get("image_processor") or content.get("video_processor")
                if isinstance(inner, dict):
                    return inner
                if name != "processor_config.json":
                    return content
        return {}


def load(name: str, task: str | None, hub: HubOptions, calibration: Path | None = None) -> Checkpoint:
    """Find, read and load the model `name` for `task` (None: the one that the checkpoint names).

    Args:
        name: a Hub id or a folder.
        task: a task's name or alias.
        hub: how to reach the Hub.
        calibration: see `Checkpoint`.

    Raises:
        ModelNotFoundError: no such folder or repository.
        ExportError: the model is unreadable, of an unknown type, or lacks the weights of the task's head.
    """
    folder, revision = _locate(name, hub)
    config = _config(folder)
    resolved = tasks.resolve(task, config, folder)
    if calibration is not None and resolved.modality not in ("image", "image-text", "audio", "audio-text"):
        raise ExportError(
            f"calibration= is a folder of images or recordings, and {resolved.name} takes neither; leave it out"
        )
    model = _model(folder, resolved, config)
    needed = resolved.modality not in ("image", "audio")
    loaded = tokenizer.load(folder) if needed or tokenizer.present(folder) else None
    return Checkpoint(name, revision, folder, config, resolved, model, loaded, calibration)


def _locate(name: str, hub: HubOptions) -> tuple[Path, str | None]:
    """Find the folder of the checkpoint, and its commit if it is from the Hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path, None
    if path.is_absolute() or name.count("/") > 1:
        raise ModelNotFoundError(f"no such folder: {name}")
    folder = download(name, hub, (*_SMALL_FILES, *_SAFE_WEIGHTS))
    if not any(folder.glob("*.safetensors")):
        folder = download(name, hub, (*_SMALL_FILES, *_TORCH_WEIGHTS))
    return folder, folder.name


_IGNORED = ("onnx/*", "openvino/*", "[!0-9]*/*.safetensors", "adapter.*")
"""Of the weights in subfolders only those of sentence-transformers' layers (2_Dense) are needed. Of MMS only the
language in the model itself is exported, so the adapters of a thousand others are left out."""


def download(name: str, hub: HubOptions, patterns: Sequence[str], ignored: Sequence[str] = _IGNORED) -> Path:
    """Fetch the files of a Hub repository that fit `patterns` and none of `ignored`, and return their folder.

    Raises:
        ModelNotFoundError: no such repository, or it cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=hub.revision,
                token=hub.token,
                cache_dir=hub.cache_folder,
                local_files_only=hub.local_files_only,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(f"no folder and no Hub model '{name}' that can be reached: {error}") from error


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        what = foreign([path.name for path in folder.iterdir()])
        raise ModelNotFoundError(f"{folder.name} is {what}" if what else f"no config.json in {folder}")
    needed = needs_timm(read_json(folder, "config.json", nan=True))
    if needed and importlib.util.find_spec("timm") is None:
        raise ExportError(f"{folder.name} cannot be exported here. {needed}")
    try:
        with quiet():
            return AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise ExportError(f"transformers cannot read the config of {folder}: {error}") from error


def _model(folder: Path, task: tasks.Task, config: Any) -> Any:
    """Load the model with the task's head, and check that every weight comes from the checkpoint.

    transformers fills missing weights with random numbers and goes on; here that is an error. One exception: base
    models are often saved without their pooler (RoBERTa), and are then exported without it.
    """
    model, missing = _load(folder, task, config, {})
    if missing and task.name in _FEATURES and all("pooler" in name for name in missing):
        model, missing = _load(folder, task, config, {"add_pooling_layer": False})
    if missing:
        names = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        raise ExportError(
            f"{folder.name} has no trained weights for {task.name}: missing {names}. "
            f"Its architectures are {getattr(config, 'architectures', None)}; choose a task= that fits them"
        )
    return model.float().eval()


def _load(folder: Path, task: tasks.Task, config: Any, extra: dict[str, Any]) -> tuple[Any, list[str]]:
    import torch
    import transformers

    architectures = getattr(config, "architectures", None) or ()
    fitting = [tasks.feature_class(config.model_type, architectures)] if task.name in _FEATURES else []
    if task.modality != "text":
        named = tasks.class_names(task)
        fitting += [named[name] for name in architectures if name in named]
    name = next((name for name in fitting if name is not None), tasks.auto_class(task, config.model_type))
    auto_class = getattr(transformers, name)
    try:
        with quiet(), _same_random_state():
            model, info = auto_class.from_pretrained(
                str(folder), dtype=torch.float32, output_loading_info=True, trust_remote_code=False,
                **_replaced_backbone(config), **extra,
            )  # fmt: skip
    except Exception as error:  # transformers raises nearly every kind here
        if "Unrecognized configuration class" in str(error):  # the rest of it is a list of classes
            raise ExportError(
                f"transformers has no model of the type '{config.model_type}' for {task.name}: {folder.name} has the "
                f"architectures {list(architectures)}. Choose a task= that fits them. {ELSE}"
            ) from error
        method = (getattr(config, "quantization_config", None) or {}).get("quant_method")
        quantized = (
            f" (Its weights are quantized, by {method}: export the model from which they were made, and choose how "
            "with --precision int8 or q4.)"
        )
        raise ExportError(
            f"transformers cannot load {folder.name} as {auto_class.__name__}: {error}{quantized if method else ''}"
        ) from error
    return model, sorted(name for name in info["missing_keys"] if not name.endswith(_TRAINING_ONLY))


def _replaced_backbone(config: Any) -> dict[str, Any]:
    """Return keyword arguments that make the loader read a timm backbone as one of transformers."""
    replaced = copy.deepcopy(config)
    names = timm_backbones.own_backbone(replaced)
    return {"config": replaced, "key_mapping": names} if names else {}


@contextlib.contextmanager
def _same_random_state() -> Any:
    """Keep the caller's random state: loading a model draws random numbers."""
    import torch

    with torch.random.fork_rng(devices=[]):
        yield
