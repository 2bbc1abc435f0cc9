"""OpenAI's `/v1/chat/completions`: chats, whole or streamed, with tools, formats and log-probabilities."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.serving.bodies import json_response, read_object
from onnxpipe.serving.dialects.errors import endpoint, openai_error
from onnxpipe.serving.dialects.openai_options import check_fields, flag, generation_options, number, with_usage
from onnxpipe.serving.exchange import Exchange, exchange_of
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.inputs import flat_text, read_messages
from onnxpipe.serving.limits import check_size
from onnxpipe.serving.scores import LogprobRecorder, TokenScore
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.sse import event, event_stream
from onnxpipe.serving.texts import SeveralTexts, WrittenText, write_several, write_texts
from onnxpipe.serving.tool_calls import call_schema, may_be_call, parse_calls
from onnxpipe.tasks.base.chats import Chat
from onnxpipe.tasks.text_generation import TextGenerationPipeline

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

FIELDS = frozenset({
    "messages", "max_completion_tokens", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "chat_template_kwargs",
})  # fmt: skip
#: Arguments of `apply_chat_template` that a request must not set.
_TEMPLATE = frozenset({
    "conversation", "chat_template", "tools", "documents", "tokenize", "add_generation_prompt", "padding", "truncation",
    "continue_final_message", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask",
    "tokenizer_kwargs",
})  # fmt: skip
#: The delta that every answer of a stream begins with.
_BEGINNING = {"role": "assistant", "content": ""}


@dataclass
class ChatCall:
    """What a request asks for.

    Attributes:
        served: the model.
        chat: the messages.
        options: keywords of the pipeline's call.
        n: how many answers.
        tools: the names of the tools that the model may call.
        forced: whether the answer must be a call.
        recorder: notes log-probabilities; None if none are asked for.
        id, created: of the answer.
    """

    served: ServedModel
    chat: Chat
    options: dict[str, Any]
    n: int = 1
    tools: list[str] = field(default_factory=list)
    forced: bool = False
    recorder: LogprobRecorder | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def frame(self, kind: str) -> dict[str, Any]:
        """Return the fields that every answer and chunk has."""
        return {
            "id": self.id, "object": kind, "created": self.created, "model": self.served.name,
            "system_fingerprint": None,
        }  # fmt: skip


class ChatRoutes:
    """The routes of chats."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/v1/chat/completions", endpoint("openai", self.complete), methods=["POST"])]

    async def complete(self, request: Request) -> Response:
        """Answer a chat."""
        settings = self._state.settings
        body = await read_object(request, settings.max_body)
        served = self._state.table.for_tasks(body.get("model"), _chats, "/v1/chat/completions")
        exchange_of(request).served = served
        call = self._read(body, served)
        if flag(body, "stream"):
            return await self._stream(request, call, with_usage(body))
        if body.get("stream_options") is not None:
            raise bad_request("stream_options are for streams", "stream_options")

        def answer(view: Any) -> list[WrittenText]:
            check_size([each.get("content") for each in call.chat.messages], served.spec, settings)
            return write_texts(view, call.chat, call.options)

        several = SeveralTexts(call.options, call.n)
        several.written = await self._state.calls.answer(request, served, answer)
        exchange = exchange_of(request)
        several.note(exchange)
        choices = [_choice(index, several, call) for index in range(call.n)]
        return json_response({**call.frame("chat.completion"), "choices": choices, "usage": usage(exchange)})

    def _read(self, body: Mapping[str, Any], served: ServedModel) -> ChatCall:
        settings = self._state.settings
        check_fields(body, FIELDS)
        messages = read_messages(body.get("messages"), settings)
        if not served.spec.takes_files:
            messages = flat_text(messages)
        for message in messages:
            _read_calls(message)
        call = ChatCall(served, Chat(messages), generation_options(body, served, settings))
        call.n = number(body, "n", (1, settings.most("num_return_sequences") or 16), whole=True) or 1
        if call.n > 1 and call.options.get("do_sample", True):
            call.options["num_return_sequences"] = call.n
        self._read_tools(body, call)
        form = body.get("response_format")
        if form is not None and not (isinstance(form, Mapping) and isinstance(form.get("type"), str)):
            raise bad_request("response_format is an object with a type", "response_format")
        if form is not None and form["type"] != "text":
            if call.forced:
                raise bad_request("response_format and a tool that must be called exclude each other", "tool_choice")
            call.options["response_format"] = dict(form)
        extra = body.get("chat_template_kwargs")
        if extra is not None:
            if not isinstance(extra, Mapping) or _TEMPLATE & set(extra):
                raise bad_request(f"chat_template_kwargs are variables of the template, not {sorted(_TEMPLATE)}",
                                  "chat_template_kwargs")  # fmt: skip
            call.options["tokenizer_encode_kwargs"] = dict(extra)
        top = number(body, "top_logprobs", (0, 20), whole=True)
        if flag(body, "logprobs"):
            call.recorder = LogprobRecorder(top or 0)
            call.options["logits_processor"] = [*call.options.get("logits_processor", ()), call.recorder]
        elif top is not None:
            raise bad_request("top_logprobs needs logprobs", "top_logprobs")
        return call

    def _read_tools(self, body: Mapping[str, Any], call: ChatCall) -> None:
        tools, choice = body.get("tools") or [], body.get("tool_choice")
        flag(body, "parallel_tool_calls")
        if not isinstance(tools, list) or not all(_is_tool(each) for each in tools):
            raise bad_request(
                'each tool is {"type": "function", "function": {"name", "description", "parameters"}}', "tools"
            )
        if choice == "none" or not tools:
            if choice not in (None, "none", "auto"):
                raise bad_request("tool_choice needs tools", "tool_choice")
            return
        call.options["tools"] = tools
        call.tools = [each["function"]["name"] for each in tools]
        if choice in (None, "auto"):
            return
        wanted = tools
        if isinstance(choice, Mapping):
            function = choice.get("function")
            name = function.get("name") if isinstance(function, Mapping) else None
            wanted = [each for each in tools if each["function"]["name"] == name]
        elif choice != "required":
            wanted = []
        if not wanted:
            raise bad_request("tool_choice is none, auto, required, or names one of the tools", "tool_choice")
        call.forced = True
        call.options["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "call", "schema": call_schema(wanted)},
        }

    async def _stream(self, request: Request, call: ChatCall, count: bool) -> Response:
        settings, exchange = self._state.settings, exchange_of(request)
        several = SeveralTexts(call.options, call.n)

        def pieces(view: Any) -> Any:
            check_size([each.get("content") for each in call.chat.messages], call.served.spec, settings)
            return write_several(view, call.chat, call.options, several.written)

        source = self._state.calls.stream(request, call.served, pieces)

        def chunk(index: int, delta: Mapping[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            more = {"usage": None} if count else {}
            return event({**call.frame("chat.completion.chunk"), "choices": [choice], **more})

        async def chunks() -> AsyncIterator[bytes]:
            begun, held = False, [""] * len(several.written)
            async for row, piece in source:
                if not begun:
                    begun = True
                    for index in range(call.n):
                        yield chunk(index, _BEGINNING)
                held[row] += piece
                if not call.tools or not may_be_call(held[row]):
                    for index in several.places(row):
                        yield chunk(index, {"content": held[row]})
                    held[row] = ""
            several.note(exchange)
            for index in range(call.n):
                if not begun:
                    yield chunk(index, _BEGINNING)
                row = several.row(index)
                written, rest = several.written[row], held[row]
                said, calls = parse_calls(rest, call.tools) if rest else ("", [])
                if said:
                    yield chunk(index, {"content": said})
                for number_, each in enumerate(calls):
                    yield chunk(index, {"tool_calls": [{"index": number_, **each.entry()}]})
                yield chunk(index, {}, "tool_calls" if calls else written.openai_reason, _logprobs(call, row, written))
            if count:
                yield event({**call.frame("chat.completion.chunk"), "choices": [], "usage": usage(exchange)})

        return await event_stream(chunks(), openai_error, b"data: [DONE]\n\n")


def _chats(served: ServedModel) -> bool:
    return served.has_chat_template or (served.spec.chats and isinstance(served.pipe, TextGenerationPipeline))


def _is_tool(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str) and bool(function["name"])


def _read_calls(message: dict[str, Any]) -> None:
    """Give templates the arguments of earlier calls as objects: OpenAI writes them as JSON."""
    from onnxpipe.serving.bodies import parse_body

    calls = message.get("tool_calls")
    if calls is None:
        return
    if not isinstance(calls, list) or not all(isinstance(each, Mapping) for each in calls):
        raise bad_request("tool_calls is a list of objects", "messages")
    read = []
    for each in calls:
        function = each.get("function")
        if not isinstance(function, Mapping):
            raise bad_request("each of tool_calls has a function", "messages")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            arguments = parse_body(arguments.encode()) if arguments.strip() else {}
        read.append({**each, "function": {**function, "arguments": arguments}})
    message["tool_calls"] = read


def _choice(index: int, several: SeveralTexts, call: ChatCall) -> dict[str, Any]:
    row = several.row(index)
    written = several.written[row]
    content, calls = parse_calls(written.text, call.tools) if call.tools else (written.text, [])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": content if content or not calls else None,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = [each.entry() for each in calls]
    return {
        "index": index, "message": message, "logprobs": _logprobs(call, row, written),
        "finish_reason": "tool_calls" if calls else written.openai_reason,
    }  # fmt: skip


def _logprobs(call: ChatCall, row: int, written: WrittenText) -> dict[str, Any] | None:
    if call.recorder is None:
        return None
    scores = call.recorder.finish(row, written.record.generated)
    return {"content": [_entry(each, call) for each in scores], "refusal": None}


def _entry(score: TokenScore, call: ChatCall) -> dict[str, Any]:
    def shown(token: int, logprob: float) -> dict[str, Any]:
        text = str(call.served.pipe.tokenizer.decode([token]))
        return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}

    return {**shown(score.token, score.logprob), "top_logprobs": [shown(*each) for each in score.top]}


def usage(exchange: Exchange) -> dict[str, Any]:
    """Count the tokens of an answer."""
    prompt, generated = exchange.prompt, exchange.generated
    cached = 0 if exchange.caller is None else exchange.caller.cached
    return {
        "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached},
    }  # fmt: skip
