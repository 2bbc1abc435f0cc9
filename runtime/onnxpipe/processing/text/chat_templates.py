"""Render conversations with a tokenizer's chat template, and tokenize them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from onnxpipe.errors import UnsupportedError
from onnxpipe.processing.text.backend_lock import BackendLock, BackendState
from onnxpipe.processing.text.batch_encoding import BatchEncoding
from onnxpipe.processing.text.strategies import Limits, resolve

if TYPE_CHECKING:
    from onnxpipe.processing.text.chat.control_tokens import ControlTokens
    from onnxpipe.processing.text.chat.messages import Span


class _Host(Protocol):
    """The part of a tokenizer that `ChatTemplateMixin` uses."""

    chat_template: str | dict[str, str] | None
    model_max_length: int
    truncation_side: str
    padding_side: str

    _lock: BackendLock

    @property
    def special_tokens_map(self) -> dict[str, str]: ...
    @property
    def backend_tokenizer(self) -> Any: ...
    @property
    def chat_control_tokens(self) -> Sequence[str] | None: ...
    def __call__(self, *args: Any, **options: Any) -> BatchEncoding: ...
    def pad(self, *args: Any, **options: Any) -> BatchEncoding: ...
    def get_chat_template(self, chat_template: str | None = None, tools: Sequence[Any] | None = None) -> str: ...


class ChatTemplateMixin:
    """Adds chat templates to a tokenizer: `apply_chat_template`."""

    chat_template: str | dict[str, str] | None

    def get_chat_template(self, chat_template: str | None = None, tools: Sequence[Any] | None = None) -> str:
        """Choose the template that a conversation would be rendered with.

        Args:
            chat_template: a name, or the text of a template; None for the tokenizer's.
            tools: with tools, the template "tool_use" is chosen where the tokenizer has several.

        Raises:
            ValueError: there is no template, or there are several without a "default".
        """
        from onnxpipe.processing.text.chat.messages import choose_template  # few tokenizers are used for chats

        return choose_template(self.chat_template, chat_template, tools=tools is not None)

    def apply_chat_template(
        self: _Host,
        conversation: Any,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        padding: Any = False,
        truncation: Any = False,
        max_length: int | None = None,
        return_tensors: Any = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **template_kwargs: Any,
    ) -> Any:
        """Render a conversation, or several, with the model's chat template, and tokenize the text.

        Args:
            conversation: messages, dicts with "role" and "content" (or an object that has them as `.messages`), or a
                list of such conversations.
            tools: tools that the model may call: JSON schemas, or functions with type hints and docstrings.
            documents: documents that the model may read: dicts with "title" and "text".
            chat_template: a name, or the text of a template; None for the tokenizer's.
            add_generation_prompt: end the text with the beginning of the assistant's next message.
            continue_final_message: leave the last message open, for the model to continue it; a str names the field to
                continue instead of "content".
            tokenize: False to return the text alone.
            sanitize_control_tokens: treat control tokens that occur in messages, tools, documents and variables as
                ordinary text; only those of the template itself stay control tokens.
            padding, truncation, max_length, return_tensors: as in the tokenizer's call.
            return_dict: False to return the `input_ids` alone.
            return_assistant_tokens_mask: also return `assistant_masks`: 1 for tokens of the assistant's messages, which
                the template has to mark with `{% generation %}`.
            tokenizer_kwargs: further arguments of the tokenizer's call.
            **template_kwargs: variables of the template.

        Returns:
            A `BatchEncoding`; ids without `return_dict`; text without `tokenize`; lists for several conversations.

        Raises:
            UnknownArgumentError: a variable that the template does not use, with a name like a parameter's.
            ValueError: no template, no messages, options that exclude each other, no text to continue.
            TypeError: a message that is not a dict.
            jinja2.TemplateError: the template is invalid, or refuses the conversation.
            BundleError: the template takes too many steps or too much memory.
        """
        from onnxpipe.processing.text.chat import messages as chat
        from onnxpipe.processing.text.chat.control_tokens import ControlTokens
        from onnxpipe.processing.text.chat.rendering import ChatRequest

        return_dict = return_dict and tokenize
        if return_assistant_tokens_mask and not return_dict:
            raise ValueError("`return_assistant_tokens_mask=True` requires `return_dict=True` and `tokenize=True`")
        template = self.get_chat_template(chat_template, tools)
        chats, several = chat.conversations_of(conversation)
        request = ChatRequest(
            template, template_kwargs, tools, documents, add_generation_prompt, continue_final_message,
            return_assistant_tokens_mask, tokenize, sanitize_control_tokens,
        )  # fmt: skip
        request.check()
        chat.check_variables(
            template, template_kwargs, inspect.signature(ChatTemplateMixin.apply_chat_template).parameters
        )
        control = None
        if sanitize_control_tokens:
            control = ControlTokens.of(self.backend_tokenizer, chat.literal_text(template), self.chat_control_tokens)
        texts, spans = request.render(chats, self.special_tokens_map, control)
        if not tokenize:
            return texts if several else texts[0]
        options = {
            "padding": padding, "truncation": truncation, "max_length": max_length, "return_tensors": return_tensors,
            "add_special_tokens": False, **(tokenizer_kwargs or {}),
        }  # fmt: skip
        if control is not None:
            out = encode_marked(self, control, texts, options, batched=several or return_tensors is not None)
        else:
            out = self(texts if several else texts[0], **options)
        if return_assistant_tokens_mask:
            _add_masks(out, spans, batched=several or return_tensors is not None)
            out.convert_to_tensors(return_tensors)
        return out if return_dict else out["input_ids"]


def _add_masks(out: BatchEncoding, spans: Sequence[Sequence[Span]], *, batched: bool) -> None:
    from onnxpipe.processing.text.chat.messages import assistant_mask

    rows = out["input_ids"] if batched else [out["input_ids"]]
    masks = [assistant_mask(out, i, len(row), spans[i]) for i, row in enumerate(rows)]
    out["assistant_masks"] = masks if batched else masks[0]


def encode_marked(
    host: _Host, control: ControlTokens, texts: Sequence[str], options: Mapping[str, Any], *, batched: bool
) -> BatchEncoding:
    """Encode texts whose control tokens are marked, as the tokenizer's call would.

    Args:
        host: the tokenizer.
        control: what marked them.
        texts: the texts.
        options: of the tokenizer's call.
        batched: return a list of rows for a single text too.

    Raises:
        UnsupportedError: an option that is not possible here, or a token that the tokenizer makes of plain text too.
    """
    known = {"add_special_tokens", "padding", "truncation", "max_length", "return_tensors", "pad_to_multiple_of",
             "padding_side", "return_attention_mask", "verbose"}  # fmt: skip
    for name in sorted(options.keys() - known):
        if options[name]:
            raise UnsupportedError(f"{name}= is not supported with control tokens that stay ordinary text")
    rest = {name: options[name] for name in options.keys() & known - {"add_special_tokens", "truncation"}}
    limits = Limits(host.model_max_length, host.truncation_side, host.padding_side)
    _, cut, _ = resolve(
        limits, False, options.get("truncation", False), options.get("max_length"), 0, None, None, verbose=False
    )

    def encode() -> list[list[int]]:
        before, after = _ids_around(host.backend_tokenizer) if options.get("add_special_tokens", True) else ([], [])
        return [[*before, *control.encode(host.backend_tokenizer, text), *after] for text in texts]

    rows = host._lock.run(BackendState(None, split=False), encode)  # or an earlier call's truncation would cut pieces
    if cut is not None:
        rows = [row[: cut.max_length] if cut.direction == "right" else row[-cut.max_length :] for row in rows]
    return host.pad({"input_ids": rows if batched else rows[0]}, **{"padding": False, **rest})


def _ids_around(backend: Any) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text."""
    plain = backend.encode("a", add_special_tokens=False).ids
    ids = backend.encode("a", add_special_tokens=True).ids
    start = next((i for i in range(len(ids)) if ids[i : i + len(plain)] == plain), 0)
    return ids[:start], ids[start + len(plain) :]
