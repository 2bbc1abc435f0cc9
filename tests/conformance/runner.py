"""Run a case in one library and return its outcome."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np

from conformance import torchvision_standin
from conformance.cases.common import Case, PipeFeatureExtractor, PipeImageProcessor, Vocoder
from conformance.compare import Cut
from conformance.values import Marks, Outcome, marked, plain, resolved
from zoo import GENERATING
from zoo.audio import families as audio
from zoo.audio import recordings

VOCODER = ("hifigan", "vocoder")
"""The zoo's vocoder, of the models that make spectrograms."""


class Library(Protocol):
    """transformers or onnxpipe."""

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Callable[..., Any]: ...

    def keyed(self, rows: Any, key: str) -> Any: ...

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any: ...

    def squad(self, question: str, context: str) -> Any: ...

    def settings(self, values: dict[str, Any]) -> Any: ...

    def ids(self, values: list[list[int]]) -> Any: ...

    def image_processor(self, family: str, head: str) -> Any: ...

    def feature_extractor(self, family: str, head: str) -> Any: ...

    def vocoder(self) -> Any: ...

    def floats(self, values: np.ndarray) -> Any: ...

    def decoded(self, recording: Any, pipe: Any) -> Any: ...


@dataclass
class Transformers:
    """The reference, on the zoo's models. Models, tokenizers and pipelines are built once."""

    folder: Callable[[str, str], Path]

    def __post_init__(self) -> None:
        import torch
        import transformers

        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
        self._loaded: dict[tuple[str, str, str], Any] = {}
        self._pipes: dict[str, Any] = {}

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Any:
        import transformers

        known = (task, family, head)
        name = repr((known, ctor))
        if head in GENERATING or audio.is_audio(head):
            # A pipeline may change the model that it is given (4.57 takes the prefix out of its config).
            return self._fresh(task, name, self.folder(family, head), ctor)
        if name not in self._pipes:
            if known not in self._loaded:
                self._loaded[known] = self._first(task, self.folder(family, head))
            first = self._loaded[known]
            parts = {"tokenizer": first.tokenizer, "image_processor": first.image_processor}
            self._pipes[name] = (
                _ready(transformers.pipeline(task, model=first.model, device="cpu", **(parts | ctor)))
                if ctor
                else first
            )
        return self._pipes[name]

    def _first(self, task: str, folder: Path) -> Any:
        """The pipeline of a folder; where transformers' image processor wants torchvision, it gets the stand-in."""
        import transformers

        processor = torchvision_standin.image_processor(folder)
        parts = {"image_processor": processor} if processor else {}
        return _ready(transformers.pipeline(task, model=str(folder), device="cpu", **parts))

    def _fresh(self, task: str, name: str, folder: Path, ctor: dict[str, Any]) -> Any:
        import transformers

        if name not in self._pipes:
            pipe = transformers.pipeline(task, model=str(folder), device="cpu", **ctor)
            self._pipes[name] = _keeping_blanks(pipe) if task == "text-generation" else pipe
        return self._pipes[name]

    def settings(self, values: dict[str, Any]) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(**values)

    def ids(self, values: list[list[int]]) -> Any:
        import torch

        return torch.tensor(values)

    def image_processor(self, family: str, head: str) -> Any:
        from transformers import AutoImageProcessor

        folder = self.folder(family, head)
        return torchvision_standin.image_processor(folder) or AutoImageProcessor.from_pretrained(str(folder))

    def feature_extractor(self, family: str, head: str) -> Any:
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(str(self.folder(family, head)))

    def vocoder(self) -> Any:
        from transformers import SpeechT5HifiGan

        return SpeechT5HifiGan.from_pretrained(str(self.folder(*VOCODER)))

    def floats(self, values: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(values)

    def decoded(self, recording: Any, pipe: Any) -> Any:
        """Decode and resample a recording as ffmpeg and torchaudio would, if they were there."""
        rate = pipe.feature_extractor.sampling_rate
        if isinstance(recording, str):
            recording = Path(recording).read_bytes()
        if isinstance(recording, bytes):
            return recordings.decoded(recording, rate)
        if not isinstance(recording, dict) or recording["sampling_rate"] == rate:
            return recording
        key, own = "raw" if "raw" in recording else "array", recording["sampling_rate"]
        stride = {"stride": tuple(round(n * rate / own) for n in recording["stride"])} if "stride" in recording else {}
        return {**recording, key: recordings.resampled(recording[key], own, rate), "sampling_rate": rate, **stride}

    def keyed(self, rows: Any, key: str) -> Any:
        from transformers.pipelines.pt_utils import KeyDataset

        return KeyDataset(rows, key)

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any:
        from transformers.pipelines.pt_utils import KeyPairDataset

        return KeyPairDataset(rows, key, pair)

    def squad(self, question: str, context: str) -> Any:
        from transformers import SquadExample

        return SquadExample(None, question, context, None, None, None)


@dataclass
class Ours:
    """onnxpipe, on the bundles of the same models."""

    folder: Callable[[str, str], Path]

    def __post_init__(self) -> None:
        self._pipes: dict[str, Any] = {}

    def pipe(self, task: str, family: str, head: str, ctor: dict[str, Any]) -> Any:
        import onnxpipe

        name = repr((task, family, head, ctor))
        if name not in self._pipes:
            model = str(self.folder(family, head))
            self._pipes[name] = onnxpipe.pipeline(task, model=model, device="cpu", **ctor)
        return self._pipes[name]

    def settings(self, values: dict[str, Any]) -> Any:
        from onnxpipe import GenerationConfig

        return GenerationConfig(**values)

    def ids(self, values: list[list[int]]) -> Any:
        return np.array(values)

    def image_processor(self, family: str, head: str) -> Any:
        from onnxpipe import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(str(self.folder(family, head)))

    def feature_extractor(self, family: str, head: str) -> Any:
        from onnxpipe import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(str(self.folder(family, head)))

    def vocoder(self) -> Any:
        return str(self.folder(*VOCODER))

    def floats(self, values: np.ndarray) -> Any:
        return values

    def decoded(self, recording: Any, pipe: Any) -> Any:
        return recording

    def keyed(self, rows: Any, key: str) -> Any:
        from onnxpipe import KeyDataset

        return KeyDataset(rows, key)

    def keyed_pair(self, rows: Any, key: str, pair: str) -> Any:
        from onnxpipe import KeyPairDataset

        return KeyPairDataset(rows, key, pair)

    def squad(self, question: str, context: str) -> Any:
        from onnxpipe import SquadExample

        return SquadExample(None, question, context, None, None, None)


def _keeping_blanks(pipe: Any) -> Any:
    """Let transformers 5 decode prompt and answer together, as 4.57 did: decoded alone, answers lose their blanks."""
    postprocess, tokenizer = pipe.postprocess, pipe.tokenizer

    def together(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        prompt, ids, decode = outputs["prompt_text"], outputs["input_ids"], tokenizer.decode
        continues = kwargs.get("continue_final_message")
        if not isinstance(prompt, str) and continues is None:
            continues = prompt.messages[-1]["role"] == "assistant"
        before = ids[0].tolist() if ids is not None and (isinstance(prompt, str) or continues) else []

        def after(tokens: Any, **options: Any) -> str:
            return str(decode([*before, *tokens], **options)[len(decode(before, **options)) :])

        with patch.object(tokenizer, "decode", after):
            return postprocess(outputs, *args, **kwargs)

    pipe.postprocess = together
    return pipe


def outcome(library: Library, task: str, family: str, case: Case, marks: Marks, *, reference: bool = False) -> Outcome:
    """What `case` gives in `library`. `marks` are the family's; `reference` picks `case.reference`."""
    kwargs = dict(case.reference if reference and case.reference is not None else case.kwargs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ctor = {name: _part(library, family, case.head, value, marks) for name, value in case.ctor.items()}
            pipe = library.pipe(case.task or task, family, case.head, ctor)
            args = [resolved(library, pipe, marked(arg, marks)) for arg in case.args]
            kwargs = {name: resolved(library, pipe, marked(value, marks)) for name, value in kwargs.items()}
            result = pipe(*args, **kwargs)
            if isinstance(result, Iterator):
                return {"lazy": [plain(item) for item in result]}
            return {"value": plain(result)}
    except Exception as error:
        bases = [base.__name__ for base in type(error).__mro__[1:-2]]
        message = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
        return {"error": type(error).__name__, "bases": bases, "message": message}


def _part(library: Library, family: str, head: str, value: Any, marks: Marks) -> Any:
    """An argument of the constructor."""
    if isinstance(value, PipeImageProcessor):
        return library.image_processor(family, head)
    if isinstance(value, PipeFeatureExtractor):
        return library.feature_extractor(family, head)
    if isinstance(value, Vocoder):
        return library.vocoder()
    return resolved(library, None, marked(value, marks))


LANGUAGES = {"mbart": ("en_XX", "ro_RO"), "m2m_100": ("en", "fr"), "nllb": ("eng_Latn", "fra_Latn")}
"""Family -> its names of the languages `<src>` and `<tgt>`; the others take "en" and "fr", and ignore them."""


@cache
def marks_of(family: str, folder: Path) -> Marks:
    """What `<>`, `<src>` and `<tgt>` stand for in the texts of `family`, whose model is in `folder`."""
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return {}
    config = json.loads(path.read_text(encoding="utf-8"))
    source, target = LANGUAGES.get(family, ("en", "fr"))
    return {"<src>": source, "<tgt>": target, "<>": str(config.get("mask_token", "<>"))}


def _ready(pipe: Any) -> Any:
    """A pipeline of transformers that keeps the floats behind its boxes, and needs no torchvision."""
    if hasattr(pipe, "_get_bounding_box"):
        pipe._get_bounding_box = _exact_box
    if pipe.image_processor is not None:
        torchvision_standin.lend_functions(pipe.image_processor)
    return _seeing_pages(pipe) if pipe.task == "document-question-answering" else pipe


def _seeing_pages(pipe: Any) -> Any:
    """Hand the image of a page to the model by the name that it knows, and keep the answers of its tokens.

    The pipeline passes it as `image`, which LayoutLMv3 ignores, and would read the answers of its patches as tokens'.
    """
    forward = pipe._forward

    def with_image(inputs: Any, **kwargs: Any) -> Any:
        if "image" in inputs:
            inputs["pixel_values"] = inputs.pop("image")
        length = inputs["input_ids"].shape[1]
        outputs = forward(inputs, **kwargs)
        return {**outputs, **{name: outputs[name][:, :length] for name in ("start_logits", "end_logits")}}

    pipe._forward = with_image
    return pipe


def _exact_box(box: Any) -> dict[str, int]:
    return {name: Cut(int(value), value) for name, value in zip(("xmin", "ymin", "xmax", "ymax"), box.tolist())}
