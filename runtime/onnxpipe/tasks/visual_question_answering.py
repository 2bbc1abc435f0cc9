"""visual-question-answering: answer questions about images (semantics of transformers 4.57)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NotRequired, TypedDict, Unpack, overload

import numpy as np

from onnxpipe.engine.batching import Padding, Row, split, stack
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForVisualQuestionAnswering
from onnxpipe.processing.scores import sigmoid
from onnxpipe.tasks.base.call_types import ImageCallOptions, ImageInput
from onnxpipe.tasks.base.columns import top_k_columns
from onnxpipe.tasks.base.datasets import KeyDataset
from onnxpipe.tasks.base.generate_kwargs import check_names, explained_length, generate_arguments, with_generate
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline
from onnxpipe.tasks.base.image import check_image_processor
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import InputPart, TaskSpec

#: Pixels that cost as much as a token of the question.
_PATCH = 32 * 32


@dataclass(frozen=True)
class VisualQuestionAnsweringOptions(GenerationOptions):
    """Options of visual-question-answering.

    Attributes:
        top_k: the number of answers of a model that scores them, best first; at most as many as it knows.
        padding: how the tokenizer pads a question; by default not at all.
        truncation: cut a question that is longer than the model takes. By default nothing is cut.
        timeout: seconds that fetching an image from the web may take; None for the loader's own limit.
        max_new_tokens: the most tokens of an answer, for a model that writes it; 256 unless the model says otherwise.
        generate_kwargs: the arguments of `generate()` for a model that writes its answers: `{"num_beams": 4}`.
    """

    top_k: int = number_option(5, least=1)
    padding: bool | str = False
    truncation: bool | str = False
    timeout: float | None = number_option(None, least=0)
    max_new_tokens: int | None = number_option(None, least=1)
    generate_kwargs: Mapping[str, Any] | None = None
    generate: Mapping[str, Any] = field(default_factory=dict, repr=False)  # not an option: loose parameters raise


class VisualQuestionCallOptions(ImageCallOptions, total=False):
    """The options of a call: see `VisualQuestionAnsweringOptions`."""

    top_k: int | None
    padding: bool | str | None
    truncation: bool | str | None
    max_new_tokens: int | None
    generate_kwargs: Mapping[str, Any] | None
    seed: int | None
    response_format: Mapping[str, Any] | None


class VisualAnswer(TypedDict):
    """An answer, and its score where the model scores the answers that it knows."""

    answer: str
    score: NotRequired[float]


class VisualQuestionAnsweringPipeline(GenerationPipeline[VisualQuestionAnsweringOptions]):
    """Answer questions about images: a list of `{"score", "answer"}`, best first, or `[{"answer"}]` of a model that
    writes.

    It takes an image and a question, a dict of both, a list of such dicts, or a stream of them. One image with a list
    of questions, or a list of images with one question, gives a list of answers; two lists give an answer for each
    question about each image, the first question about all images first.
    """

    Options = VisualQuestionAnsweringOptions
    _load_tokenizer: ClassVar[bool | None] = True
    _load_image_processor: ClassVar[bool | None] = True
    _load_video_processor: ClassVar[bool | None] = False
    input_modalities = "multimodal"
    always_generates = False
    legacy: ClassVar[bool] = True
    rows_are_tokens = False
    #: Images are large: a stream reads few ahead.
    window = 16

    def prepare(self) -> None:
        super().prepare()
        check_image_processor(self)

    def parse(
        self, kwargs: Mapping[str, Any], base: VisualQuestionAnsweringOptions | None
    ) -> VisualQuestionAnsweringOptions:
        """See `GenerationPipeline.parse`; what `generate_kwargs` holds goes to `generate()`.

        Raises:
            UnknownArgumentError: a keyword that is not an option of the task.
            UnsupportedError: parameters of `generate()` for a model that scores answers.
        """
        check_names(type(self).__name__, self.Options, kwargs)
        passed = generate_arguments(kwargs)
        if passed and not self.model.can_generate():
            raise UnsupportedError(
                f"{self.model.name_or_path} scores the answers that it knows, and writes none: leave "
                f"{', '.join(passed)} out"
            )
        options = super().parse(kwargs, base)
        if self.model.can_generate():
            self._check_names(passed, set())
        return with_generate(options, passed)

    def arguments(self) -> Iterable[str]:
        """See `GenerationPipeline.arguments`."""
        return super().arguments() if self.model.can_generate() else ()

    # -- the call -----------------------------------------------------------------------------------------------------
    @overload
    def __call__(
        self, image: ImageInput, question: str, **options: Unpack[VisualQuestionCallOptions]
    ) -> list[VisualAnswer]: ...
    @overload
    def __call__(
        self, image: Mapping[str, Any], question: None = None, **options: Unpack[VisualQuestionCallOptions]
    ) -> list[VisualAnswer]: ...
    @overload
    def __call__(
        self, image: Any, question: str | list[str] | None = None, **options: Unpack[VisualQuestionCallOptions]
    ) -> Any: ...
    def __call__(self, image: Any = None, question: Any = None, *args: Any, **options: Any) -> Any:
        """Answer a question about an image, or several; see the class.

        Args:
            image: an image, a list or a `KeyDataset` of images; or inputs of both: a dict with "image" and "question",
                a list of such dicts, a generator or a dataset of them.
            question: a question or a list of questions.
            *args, **options: see `Pipeline.__call__`.
        """
        if image is None:
            raise ValueError(f"Cannot call the {self.task} pipeline without an image, or inputs with one!")
        if question is None:
            return super().__call__(image, *args, **options)
        several = isinstance(image, (list, KeyDataset))
        images = [image[i] for i in range(len(image))] if several else [image]
        questions = question if isinstance(question, list) else [question]
        pairs = [{"image": one, "question": each} for each in questions for one in images]
        alone = not several and not isinstance(question, list)
        return super().__call__(pairs[0] if alone else pairs, *args, **options)

    def dispatch(
        self,
        inputs: Any,
        options: VisualQuestionAnsweringOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        if not self.model.can_generate():
            return Pipeline.dispatch(self, inputs, options, num_workers, batch_size, on_error)
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def encode(self, value: Any, options: VisualQuestionAnsweringOptions) -> Iterable[Row]:
        from onnxpipe.processing.images.io.load import load_image

        source, question = _parts(value)
        words = self.tokenizer(question, padding=options.padding, truncation=options.truncation)
        length, limit = len(words["input_ids"]), self.model.config.get_text_config().get("max_position_embeddings")
        if isinstance(limit, int) and length > limit:
            raise UnsupportedError(
                f"the question has {length} tokens and the model takes at most {limit}: pass truncation=True to cut it"
            )
        processed = self.image_processor(load_image(source, options.timeout), return_tensors="np")
        pixels = np.asarray(processed["pixel_values"])[0]
        names = self._text_names()
        feeds = {name: np.asarray(words[name], np.int64) for name in names if name in words}
        cost = length + int(np.prod(pixels.shape[-2:])) // _PATCH
        if self.model.can_generate():
            resolved = self.resolved(options)
            copies = max(resolved.get("num_beams") or 1, resolved.get("num_return_sequences") or 1)
            cost += self.new_tokens(resolved, 1) * copies
        return [Row({**feeds, "pixel_values": pixels}, cost)]

    def _text_names(self) -> tuple[str, ...]:
        """Name the tokenizer's arrays that the model reads."""
        names = ("input_ids", "attention_mask")
        return names if self.model.can_generate() else (*names, "token_type_ids")

    def padding(self) -> Padding:
        """No padding: only questions of one length about images of one shape share a run."""
        return Padding(None)

    def _groups(self, rows: Sequence[Row], resolved: Mapping[str, Any]) -> list[list[int]]:
        """Run all rows at once: nothing is padded."""
        return [list(range(len(rows)))]

    def run(self, rows: Sequence[Row], options: VisualQuestionAnsweringOptions) -> list[Outputs]:
        if self.model.can_generate():
            with explained_length(self.model, self.new_tokens(self.resolved(options), 1)):
                return super().run(rows, options)
        outputs: list[Outputs] = list(
            split(self.model.run(stack(rows, self.padding())), rows, self.model.per_token, self.padding())
        )
        return outputs

    def decode(self, rows: Answered, options: VisualQuestionAnsweringOptions) -> list[VisualAnswer]:
        ((_, outputs),) = rows
        if self.model.can_generate():
            texts = (self.tokenizer.decode(each[each >= 0], skip_special_tokens=True) for each in outputs["sequences"])
            return [{"answer": text.strip()} for text in texts]
        scores = sigmoid(outputs["logits"].astype(np.float32))
        best = np.argsort(-scores, kind="stable")[: options.top_k]
        labels = self.model.config.id2label
        return [{"score": float(scores[i]), "answer": labels[int(i)]} for i in best]

    # -- streams of text ----------------------------------------------------------------------------------------------
    def can_stream(self, **options: Any) -> bool:
        """Whether `stream` can answer with these options: the model writes one answer, from beginning to end."""
        return bool(self.model.can_generate()) and super().can_stream(**options)

    def one_input(self, inputs: Any) -> Any:
        """Check the single input of `stream`: a dict of an image and a question.

        Raises:
            ValueError: it is not one.
        """
        if not self.model.can_generate():
            raise UnsupportedError(f"{self.model.name_or_path} scores answers, and writes none that could be streamed")
        _parts(inputs)
        return inputs


def _parts(value: Any) -> tuple[Any, str]:
    """Return the image and the question of an input.

    Raises:
        UnsupportedError: one of them is missing, or the question is no text or empty.
    """
    if not isinstance(value, Mapping) or not {"image", "question"} <= value.keys():
        given = f"a dict of {', '.join(map(str, value))}" if isinstance(value, Mapping) else type(value).__name__
        raise UnsupportedError(f'an input is {{"image": an image, "question": a text}}; got {given}')
    question = value["question"]
    if not isinstance(question, str) or not question.strip():
        what = "is empty" if isinstance(question, str) else f"is a {type(question).__name__}, not a text"
        raise UnsupportedError(f"the question {what}: ask something about the image")
    return value["image"], question


TASK = TaskSpec(
    name="visual-question-answering",
    pipeline=VisualQuestionAnsweringPipeline,
    auto_classes=(AutoModelForVisualQuestionAnswering,),
    help="Answer questions about images.",
    example='"photo.jpg", question="How many people are there?"',
    default_model=("dandelin/vilt-b32-finetuned-vqa", "d0a1f6a"),
    input="multimodal",
    parts=(InputPart("image"), InputPart("question", option="question")),
    columns=top_k_columns("answer", "score"),
    ranked=True,
)
