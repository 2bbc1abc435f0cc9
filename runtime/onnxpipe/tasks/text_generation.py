"""text-generation: continue texts and answer chats with a decoder-only model (semantics of transformers 5.23)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Literal, NotRequired, TypedDict, Unpack, overload

from onnxpipe.engine.batching import Row
from onnxpipe.engine.scheduler import Answered
from onnxpipe.models.auto import AutoModelForCausalLM
from onnxpipe.tasks.base.call_types import GenerationCallOptions, Stream
from onnxpipe.tasks.base.chats import Chat, is_chat, with_chats
from onnxpipe.tasks.base.columns import text_columns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline, Kwargs
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.base.streaming import text_after


class ReturnType(Enum):
    """The content of an answer: token ids with the prompt's, the new text alone, or the whole text."""

    TENSORS = 0
    NEW_TEXT = 1
    FULL_TEXT = 2


@dataclass(frozen=True)
class TextGenerationOptions(GenerationOptions):
    """Options of text-generation; every other keyword is `generate()`'s.

    Attributes:
        return_full_text: True returns prompt and continuation (the default), False the continuation alone.
        return_tensors: if passed at all, the answer is `generated_token_ids`: a list of ints, the prompt's included.
        return_text: has no effect; refused together with the two above.
        return_type: a `ReturnType`, instead of the three above.
        clean_up_tokenization_spaces: remove spaces before punctuation; None leaves it to the tokenizer.
        prefix: a text put before every prompt; it is not part of the answer.
        handle_long_generation: "hole" keeps of a prompt the last tokens that leave room for the new ones.
        stop_sequence: a text or several after which generation stops; it stays in the answer.
        truncation, padding, add_special_tokens: as in the tokenizer's call.
        max_length: tokens of prompt and continuation; if passed to a call, the tokenizer gets it too.
        continue_final_message: continue a chat's last message; by default if that is the assistant's.
        skip_special_tokens: leave special tokens out of the text.
        tokenizer_encode_kwargs: further keywords of the tokenizer's call, or of `apply_chat_template`.
        tools, documents: passed to the chat template.
    """

    return_full_text: bool | None = None
    return_tensors: bool | None = None
    return_text: bool | None = None
    return_type: ReturnType = ReturnType.FULL_TEXT
    clean_up_tokenization_spaces: bool | None = None
    prefix: str | None = None
    handle_long_generation: str | None = None
    stop_sequence: str | list[str] | None = None
    truncation: bool | str | None = None
    padding: bool | str | None = None
    add_special_tokens: bool | None = None
    max_length: int | None = number_option(None, least=1)
    continue_final_message: bool | None = None
    skip_special_tokens: bool = True
    tokenizer_encode_kwargs: Mapping[str, Any] | None = None
    tools: Sequence[Any] | None = None
    documents: Sequence[Mapping[str, str]] | None = None


class TextGenerationCallOptions(GenerationCallOptions, total=False):
    """The options of a call: see `TextGenerationOptions`."""

    return_full_text: bool | None
    return_tensors: bool | None
    return_text: bool | None
    return_type: ReturnType | None
    clean_up_tokenization_spaces: bool | None
    prefix: str | None
    handle_long_generation: Literal["hole"] | None
    stop_sequence: str | list[str] | None
    truncation: bool | str | None
    padding: bool | str | None
    add_special_tokens: bool | None
    continue_final_message: bool | None
    skip_special_tokens: bool | None
    tokenizer_encode_kwargs: Mapping[str, Any] | None
    tools: Sequence[Any] | None
    documents: Sequence[Mapping[str, str]] | None


class GeneratedText(TypedDict):
    """A text with its continuation; with `return_tensors` it has `generated_token_ids` instead."""

    generated_text: str
    generated_token_ids: NotRequired[list[int]]


class GeneratedChat(TypedDict):
    """A chat with its answer, which is the last message."""

    generated_text: list[dict[str, Any]]
    generated_token_ids: NotRequired[list[int]]


@dataclass(frozen=True)
class _Prompt:
    """Hold what decoding needs of an input.

    Attributes:
        text: the text or chat.
        length: its tokens; 0 if generation began with only the model's first token.
    """

    text: str | Chat
    length: int


