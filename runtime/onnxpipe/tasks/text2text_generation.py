"""text2text-generation: generate a text from another with an encoder-decoder model (semantics of transformers 4.57)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered, ItemError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.auto import AutoModelForSeq2SeqLM
from onnxpipe.tasks.base.call_types import GenerationCallOptions, Stream
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline, Kwargs
from onnxpipe.tasks.base.spec import TaskSpec

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Text2TextOptionsT = TypeVar("Text2TextOptionsT", bound="Text2TextGenerationOptions", default=Any)
else:  # a default is known to Python from 3.13 on
    from typing import TypeVar

    Text2TextOptionsT = TypeVar("Text2TextOptionsT")

logger = logging.getLogger("onnxpipe")


class ReturnType(Enum):
    """The content of an answer: token ids, or text."""

    TENSORS = 0
    TEXT = 1


@dataclass(frozen=True)
class Text2TextGenerationOptions(GenerationOptions):
    """Options of text2text-generation; every other keyword is `generate()`'s.

    Attributes:
        return_tensors: return token ids, an int64 array that begins with the decoder's start token, instead of text.
        return_text: has no effect.
        return_type: a `ReturnType`, instead of the two above.
        clean_up_tokenization_spaces: remove spaces before punctuation.
        truncation: cut a text that is longer than the model takes, as the tokenizer says. By default nothing is cut.
        stop_sequence: a text whose first token ends generation.
    """

    return_tensors: bool | None = None
    return_text: bool | None = None
    return_type: ReturnType = ReturnType.TEXT
    clean_up_tokenization_spaces: bool = False
    truncation: bool | str = "do_not_truncate"
    stop_sequence: str | None = None
    warned: set[str] = field(default_factory=set, repr=False, compare=False)


class Text2TextCallOptions(GenerationCallOptions, total=False):
    """The options of a call: see `Text2TextGenerationOptions`."""

    return_tensors: bool | None
    return_text: bool | None
    return_type: ReturnType | None
    clean_up_tokenization_spaces: bool | None
    truncation: bool | str | None
    stop_sequence: str | None


class Text2TextOutput(TypedDict):
    """A generated text; with `return_tensors` it has `generated_token_ids` instead."""

    generated_text: str


class Text2TextGenerationPipeline(GenerationPipeline[Text2TextOptionsT]):
    """Generate texts from texts. Its options are the fields of `Text2TextGenerationOptions`.

    A str gives `[{"generated_text": str}]`, a list of n texts n dicts; with `num_return_sequences` above 1 each text
    has a list of them. Unless the call says otherwise 4 beams; unless it or the model does, 256 tokens.
    """

    Options = Text2TextGenerationOptions
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "num_beams": 4}
    #: As in transformers 4.57: a model's own 5 or 8 beams become 4, unless the user or the config's parameters for the
    #: task say otherwise.
    over_model: ClassVar[frozenset[str]] = frozenset({"num_beams"})
    legacy: ClassVar[bool] = True
    token_return_types: ClassVar[Sequence[Any]] = (ReturnType.TENSORS,)
    #: The beginning of an answer's keys.
    return_name: ClassVar[str] = "generated"

    def parse(self, kwargs: Mapping[str, Any], base: Text2TextOptionsT | None) -> Text2TextOptionsT:
        options = super().parse(kwargs, base)
        kind = kwargs.get("return_type")
        if kind is not None and not isinstance(kind, ReturnType):
            raise ValueError(f"return_type={kind!r}: choose one of {', '.join(map(str, ReturnType))}")
        if kind is None and kwargs.get("return_tensors") is not None:
            kind = ReturnType.TENSORS if kwargs["return_tensors"] else ReturnType.TEXT
        return replace(
            options, return_type=kind or options.return_type, return_tensors=None, return_text=None, warned=set()
        )

    def generate_kwargs(self, options: Text2TextOptionsT) -> Kwargs:
        kwargs = super().generate_kwargs(options)
        if options.stop_sequence is not None:
            ids = self.tokenizer.encode(options.stop_sequence, add_special_tokens=False)
            if not ids:
                raise UnsupportedError(f"stop_sequence={options.stop_sequence!r} has no token: leave it out")
            if len(ids) > 1 and "stop" not in options.warned:
                options.warned.add("stop")
                warnings.warn(
                    "Stopping on a multiple token sequence is not yet supported on transformers. The first token of the"
                    " stop sequence will be used as the stop sequence string in the interim.",
                    stacklevel=2,
                )
            kwargs["eos_token_id"] = ids[0]
        return kwargs

    # -- the call ---------------------------------------------------------------------------------------------------
    @overload
    def __call__(self, inputs: str | list[str], **options: Unpack[Text2TextCallOptions]) -> list[Text2TextOutput]: ...
    @overload
    def __call__(
        self, inputs: list[list[str]], **options: Unpack[Text2TextCallOptions]
    ) -> list[list[Text2TextOutput]]: ...
    @overload
    def __call__(
        self, inputs: Stream, **options: Unpack[Text2TextCallOptions]
    ) -> PipelineIterator[list[Text2TextOutput]]: ...
    def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any:
        """Generate a text from one text, from each of a list, or of a stream.

        Args:
            inputs: a str, a list of str, a generator or a dataset; in a list also lists of str, of which the first is
                answered (as in transformers).
            *args, **options: see `Pipeline.__call__`.
        """
        answers = super().__call__(inputs, *args, **options)
        if not isinstance(inputs, list) or not all(isinstance(each, str) for each in inputs):
            return answers
        if not all(isinstance(answer, ItemError) or len(answer) == 1 for answer in answers):
            return answers
        return [answer if isinstance(answer, ItemError) else answer[0] for answer in answers]

    def encode(self, value: Any, options: Text2TextOptionsT) -> Iterator[Row]:
        text = self._first(value)
        encoding = self.encode_text((self.prefix or "") + text, options)
        ids = encoding["input_ids"]
        resolved = self.resolved(options)
        self.check(len(ids), resolved, options)
        yield self.row(ids, encoding.get("attention_mask"), None, options)

    def _first(self, value: Any) -> str:
        """Return the text that is answered: of a list of texts, which transformers runs as one batch, the first."""
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            if self.tokenizer.pad_token_id is None:
                raise ValueError("Please make sure that the tokenizer has a pad_token_id when using a batch input")
            value = value[0]
        if not isinstance(value, str):
            raise TypeError(
                f" `args[0]`: {value} have the wrong format. The should be either of type `str` or type `list`"
            )
        return value

    def encode_text(self, text: str, options: Text2TextOptionsT) -> Mapping[str, Any]:
        """Tokenize one text."""
        encoding: Mapping[str, Any] = self.tokenizer(text, truncation=options.truncation)
        return encoding

    def check(self, length: int, resolved: Mapping[str, Any], options: Text2TextOptionsT) -> None:
        """Warn, once a call, if a text's length in tokens does not fit the generation parameters."""

    def warn(self, kind: str, message: str, options: Text2TextOptionsT) -> None:
        """Log a warning, once a call for each kind."""
        if kind not in options.warned:
            options.warned.add(kind)
            logger.warning(message)

    def run(self, rows: Any, options: Text2TextOptionsT) -> list[Outputs]:
        try:
            return super().run(rows, options)
        except (RuntimeError, ValueError, IndexError) as error:
            limit = self.model.config.get("max_position_embeddings")
            longest = max(len(row.feeds["input_ids"]) for row in rows)
            if isinstance(limit, int) and longest > limit:
                raise UnsupportedError(
                    f"the text has {longest} tokens and the model takes at most {limit}: pass truncation=True to cut "
                    "it, or split it"
                ) from error
            raise

    # -- the answer -------------------------------------------------------------------------------------------------
    def decode_kwargs(self, options: Text2TextOptionsT) -> Kwargs:
        return {
            "skip_special_tokens": True,
            "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces,
        }

    def decode(self, rows: Answered, options: Text2TextOptionsT) -> list[dict[str, Any]]:
        ((_, outputs),) = rows
        others = {name: value.tolist() for name, value in outputs.items() if name != "sequences"}
        records: list[dict[str, Any]] = []
        for number, sequence in enumerate(outputs["sequences"]):
            own = {name: values[number] for name, values in others.items()}
            if options.return_type is ReturnType.TENSORS:
                records.append({f"{self.return_name}_token_ids": sequence})
            else:
                text = self.tokenizer.decode(sequence[sequence >= 0], **self.decode_kwargs(options))
                records.append({f"{self.return_name}_text": text, **own})
        return records


TASK = TaskSpec(
    name="text2text-generation",
    pipeline=Text2TextGenerationPipeline,
    auto_classes=(AutoModelForSeq2SeqLM,),
    help="Generate a text from another with an encoder-decoder model (T5, BART).",
    example='"translate English to German: Good morning.", max_new_tokens=20',
    default_model=("google-t5/t5-base", "a9723ea"),
    columns=text_columns("generated_text"),
    text_key="generated_text",
)
