"""OpenAI's `/v1/completions`: texts that continue prompts."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from onnxpipe.serving.bodies import json_response, read_object
from onnxpipe.serving.dialects.errors import endpoint, openai_error
from onnxpipe.serving.dialects.openai_chat import usage
from onnxpipe.serving.dialects.openai_options import check_fields, flag, generation_options, number, with_usage
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.scores import LogprobRecorder
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.sse import event, event_stream
from onnxpipe.serving.texts import SeveralTexts, WrittenText, write_several, write_texts
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
        recorder = None if top is None else LogprobRecorder(top)
        if recorder is not None:
            options["logits_processor"] = [*options.get("logits_processor", ()), recorder]
        call = _CompletionCall(served, prompts, options, n, echo, recorder)
        if flag(body, "stream"):
            return await self._stream(request, call, with_usage(body))
        if body.get("stream_options") is not None:
            raise bad_request("stream_options are for streams", "stream_options")

        def answer(view: Any) -> list[list[WrittenText]]:
            return [write_texts(view, prompt, options) for prompt in prompts]

        answered = await self._state.calls.answer(request, served, answer)
        for several, written in zip(call.texts, answered, strict=True):
            several.written = written
            several.note(exchange)
        choices = [call.choice(index, call.written(index).text) for index in range(len(call))]
        return json_response({**call.head, "choices": choices, "usage": usage(exchange)})

    async def _stream(self, request: Request, call: _CompletionCall, count: bool) -> Response:
        exchange, more = exchange_of(request), {"usage": None} if count else {}

        def pieces(view: Any) -> Iterator[tuple[int, int, str]]:
            for place, (prompt, several) in enumerate(zip(call.prompts, call.texts, strict=True)):
                with contextlib.closing(write_several(view, prompt, call.options, several.written)) as written:
                    for row, piece in written:
                        yield place, row, piece

        source = self._state.calls.stream(request, call.served, pieces)

        def chunk(choice: Mapping[str, Any]) -> bytes:
            return event({**call.head, "choices": [choice], **more})

        async def chunks() -> AsyncIterator[bytes]:
            begun: set[int] = set()
            async for place, row, piece in source:
                for index in call.indices(place, row):
                    yield chunk(call.piece(index, piece, first=index not in begun))
                    begun.add(index)
            for several in call.texts:
                several.note(exchange)
            for index in range(len(call)):
                yield chunk(call.choice(index, "", first=index not in begun))
            if count:
                yield event({**call.head, "choices": [], "usage": usage(exchange)})

        return await event_stream(chunks(), openai_error, b"data: [DONE]\n\n")


class _CompletionCall:
    """What a request asks for: `n` answers to each prompt, counted over all prompts.

    Args:
        served: the model.
        prompts: texts.
        options: keywords of the pipeline's call.
        n: how many answers a prompt has.
        echo: whether an answer begins with its prompt.
        recorder: notes log-probabilities; None if none are asked for.
    """

    def __init__(
        self, served: ServedModel, prompts: Sequence[str], options: dict[str, Any], n: int, echo: bool,
        recorder: LogprobRecorder | None,
    ) -> None:  # fmt: skip
        self.served, self.prompts, self.options = served, prompts, options
        self.texts = [SeveralTexts(options, n) for _ in prompts]
        self._n, self._echo, self._recorder = n, echo, recorder
        self.head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
                     "model": served.name}  # fmt: skip

    def __len__(self) -> int:
        return self._n * len(self.prompts)

    def indices(self, place: int, row: int) -> list[int]:
        """Return the indices of the answers that a text of a prompt is."""
        return [self._n * place + index for index in self.texts[place].places(row)]

    def written(self, index: int) -> WrittenText:
        """Return the text of an answer."""
        several = self.texts[index // self._n]
        return several.written[several.row(index % self._n)]

    def piece(self, index: int, text: str, first: bool = True) -> dict[str, Any]:
        """Make a choice that goes on."""
        echoed = self.prompts[index // self._n] if self._echo and first else ""
        return {"index": index, "text": echoed + text, "logprobs": None, "finish_reason": None}

    def choice(self, index: int, text: str, first: bool = True) -> dict[str, Any]:
        """Make a choice that ends."""
        written = self.written(index)
        found = {**self.piece(index, text, first), "finish_reason": written.openai_reason}
        if self._recorder is not None:
            row = self.texts[0].row(index)
            found["logprobs"] = _logprobs(self._recorder, row, written, self.served)
        return found


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
    for each in recorder.finish(row, written.record.generated):
        text = str(tokenizer.decode([each.token]))
        found["tokens"].append(text)
        found["token_logprobs"].append(each.logprob)
        found["top_logprobs"].append({str(tokenizer.decode([token])): value for token, value in each.top})
        found["text_offset"].append(offset)
        offset += len(text)
    return found
