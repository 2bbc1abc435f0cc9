"""Make the call that is timed: the task's example, the user's inputs, or synthetic images and recordings."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec

_RATE = 16_000
_SECONDS = 5
_FRAMES = 64
#: The mask token in examples, and a prompt for an example that has none.
_MASK = "<mask>"
_PROMPT = "a lighthouse at dusk"
_STEPS = 4
#: Parameters that fix the length of a generated text; _LENGTHS are those with which a user fixes it.
_TOKENS = {"max_new_tokens": 32, "min_new_tokens": 32}
_TOKENS_WORDS = ", 32 new tokens"
_LENGTHS = {"max_new_tokens", "generate_kwargs"}


@dataclass(frozen=True)
class Sample:
    """A call of a pipeline.

    Attributes:
        arguments: its positional arguments; the first one is the input.
        params: its keywords.
        words: what it is, for the report.
        synthetic: whether images, recordings, videos or tables stand in the place of files.
    """

    arguments: tuple[Any, ...]
    params: dict[str, Any]
    words: str
    synthetic: bool = False

    def batch(self, size: int) -> Any:
        """Return `size` inputs, for a call with a list."""
        return [self.arguments[0]] * size

    @property
    def can_batch(self) -> bool:
        """Whether the call has one input, which a list can hold several times."""
        return len(self.arguments) == 1 and not isinstance(self.arguments[0], list)

    def suited_to(self, pipe: Any) -> Sample:
        """Suit the call to a loaded pipeline: the mask token of its tokenizer; a generator's prompt and few steps.

        A synthetic recording holds no speech, so nothing tells a model that generates where its transcript ends: it
        generates 32 tokens, unless the user fixes the length.
        """
        generates = pipe.task == "automatic-speech-recognition" and pipe.model.can_generate()
        if self.synthetic and generates and not _LENGTHS & self.params.keys():
            return replace(self, params={**_TOKENS, **self.params}, words=self.words + _TOKENS_WORDS)
        mask = getattr(getattr(pipe, "tokenizer", None), "mask_token", None) or _MASK
        texts = tuple(each.replace(_MASK, mask) if isinstance(each, str) else each for each in self.arguments)
        if getattr(pipe, "generator", None) is None:
            return replace(self, arguments=texts)
        prompt = {"prompt": _PROMPT} if pipe.task == "image-to-image" else {}
        steps = {} if "num_inference_steps" in self.params else {"num_inference_steps": _STEPS}
        words = self.words + (f", {_STEPS} steps" if steps else "")
        return Sample(texts, {**prompt, **steps, **self.params}, words)


def sample(spec: TaskSpec, given: str | None, params: dict[str, Any]) -> Sample:
    """Make the call that is timed.

    Args:
        spec: the task.
        given: the user's input: a text, a path, or JSON that begins with `{`; None for the task's example, in which
            synthetic images, recordings, videos and tables stand in the place of files.
        params: keywords of the call, which replace the example's.

    Raises:
        ValueError: the task has no example: pass an input.
        MissingDependencyError: the library that makes the input (the extra of the task) is not installed.
    """
    if not spec.example and given is None:
        raise ValueError(f"{spec.name} has no example: pass an input with --input")
    arguments, keywords = spec.example_call()
    made: dict[str, None] = {}
    if given is not None:
        arguments, words = [_given(given)], "the input that was passed"
    else:
        arguments, keywords = _without_files(arguments, made), _without_files(keywords, made)
        words = " and ".join(made) or "the task's example"
    if spec.text_key is not None and not _LENGTHS & params.keys():
        keywords.update(_TOKENS)
        words += _TOKENS_WORDS
    parts = [part.name for part in spec.parts]
    if len(arguments) > 1 and len(arguments) == len(parts):  # the parts of one input
        arguments = [dict(zip(parts, arguments, strict=True))]
    own = {name: value for name, value in keywords.items() if name in parts or name == "images"}
    rest = {name: value for name, value in keywords.items() if name not in own}
    if own and spec.input == "text" and not arguments:
        arguments, own = [own], {}
    return Sample(tuple(arguments), {**own, **rest, **params}, words, synthetic=bool(made))


def _without_files(value: Any, made: dict[str, None]) -> Any:
    """Put synthetic inputs in the place of file names, at any depth; add what they are to `made`."""
    if isinstance(value, dict):
        return {name: _without_files(each, made) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_files(each, made) for each in value]
    words, make = _MADE.get(PurePath(value).suffix, (None, None)) if isinstance(value, str) else (None, None)
    if words is None or make is None:
        return value
    made[words] = None
    return make()


def _given(text: str) -> Any:
    from onnxpipe.processing.json_text import parse_json

    if text.lstrip().startswith("{"):
        return parse_json(text)
    return str(Path(text).resolve()) if Path(text).is_file() else text


def _recording() -> dict[str, Any]:
    """Make a recording of a few tones that rise and fall, like the formants of speech; float32."""
    time = np.arange(_RATE * _SECONDS) / _RATE
    tones = sum(
        np.sin(2 * math.pi * base * time + 3 * np.sin(2 * math.pi * turn * time)) / (i + 1)
        for i, (base, turn) in enumerate(((140, 1.3), (700, 2.1), (1700, 2.9)))
    )
    loud = 0.5 + 0.5 * np.sin(2 * math.pi * 2.5 * time)
    return {"raw": (0.2 * tones * loud).astype(np.float32), "sampling_rate": _RATE}


def _image() -> Any:
    """Make an image of soft coloured waves."""
    from PIL import Image

    y, x = np.mgrid[0:480, 0:640]
    waves = [np.sin(x / a + y / b) for a, b in ((31, 57), (83, 23), (47, 97))]
    return Image.fromarray(np.uint8(127 + 100 * np.stack(waves, axis=-1)))


def _video() -> bytes:
    """Make a video of soft waves that move, as the bytes of a file."""
    from onnxpipe.processing.video.read import import_av

    av, file = import_av(), io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        y, x = np.mgrid[0:240, 0:320]
        for number in range(_FRAMES):
            waves = [np.sin(x / a + y / b + number / 5) for a, b in ((31, 57), (83, 23), (47, 97))]
            pixels = np.uint8(127 + 100 * np.stack(waves, axis=-1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _table() -> dict[str, list[str]]:
    """Make a table of ten months."""
    months = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October")
    return {"month": list(months), "units sold": [str(37 * i % 90 + 10) for i in range(len(months))]}


_MADE: dict[str, tuple[str, Callable[[], Any]]] = {
    ".jpg": ("a synthetic image of 640 x 480 pixels", _image),
    ".png": ("a synthetic image of 640 x 480 pixels", _image),
    ".flac": (f"a synthetic recording of {_SECONDS} s", _recording),
    ".mp4": (f"a synthetic video of {_FRAMES} frames of 320 x 240 pixels", _video),
    ".csv": ("a synthetic table", _table),
}
"""What stands in the place of a file, by the ending of its name."""