class TextGenerationPipeline(GenerationPipeline[TextGenerationOptions]):
    """Continue texts, and answer in chats. Its options are the fields of `TextGenerationOptions`.

    A str gives `[{"generated_text": str}]`, a list of n texts n such lists; a chat (a list of messages, dicts with
    `role` and `content`) gives `[{"generated_text": messages}]`, the answer being the last of them.

        pipe("Once upon a time", max_new_tokens=20)
        pipe([{"role": "user", "content": "Hello!"}])[0]["generated_text"][-1]["content"]
        for piece in pipe.stream("Once upon a time"): print(piece, end="", flush=True)

    Unless the model or the call says otherwise 256 tokens are sampled with a temperature of 0.7.
    """

    Options = TextGenerationOptions
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}
    token_return_types: ClassVar[Sequence[Any]] = (ReturnType.TENSORS,)

    def prepare(self) -> None:
        super().prepare()
        if self._tokenizer is not None and self._tokenizer.padding_side == "right":
            self._tokenizer.padding_side = "left"  # the model continues where a row ends

    def parse(self, kwargs: Mapping[str, Any], base: TextGenerationOptions | None) -> TextGenerationOptions:
        options = super().parse({name: value for name, value in kwargs.items() if name != "max_length"}, base)
        if options.handle_long_generation not in (None, "hole"):
            raise ValueError(
                f"{options.handle_long_generation} is not a valid value for `handle_long_generation` parameter expected"
                " [None, 'hole']"
            )
        limit = kwargs.get("max_length")
        if limit is not None:
            options = replace(options, generate={**options.generate, "max_length": limit})
        return replace(
            options,
            max_length=limit if base is not None else None,
            return_type=return_type_of(kwargs) or options.return_type,
            return_full_text=None,
            return_tensors=None,
            return_text=None,
        )

    def generate_kwargs(self, options: TextGenerationOptions) -> Kwargs:
        kwargs = super().generate_kwargs(options)
        if options.stop_sequence is not None:
            texts = options.stop_sequence
            kwargs |= {"stop_strings": [texts] if isinstance(texts, str) else texts, "tokenizer": self.tokenizer}
        return self._with_prefix(kwargs, options)

    def _with_prefix(self, kwargs: Kwargs, options: TextGenerationOptions) -> Kwargs:
        """Raise the limits of the whole length by the tokens of the prefix, which the user does not count."""
        prefix = self._prefix(options)
        if not prefix:
            return kwargs
        special = bool(options.add_special_tokens)
        count = len(self.tokenizer(prefix, add_special_tokens=special)["input_ids"])
        resolved = {**self.model_parameters(kwargs.get("generation_config")), **kwargs}
        for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
            if resolved.get(total) is not None and resolved.get(new) is None:
                kwargs[total] = resolved[total] + count
        return kwargs

    def _prefix(self, options: TextGenerationOptions) -> str:
        return (self.prefix or "") if options.prefix is None else options.prefix

    # -- the call ---------------------------------------------------------------------------------------------------
    @overload
    def __call__(self, text_inputs: str, **options: Unpack[TextGenerationCallOptions]) -> list[GeneratedText]: ...
    @overload
    def __call__(
        self, text_inputs: list[str], **options: Unpack[TextGenerationCallOptions]
    ) -> list[list[GeneratedText]]: ...
    @overload
    def __call__(
        self, text_inputs: list[dict[str, str]] | list[dict[str, Any]], **options: Unpack[TextGenerationCallOptions]
    ) -> list[GeneratedChat]: ...
    @overload
    def __call__(
        self,
        text_inputs: list[list[dict[str, str]]] | list[list[dict[str, Any]]],
        **options: Unpack[TextGenerationCallOptions],
    ) -> list[list[GeneratedChat]]: ...
    @overload
    def __call__(
        self, text_inputs: Stream, **options: Unpack[TextGenerationCallOptions]
    ) -> PipelineIterator[list[GeneratedText]]: ...
    def __call__(self, text_inputs: Any, *args: Any, **options: Any) -> Any:
        """Continue one text or chat, a list of them, or a stream.

        Args:
            text_inputs: a str; a chat; a list, generator or dataset of either.
            *args, **options: see `Pipeline.__call__`.
        """
        return super().__call__(with_chats(text_inputs), *args, **options)

    def one_input(self, inputs: Any) -> Any:
        marked = with_chats(inputs)
        return marked if isinstance(marked, Chat) else super().one_input(marked)

    def prompt_ids(self, inputs: Any, **options: Any) -> list[int]:
        """Return the tokens of the prompt of one text or chat, as a call with these options has them.

        Args:
            inputs: one text or chat.
            **options: the options of a call.
        """
        (row,) = self.encode(self.one_input(inputs), self.parse(options, self.options))
        return list(map(int, row.feeds["input_ids"][len(row.feeds["input_ids"]) - row.extra.length :]))

    def encode(self, value: Any, options: TextGenerationOptions) -> Iterator[Row]:
        chat = Chat(value) if is_chat(value) else value
        if not isinstance(chat, (str, Chat)):
            raise TypeError(
                "an input of text-generation is a str or a chat (a list of dicts with 'role' and 'content'), got "
                f"{type(value).__name__}"
            )
        if isinstance(chat, Chat):
            chat.check()
        encoding = self._tokens(chat, options)
        ids, mask = encoding["input_ids"][0], encoding.get("attention_mask", [None])[0]
        if options.handle_long_generation == "hole":
            kept = self._room(len(ids), options)
            ids, mask = ids[-kept:], None if mask is None else mask[-kept:]
        prompt = _Prompt(chat, len(ids))
        if not len(ids):
            ids, mask = [self._first_token(options)], None
        yield self.row(ids, mask, prompt, options)

    def _tokens(self, chat: str | Chat, options: TextGenerationOptions) -> Mapping[str, Any]:
        """Tokenize the prompt: arrays of shape (1, tokens)."""
        tokenizer = self.tokenizer
        names = ("add_special_tokens", "truncation", "padding", "max_length")
        kwargs = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        kwargs |= dict(options.tokenizer_encode_kwargs or {})
        encoding: Mapping[str, Any]
        if isinstance(chat, str):
            encoding = tokenizer(self._prefix(options) + chat, **kwargs, return_tensors="np")
        else:
            kwargs.pop("add_special_tokens", None)  # the template writes them
            continues = self._continues(chat, options)
            encoding = tokenizer.apply_chat_template(
                chat.messages,
                tools=options.tools,
                documents=options.documents,
                add_generation_prompt=not continues,
                continue_final_message=continues,
                return_dict=True,
                return_tensors="np",
                **kwargs,
            )
        return encoding

    def _continues(self, chat: Chat, options: TextGenerationOptions) -> bool:
        continues = options.continue_final_message
        return not chat.unanswered if continues is None else continues

    def _room(self, prompt: int, options: TextGenerationOptions) -> int:
        """Count the prompt's last tokens that leave room for those to be generated."""
        resolved, limit = self.resolved(options), self.tokenizer.model_max_length
        new = resolved.get("max_new_tokens")
        if new is None:
            new = resolved["max_length"] - prompt
            if new < 0:
                raise ValueError("We cannot infer how many new tokens are expected")
        if prompt + new <= limit:
            return prompt
        if limit - new <= 0:
            raise ValueError(
                "We cannot use `hole` to handle this generation the number of desired tokens exceeds the models max "
                "length"
            )
        return int(limit - new)

    def _first_token(self, options: TextGenerationOptions) -> int:
        """The token that generation begins with if the prompt has none."""
        first = self.resolved(options).get("bos_token_id")
        if first is None:
            raise ValueError("`bos_token_id` has to be defined when no `input_ids` are provided.")
        return int(first)

    # -- the answer -------------------------------------------------------------------------------------------------
    def decode_kwargs(self, options: TextGenerationOptions) -> Kwargs:
        return {
            "skip_special_tokens": options.skip_special_tokens,
            "clean_up_tokenization_spaces": options.clean_up_tokenization_spaces,
        }

    def decode(self, rows: Answered, options: TextGenerationOptions) -> list[dict[str, Any]]:
        ((row, outputs),) = rows
        others = {name: value.tolist() for name, value in outputs.items() if name != "sequences"}
        records = []
        for number, sequence in enumerate(outputs["sequences"]):
            if options.return_type is ReturnType.TENSORS:
                records.append({"generated_token_ids": sequence.tolist()})
                continue
            record = {"generated_text": self._text(row.extra, sequence, options)}
            records.append({**record, **{name: values[number] for name, values in others.items()}})
        return records

    def continues_prompt(self, value: Any, options: TextGenerationOptions) -> bool:
        return not isinstance(value, Chat) or self._continues(value, options)

    def _text(self, prompt: _Prompt, sequence: Any, options: TextGenerationOptions) -> Any:
        before = sequence[: prompt.length] if self.continues_prompt(prompt.text, options) else sequence[:0]
        generated = sequence[prompt.length :]
        text = text_after(self.tokenizer, before, generated[generated >= 0], **self.decode_kwargs(options))
        if options.return_type is ReturnType.NEW_TEXT:
            return text
        if isinstance(prompt.text, str):
            return prompt.text + text
        messages = list(prompt.text.messages)
        if self._continues(prompt.text, options):
            last = messages[-1]
            return [*messages[:-1], {"role": last["role"], "content": last["content"] + text}]
        return [*messages, {"role": "assistant", "content": text}]


