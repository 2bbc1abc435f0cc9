"""The base class of the tasks that generate: sorting of keywords, defaults, seeds, batches, streams of text."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from onnxpipe.engine.batching import Padding, Row, stack
from onnxpipe.engine.scheduler import OnError, Outputs, Work
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.api import begin
from onnxpipe.generation.fields import FIELDS
from onnxpipe.generation.request import DecodingRequest
from onnxpipe.generation.seed import next_seed
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base.assistant import load_assistant
from onnxpipe.tasks.base.joined import let_join
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.sequences import SequenceEnds, split_sequences
from onnxpipe.tasks.base.streaming import text_pieces, with_stops

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    GenerationOptionsT = TypeVar("GenerationOptionsT", bound="GenerationOptions", default=Any)
else:  # a default is known to Python from 3.13 on
    from typing import TypeVar

    GenerationOptionsT = TypeVar("GenerationOptionsT")

logger = logging.getLogger("onnxpipe")

Kwargs = dict[str, Any]

#: Arguments of `generate()` that are not fields of a GenerationConfig.
_ARGUMENTS = frozenset(
    {"generation_config", "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "synced_gpus",
     "assistant_model", "streamer", "negative_prompt_ids", "negative_prompt_attention_mask", "use_model_defaults",
     "custom_generate", "tokenizer", "assistant_tokenizer"}
)  # fmt: skip

#: Fields of options that are not keywords.
_INTERNAL = frozenset({"generate", "warned"})

#: Parameters that only sampling reads.
_SAMPLING = frozenset(
    {"temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"}
)  # fmt: skip

#: The parameters that set the same length in another way.
_OTHER_FORM: Mapping[str, str] = {
    "max_length": "max_new_tokens", "max_new_tokens": "max_length",
    "min_length": "min_new_tokens", "min_new_tokens": "min_length",
}  # fmt: skip

#: With these parameters an input runs alone unless `batch_size` says otherwise: they are for one prompt, or the user's
#: code sees the rows, or what they do depends on the neighbours.
_ALONE = frozenset(
    {"logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "assistant_model", "streamer",
     "negative_prompt_ids", "negative_prompt_attention_mask", "custom_generate", "prompt_lookup_num_tokens",
     "assistant_early_exit", "return_dict_in_generate", "max_time", "token_healing", "watermarking_config"}
)  # fmt: skip

#: Parameters that look at a prompt with its padding, unless they have this value; rows that share a batch must then be
#: of one length.
_SEES_PADDING: Mapping[str, Any] = {
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "forced_bos_token_id": None,
}


@dataclass(frozen=True)
class GenerationOptions:
    """Options that all generating tasks have.

    Attributes:
        seed: makes sampling repeatable; an input's answer depends on it and on the input's place in the call, not on
            the batch. None continues from `onnxpipe.set_seed`.
        response_format: the form that the answer has to follow: `{"type": "json_schema", "json_schema": {"schema":
            {...}}}`, `{"type": "regex", "regex": "..."}`, ...; see `onnxpipe.generation.grammar`.
        generate: every other keyword: the fields of a `GenerationConfig` and the arguments of `generate()`.
    """

    seed: int | None = number_option(None, least=0)
    response_format: Any = None
    generate: Mapping[str, Any] = field(default_factory=dict)


class GenerationPipeline(Pipeline[GenerationOptionsT]):
    """Run a model that generates tokens.

    Args:
        model, tokenizer: as in `Pipeline`.
        assistant_model: a smaller model that drafts tokens (assisted generation): a folder, a Hub id, or a model.
        assistant_tokenizer: the assistant's tokenizer, if it has another vocabulary.
        **options: as in `Pipeline`; generation parameters hold for every call that does not pass a
            `generation_config`.

    Attributes:
        prefix: a text put before every prompt; from the config, or from its parameters for the task.
    """

    Options = GenerationOptions
    #: Generation parameters that hold where neither the user nor the model sets them.
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256}
    #: Those of them that take precedence over the model's.
    over_model: ClassVar[frozenset[str]] = frozenset()
    #: Whether the config's `task_specific_params` are read, and a call's `generation_config` replaces the defaults: as
    #: in transformers 4, to which the tasks belong that transformers 5 dropped.
    legacy: ClassVar[bool] = False
    #: Values of `return_type` with which an answer is tokens.
    token_return_types: ClassVar[Sequence[Any]] = ()
    #: Whether every model of the task generates; some models of speech recognition do not.
    always_generates: ClassVar[bool] = True
    #: Padded tokens of a batch, those to be generated included.
    token_budget: ClassVar[int] = 8192
    #: A row takes seconds here, so a stream does not read a thousand ahead.
    window: ClassVar[int] = 128

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer | None = None,
        *args: Any,
        assistant_model: Any = None,
        assistant_tokenizer: Tokenizer | None = None,
        **options: Any,
    ) -> None:
        if self.always_generates and not model.can_generate():
            raise UnsupportedError(f"{model.name_or_path} does not generate text: export it for a task that does")
        self.assistant_model, self.assistant_tokenizer = load_assistant(model, assistant_model, assistant_tokenizer)
        super().__init__(model, tokenizer, *args, **options)

    def prepare(self) -> None:
        config = self.model.config
        self.prefix: str | None = config.get("prefix")
        params = (config.task_specific_params or {}).get(self.task) if self.legacy else None
        self._task_params: Kwargs = dict(params or {})
        self.prefix = self._task_params.pop("prefix", self.prefix)
        self._config: GenerationConfig | None = None
        self._config_before: Kwargs = {}

    # -- sorting of keywords ----------------------------------------------------------------------------------------
    def parse(self, kwargs: Mapping[str, Any], base: GenerationOptionsT | None) -> GenerationOptionsT:
        """Sort keywords: the task's own go to the fields of its options, all others to `generate`.

        Raises:
            ValueError: a keyword that is neither the task's nor `generate()`'s nor the model's.
        """
        own = {each.name for each in dataclasses.fields(self.Options)} - _INTERNAL
        for_generate = {name: value for name, value in kwargs.items() if name not in own}
        self._check_names(for_generate, own)
        before: Mapping[str, Any] = {} if base is None else {**base.generate, **self._edits()}
        if for_generate.get("generation_config") is not None:
            before = {}  # a call's config replaces what the constructor was passed
        options = super().parse({name: value for name, value in kwargs.items() if name in own}, base)
        return replace(options, generate={**before, **for_generate})

    def _check_names(self, kwargs: Mapping[str, Any], own: set[str]) -> None:
        known = {*_ARGUMENTS, *FIELDS, *self.arguments()}
        config = getattr(self.model, "generation_config", GenerationConfig())
        unknown = [
            name for name, value in kwargs.items()
            if value is not None and name not in known and not config.has(name)
        ]  # fmt: skip
        if unknown:
            near = [match for name in unknown for match in difflib.get_close_matches(name, [*known, *own], 1)]
            hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
            raise ValueError(
                f"The following `model_kwargs` are not used by the model: {unknown} (note: typos in the generate "
                f"arguments will also show up in this list){hint}"
            )

    def arguments(self) -> Iterable[str]:
        """The arguments of the model's `generate()` that not every model has."""
        return tuple(self.model.input_names)

    def generate_kwargs(self, options: GenerationOptionsT) -> Kwargs:
        """Put together the keywords of `generate()`: the user's, then the task's, then the pipeline's defaults for what
        neither the user nor the model sets."""
        kwargs = dict(options.generate)
        config = kwargs.get("generation_config")
        legacy_config = self.legacy and config is not None
        task_params = {} if legacy_config else _beside(self._task_params, kwargs)
        explicit = {**task_params, **kwargs}
        resolved = {**self.model_parameters(config), **explicit}
        defaults = {
            name: value for name, value in self._defaults(legacy_config).items()
            if name not in (explicit if name in self.over_model else resolved)
            and not (name == "max_new_tokens" and "max_length" in resolved)
        }  # fmt: skip
        if not {**resolved, **defaults}.get("do_sample"):
            defaults = {name: value for name, value in defaults.items() if name not in _SAMPLING}
        defaults |= task_params
        if config is not None and defaults:
            kwargs["generation_config"] = copy.deepcopy(config)
            kwargs["generation_config"].update(**defaults)
            defaults = {}
        return {**kwargs, **defaults, **self._helpers(options, kwargs)}

    def model_parameters(self, config: GenerationConfig | None = None) -> Kwargs:
        """The parameters that the model sets, or a config that is passed over it."""
        parameters: Kwargs = {}
        for each in (getattr(self.model, "generation_config", None), config):
            if each is not None:
                parameters |= {name: value for name in FIELDS if (value := getattr(each, name)) is not None}
        return parameters

    @property
    def generation_config(self) -> GenerationConfig:
        """The parameters of a call that passes none; fields that are set here hold for calls that do not set them."""
        if self._config is None:
            fields = {name: value for name, value in self.resolved(self.options).items() if name in FIELDS}
            self._config = GenerationConfig.from_dict(fields)
            self._config_before = self._config.to_dict()
        return self._config

    def _edits(self) -> Kwargs:
        """The fields that the user set in `generation_config`."""
        if self._config is None:
            return {}
        return {k: v for k, v in self._config.to_dict().items() if v != self._config_before[k]}

    def _defaults(self, legacy_config: bool) -> Kwargs:
        defaults = {} if legacy_config else dict(self.defaults)
        if self._tokenizer is not None and self._tokenizer.pad_token_id is not None:
            defaults["pad_token_id"] = self._tokenizer.pad_token_id
        return defaults

    def _helpers(self, options: GenerationOptionsT, kwargs: Mapping[str, Any]) -> Kwargs:
        """The assistant, the grammar and the tokenizers they need."""
        helpers: Kwargs = {}
        if self.assistant_model is not None and "assistant_model" not in kwargs:
            helpers["assistant_model"] = self.assistant_model
        if self.assistant_tokenizer is not None:
            helpers |= {"tokenizer": self.tokenizer, "assistant_tokenizer": self.assistant_tokenizer}
        if options.response_format is not None:
            helpers |= {"response_format": options.response_format, "tokenizer": self.tokenizer}
        return helpers

    # -- the call ---------------------------------------------------------------------------------------------------
    def dispatch(
        self,
        inputs: Any,
        options: GenerationOptionsT,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        resolved = self.resolved(options)
        alone = any(resolved.get(name) is not None and resolved[name] is not False for name in _ALONE)
        if batch_size is None and self._batch_size is None and alone:
            batch_size = 1
        if options.seed is None and resolved.get("do_sample"):
            options = replace(options, seed=next_seed())
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def resolved(self, options: GenerationOptionsT) -> Kwargs:
        """The generation parameters that hold for a call, whoever set them."""
        kwargs = self.generate_kwargs(options)
        passed = {name: value for name, value in kwargs.items() if value is not None}  # None leaves it to the model
        return {**self.model_parameters(kwargs.get("generation_config")), **passed}

    def new_tokens(self, resolved: Mapping[str, Any], prompt: int) -> int:
        """The most tokens that will be generated after a prompt of so many."""
        if resolved.get("max_new_tokens") is not None:
            return int(resolved["max_new_tokens"])
        limit = resolved.get("max_length")
        if limit is None:
            return 20
        return max(1, int(limit) - (0 if self.model.is_encoder_decoder else prompt))

    def row(self, ids: Any, mask: Any, extra: Any, options: GenerationOptionsT) -> Row:
        """Build the row of one prompt; its cost is its tokens and those to be generated, for each of its copies."""
        tokens = np.asarray(ids, np.int64)
        marks = np.ones_like(tokens) if mask is None else np.asarray(mask, np.int64)
        resolved = self.resolved(options)
        copies = max(resolved.get("num_beams") or 1, resolved.get("num_return_sequences") or 1)
        cost = (len(tokens) + self.new_tokens(resolved, len(tokens))) * copies
        return Row({"input_ids": tokens, "attention_mask": marks}, cost, extra)

    def padding(self) -> Padding:
        """The tokenizer's padding; without a padding token any other, since the mask hides it."""
        padding = super().padding()
        return padding if padding.token_id is not None else replace(padding, token_id=0)

    def run(self, rows: Sequence[Row], options: GenerationOptionsT) -> list[Outputs]:
        kwargs = self.generate_kwargs(options)
        resolved = self.resolved(options)
        outputs: dict[int, Outputs] = {}
        for group in self._groups(rows, resolved):
            outputs.update(
                zip(group, self.generate([rows[i] for i in group], options, kwargs, resolved), strict=True)
            )  # fmt: skip
        return [outputs[i] for i in range(len(rows))]

    def _groups(self, rows: Sequence[Row], resolved: Mapping[str, Any]) -> list[list[int]]:
        """Number the rows that may share a batch: all, unless padding would change what a parameter does."""
        total = resolved.get("max_new_tokens") is None or (
            bool(resolved.get("min_length")) and resolved.get("min_new_tokens") is None
        )
        decoder_only = not self.model.is_encoder_decoder
        sees_padding = any(
            resolved.get(name) not in (None, neutral) and (decoder_only or name.startswith("encoder_"))
            for name, neutral in _SEES_PADDING.items()
        )
        if not sees_padding and not (decoder_only and total):
            return [list(range(len(rows)))]
        groups: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(len(row.feeds["input_ids"]), []).append(i)
        return list(groups.values())

    def generate(
        self, rows: Sequence[Row], options: GenerationOptionsT, kwargs: Kwargs, resolved: Mapping[str, Any]
    ) -> list[Outputs]:
        """Generate for rows that share a batch; return the tokens row by row, as if each had been alone."""
        feeds = stack(rows, self.padding())
        if options.seed is not None and resolved.get("do_sample"):
            kwargs = {**kwargs, "seed": [row_seed(row, options.seed) for row in rows]}
        if (resolved.get("num_beams") or 1) == 1:  # beams end together
            kwargs = with_stops(kwargs, rows)
        generated = self.model.generate(**feeds, **self.model_inputs(rows), **kwargs)
        padded, start = [0] * len(rows), 1
        if not self.model.is_encoder_decoder:
            start = feeds["input_ids"].shape[1]
            padded = [start - len(row.feeds["input_ids"]) for row in rows]
        ends = SequenceEnds.of(resolved) if len(rows) > 1 else None
        return split_sequences(generated, len(rows), padded, start, ends)

    def shared(self, work: Work, options: GenerationOptionsT, size: int | None) -> Work:
        """See `Pipeline.shared`; a text by greedy search or sampling joins those that are being written."""
        return let_join(super().shared(work, options, size), self, options)

    def begin(self, row: Row, options: GenerationOptionsT) -> DecodingRequest:
        """Begin the text of one row, to be decoded together with others."""
        kwargs = self.generate_kwargs(options)
        if options.seed is not None and self.resolved(options).get("do_sample"):
            kwargs = {**kwargs, "seed": [row_seed(row, options.seed)]}
        inputs: Kwargs = {**stack([row], self.padding()), **self.model_inputs([row])}
        return begin(self.model, **inputs, **with_stops(kwargs, [row]))

    def model_inputs(self, rows: Sequence[Row]) -> Kwargs:
        """Make the model's inputs for rows besides their tokens; none here."""
        return {}

    # -- streams of text --------------------------------------------------------------------------------------------
    def stream(self, inputs: Any, **options: Any) -> Iterator[str]:
        """Stream the answer to one input in pieces, as the model generates it.

        Closing the iterator stops the model.

        Args:
            inputs: one input, e.g. a text or a chat.
            **options: the options of a call; `num_beams` and `num_return_sequences` have to be 1.

        Raises:
            ValueError: more than one input, or options with which nothing can be streamed; at the first piece.
        """
        parsed = self.parse(options, self.options)
        value = self.one_input(inputs)
        if parsed.generate.get("streamer") is not None:
            raise ValueError("stream() makes its own streamer: leave streamer= out, or call the pipeline with it")
        return text_pieces(self, value, parsed)

    def can_stream(self, **options: Any) -> bool:
        """Whether `stream` can answer with these options: one text, generated from its beginning to its end."""
        parsed = self.parse(options, self.options)
        resolved = self.resolved(parsed)
        one = all((resolved.get(name) or 1) == 1 for name in ("num_beams", "num_return_sequences"))
        return one and getattr(parsed, "return_type", None) not in self.token_return_types

    def decode_kwargs(self, options: GenerationOptionsT) -> Kwargs:
        """Kwargs of the tokenizer's `decode` for generated text."""
        return {"skip_special_tokens": True}

    def continues_prompt(self, value: Any, options: GenerationOptionsT) -> bool:
        """Whether the generated text continues a text of the prompt, so that both are decoded together."""
        return False

    def one_input(self, inputs: Any) -> Any:
        """Check the single input of `stream`.

        Raises:
            ValueError: there are several.
        """
        if not isinstance(inputs, str):
            raise ValueError(f"stream() answers one text at a time, got {type(inputs).__name__}")
        return inputs


def _beside(task_params: Mapping[str, Any], kwargs: Mapping[str, Any]) -> Kwargs:
    """Take the parameters of a model's config for the task that the user's do not replace: of a length, either form."""
    lengths = [name for name in _OTHER_FORM if kwargs.get(name) is not None]
    replaced = {*kwargs, *map(_OTHER_FORM.__getitem__, lengths)}
    return {name: value for name, value in task_params.items() if name not in replaced}


def row_seed(row: Row, seed: int) -> int:
    """Derive a row's seed from that of its call: `seed`, unless rows of several calls share the batch."""
    return seed_of(seed if row.seed is None else row.seed, row.index)


def seed_of(seed: int, index: int) -> int:
    """Derive the seed of the input at place `index` of a call; that of the first is the call's, as in `generate()`."""
    return seed if index == 0 else int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])
