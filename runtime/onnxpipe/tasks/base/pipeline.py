"""The pipeline that every task is: options, encode, run, decode, around one scheduler.

A task of ours is a subclass with a frozen dataclass `Options` and two methods, `encode` (one input to rows) and
`decode` (the rows of one input, with their outputs, to the answer). Code written for transformers subclasses the same
class with its four methods (`_sanitize_parameters`, `preprocess`, `_forward`, `postprocess`) instead; `custom.py`
carries them over.
"""

from __future__ import annotations

import dataclasses
import logging
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from onnxpipe.bundle.manifest import relist
from onnxpipe.engine.batching import Padding, Row, split, stack
from onnxpipe.engine.scheduler import TOKEN_BUDGET, WINDOW_ROWS, Answered, ItemError, OnError, Outputs, Work, answer
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.models.base import Model
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base import legacy as custom
from onnxpipe.tasks.base.datasets import PipelineIterator, is_dataset, rows_of

logger = logging.getLogger("onnxpipe")


class Pipeline:
    """A model with its tokenizer behind `transformers.pipeline`'s call.

    Args:
        model: the model, as `AutoModel….from_pretrained` gives it.
        tokenizer: its tokenizer.
        feature_extractor: of tasks of sound; of pictures it is the old name of the next.
        image_processor: of tasks of pictures.
        video_processor: of tasks of films.
        processor: holds the others; they are taken from it where none of them is given.
        modelcard: kept.
        framework: "pt" or None, for code written for transformers 4; "tf" is refused.
        task: the name the user asked for (an alias stays one).
        device: refused unless it is the model's own: a session cannot move; give it to `pipeline()`.
        binary_output: kept for the command line, without effect on calls (as in transformers).
        batch_size: rows a batch; None groups rows of like length by itself.
        num_workers: threads that encode inputs ahead of the model.
        **options: the task's own parameters, see its `Options`.

    Attributes:
        options: the parameters given at construction; those of a call win over them.
    """

    #: The task's parameters: a frozen dataclass. None for classes written with transformers' four methods.
    Options: ClassVar[Any] = None
    #: Parameters for which None is a value of its own; elsewhere None means "not given".
    none_counts: ClassVar[frozenset[str]] = frozenset()
    #: What the factory loads beside the model: True (needed), None (if present), False. Our tasks of text all need a
    #: tokenizer.
    _load_tokenizer: ClassVar[bool | None] = None
    _load_feature_extractor: ClassVar[bool | None] = False
    _load_image_processor: ClassVar[bool | None] = None
    _load_video_processor: ClassVar[bool | None] = None
    #: Whether a `processor` is taken by a task of text; the others take one wherever it holds what they need.
    _load_processor: ClassVar[bool | None] = False
    #: What a model that generates gives.
    output_modalities: ClassVar[tuple[str, ...]] = ("text",)
    input_modalities: ClassVar[str] = "text"
    #: What a batch may hold that the scheduler cuts: its rows times the longest `Row.length`.
    token_budget: ClassVar[int] = TOKEN_BUDGET
    #: Rows that are gathered and sorted by length at a time.
    window: ClassVar[int] = WINDOW_ROWS
    #: Whether rows are tokens, which only a tokenizer with a padding token can make alike.
    rows_are_tokens: ClassVar[bool] = True
    #: Whether the rows of one input are made as they are needed, and let go of once they have run.
    lazy: ClassVar[bool] = False
    #: How many times these two the device takes.
    at_once: int = 1

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer | None = None,
        feature_extractor: Any = None,
        image_processor: Any = None,
        video_processor: Any = None,
        processor: Any = None,
        modelcard: Any = None,
        framework: str | None = None,
        task: str = "",
        device: Any = None,
        binary_output: bool = False,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> None:
        if framework not in (None, "pt"):
            raise UnsupportedError(f"framework={framework!r}: there is one runtime here; leave it out (or pass 'pt')")
        if device is not None and str(device) not in (str(model.device), model.device.type):
            raise UnsupportedError(
                f"the model is on {model.device}: pass device={device!r} to pipeline() or from_pretrained()"
            )
        if processor is not None and tokenizer is feature_extractor is image_processor is None:
            tokenizer = getattr(processor, "tokenizer", None)
            feature_extractor = getattr(processor, "feature_extractor", None)
            image_processor = getattr(processor, "image_processor", None)
        if image_processor is None and "pixel_values" in getattr(feature_extractor, "model_input_names", ()):
            image_processor = feature_extractor
        self.model: Any = model  # each task knows which class it needs
        self._tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.image_processor = image_processor
        self.video_processor = video_processor
        self.processor = processor
        self.modelcard = modelcard
        self.framework = "pt"
        self.task = task
        self.device = model.device
        self.binary_output = binary_output
        self.call_count = 0
        self._batch_size = batch_size
        self._num_workers = num_workers
        self.prepare()
        self.options = self.parse(options, None)

    # -- what a task defines ----------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Checks and precomputes what depends on the model and tokenizer alone; called once, before options."""

    def parse(self, given: Mapping[str, Any], base: Any) -> Any:
        """Options from keywords, over those of the constructor.

        Raises:
            UnknownArgumentError: a keyword that is no parameter of the task.
        """
        if self.Options is None:
            return custom.parse(self, given, base)
        known = {field.name for field in dataclasses.fields(self.Options)}
        for name in given:
            if name not in known:
                raise UnknownArgumentError.among(f"{type(self).__name__}", name, known)
        kept = {k: v for k, v in given.items() if v is not None or k in self.none_counts}
        return dataclasses.replace(base or self.Options(), **kept)

    def encode(self, value: Any, options: Any) -> Iterable[Row]:
        """The rows of one input."""
        return custom.encode(self, value, options)

    def decode(self, rows: Answered, options: Any) -> Any:
        """The answer to one input from its rows and their outputs."""
        return custom.decode(self, rows, options)

    def run(self, rows: Sequence[Row], options: Any) -> list[Outputs]:
        """The model's outputs for one batch, row by row, without padding."""
        if self.Options is None:
            return custom.run(self, rows, options)
        padding = self.padding()
        outputs = self.model.run(stack(rows, padding))
        return split(outputs, rows, self.model.per_token, padding)

    # -- the call ---------------------------------------------------------------------------------------------------
    def __call__(
        self,
        inputs: Any,
        *args: Any,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
        **options: Any,
    ) -> Any:
        """Answers one input, a list of inputs, or a stream.

        Args:
            inputs: one example; a list (a list of answers comes back); a generator or dataset (a lazy iterator).
            *args: ignored with a warning, as in transformers.
            num_workers: threads that encode inputs ahead of the model; 0 for none.
            batch_size: rows a batch; None groups rows of like length by itself.
            on_error: "raise", or "return" to get an `ItemError` in the place of a bad input's answer.
            **options: the task's parameters for this call.
        """
        if args:
            logger.warning("Ignoring args : %s", args)
        return self.dispatch(inputs, self.parse(options, self.options), num_workers, batch_size, on_error)

    def dispatch(
        self,
        inputs: Any,
        options: Any,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        """What `__call__` does once the options are known."""
        size = self._size(batch_size)
        workers = num_workers if num_workers is not None else self._num_workers or 0
        if on_error not in ("raise", "return"):
            raise UnsupportedError(f"on_error={on_error!r}: choose 'raise' or 'return'")
        self.call_count += 1
        work = Work(
            encode=lambda value: self.encode(value, options),
            run=lambda rows: self.run(rows, options),
            decode=lambda rows: self.decode(rows, options),
            can_pad=self.padding().token_id is not None,
            token_budget=self.token_budget * self.at_once,
            window=self.window * self.at_once,
            lazy=self.lazy,
        )

        def answers(values: Iterable[Any], hurry: bool = True, on_error: OnError = on_error) -> Iterator[Any]:
            return answer(values, work, batch_size=size, num_workers=workers, on_error=on_error, hurry=hurry)

        if isinstance(inputs, list):
            return list(answers(inputs, hurry=False))
        if isinstance(inputs, types.GeneratorType):
            return PipelineIterator(lambda: answers(inputs))
        if is_dataset(inputs):
            return PipelineIterator(lambda: answers(rows_of(inputs)), -(-len(inputs) // (size or 1)))
        (result,) = answers([inputs], hurry=False, on_error="return")
        if isinstance(result, ItemError) and on_error == "raise":
            raise result.error
        return result

    def _size(self, batch_size: int | None) -> int | None:
        size = batch_size if batch_size is not None else self._batch_size
        if size is None:
            return None
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"batch_size should be a positive integer, got {size!r}")
        lacks = self._tokenizer is not None and self._tokenizer.pad_token_id is None
        if size > 1 and self.rows_are_tokens and lacks:
            raise ValueError(
                "Pipeline with tokenizer without pad_token cannot do batching. You can try to set it with "
                "`pipe.tokenizer.pad_token_id = model.config.eos_token_id`."
            )
        return int(size)

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """`self(X)`, for code written for scikit-learn."""
        return self(X)

    def transform(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """`self(X)`, for code written for scikit-learn."""
        return self(X)

    # -- what users look at -----------------------------------------------------------------------------------------
    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; its special tokens may be changed."""
        if self._tokenizer is None:
            raise AttributeError(f"{type(self).__name__} was made without a tokenizer")
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, value: Tokenizer) -> None:
        self._tokenizer = value

    @property
    def dtype(self) -> str:
        """The precision of the graph that runs: "float32", "float16", "int8", "q4", ..."""
        return str(self.model.dtype)

    torch_dtype = dtype

    def padding(self) -> Padding:
        """How rows of unlike length share a batch: the tokenizer's padding token and side."""
        if self._tokenizer is None:
            return Padding(None if self.image_processor is not None else 0)
        side: Literal["left", "right"] = "left" if self._tokenizer.padding_side == "left" else "right"
        return Padding(self._tokenizer.pad_token_id, side)

    def placement(self) -> Any:
        """Which of the graph's nodes run on which execution provider."""
        return self.model.placement()

    def check_model_type(self, supported_models: Any) -> None:
        """Logs an error where the model's type is not among `supported_models` (names of types or of classes)."""
        names = supported_models.values() if isinstance(supported_models, Mapping) else supported_models
        known = {name for value in names for name in ([value] if isinstance(value, str) else value)}
        mine = {self.model.config.model_type, *(self.model.config.architectures or [])}
        if known and not known & mine:
            logger.error("The model %s is not supported for %s.", sorted(mine), self.task)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Writes the model's folder, with the tokenizer and processors as they are now, to a directory."""
        target = Path(save_directory)
        if target.is_file():
            logger.error("Provided path (%s) should be a directory, not a file", target)
            return
        self.model.save_pretrained(target)
        sounds = None if self.feature_extractor is self.image_processor else self.feature_extractor
        parts = (self._tokenizer, sounds, self.image_processor, self.video_processor)
        for part in parts:
            if part is not None:
                part.save_pretrained(target)
        if any(part is not None for part in parts):
            relist(target)

    def __repr__(self) -> str:
        shown: dict[str, Any] = {
            "model": (self.model.config.architectures or [self.model.config.model_type])[0],
            "dtype": self.dtype,
            "device": str(self.device),
            "input_modalities": self.input_modalities,
        }
        if self.model.can_generate():
            shown["output_modalities"] = self.output_modalities
        return f"{type(self).__name__}: {shown}"


def text_rows(tokenizer: Tokenizer, value: Any, keywords: Mapping[str, Any]) -> list[Row]:
    """The rows of one example. A str has one; anything else (a tuple of texts) is one call to the tokenizer, as in
    transformers, and its texts must have equal lengths in tokens."""
    if isinstance(value, str):
        return [text_row(tokenizer, tokenizer(value, **keywords))]
    encoding = tokenizer(value, **{**keywords, "return_tensors": "np"})
    count = len(encoding["input_ids"])
    return [text_row(tokenizer, {name: rows[i] for name, rows in encoding.items()}) for i in range(count)]


def text_row(tokenizer: Tokenizer, encoding: Mapping[str, Any], extra: Any = None) -> Row:
    """The row of one encoded text: those of the tokenizer's outputs that models read, as int64 of shape (tokens,)."""
    feeds = {k: np.asarray(encoding[k], np.int64) for k in tokenizer.model_input_names if k in encoding}
    return Row(feeds, len(feeds["input_ids"]), extra)