def return_type_of(kwargs: Mapping[str, Any]) -> ReturnType | None:
    """Read the return type from keywords; None if they do not name one."""
    full, tensors, text, kind = (
        kwargs.get(name) for name in ("return_full_text", "return_tensors", "return_text", "return_type")
    )
    if kind is not None:
        if not isinstance(kind, ReturnType):
            raise ValueError(f"return_type={kind!r}: choose one of {', '.join(map(str, ReturnType))}")
        return kind
    if full is not None and text is not None:
        raise ValueError("`return_text` is mutually exclusive with `return_full_text`")
    if full is not None and tensors is not None:
        raise ValueError("`return_full_text` is mutually exclusive with `return_tensors`")
    if tensors is not None and text is not None:
        raise ValueError("`return_text` is mutually exclusive with `return_tensors`")
    if full is not None:
        return ReturnType.FULL_TEXT if full else ReturnType.NEW_TEXT
    return None if tensors is None else ReturnType.TENSORS


TASK = TaskSpec(
    name="text-generation",
    pipeline=TextGenerationPipeline,
    auto_classes=(AutoModelForCausalLM,),
    help="Continue texts, and answer in chats.",
    example='"Once upon a time", max_new_tokens=20',
    default_model=("HuggingFaceTB/SmolLM3-3B", "a07cc9a"),
    columns=text_columns("generated_text"),
    text_key="generated_text",
    streams=True,
    chats=True,
)
