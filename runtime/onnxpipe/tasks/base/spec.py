"""The record of a task: all facts about it, which the registry, the command line, the docs and the types read."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from onnxpipe.tasks.base.columns import Columns, one_column

if TYPE_CHECKING:
    from onnxpipe.models.auto import AutoModel
    from onnxpipe.tasks.base.pipeline import Pipeline

#: A model on the Hub: its id, and the revision that is pinned (None for the newest).
ModelId = tuple[str, str | None]
InputType = Literal["text", "image", "video", "audio", "multimodal", "table"]
OutputType = Literal["image", "audio", "transcript"]
#: Types of input that are images, or the frames of videos.
IMAGE_INPUTS = ("image", "video", "multimodal")
_RESULT = one_column("result")


@dataclass(frozen=True)
class InputPart:
    """A named part of a task's input.

    Attributes:
        name: its key in an input, and in `--column NAME=COLUMN`.
        is_list: its value is a list, of texts.
        option: the command line's option that sets it for every input (`--question`); None if there is none.
    """

    name: str
    is_list: bool = False
    option: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A task of `pipeline()`.

    Attributes:
        name: as the Hub has it: "object-detection".
        pipeline: its class.
        auto_classes: the Auto classes of its models, best first; the first one loads them.
        help: what it does, in one line, for `--help` and the docs.
        example: the arguments of a call, as they stand in code, for the docs.
        default_model: the model if none is named; for translation one for each pair of languages; None for none.
        input: the type of its inputs. All but "text" are files by path, URL or bytes; "multimodal" are images with
            texts, "table" are tables with questions. None if a user registered the task without one.
        export_as: the task for which a model without a graph is exported, if it is not that of the Auto class.
        parts: the named parts of an input, if it has several.
        parts_as_list: an input is a list of its parts, not a dict.
        columns: the columns that a table job adds.
        output: the type of its answers on the command line, if not data: "image" (or one that has an image), "audio"
            (written to files), or "transcript" (which may become subtitles).
        text_key: the key of an answer's text, of tasks that generate one.
        draws: answers can be drawn into the image, or are images.
        ranked: an answer is a list of guesses, of which a table gets the best (`top_k` is 1 there by default).
        candidate_labels: labels are chosen at call time (`--labels`).
        takes_videos: a file may be a video, which is then the part "video" of an input, instead of the first part.
        languages: takes `src_lang` and `tgt_lang`.
        streams: the command line shows the text while it is generated.
        chats: an input may be a chat, a list of messages.
        has_model: whether a model answers; `ocr` alone has none.
        image_options: options of the command line that name an image for every input, which is then a prompt, and the
            keys of these images in an input.
        drawing_params: parameters of the call that answers need to be drawn.
    """

    name: str
    pipeline: type[Pipeline]
    auto_classes: tuple[type[AutoModel], ...]
    help: str = ""
    example: str = ""
    default_model: ModelId | Mapping[tuple[str, str], ModelId] | None = None
    input: InputType | None = "text"
    export_as: str | None = None
    parts: tuple[InputPart, ...] = ()
    parts_as_list: bool = False
    columns: Columns = _RESULT
    output: OutputType | None = None
    text_key: str | None = None
    draws: bool = False
    ranked: bool = False
    candidate_labels: bool = False
    takes_videos: bool = False
    languages: bool = False
    streams: bool = False
    chats: bool = False
    has_model: bool = True
    image_options: Mapping[str, str] = field(default_factory=dict)
    drawing_params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def takes_files(self) -> bool:
        """Whether inputs are files: images, videos, recordings, tables."""
        return self.input in (*IMAGE_INPUTS, "audio", "table")

    @property
    def takes_images(self) -> bool:
        """Whether inputs are images, or the frames of videos."""
        return self.input in IMAGE_INPUTS

    @property
    def needs_labels(self) -> bool:
        """Whether a call must have `candidate_labels`, as its inputs cannot bring them."""
        return self.candidate_labels and all(part.name != "candidate_labels" for part in self.parts)

    def example_call(self) -> tuple[list[Any], dict[str, Any]]:
        """Read the example: the positional arguments and the keywords of its call."""
        call = ast.parse(f"call({self.example})", mode="eval").body
        assert isinstance(call, ast.Call)
        keywords = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg is not None}
        return [ast.literal_eval(each) for each in call.args], keywords

    def entry(self) -> dict[str, Any]:
        """The task as transformers' registry has it; "export" is our own key, for `export_as`."""
        entry: dict[str, Any] = {"impl": self.pipeline, "pt": self.auto_classes}
        if isinstance(self.default_model, Mapping):
            entry["default"] = {languages: {"model": model} for languages, model in self.default_model.items()}
        elif self.default_model is not None:
            entry["default"] = {"model": self.default_model}
        if self.input is not None:
            entry["type"] = self.input
        if self.export_as is not None:
            entry["export"] = self.export_as
        return entry
