"""OpenAI's `/v1/completions`: texts that continue prompts."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from onnxpipe.serving.bodies import json_response, read_object
from onnxpipe.serving.dialects.errors import endpoint, openai_error
from onnxpipe.serving.dialects.openai_chat import choices_of, usage
from onnxpipe.serving.dialects.openai_options import check_fields, flag, generation_options, number, with_usage
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.scores import LogprobRecorder
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.sse import event, events
from onnxpipe.serving.texts import WrittenText, write_pieces, write_texts
from onnxpipe.tasks.text_generation import TextGenerationPipeline

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

FIELDS = frozenset({"prompt", "echo", "logprobs"})
_DEFAULT_TOKENS = 16


class CompletionRoutes:
    """The routes of completions."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/v1/completions", endpoint("openai", self.complete), methods=["POST"])]

    async def complete(self, request: Request) -> Response:
        """Continue prompts."""
        settings = self._state.settings
        body = await read_object(request, settings.max_json)
        served = self._state.table.for_tasks(
            body.get("model"), lambda each: isinstance(each.pipe, TextGenerationPipeline), "/v1/completions"
        )
        exchange = exchange_of(request)
        exchange.served = served
        check_fields(body, FIELDS)
        prompts = read_prompts(body.get("prompt"), served, settings.max_inputs)
        options = generation_options(body, served, settings, default_tokens=_DEFAULT_TOKENS)
        n = number(body, "n", (1, settings.most("num_return_sequences") or 16), whole=True) or 1
        if n > 1 and options.get("do_sample", True):
            options["num_return_sequences"] = n
        echo, top = flag(body, "echo"), number(body, "logprobs", (0, 5), whole=True)
        if top is not None and (len(prompts) > 1 or echo):
            raise bad_request("logprobs are for one prompt, without echo", "logprobs")
        head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
                "model": served.name}  # fmt: skip
        if flag(body, "stream"):
            if len(prompts) > 1 or n > 1 or top is not None:
                raise bad_request("a stream has one prompt and one answer, without logprobs", "stream")
            return await self._stream(request, served, prompts[0], options, head, echo, with_usage(body))
        if body.get("stream_options") is not None:
            raise bad_request("stream_options are for streams", "stream_options")
        recorder = None if top is None else LogprobRecorder(top)
        if recorder is not None:
            options["logits_processor"] = [*options.get("logits_processor", ()), recorder]

        def answer(view: Any) -> list[list[WrittenText]]:
            return [write_texts(view, prompt, options) for prompt in prompts]

        written = [
            each * n if len(each) == 1 else each for each in await self._state.calls.answer(request, served, answer)
        ]
        flat = [one for each in written for one in each]
        texts = [
            (prompt if echo else "") + one.text for prompt, each in zip(prompts, written, strict=True) for one in each
        ]
        exchange.prompt = sum(each[0].record.prompt for each in written)
        exchange.generated = sum(len(one.record.generated) for one in flat)
        choices = choices_of(texts, [one.reason for one in flat])
        if recorder is not None:
            for row, choice in enumerate(choices):
                choice["logprobs"] = _logprobs(recorder, row, flat[row], served)
        return json_response({**head, "choices": choices, "usage": usage(exchange)})

    async def _stream(
        self,
        request: Request,
        served: ServedModel,
        prompt: str,
        options: Mapping[str, Any],
        head: Mapping[str, Any],
        echo: bool,
        count: bool,
    ) -> Response:
        written, exchange = WrittenText(), exchange_of(request)
        source = self._state.calls.stream(request, served, lambda view: write_pieces(view, prompt, options, written))

        def chunk(text: str, reason: str | None = None) -> bytes:
            return event({**head, "choices": choices_of([text], [reason])})  # type: ignore[list-item]

        async def chunks() -> AsyncIterator[bytes]:
            begun = not echo
            async for piece in source:
                if not begun:
                    yield chunk(prompt)
                    begun = True
                yield chunk(piece)
            exchange.prompt, exchange.generated = written.record.prompt, len(written.record.generated)
            yield chunk("", written.reason)
            if count:
                yield event({**head, "choices": [], "usage": usage(exchange)})

        body = await events(chunks(), openai_error, b"data: [DONE]\n\n")
        return StreamingResponse(body, media_type="text/event-stream", headers={"cache-control": "no-cache"})


def read_prompts(given: Any, served: ServedModel, most: int, name: str = "prompt") -> list[str]:
    """Read texts, or ids of tokens: one, or a list.

    Raises:
        RequestFault: 400: neither; ids that are none of the model's; 413: too many.
    """
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise bad_request(f"{name} is a text, a list of texts, or ids of tokens", name)
    if all(_is_id(each) for each in given):
        return [_decoded(given, served, name)]
    if len(given) > most:
        raise RequestFault(413, f"{name} has {len(given):,} entries; the most are {most}", "too_many", name)
    if all(isinstance(each, str) for each in given):
        return list(given)
    if all(isinstance(each, list) and each and all(_is_id(one) for one in each) for each in given):
        return [_decoded(each, served, name) for each in given]
    raise bad_request(f"{name} is a text, a list of texts, or ids of tokens", name)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _decoded(ids: Sequence[int], served: ServedModel, name: str) -> str:
    tokenizer = served.pipe.tokenizer
    outside = next((each for each in ids if not 0 <= each < len(tokenizer)), None)
    own = None
    if outside is None:
        text = str(tokenizer.decode(ids))
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
    if own != list(ids):
        raise bad_request(
            f"the ids of tokens in {name} are not those of {served.name}'s tokenizer: they were made by another one. "
            "Send texts instead (LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
            name,
        )
    return text


def _logprobs(recorder: LogprobRecorder, row: int, written: WrittenText, served: ServedModel) -> dict[str, Any]:
    tokenizer, offset = served.pipe.tokenizer, 0
    found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    row = min(row, max(0, len(recorder.steps) - 1))
    for each in recorder.finish(row, written.record.generated):
        text = str(tokenizer.decode([each.token]))
        found["tokens"].append(text)
        found["token_logprobs"].append(each.logprob)
        found["top_logprobs"].append({str(tokenizer.decode([token])): value for token, value in each.top})
        found["text_offset"].append(offset)
        offset += len(text)
    return found
