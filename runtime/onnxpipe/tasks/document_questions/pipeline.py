"""document-question-answering: answer questions about pages, with words that stand on them or in the model's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, overload

from onnxpipe.engine.batching import Padding, Row, stack
from onnxpipe.engine.scheduler import TOKEN_BUDGET, Answered, OnError, Outputs
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.models.auto import AutoModelForDocumentQuestionAnswering
from onnxpipe.models.documents import POINTS
from onnxpipe.processing.ocr.reader import Ocr
from onnxpipe.tasks.base.call_types import ImageInput, Stream
from onnxpipe.tasks.base.columns import Cells, ResultColumns, ranked_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generation import GenerationPipeline
from onnxpipe.tasks.base.image import check_image_processor
from onnxpipe.tasks.base.pages import load_page
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import InputPart, TaskSpec
from onnxpipe.tasks.document_questions.extraction import PageReader, answers
from onnxpipe.tasks.document_questions.inputs import checked, joined
from onnxpipe.tasks.document_questions.options import (
    DocumentAnswer,
    DocumentQuestionAnsweringCallOptions,
    DocumentQuestionAnsweringOptions,
)
from onnxpipe.tasks.document_questions.writing import answer_in, prompt

if TYPE_CHECKING:
    from PIL.Image import Image

#: Options for models that write, and for none that points at words.
_FOR_WRITING = frozenset({"generate", "seed", "response_format"})
#: Options that mean something to both.
_FOR_BOTH = frozenset({"top_k", "timeout"})


class DocumentQuestionAnsweringPipeline(GenerationPipeline[DocumentQuestionAnsweringOptions]):
    """Answer a question about a page: a list of `{"score", "answer", "start", "end"}`, words by their numbers.

    An input is an image with a question, and perhaps the words of the image (`word_boxes`), which are read off it
    otherwise: `(word, [left, top, right, bottom])` pairs with boxes in thousandths of the page, or the answer of
    `pipeline("ocr")`; with them the image may be None if the model does not look at it. Inputs are passed as
    `image=`, `question=`, `word_boxes=`, as a dict of these, or as a list or a stream of such dicts; several questions
    about an image, or images with one question, as a list of either.

    Donut reads the page itself and writes its answer: `[{"answer"}]`, None where it writes none. It takes the
    parameters of `generate()` besides, and no options about words.
    """

    Options = DocumentQuestionAnsweringOptions
    _load_tokenizer: ClassVar[bool | None] = True
    _load_video_processor: ClassVar[bool | None] = False
    input_modalities = "multimodal"
    always_generates = False
    token_budget = TOKEN_BUDGET
    #: Rows hold an image each: a stream reads few ahead.
    window = 16

    def prepare(self) -> None:
        super().prepare()
        self._reader: PageReader | None = None
        if self.model.can_generate():
            check_image_processor(self)
        else:
            inputs = tuple(self.model.session.inputs)
            self._reader = PageReader(self.model.name_or_path, inputs, self.tokenizer, self.image_processor)

    # -- options ------------------------------------------------------------------------------------------------------
    def parse(
        self, kwargs: Mapping[str, Any], base: DocumentQuestionAnsweringOptions | None
    ) -> DocumentQuestionAnsweringOptions:
        """See `GenerationPipeline.parse`.

        Raises:
            UnknownArgumentError: a keyword that is not an option of the task.
            UnsupportedError: an option of models of the other kind, or options of OCR that do not go together.
        """
        own = {field.name for field in dataclasses.fields(self.Options)} - _FOR_WRITING
        if self._reader is None:
            for name in own - _FOR_BOTH:
                if kwargs.get(name) is not None:
                    raise UnsupportedError(
                        f"{self.model.name_or_path} reads the page itself and writes its answer: leave {name}= out"
                    )
            return super().parse(kwargs, base)
        for name in kwargs:
            if name not in own:
                raise UnknownArgumentError.among(type(self).__name__, name, own)
        options: DocumentQuestionAnsweringOptions = Pipeline.parse(self, kwargs, base)
        Ocr(options.ocr, options.lang, options.tesseract_config).check()
        return options

    def arguments(self) -> Iterable[str]:
        """See `GenerationPipeline.arguments`."""
        return super().arguments() if self._reader is None else ()

    # -- the call -----------------------------------------------------------------------------------------------------
    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, image: list[Any], **options: Unpack[DocumentQuestionAnsweringCallOptions]
        ) -> list[list[DocumentAnswer]]: ...
        @overload
        def __call__(
            self,
            image: ImageInput | dict[str, Any] | None,
            question: str,
            word_boxes: Any = None,
            **options: Unpack[DocumentQuestionAnsweringCallOptions],
        ) -> list[DocumentAnswer]: ...
        @overload
        def __call__(
            self, image: Stream, **options: Unpack[DocumentQuestionAnsweringCallOptions]
        ) -> PipelineIterator[list[DocumentAnswer]]: ...
        @overload
        def __call__(self, image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any) -> Any: ...

    def __call__(self, image: Any = None, question: Any = None, word_boxes: Any = None, **options: Any) -> Any:
        """See `Pipeline.__call__`."""
        return super().__call__(joined(image, question, word_boxes), **options)

    def dispatch(
        self,
        inputs: Any,
        options: DocumentQuestionAnsweringOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        if self._reader is None:
            return super().dispatch(inputs, options, num_workers, batch_size, on_error)
        return Pipeline.dispatch(self, inputs, options, num_workers, batch_size, on_error)

    def encode(self, value: Any, options: DocumentQuestionAnsweringOptions) -> Iterable[Row]:
        example = checked(value)
        source = example.get("image")
        image = None if source is None else load_page(source, options.timeout)
        return (
            [self._prompted(example, image, options)]
            if self._reader is None
            else self._reader.rows(example, image, options)
        )

    def _prompted(
        self, example: Mapping[str, Any], image: Image | None, options: DocumentQuestionAnsweringOptions
    ) -> Row:
        """Build the row of a model that writes: the image, and the question as the beginning of what it writes."""
        if example.get("word_boxes") is not None:
            raise UnsupportedError(f"{self.model.name_or_path} reads the page itself: leave word_boxes out")
        if image is None:
            raise ValueError("the input has no image, which this model reads itself: pass image=")
        name = self.model.main_input_name
        ids = prompt(self.tokenizer, example["question"])
        feeds = {
            name: self.image_processor(image.convert("RGB"), return_tensors="np")[name][0],
            "decoder_input_ids": ids,
        }
        resolved = self.resolved(options)
        copies = max(resolved.get("num_beams") or 1, resolved.get("num_return_sequences") or 1)
        return Row(feeds, (len(ids) + self.new_tokens(resolved, len(ids))) * copies)

    def padding(self) -> Padding:
        """The tokenizer's; prompts of a model that writes are not padded."""
        return Padding(None) if self._reader is None else Pipeline.padding(self)

    def _groups(self, rows: Sequence[Row], resolved: Mapping[str, Any]) -> list[list[int]]:
        """Run all rows at once: those that share a batch have prompts of one length."""
        return [list(range(len(rows)))]

    def run(self, rows: Sequence[Row], options: DocumentQuestionAnsweringOptions) -> list[Outputs]:
        if self._reader is None:
            return super().run(rows, options)
        outputs = self.model.run(stack(rows, self.padding()))
        # padding and patches stand behind the tokens
        return [{name: outputs[name][i][: row.length] for name in POINTS} for i, row in enumerate(rows)]

    def decode(self, rows: Answered, options: DocumentQuestionAnsweringOptions) -> list[DocumentAnswer]:
        if self._reader is not None:
            return answers(rows, options)
        ((_, outputs),) = rows
        written: list[DocumentAnswer] = [
            {"answer": answer_in(self.tokenizer, tokens[tokens >= 0])} for tokens in outputs["sequences"]
        ]
        return written[: options.top_k] if options.top_k > 1 else written

    def can_stream(self, **options: Any) -> bool:
        """Return False: what a model writes is not an answer before its end."""
        return False

    def one_input(self, inputs: Any) -> Any:
        """Refuse: there is no `stream` here."""
        raise UnsupportedError("document-question-answering has no stream(): an answer is there at its end")


def _columns(params: Mapping[str, Any], labels: int | None) -> ResultColumns:
    """The fields of the best answers; those that a model that writes does not give stay empty."""
    columns = ranked_columns(("answer", "score", "start", "end"), int(params.get("top_k", 1) or 1), _with_all_fields)
    return ResultColumns(columns.names, lambda answer: _without_none(columns.cells(answer)))


def _with_all_fields(answer: Any) -> list[Any]:
    return [{"score": None, "start": None, "end": None, **entry} for entry in answer]


def _without_none(cells: Cells) -> Cells:
    return {name: value for name, value in cells.items() if value is not None}


TASK = TaskSpec(
    name="document-question-answering",
    pipeline=DocumentQuestionAnsweringPipeline,
    auto_classes=(AutoModelForDocumentQuestionAnswering,),
    help="Find the words of a page that answer a question.",
    example='"receipt.png", question="What is the total?", ocr="rapidocr"',
    default_model=("impira/layoutlm-document-qa", "beed3c4"),
    input="multimodal",
    parts=(InputPart("image"), InputPart("question", option="question")),
    columns=_columns,
    draws=True,
    drawing_params={"return_boxes": True},
)
