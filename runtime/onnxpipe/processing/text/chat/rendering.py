"""Render the conversations of a call of `apply_chat_template`, for tokenizers and for processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxpipe.processing.text.chat import messages as chat
from onnxpipe.processing.text.chat.control_tokens import ControlTokens


@dataclass(frozen=True)
class ChatRequest:
    """What a call wants beside its conversations.

    Attributes:
        template: the Jinja source.
        variables: those of the template that the call passed.
        tools, documents: see the tokenizer's `apply_chat_template`.
        add_generation_prompt: end the text with the beginning of the assistant's next message.
        continue_final_message: leave the last message open; a str names the field to continue.
        assistant_masks: find the assistant's text.
        tokenize: whether the text will be encoded.
        sanitize: treat the control tokens of messages and variables as ordinary text.
    """

    template: str
    variables: Mapping[str, Any]
    tools: Sequence[Any] | None
    documents: Sequence[Any] | None
    add_generation_prompt: bool
    continue_final_message: bool | str
    assistant_masks: bool
    tokenize: bool
    sanitize: bool

    def check(self) -> None:
        """Check that no options exclude each other.

        Raises:
            ValueError: some do.
        """
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError(
                "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when "
                "you want the model to continue the final message, and add_generation_prompt when you want to add a "
                "header that will prompt it to start a new assistant message instead."
            )
        if self.continue_final_message and self.assistant_masks:
            raise ValueError("continue_final_message is not compatible with return_assistant_tokens_mask.")
        if self.sanitize and (self.assistant_masks or not self.tokenize):
            raise ValueError(
                "`sanitize_control_tokens=True` requires `tokenize=True` and is not compatible with "
                "`return_assistant_tokens_mask=True`."
            )

    def render(
        self, chats: Sequence[Sequence[Any]], special_tokens: Mapping[str, str], control: ControlTokens | None
    ) -> tuple[list[str], list[list[chat.Span]]]:
        """Render conversations as texts; also return the spans of the assistant's messages in each.

        Args:
            chats: the conversations.
            special_tokens: the tokenizer's, which templates may write.
            control: marks what messages may not write, and with `sanitize` what variables may not; None for nothing.

        Raises:
            TypeError, ValueError, jinja2.TemplateError, BundleError, MissingDependencyError: as
                `messages.render_chat`.
        """
        context = {
            **chat.plain(self.variables),
            "tools": chat.plain_tools(self.tools),
            "documents": chat.plain_documents(self.documents),
        }
        if control is not None:
            chats = control.marked(chat.plain(list(chats)))
            context = control.marked(context) if self.sanitize else context
        variables = {**special_tokens, **context, "add_generation_prompt": self.add_generation_prompt}
        rendered = [
            chat.render_chat(
                self.template, messages, variables, continue_final_message=self.continue_final_message,
                track=self.assistant_masks,
            )
            for messages in chats
        ]  # fmt: skip
        return [text for text, _ in rendered], [spans for _, spans in rendered]
