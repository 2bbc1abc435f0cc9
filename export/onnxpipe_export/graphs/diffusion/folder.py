"""Find a folder of diffusers and read its index: which pipeline it is, and which components it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnxpipe.bundle import HubOptions
from onnxpipe.bundle.diffusion_folder import INDEX, pipeline_class
from onnxpipe.bundle.tasks import architecture_tasks
from onnxpipe.errors import ExportError

EXPORTED = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
    "StableDiffusion3Pipeline",
    "StableDiffusion3Img2ImgPipeline",
    "StableDiffusion3InpaintPipeline",
)
"""The pipelines of diffusers whose folders can be exported."""

_REFUSED: Mapping[str, str] = {
    "Flux": "its attention keeps the example's number of tokens when it is traced",
    "PixArt": "its embedding of sizes becomes a branch that ONNX Runtime rejects",
    "Sana": "no pipeline of onnxpipe runs it",
    "ControlNet": "the control image's network feeds every block of the UNet, and no pipeline of onnxpipe runs it",
    "Adapter": "its adapter feeds every block of the UNet, and no pipeline of onnxpipe runs it",
    "IF": "it denoises pixels in three pipelines, and no pipeline of onnxpipe runs them",
    "Upscale": "no pipeline of onnxpipe upscales with a text",
}
"""A part of a pipeline's name -> why it cannot be exported."""

_RUN = (
    "scheduler", "tokenizer", "tokenizer_2", "tokenizer_3", "text_encoder", "text_encoder_2", "text_encoder_3",
    "unet", "transformer", "vae", "safety_checker", "feature_extractor",
)  # fmt: skip
"""The components that pipelines of onnxpipe run; any other has to be absent."""

_SMALL_FILES = (INDEX, "*/*.json", "*/*.txt", "*/*.model")
_WEIGHTS = re.compile(
    r"(?P<component>[^/]+)/(diffusion_pytorch_model|model|pytorch_model)"
    r"(?P<half>\.fp16)?(-\d+-of-\d+)?(?P<half_split>\.fp16)?\.(?P<ending>safetensors|bin)"
)


@dataclass(frozen=True)
class PipelineFolder:
    """A folder of diffusers.

    Attributes:
        name: the model as the user named it: a Hub id or a path.
        revision: the commit on the Hub, None for a folder.
        folder: where its files are.
        index: its model_index.json.
    """

    name: str
    revision: str | None
    folder: Path
    index: Mapping[str, Any]

    @property
    def pipeline(self) -> str:
        """The name of diffusers' class."""
        return pipeline_class(self.index)

    @cached_property
    def components(self) -> dict[str, tuple[str, str]]:
        """Component -> the library and the class that load it; those that are absent are left out."""
        pairs = {name: value for name, value in self.index.items() if isinstance(value, list) and len(value) == 2}
        return {name: (str(library), str(kind)) for name, (library, kind) in pairs.items() if kind is not None}

    def config(self, component: str) -> dict[str, Any]:
        """Read the config of a component.

        Raises:
            ExportError: it has none.
        """
        path = self.folder / component / "config.json"
        if not path.is_file():
            raise ExportError(f"{INDEX} names {component}, and there is no {component}/config.json")
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content

    def tasks(self, wanted: str | None) -> list[str]:
        """List the tasks that the pipeline serves, the one that the user named first.

        Raises:
            ExportError: it does not serve that one.
        """
        served = list(architecture_tasks(self.pipeline, ""))
        if "unet" in self.components and self.config("unet").get("in_channels") == 9:
            served = ["inpainting"]  # it takes the mask and the image with every step
        if wanted is not None and wanted not in served:
            raise ExportError(f"{self.name} is for {', '.join(served)}, not for {wanted}; leave task= out")
        return [task for task in served if task == wanted] + [task for task in served if task != wanted]


