"""The base class of every task's pipeline: options, encode, run, decode, around one scheduler.

A task of ours is a subclass with a frozen dataclass `Options` and two methods, `encode` (one input to rows) and
`decode` (the rows of one input, with their outputs, to the answer). Code written for transformers subclasses the same
class with its four methods (`_sanitize_parameters`, `preprocess`, `_forward`, `postprocess`) instead; `legacy.py`
adapts them.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, cast

import numpy as np

from onnxpipe.bundle.manifest import relist
from onnxpipe.engine.batching import Padding, Row, split, stack
from onnxpipe.engine.caller import Caller
from onnxpipe.engine.scheduler import (
    TOKEN_BUDGET,
    WINDOW_ROWS,
    Answered,
    ItemError,
    OnError,
    Outputs,
    Work,
    answer,
    run_rows,
)
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.models.base import Model
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base import legacy
from onnxpipe.tasks.base.call_types import CallOptions
from onnxpipe.tasks.base.datasets import PipelineIterator, is_dataset, rows_of
from onnxpipe.tasks.base.option_rules import check_count, checked_options
from onnxpipe.tasks.base.shared import share
from onnxpipe.tasks.base.work import checked, make_work

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    OptionsT = TypeVar("OptionsT", default=Any)
else:  # a default is known to Python from 3.13 on
    from typing import TypeVar

    OptionsT = TypeVar("OptionsT")

logger = logging.getLogger("onnxpipe")

_CALL_OPTIONS = frozenset(CallOptions.__annotations__)


class Pipeline(Generic[OptionsT]):
    """Run a model with its tokenizer and processors behind the call of `transformers.pipeline`.

    Args:
        model: the model, as `AutoModel….from_pretrained` gives it.
        tokenizer: its tokenizer.
        feature_extractor: for audio tasks; for image tasks it is the old name of `image_processor`.
        image_processor: for image tasks.
        video_processor: for video tasks.
        processor: holds the others, which are taken from it if none of them is passed.
        modelcard: kept as an attribute.
        framework: "pt" or None, for code written for transformers 4; "tf" is refused.
        task: the name that the user passed (an alias stays one).
        device: refused unless it is the model's own: a session cannot move; pass it to `pipeline()`.
        binary_output: kept for the command line, without effect on calls (as in transformers).
        batch_size: rows of a batch; None groups rows of similar length.
        num_workers: threads that encode inputs ahead of the model.
        **options: the task's own options, see its `Options`.

    Attributes:
        options: the options of the constructor; those of a call take precedence.
    """

    #: The task's options: a frozen dataclass. None for classes written with transformers' four methods.
    Options: ClassVar[Any] = None
    #: Options for which None is a value of its own; elsewhere None means "not passed".
    none_counts: ClassVar[frozenset[str]] = frozenset()
    #: What the factory loads beside the model: True (needed), None (if present), False. Our text tasks all need a
    #: tokenizer.
    _load_tokenizer: ClassVar[bool | None] = None
    _load_feature_extractor: ClassVar[bool | None] = False
    _load_image_processor: ClassVar[bool | None] = None
    _load_video_processor: ClassVar[bool | None] = None
    #: Whether a text task accepts a `processor`; the others accept one wherever it holds what they need. True: the task
    #: needs one, and takes all other components from it.
    _load_processor: ClassVar[bool | None] = False
    #: The modalities of what a generating model returns.
    output_modalities: ClassVar[tuple[str, ...]] = ("text",)
    input_modalities: ClassVar[str] = "text"
    #: The limit of a batch, at which the scheduler cuts: its rows times the longest `Row.length`.
    token_budget: ClassVar[int] = TOKEN_BUDGET
    #: Rows that are gathered and sorted by length at a time.
    window: ClassVar[int] = WINDOW_ROWS
    #: Whether rows are tokens, which only a tokenizer with a padding token can bring to one length.
    rows_are_tokens: ClassVar[bool] = True
    #: Whether the rows of one input are built as they are needed, and dropped once they have run.
    lazy: ClassVar[bool] = False
    #: The factor by which the device takes more than these two limits.
    at_once: int = 1
    #: The call on a shared queue that this view of a pipeline belongs to; None runs rows in the calling thread.
    caller: Caller | None = None

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
        if tokenizer is not None:
            tokenizer.warns_of_length = False  # whether a row is too long the model says, and how to mend it
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
        self.options: OptionsT = self.parse(options, None)

    def __getstate__(self) -> dict[str, Any]:
        """Give what a copy or a pickle holds: the graphs are opened again from the model's folder.

        Raises:
            TypeError: a part that is in memory only, such as a function; the message names it.
        """
        for name, value in vars(self).items():
            try:
                pickle.dumps(value)
            except Exception as error:
                raise TypeError(
                    f"{type(self).__name__}.{name} is in memory only: it cannot be copied or pickled ({error})"
                ) from error
        return vars(self)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("encode", "decode"):
            # A parent's `encode_many` would not do what this class's own `encode` does.
            if name in vars(cls) and f"{name}_many" not in vars(cls):
                setattr(cls, f"{name}_many", vars(Pipeline)[f"{name}_many"])

    # -- what a task defines ----------------------------------------------------------------------------------------
    def prepare(self) -> None:
        """Check and precompute what depends on the model and its processors alone; called once, before options."""

    def parse(self, kwargs: Mapping[str, Any], base: OptionsT | None) -> OptionsT:
        """Put keywords over the options of the constructor.

        Args:
            kwargs: the keywords of the constructor or of a call.
            base: the options of the constructor; None where it is being called.

        Raises:
            UnknownArgumentError: a keyword that is not an option of the task.
            UnsupportedError: a value that the option does not take.
        """
        before: Any = base
        if self.Options is None:
            stages: Any = legacy.parse(self, kwargs, before)
            return cast("OptionsT", stages)
        if not kwargs and before is not None:
            return cast("OptionsT", before)
        known = {field.name for field in dataclasses.fields(self.Options)}
        for name in kwargs:
            if name not in known:
                raise UnknownArgumentError.among(f"{type(self).__name__}", name, known)
        kept = checked_options(self.Options, kwargs)
        kept = {k: v for k, v in kept.items() if v is not None or k in self.none_counts}
        return cast("OptionsT", dataclasses.replace(before or self.Options(), **kept))

    def encode(self, value: Any, options: OptionsT) -> Iterable[Row]:
        """Turn one input into rows."""
        return legacy.encode(self, value, cast("legacy.Stages", options))

    def encode_many(self, values: Sequence[Any], options: OptionsT) -> list[Row] | None:
        """Turn several inputs into a row each, as `encode` would; None where they are to be encoded one by one."""
        return None

    def decode(self, rows: Answered, options: OptionsT) -> Any:
        """Turn the rows of one input and their outputs into its answer."""
        return legacy.decode(self, rows, cast("legacy.Stages", options))

    def decode_many(self, many: Sequence[Answered], options: OptionsT) -> list[Any] | None:
        """Turn the rows of several inputs into an answer each, as `decode` would; None where that goes one by one."""
        return None

    def run(self, rows: Sequence[Row], options: OptionsT) -> list[Outputs]:
        """Run the model on one batch; return its outputs row by row, without padding."""
        if self.Options is None:
            return legacy.run(self, rows, cast("legacy.Stages", options))
        padding = self.padding()
        outputs = self.model.run(stack(rows, padding))
        return split(outputs, rows, self.model.per_token, padding)

    # -- the call ---------------------------------------------------------------------------------------------------
    def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """Answer one input, a list of inputs, or a stream.

        Args:
            inputs: one example; a list (a list of answers comes back); a generator or dataset (a lazy iterator).
            *args: ignored with a warning, as in transformers.
            **options: the task's options for this call, and those of `CallOptions`: `batch_size`, `num_workers`,
                `on_error`.
        """
        if args:
            logger.warning("Ignoring args : %s", args)
        call = {name: options.pop(name) for name in _CALL_OPTIONS & options.keys()} if options else {}
        return self.dispatch(inputs, self.parse(options, self.options), **call)

    def dispatch(
        self,
        inputs: Any,
        options: OptionsT,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        """Answer as `__call__` does, with options that are parsed already."""
        size = self._size(batch_size)
        workers = num_workers if num_workers is not None else self._num_workers or 0
        check_count("num_workers", workers, 0)
        if on_error not in ("raise", "return"):
            raise UnsupportedError(f"on_error={on_error!r}: choose 'raise' or 'return'")
        self.call_count += 1
        many = isinstance(inputs, (list, types.GeneratorType)) or is_dataset(inputs)
        if not many and size is None and not workers and not self.lazy and self.caller is None:
            try:
                return self._answer_one(inputs, options)
            except Exception as error:
                if on_error == "raise":
                    raise
                return ItemError(0, error)
        work = make_work(self, options, size)
        if self.caller is not None:
            work = self.shared(work, options, size)

        def answers(values: Iterable[Any], hurry: bool = True, on_error: OnError = on_error) -> Iterator[Any]:
            return answer(values, work, batch_size=size, num_workers=workers, on_error=on_error, hurry=hurry)

        if isinstance(inputs, list):
            return list(answers(inputs, hurry=False))
        if isinstance(inputs, types.GeneratorType):
            return PipelineIterator(lambda: answers(inputs))
        if many:
            return PipelineIterator(lambda: answers(rows_of(inputs)), -(-len(inputs) // (size or 1)))
        (result,) = answers([inputs], hurry=False, on_error="return")
        if isinstance(result, ItemError) and on_error == "raise":
            raise result.error
        return result

    def _answer_one(self, value: Any, options: OptionsT) -> Any:
        """Answer one input: as `answer` does, without what only several inputs need."""
        rows = list(self.encode(value, options))
        if len(rows) == 1:
            answered = [(rows[0], self.run(rows, options)[0])]
        else:
            answered = run_rows(rows, make_work(self, options, None))
        return self.decode(checked(answered), options)

    def through(self, caller: Caller) -> Self:
        """Return a view of the pipeline for one call, whose rows wait in the caller's queue and share its batches."""
        return self.view(caller=caller)

    def view(self, **changes: Any) -> Self:
        """Return a shallow copy of the pipeline with other attributes."""
        view = object.__new__(type(self))
        vars(view).update(vars(self), **changes)
        return view

    def shared(self, work: Work, options: OptionsT, size: int | None) -> Work:
        """Complete the steps of a call whose rows share batches with those of other calls."""
        return share(work, self, options, size)

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

    transform = predict

    # -- what users look at -----------------------------------------------------------------------------------------
    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; its special tokens may be changed."""
        if self._tokenizer is None:
            raise AttributeError(f"{type(self).__name__} has no tokenizer: pass tokenizer= to pipeline()")
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
        """The padding with which rows of different lengths share a batch: the tokenizer's token and side."""
        if self._tokenizer is None:
            return Padding(None if self.image_processor is not None else 0)
        side: Literal["left", "right"] = "left" if self._tokenizer.padding_side == "left" else "right"
        return Padding(self._tokenizer.pad_token_id, side)

    def placement(self) -> Any:
        """Tell which of the graph's nodes run on which execution provider."""
        return self.model.placement()

    def check_model_type(self, supported_models: Any) -> None:
        """Log an error if the model's type is not among `supported_models` (names of types or of classes)."""
        names = supported_models.values() if isinstance(supported_models, Mapping) else supported_models
        known = {name for value in names for name in ([value] if isinstance(value, str) else value)}
        mine = {self.model.config.model_type, *(self.model.config.architectures or [])}
        if known and not known & mine:
            logger.error("The model %s is not supported for %s.", sorted(mine), self.task)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the model's folder, with the tokenizer and processors as they are now, to a directory."""
        target = Path(save_directory)
        if target.is_file():
            logger.error("Provided path (%s) should be a directory, not a file", target)
            return
        self.model.save_pretrained(target)
        feature_extractor = None if self.feature_extractor is self.image_processor else self.feature_extractor
        components = (self._tokenizer, feature_extractor, self.image_processor, self.video_processor)
        for component in components:
            if component is not None:
                component.save_pretrained(target)
        if any(component is not None for component in components):
            relist(target)

    def __repr__(self) -> str:
        fields: dict[str, Any] = {
            "model": (self.model.config.architectures or [self.model.config.model_type])[0],
            "dtype": self.dtype,
            "device": str(self.device),
            "input_modalities": self.input_modalities,
        }
        if self.model.can_generate():
            fields["output_modalities"] = self.output_modalities
        return f"{type(self).__name__}: {fields}"
