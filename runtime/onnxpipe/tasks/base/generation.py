"""What the generating tasks share: which keywords are whose, defaults, seeds, batches, and text as it comes."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.engine.batching import Padding, Row, stack
from onnxpipe.engine.scheduler import OnError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.fields import FIELDS
from onnxpipe.generation.seed import next_seed
from onnxpipe.processing.text.tokenizer import Tokenizer
from onnxpipe.tasks.base.assistant import load_assistant
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.sequences import Ends, by_row
from onnxpipe.tasks.base.streaming import text_pieces

logger = logging.getLogger("onnxpipe")

Keywords = dict[str, Any]

#: Arguments of `generate()` that are no fields of a GenerationConfig.
_ARGUMENTS = frozenset(
    {"generation_config", "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "synced_gpus",
     "assistant_model", "streamer", "negative_prompt_ids", "negative_prompt_attention_mask", "use_model_defaults",
     "custom_generate", "tokenizer", "assistant_tokenizer"}
)  # fmt: skip

#: Fields of options that are no keywords.
_OURS = frozenset({"generate", "warned"})

#: Read by sampling alone.
_SAMPLING = frozenset(
    {"temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"}
)  # fmt: skip

#: With these an input is generated for alone unless `batch_size` says otherwise: they are for one prompt, or the
#: user's code sees the rows, or what they do depends on the neighbours.
_ALONE = frozenset(
    {"logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "assistant_model", "streamer",
     "negative_prompt_ids", "negative_prompt_attention_mask", "custom_generate", "prompt_lookup_num_tokens",
     "assistant_early_exit", "return_dict_in_generate", "max_time", "token_healing", "watermarking_config"}
)  # fmt: skip

#: What looks at a prompt with its padding, unless it has this value; rows that share a batch must then be of one
#: length.
_SEES_PADDING: Mapping[str, Any] = {
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "forced_bos_token_id": None,
}


@dataclass(frozen=True)
class GenerationOptions:
    """Parameters that all generating tasks have.

    Attributes:
        seed: makes sampling repeatable; an input's answer depends on it and on the input's place in the call, not on
            the batch. None takes what `onnxpipe.set_seed` started.
        response_format: what the answer has to follow: `{"type": "json_schema", "json_schema": {"schema": {...}}}`,
            `{"type": "regex", "regex": "..."}`, ...; see `onnxpipe.generation.grammar`.
        generate: every other keyword: the fields of a `GenerationConfig` and the arguments of `generate()`.
    """

    seed: int | None = None
    response_format: Any = None
    generate: Mapping[str, Any] = field(default_factory=dict)


class GeneratingPipeline(Pipeline):
    """A pipeline whose model writes tokens.

    Args:
        model, tokenizer: as in `Pipeline`.
        assistant_model: a smaller model that drafts tokens (assisted generation): a folder, a Hub id, or a model.
        assistant_tokenizer: its tokenizer, where it has another vocabulary.
        **options: as in `Pipeline`; generation parameters hold for every call that does not pass a
            `generation_config`.

    Attributes:
        prefix: put before every prompt; from the config, or from the parameters that it has for the task.
    """

    Options = GenerationOptions
    #: Generation parameters where neither the user nor the model sets them.
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256}
    #: Those of them that go before what the model sets.
    over_model: ClassVar[frozenset[str]] = frozenset()
    #: Whether the config's `task_specific_params` are read, and a call's `generation_config` replaces the defaults: so
    #: in transformers 4, of which the tasks that 5 dropped are.
    legacy: ClassVar[bool] = False
    #: Kinds of answers that are no text.
    not_text: ClassVar[Sequence[Any]] = ()
    #: Whether every model of the task writes; of speech recognition some do not.
    always_writes: ClassVar[bool] = True
    #: Padded tokens of a batch, those that will be written included.
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
        if self.always_writes and not model.can_generate():
            raise UnsupportedError(f"{model.name_or_path} does not generate text: export it for the task that is asked")
        self.assistant_model, self.assistant_tokenizer = load_assistant(model, assistant_model, assistant_tokenizer)
        super().__init__(model, tokenizer, *args, **options)

    def prepare(self) -> None:
        config = self.model.config
        self.prefix: str | None = config.get("prefix")
        params = (config.task_specific_params or {}).get(self.task) if self.legacy else None
        self._task_params: Keywords = dict(params or {})
        self.prefix = self._task_params.pop("prefix", self.prefix)
        self._config: GenerationConfig | None = None
        self._config_before: Keywords = {}

    # -- whose keyword is it ----------------------------------------------------------------------------------------
    def parse(self, given: Mapping[str, Any], base: Any) -> Any:
        """The task's own keywords to its fields, all others to `generate`.

        Raises:
            ValueError: a keyword that is neither the task's nor `generate()`'s nor the model's.
        """
        own = {each.name for each in dataclasses.fields(self.Options)} - _OURS
        for_generate = {name: value for name, value in given.items() if name not in own}
        self._check_names(for_generate, own)
        before: Mapping[str, Any] = {} if base is None else {**base.generate, **self._edits()}
        if for_generate.get("generation_config") is not None:
            before = {}  # a call's config replaces what the constructor got
        options = super().parse({name: value for name, value in given.items() if name in own}, base)
        return replace(options, generate={**before, **for_generate})

    def _check_names(self, given: Mapping[str, Any], own: set[str]) -> None:
        known = {*_ARGUMENTS, *FIELDS, *self.arguments()}
        config = getattr(self.model, "generation_config", GenerationConfig())
        wrong = [
            name for name, value in given.items()
            if value is not None and name not in known and not config.has(name)
        ]  # fmt: skip
        if wrong:
            near = [match for name in wrong for match in difflib.get_close_matches(name, [*known, *own], 1)]
            hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
            raise ValueError(
                f"The following `model_kwargs` are not used by the model: {wrong} (note: typos in the generate "
                f"arguments will also show up in this list){hint}"
            )

    def arguments(self) -> Iterable[str]:
        """The arguments of the model's `generate()` that not every model has."""
        return tuple(self.model.input_names)

    def keywords(self, options: Any) -> Keywords:
        """What `generate()` is called with: the user's parameters, then the task's, then the pipeline's defaults for
        what neither the user nor the model sets."""
        given = dict(options.generate)
        config = given.get("generation_config")
        legacy_config = self.legacy and config is not None
        task_params = {} if legacy_config else {k: v for k, v in self._task_params.items() if k not in given}
        asked = {**task_params, **given}
        chosen = {**self.chosen(config), **asked}
        added = {
            name: value for name, value in self._defaults(legacy_config).items()
            if name not in (asked if name in self.over_model else chosen)
            and not (name == "max_new_tokens" and "max_length" in chosen)
        }  # fmt: skip
        if not {**chosen, **added}.get("do_sample"):
            added = {name: value for name, value in added.items() if name not in _SAMPLING}
        added |= task_params
        if config is not None and added:
            given["generation_config"] = copy.deepcopy(config)
            given["generation_config"].update(**added)
            added = {}
        return {**given, **added, **self._helpers(options, given)}

    def chosen(self, config: GenerationConfig | None = None) -> Keywords:
        """The parameters that the model, or a config passed over it, sets."""
        found: Keywords = {}
        for each in (getattr(self.model, "generation_config", None), config):
            if each is not None:
                found |= {name: value for name in FIELDS if (value := getattr(each, name)) is not None}
        return found

    @property
    def generation_config(self) -> GenerationConfig:
        """The parameters of a call that gives none; fields that are set here hold for calls that do not set them."""
        if self._config is None:
            fields = {name: value for name, value in self.settled(self.options).items() if name in FIELDS}
            self._config = GenerationConfig.from_dict(fields)
            self._config_before = self._config.to_dict()
        return self._config

    def _edits(self) -> Keywords:
        """What was set in `generation_config`."""
        if self._config is None:
            return {}
        return {k: v for k, v in self._config.to_dict().items() if v != self._config_before[k]}

    def _defaults(self, legacy_config: bool) -> Keywords:
        defaults = {} if legacy_config else dict(self.defaults)
        if self._tokenizer is not None and self._tokenizer.pad_token_id is not None:
            defaults["pad_token_id"] = self._tokenizer.pad_token_id
        return defaults

    def _helpers(self, options: Any, given: Mapping[str, Any]) -> Keywords:
        """The assistant, the grammar and the tokenizers they need."""
        helpers: Keywords = {}
        if self.assistant_model is not None and "assistant_model" not in given:
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
        options: Any,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        settled = self.settled(options)
        alone = any(settled.get(name) is not None and settled[name] is not False for name in _ALONE)
        if batch_size is None and self._batch_size is None and alone:
            batch_size = 1
        if options.seed is None and settled.get("do_sample"):
            options = replace(options, seed=next_seed())
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def settled(self, options: Any) -> Keywords:
        """The parameters that hold for a call, whoever set them."""
        keywords = self.keywords(options)
        given = {name: value for name, value in keywords.items() if value is not None}  # None leaves it to the model
        return {**self.chosen(keywords.get("generation_config")), **given}

    def new_tokens(self, settled: Mapping[str, Any], prompt: int) -> int:
        """The most tokens that will be written after a prompt of so many."""
        if settled.get("max_new_tokens") is not None:
            return int(settled["max_new_tokens"])
        limit = settled.get("max_length")
        if limit is None:
            return 20
        return max(1, int(limit) - (0 if self.model.is_encoder_decoder else prompt))

    def row(self, ids: Any, mask: Any, extra: Any, options: Any) -> Row:
        """The row of one prompt, whose cost is its tokens and those that will be written, for each of its copies."""
        tokens = np.asarray(ids, np.int64)
        marks = np.ones_like(tokens) if mask is None else np.asarray(mask, np.int64)
        settled = self.settled(options)
        copies = max(settled.get("num_beams") or 1, settled.get("num_return_sequences") or 1)
        cost = (len(tokens) + self.new_tokens(settled, len(tokens))) * copies
        return Row({"input_ids": tokens, "attention_mask": marks}, cost, extra)

    def padding(self) -> Padding:
        """As the tokenizer's; without a padding token any other, since the mask hides it."""
        padding = super().padding()
        return padding if padding.token_id is not None else replace(padding, token_id=0)

    def run(self, rows: Sequence[Row], options: Any) -> list[Outputs]:
        keywords = self.keywords(options)
        settled = self.settled(options)
        answers: dict[int, Outputs] = {}
        for group in self._alike(rows, settled):
            found = self.generate([rows[i] for i in group], options, keywords, settled)
            answers.update(zip(group, found, strict=True))
        return [answers[i] for i in range(len(rows))]

    def _alike(self, rows: Sequence[Row], settled: Mapping[str, Any]) -> list[list[int]]:
        """Numbers of rows that may share a batch: all, unless padding would change what a parameter does."""
        total = settled.get("max_new_tokens") is None or (
            bool(settled.get("min_length")) and settled.get("min_new_tokens") is None
        )
        decoder_only = not self.model.is_encoder_decoder
        looks = any(
            settled.get(name) not in (None, neutral) and (decoder_only or name.startswith("encoder_"))
            for name, neutral in _SEES_PADDING.items()
        )
        if not looks and not (decoder_only and total):
            return [list(range(len(rows)))]
        groups: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(len(row.feeds["input_ids"]), []).append(i)
        return list(groups.values())

    def generate(
        self, rows: Sequence[Row], options: Any, keywords: Keywords, settled: Mapping[str, Any]
    ) -> list[Outputs]:
        """The model's tokens for rows that share a batch, row by row, as if each had been alone."""
        feeds = stack(rows, self.padding())
        if options.seed is not None and settled.get("do_sample"):
            keywords = {**keywords, "seed": [seed_of(options.seed, row.index) for row in rows]}
        found = self.model.generate(**feeds, **keywords)
        width = feeds["input_ids"].shape[1]
        padded = [0 if self.model.is_encoder_decoder else width - len(row.feeds["input_ids"]) for row in rows]
        start = 1 if self.model.is_encoder_decoder else width
        return by_row(found, len(rows), padded, start, Ends.of(settled) if len(rows) > 1 else None)

    # -- text as it comes -------------------------------------------------------------------------------------------
    def stream(self, inputs: Any, **options: Any) -> Iterator[str]:
        """The answer to one input, in pieces, as the model writes it.

        Closing the iterator stops the model.

        Args:
            inputs: one input, e.g. a text or a chat.
            **options: the parameters of a call; `num_beams` and `num_return_sequences` have to be 1.

        Raises:
            ValueError: more than one input, or parameters with which nothing can be streamed; at the first piece.
        """
        parsed = self.parse(options, self.options)
        value = self.one_input(inputs)
        if parsed.generate.get("streamer") is not None:
            raise ValueError("stream() makes its own streamer: leave streamer= out, or call the pipeline with it")
        return text_pieces(self, value, parsed)

    def can_stream(self, **options: Any) -> bool:
        """Whether `stream` can answer with these parameters: one text, written from its beginning to its end."""
        parsed = self.parse(options, self.options)
        settled = self.settled(parsed)
        one = all((settled.get(name) or 1) == 1 for name in ("num_beams", "num_return_sequences"))
        return one and getattr(parsed, "return_type", None) not in self.not_text

    def decoding(self, options: Any) -> Keywords:
        """Keywords of the tokenizer's `decode` for text that the model wrote."""
        return {"skip_special_tokens": True}

    def one_input(self, inputs: Any) -> Any:
        """The single input that `stream` was given.

        Raises:
            ValueError: it is several.
        """
        if not isinstance(inputs, str):
            raise ValueError(f"stream() answers one text at a time, got {type(inputs).__name__}")
        return inputs


def seed_of(seed: int, index: int) -> int:
    """The seed of the input at place `index` of a call: of the first the call's own, so that it is `generate()`'s."""
    return seed if index == 0 else int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])