def is_pipeline(name: str, hub: HubOptions) -> bool:
    """Tell whether a folder or a Hub repository is a pipeline of diffusers."""
    path = Path(name).expanduser()
    if path.is_dir():
        return (path / INDEX).is_file() and not (path / "config.json").is_file()
    from huggingface_hub import file_exists, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if path.is_absolute() or name.count("/") > 1:
        return False
    try:
        cached = try_to_load_from_cache(name, INDEX, cache_dir=hub.cache_folder, revision=hub.revision)
        if isinstance(cached, str) or hub.local_files_only:
            return isinstance(cached, str)
        return bool(file_exists(name, INDEX, revision=hub.revision, token=hub.token))
    except (HfHubHTTPError, HFValidationError, OSError):
        return False  # what is wrong with it, loading it as a model will say


def find(name: str, hub: HubOptions) -> PipelineFolder:
    """Find the folder, and check by its index that it can be exported.

    Raises:
        ModelNotFoundError: no such folder or repository.
        ExportError: its index is unreadable, or its pipeline, or one of its components, cannot be exported.
    """
    path = Path(name).expanduser()
    revision = None
    if not path.is_dir():
        from onnxpipe_export.checkpoint import download

        path = download(name, hub, _SMALL_FILES, ignored=())
        revision = path.name
    try:
        index = json.loads((path / INDEX).read_text("utf-8"))
        folder = PipelineFolder(name, revision, path, index)
        _check(folder)
    except (ValueError, TypeError, AttributeError) as error:
        raise ExportError(f"{path / INDEX} is not an index of components: {error}") from error
    if revision is not None:
        _download_weights(folder, hub)
    return folder


def _check(folder: PipelineFolder) -> None:
    if folder.pipeline not in EXPORTED:
        reason = next((why for part, why in _REFUSED.items() if part in folder.pipeline), "onnxpipe has none like it")
        raise ExportError(
            f"{folder.name} is a {folder.pipeline or 'pipeline without a name'}, which cannot be exported: {reason}. "
            f"Those that can are {', '.join(EXPORTED)}"
        )
    other = sorted(set(folder.components) - set(_RUN))
    if other:
        raise ExportError(
            f"{folder.name} has the components {', '.join(other)}, which no pipeline of onnxpipe runs: set them to "
            f"[null, null] in {INDEX} to export it without them"
        )
    needed = ("scheduler", "vae", "transformer" if folder.pipeline.startswith("StableDiffusion3") else "unet")
    missing = [name for name in needed if name not in folder.components]
    if missing:
        raise ExportError(f"{folder.name} has no {', '.join(missing)}: a {folder.pipeline} needs it")


def _download_weights(folder: PipelineFolder, hub: HubOptions) -> None:
    """Fetch one form of each component's weights: safetensors before pickles, full before float16."""
    from huggingface_hub import list_repo_files

    from onnxpipe_export.checkpoint import download

    if hub.local_files_only:
        patterns = ["*/*.safetensors", "*/*.bin"]
    else:
        names = list_repo_files(folder.name, revision=folder.revision, token=hub.token)
        patterns = [name for part in folder.components for name in weight_files(part, names)]
    if patterns:
        download(folder.name, hub, patterns, ignored=())


def weight_files(component: str, names: Iterable[str]) -> list[str]:
    """Choose the files of a component's weights among `names`: one form of them, several files where it is split."""
    found = [match for match in map(_WEIGHTS.fullmatch, names) if match and match["component"] == component]
    for ending in ("safetensors", "bin"):
        for half in (False, True):
            chosen = [m[0] for m in found if m["ending"] == ending and bool(m["half"] or m["half_split"]) == half]
            if chosen:
                return chosen
    return []


def variant_of(component: Path) -> str | None:
    """Return "fp16" where a component's folder has weights of float16 only, else None."""
    files = weight_files(component.name, (f"{component.name}/{path.name}" for path in component.iterdir()))
    return "fp16" if files and ".fp16" in files[0] else None
