"""Load the parts of an image generator from a folder of components."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpipe.bundle import HubKeywords, HubOptions
from onnxpipe.bundle.files import has_file, read_json
from onnxpipe.bundle.hub_options import refuse_remote_code
from onnxpipe.diffusion.schedulers import scheduler_of
from onnxpipe.errors import BundleError, UnknownArgumentError, UnsupportedError
from onnxpipe.models.diffusion.model import DiffusionModel
from onnxpipe.models.diffusion.safety_checker import SafetyChecker
from onnxpipe.models.diffusion.text_encoder import TextEncoder
from onnxpipe.models.diffusion.vae import Vae
from onnxpipe.models.loading import Source, Target, load_model
from onnxpipe.processing.text.tokenizer import AutoTokenizer

_SCHEDULER = "scheduler/scheduler_config.json"
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
#: Parts that may be passed instead of the folder's; None leaves those out that a pipeline can do without.
_PARTS = ("scheduler", "vae", "safety_checker", "feature_extractor", *_TOKENIZERS, *_ENCODERS)
#: Parts of diffusers' loader that have no effect here: there are no weights of PyTorch to choose between.
_NO_EFFECT = ("use_safetensors", "variant", "requires_safety_checker", "low_cpu_mem_usage", "add_watermarker")
_TARGET = tuple(field.name for field in dataclasses.fields(Target))


@dataclass(frozen=True)
class LoadOptions:
    """The keywords of `from_pretrained`.

    Attributes:
        target: precision, device, threads.
        hub: how to reach the Hub.
        low_memory: close each graph when its step is done.
        parts: parts that were passed, by name.
    """

    target: Target
    hub: HubOptions
    low_memory: bool
    parts: Mapping[str, Any]

    @classmethod
    def of(cls, caller: str, keywords: Mapping[str, Any]) -> LoadOptions:
        """Sort the keywords.

        Raises:
            UnknownArgumentError: one that is not known.
            UnsupportedError: a value that has no meaning here.
        """
        rest = dict(keywords)
        refuse_remote_code(rest.pop("trust_remote_code", None))
        hub, rest = HubOptions.split(rest, HubKeywords)
        dtype, old = rest.pop("dtype", None), rest.pop("torch_dtype", None)
        if dtype is not None and old is not None:
            raise UnsupportedError("dtype and torch_dtype, its old name, were both passed: pass one of them")
        rest["dtype"] = next((each for each in (dtype, old) if each is not None), "auto")
        target = Target(**{name: rest.pop(name) for name in _TARGET if name in rest})
        parts = {name: rest.pop(name) for name in _PARTS if name in rest}
        low_memory = bool(rest.pop("low_memory", False))
        for name in rest:
            if name not in _NO_EFFECT:
                known = {*HubKeywords.__optional_keys__, *_TARGET, *_PARTS, *_NO_EFFECT, "torch_dtype", "low_memory"}
                raise UnknownArgumentError.among(f"{caller}.from_pretrained", name, known)
        return cls(target, hub, low_memory, parts)


def load_diffusion_model(name: str | os.PathLike[str], options: LoadOptions, task: str) -> DiffusionModel:
    """Load the model of a folder of components, which is exported first if need be.

    Raises:
        UnsupportedError: the folder has no components.
    """
    source = Source(os.fspath(name), options.hub)
    model = load_model(source, options.target, task, DiffusionModel.load)
    assert isinstance(model, DiffusionModel)
    model.graphs.low_memory = options.low_memory
    return model


def load_parts(model: DiffusionModel, passed: Mapping[str, Any], hub: HubOptions) -> dict[str, Any]:
    """Load what a pipeline needs besides its model: scheduler, tokenizers, safety checker.

    Args:
        model: the model; a VAE or a text encoder that was passed takes its place in it.
        passed: parts by name, instead of the folder's.
        hub: how to reach the Hub, for parts that are passed by name.

    Raises:
        BundleError: the folder has no scheduler.
        UnsupportedError: a part of a type that does not fit.
    """
    folder = model.bundle.folder
    if passed.get("vae") is not None:
        model.vae = _vae(passed["vae"], model, hub)
    for name in _ENCODERS:
        if name in passed:
            _set_encoder(model, name, passed[name])
    tokenizers = {name: passed[name] for name in _TOKENIZERS if passed.get(name) is not None}
    for name in _TOKENIZERS:
        if name not in passed and (folder / name).is_dir():
            tokenizers[name] = AutoTokenizer.from_pretrained(folder / name)
    scheduler = passed.get("scheduler")
    if scheduler is None:
        if not has_file(folder, _SCHEDULER):
            raise BundleError(f"{folder} has no {_SCHEDULER}: pass scheduler=")
        scheduler = scheduler_of(read_json(folder, _SCHEDULER))
    return {"scheduler": scheduler, "tokenizers": tokenizers, "safety_checker": _checker(model, passed, folder)}


def _vae(value: Any, model: DiffusionModel, hub: HubOptions) -> Vae:
    if isinstance(value, (str, os.PathLike)):
        options = LoadOptions(Target(model.precision, model.device), hub, model.graphs.low_memory, {})
        return load_diffusion_model(value, options, "text-to-image").vae
    if not isinstance(value, Vae):
        raise UnsupportedError(f"vae is a {type(value).__name__}: pass the vae of another pipeline, or a folder's name")
    return value


def _set_encoder(model: DiffusionModel, name: str, value: Any) -> None:
    if value is None:
        model.text_encoders.pop(name, None)
    elif isinstance(value, TextEncoder):
        model.text_encoders[name] = value
    else:
        raise UnsupportedError(f"{name} is a {type(value).__name__}: pass the {name} of another pipeline, or None")


def _checker(model: DiffusionModel, passed: Mapping[str, Any], folder: Path) -> SafetyChecker | None:
    given = passed.get("safety_checker")
    if given is not None and not isinstance(given, SafetyChecker):
        raise UnsupportedError(f"safety_checker is a {type(given).__name__}: pass that of another pipeline, or None")
    if given is not None or "safety_checker" in passed or "safety_checker" not in model.graphs.names:
        return given
    extractor = passed.get("feature_extractor")
    if extractor is None:
        from onnxpipe.processing.auto import AutoImageProcessor

        extractor = AutoImageProcessor.from_pretrained(folder / "feature_extractor")
    return SafetyChecker(model.graphs, extractor)
