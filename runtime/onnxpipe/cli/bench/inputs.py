"""Make the call that is timed: the task's example, the user's inputs, or synthetic images and recordings."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxpipe.tasks.base.spec import TaskSpec

_RATE = 16_000
_SECONDS = 5


@dataclass(frozen=True)
class Sample:
    """A call of a pipeline.

    Attributes:
        arguments: its positional arguments; the first one is the input.
        params: its keywords.
        words: what it is, for the report.
    """

    arguments: tuple[Any, ...]
    params: dict[str, Any]
    words: str

    def batch(self, size: int) -> Any:
        """Return `size` inputs, for a call with a list."""
        return [self.arguments[0]] * size

    @property
    def can_batch(self) -> bool:
        """Whether the call has one input, which a list can hold several times."""
        return len(self.arguments) == 1 and not isinstance(self.arguments[0], list)


def sample(spec: TaskSpec, given: str | None, params: dict[str, Any]) -> Sample:
    """Make the call that is timed.

    Args:
        spec: the task.
        given: the user's input: a text, a path, or JSON that begins with `{`; None for the task's example. In the place
            of the example's files stand a synthetic image, or a synthetic recording of five seconds.
        params: keywords of the call, which replace the example's.

    Raises:
        ValueError: the example's input cannot be made: pass one.
    """
    call = ast.parse(f"f({spec.example})", mode="eval").body
    assert isinstance(call, ast.Call)
    arguments = [ast.literal_eval(argument) for argument in call.args]
    keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    if given is not None:
        arguments, words = [_given(given)], "the input that was passed"
    elif spec.input == "text":
        words = "the task's example"
    elif spec.input == "audio":
        arguments[:1], words = [_recording()], f"a synthetic recording of {_SECONDS} s"
    elif spec.input in ("image", "multimodal"):
        image = _image()
        words = "a synthetic image of 640 x 480 pixels"
        if "images" in keywords:
            keywords["images"] = image
        else:
            arguments[:1] = [[image, image] if spec.parts_as_list else image]
    else:
        raise ValueError(f"{spec.name} has no synthetic input: pass one with --input")
    if spec.text_key is not None and "max_new_tokens" not in params:
        keywords.update(max_new_tokens=32, min_new_tokens=32)
        words += ", 32 new tokens"
    parts = {part.name for part in spec.parts}
    own = {name: value for name, value in keywords.items() if name in parts or name == "images"}
    rest = {name: value for name, value in keywords.items() if name not in own}
    if own and spec.input == "text" and not arguments:
        arguments, own = [own], {}
    return Sample(tuple(arguments), {**own, **rest, **params}, words)


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
