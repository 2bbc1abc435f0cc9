"""pipeline(): build the `Pipeline` of a task and a model."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

from onnxpipe.bundle import AutoConfig, Bundle, Config, HubKeywords, HubOptions, fetch
from onnxpipe.bundle.hub import split_file
from onnxpipe.bundle.hub_options import refuse_remote_code
from onnxpipe.bundle.places import place_of
from onnxpipe.bundle.tasks import infer_tasks
from onnxpipe.components import ComponentSource, PassedComponents, load_components
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModel
from onnxpipe.models.base import Model
from onnxpipe.models.encoder import check_outputs
from onnxpipe.models.loading import Source, Target, check_onnx, find_bundle, load_model
from onnxpipe.models.no_model import NoModel
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.registry import check_task, task_spec

logger = logging.getLogger("onnxpipe")

#: The `model_kwargs` that are supported; each is a keyword of `pipeline()` too.
_MODEL_KWARGS = frozenset(
    {"dtype", "torch_dtype", "device_map", "revision", "token", "cache_dir", "local_files_only", "providers",
     "provider_options", "threads", "run_timeout", "file_name", "subfolder", "model_file_name"}
)  # fmt: skip


def pipeline(
    task: str | None = None,
    model: str | os.PathLike[str] | Model | None = None,
    config: str | Config | None = None,
    tokenizer: str | tuple[str, dict[str, Any]] | Tokenizer | None = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    video_processor: Any = None,
    processor: Any = None,
    framework: str | None = None,
    revision: str | None = None,
    use_fast: bool = True,
    token: str | bool | None = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = "auto",
    trust_remote_code: bool | None = None,
    model_kwargs: dict[str, Any] | None = None,
    pipeline_class: type[Pipeline] | None = None,
    *,
    torch_dtype: Any = None,
    providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
    provider_options: Sequence[dict[str, Any]] | None = None,
    threads: int | None = None,
    run_timeout: float | None = None,
    file_name: str | None = None,
    subfolder: str | None = None,
    model_file_name: str | None = None,
    onnx: Literal["community"] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    **kwargs: Any,
) -> Any:
    """Build a pipeline, as `transformers.pipeline` does, without PyTorch.

    Args:
        task: its name or alias, "translation_en_to_fr" for any two languages; None takes the task that the model was
            exported for.
        model: a folder, a Hub id, an .onnx file in its model's folder, or a model from an Auto class; None takes the
            task's default (with a warning).
        config: replaces the model's config (an id, a folder, or a `Config`).
        tokenizer: an id, a folder, `(name, {keywords})`, or a tokenizer; by default the model's own.
        image_processor: an id, a folder, `(name, {keywords})`, or an image processor; by default the model's own.
            `feature_extractor` is its old name. The text tasks refuse it, and the next two.
        video_processor: the same for videos.
        processor: a tokenizer and an image processor in one.
        framework: "pt" or None; "tf" is refused.
        revision: branch, tag or commit on the Hub.
        use_fast: False makes no difference: there are fast tokenizers only.
        token: the Hub's token.
        device: None (the first accelerator that works, else the CPU), -1, "cpu", an index, "cuda", "cuda:1", "mps",
            "coreml" or an installed execution provider ("openvino", "webgpu"). A device that is not usable raises;
            nothing moves silently.
        device_map: "auto", "cpu", "cuda:0" or `{"": device}`: one device for the whole graph; others are refused.
        dtype: precision: "auto" (the fullest there is), "fp32", "fp16", "int8", "q8", "q4", ... or a dtype; or one for
            each graph, `{"encoder_model": "fp32", "decoder_model_merged": "q4"}`.
        trust_remote_code: refused when true.
        model_kwargs: keywords of the model's loader: dtype, device_map, revision, token, cache_dir, local_files_only,
            providers, provider_options, threads, run_timeout, file_name, subfolder, model_file_name; others are refused
            by name.
        pipeline_class: the class to build, instead of the task's.
        torch_dtype: the old name of `dtype`.
        providers, provider_options: ONNX Runtime's execution providers, instead of the device's.
        threads: threads of an operator; None for what the container grants.
        run_timeout: the most seconds of one run of a graph, after which it is stopped (`RunTimeoutError`); None for no
            limit. A run is one batch, in generation one step; `max_time` bounds a whole generation.
        file_name: a graph's file, "model_O4.onnx", "onnx/model_qint8_arm64.onnx"; by default found by its name.
        subfolder: the folder of the graphs, where they lie in neither onnx/ nor the root.
        model_file_name: the graph's name without precision and ending, if it is not "model".
        onnx: "community" takes, where a Hub repository has no graphs, the repository with the same weights made ready
            (onnx-community/NAME-ONNX, Xenova/NAME); None exports it, or says where the ready-made one is.
        cache_dir, local_files_only: for the Hub.
        **kwargs: `batch_size`, `num_workers`, `binary_output`, `modelcard`, the task's own parameters, and for tasks
            that generate text `assistant_model`, `assistant_tokenizer` and every parameter of `generate()`.

    Raises:
        RuntimeError: neither task nor model was passed.
        KeyError: no such task.
        UnknownArgumentError: a keyword that the task does not know.
        ModelNotFoundError, NotExportedError, BundleError, PrecisionError, DeviceError, UnsupportedError.
    """
    if task is not None and not task_spec(task).has_model:
        passed_for_model = {
            "model": model, "config": config, "tokenizer": tokenizer, "feature_extractor": feature_extractor,
            "image_processor": image_processor, "video_processor": video_processor, "processor": processor,
            "revision": revision, "device": device, "device_map": device_map, "model_kwargs": model_kwargs,
            "dtype": None if dtype == "auto" else dtype, "torch_dtype": torch_dtype, "providers": providers,
            "provider_options": provider_options, "threads": threads, "run_timeout": run_timeout,
        }  # fmt: skip
        return _without_model(task, passed_for_model, pipeline_class, framework, kwargs)
    _check(task, model, tokenizer, feature_extractor, framework, trust_remote_code)
    extra = _model_kwargs(model_kwargs, dtype)
    device = _device(device, _once("device_map", device_map, extra.pop("device_map", None)))
    dtype = torch_dtype if torch_dtype is not None and dtype == "auto" else dtype
    dtype = extra.pop("dtype", extra.pop("torch_dtype", None)) or dtype
    target = Target(
        dtype, device, extra.get("providers", providers), extra.get("provider_options", provider_options),
        extra.get("threads", threads), extra.get("run_timeout", run_timeout),
    )  # fmt: skip
    hub = {
        "token": extra.get("token", token),
        "cache_dir": extra.get("cache_dir", cache_dir),
        "local_files_only": extra.get("local_files_only", local_files_only),
    }
    revision = extra.get("revision", revision)
    loaded_config = _config(config, hub)

    named = {"file_name": file_name, "subfolder": subfolder, "model_file_name": model_file_name}
    source: Source | None = None
    if model is None or isinstance(model, (str, os.PathLike)):
        name, revision = (os.fspath(model), revision) if model is not None else _default(task, revision)
        place = place_of(**{name: extra.get(name, value) for name, value in named.items()})
        ready = check_onnx(onnx) or ("default" if model is None else None)
        source = Source(name, HubOptions(revision, **hub), place, loaded_config, ready)
    elif any(extra.get(name, value) for name, value in named.items()):
        raise UnsupportedError(f"{', '.join(named)} are for a folder or a Hub id: pass them to its from_pretrained")
    bundle = None
    if task is None:
        bundle = _find(source, target)
        task = bundle.tasks[0]
    name, entry, _ = check_task(task)
    cls = pipeline_class or entry["impl"]
    auto = _auto_class(entry)
    # if the task was inferred, a model without a graph has been exported for it by now
    wanted = None if bundle else _export_task(entry, name)
    loaded = model if source is None else load_model(source, target, wanted, auto.loader, bundle)
    if not isinstance(loaded, Model):
        raise UnsupportedError(f"model is a {type(loaded).__name__}: pass a folder, a Hub id, or a model of onnxpipe")
    if entry["pt"] and not isinstance(loaded, auto.model_class):
        raise UnsupportedError(f"{name} needs a {auto.model_class.__name__}, and model is a {type(loaded).__name__}")
    if entry["pt"]:
        check_outputs(loaded, auto.outputs, f"the task {name!r}", name)
    if loaded_config is not None:
        loaded.config = loaded_config
    passed = PassedComponents(tokenizer, feature_extractor, image_processor, video_processor, processor)
    folder = loaded.bundle.folder if source else None
    components = load_components(
        cls, name, passed, ComponentSource(folder, config, {**hub, "revision": revision}, use_fast)
    )
    kwargs.pop("args_parser", None)
    if task_spec(name).languages and name == task:
        task = _languages(loaded, task)
    return cls(model=loaded, task=task, framework=framework, **components, **kwargs)


def _without_model(
    task: str,
    passed: Mapping[str, Any],
    pipeline_class: type[Pipeline] | None,
    framework: str | None,
    kwargs: Mapping[str, Any],
) -> Pipeline:
    """Build the pipeline of a task that has no model, and refuse arguments that are for one."""
    spec = task_spec(task)
    for name, value in passed.items():
        if value is not None:
            raise UnsupportedError(f"{spec.name} runs without a model: leave {name}= out")
    return (pipeline_class or spec.pipeline)(model=NoModel(spec.name), task=task, framework=framework, **kwargs)


def tasks_of(model: str | os.PathLike[str], **hub: Unpack[HubKeywords]) -> tuple[str, ...]:
    """Tell from a model's config which tasks it is for, best first; no graph is downloaded or opened.

    Args:
        model: a folder, a Hub id or an .onnx file.
        **hub: how to reach the Hub, see `HubKeywords`.
    """
    name, _ = split_file(model)
    return infer_tasks(Config.from_folder(fetch(name, need="config", **hub)), sentence_transformers=False)


def _check(
    task: str | None, model: Any, tokenizer: Any, feature_extractor: Any, framework: str | None, remote: bool | None
) -> None:
    if task is None and model is None:
        raise RuntimeError(
            "Impossible to instantiate a pipeline without either a task or a model being specified. "
            "Please provide a task class or a model"
        )
    if model is None and tokenizer is not None:
        raise RuntimeError(
            "Impossible to instantiate a pipeline with tokenizer specified but not the model as the provided tokenizer"
            " may not be compatible with the default model. Please provide a PreTrainedModel class or a"
            " path/identifier to a pretrained model when providing tokenizer."
        )
    if model is None and feature_extractor is not None:
        raise RuntimeError(
            "Impossible to instantiate a pipeline with feature_extractor specified but not the model as the provided"
            " feature_extractor may not be compatible with the default model. Please provide a PreTrainedModel class"
            " or a path/identifier to a pretrained model when providing feature_extractor."
        )
    if framework not in (None, "pt"):
        raise UnsupportedError(f"framework={framework!r}: there is one runtime here; leave it out (or pass 'pt')")
    refuse_remote_code(remote)


def _model_kwargs(model_kwargs: Mapping[str, Any] | None, dtype: Any) -> dict[str, Any]:
    kept = dict(model_kwargs or {})
    for name in kept:
        if name == "attn_implementation":
            raise UnsupportedError(
                "model_kwargs['attn_implementation'] is not supported: attention is fixed in the graph"
            )
        if name not in _MODEL_KWARGS:
            raise UnsupportedError(
                f"model_kwargs[{name!r}] is not supported: it is for PyTorch's loader; "
                f"supported: {', '.join(sorted(_MODEL_KWARGS))}"
            )
    if dtype != "auto" and ("dtype" in kept or "torch_dtype" in kept):
        raise ValueError(
            'You cannot use both `pipeline(... dtype=..., model_kwargs={"dtype":...})` as those arguments might '
            "conflict, use only one.)"
        )
    return kept


def _once(name: str, outer: Any, inner: Any) -> Any:
    if outer is not None and inner is not None:
        raise ValueError(
            f"You cannot use both `pipeline(... {name}=..., model_kwargs={{'{name}':...}})` as those arguments might "
            "conflict, use only one."
        )
    return outer if outer is not None else inner


def _device(device: Any, device_map: Any) -> Any:
    if device_map is None:
        return device
    if device is not None:
        logger.warning("Both `device` and `device_map` are specified. `device` will override `device_map`.")
        return device
    if isinstance(device_map, Mapping):
        places = set(device_map.values())
        if len(places) != 1:
            raise UnsupportedError(f"device_map={dict(device_map)}: a graph runs on one device; give device= instead")
        return places.pop()
    if device_map in ("auto", "balanced", "sequential"):
        return None
    if isinstance(device_map, (str, int)):
        return device_map
    raise UnsupportedError(f"device_map={device_map!r}: a graph runs on one device; give device= instead")


def _config(config: str | Config | None, hub: Mapping[str, Any]) -> Config | None:
    return AutoConfig.from_pretrained(config, **hub) if isinstance(config, (str, os.PathLike)) else config


def _default(task: str | None, revision: str | None) -> tuple[str, str | None]:
    name, entry, languages = check_task(task or "")
    if "default" not in entry:
        raise ValueError(f"The task {name!r} has no default model: pass model=")
    defaults = entry["default"]
    if languages is not None and languages not in defaults:
        raise ValueError(f"The task does not provide any default models for options {languages}")
    if languages is not None:
        defaults = defaults[languages]
    if "model" not in defaults:
        raise ValueError(
            'The task defaults can\'t be correctly selected. You probably meant "translation_xx_to_yy"; or pass model='
        )
    model, pinned = defaults["model"]
    logger.warning(
        "No model was supplied, defaulted to %s and revision %s. Using a pipeline without specifying a model name and "
        "revision in production is not recommended.",
        model,
        revision or pinned,
    )
    return model, revision or pinned


def _find(source: Source | None, target: Target) -> Bundle:
    """Find the bundle of a model whose task is to be inferred; it has one at least."""
    if source is None:
        raise RuntimeError(
            "Inferring the task automatically requires to check the hub with a model_id defined as a `str`. "
            "Pass task=, or the model's name instead of the model."
        )
    bundle = find_bundle(source, target.dtype)
    if not bundle.tasks:
        raise RuntimeError(f"the task of {source.model} cannot be inferred from its config: pass task=")
    return bundle


def _auto_class(entry: Mapping[str, Any]) -> type[AutoModel]:
    """Choose the Auto class that loads the task's models."""
    autos = entry["pt"]
    return autos[0] if autos and issubclass(autos[0], AutoModel) else AutoModel


def _languages(loaded: Model, task: str) -> str:
    """Name the first translation that the model's config has parameters for ("translation_en_to_fr")."""
    for key in loaded.config.task_specific_params or {}:
        if key.startswith("translation"):
            warnings.warn(
                f'"translation" task was used, instead of "translation_XX_to_YY", defaulting to "{key}"',
                UserWarning,
                stacklevel=3,
            )
            return str(key)
    return task


def _export_task(entry: Mapping[str, Any], name: str) -> str:
    """Choose the task for which a model without a graph is exported: that of the Auto class that loads it."""
    autos = entry["pt"]
    if "export" in entry:
        return str(entry["export"])
    return autos[0].task if autos and issubclass(autos[0], AutoModel) else name
