"""Generated texts in the shapes of text-generation-inference: streamed, or whole with details of their tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from onnxpipe.serving.bodies import json_response
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import bad_request
from onnxpipe.serving.limits import check_size
from onnxpipe.serving.scores import LogprobRecorder
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.sse import event, event_stream
from onnxpipe.serving.texts import WrittenText, write_pieces, write_texts
from onnxpipe.tasks.base.generation import GenerationPipeline

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState


class OneText:
    """A request for one generated text.

    Args:
        state: the server's.
        served: the model.
        value: its input.
        parameters: keywords of the pipeline's call.

    Raises:
        RequestFault: 400: the prompt is to stand before the text, and is no text.
    """

    def __init__(self, state: ServerState, served: ServedModel, value: Any, parameters: Mapping[str, Any]) -> None:
        self._state, self._served, self._value = state, served, value
        self._parameters = {name: each for name, each in parameters.items() if name != "return_full_text"}
        full = parameters.get("return_full_text")
        if full and not isinstance(value, str):
            raise bad_request("return_full_text is for a prompt that is a text: leave it out", "return_full_text")
        self._before = value if full else ""

    async def stream(self, request: Request) -> Response:
        """Answer with server-sent events."""
        written, exchange = WrittenText(), exchange_of(request)

        def write(view: Any) -> Iterator[str]:
            self._check(view, "stream", "cannot be streamed")
            return write_pieces(view, self._value, self._parameters, written)

        pieces = self._state.calls.stream(request, self._served, write)

        async def pieces_as_events() -> AsyncIterator[bytes]:
            number = 0
            async for piece in pieces:
                number += 1
                last = written.record.generated[-1] if written.record.generated else None
                yield event({"index": number, "token": {"id": last, "text": piece, "logprob": None, "special": False},
                             "generated_text": None, "details": None})  # fmt: skip
            exchange.prompt, exchange.generated = written.record.prompt, len(written.record.generated)
            yield event({"index": number + 1, "token": {"id": None, "text": "", "logprob": None, "special": True},
                         "generated_text": self._before + written.text, "details": _details(written)})  # fmt: skip

        return await event_stream(pieces_as_events(), lambda fault: {"error": fault.message})

    async def details(self, request: Request) -> Response:
        """Answer with the text, why it ended, and its tokens."""
        recorder, exchange = LogprobRecorder(0), exchange_of(request)

        def write(view: Any) -> WrittenText:
            self._check(view, "details", "has no details")
            (written,) = write_texts(view, self._value, {**self._parameters, "logits_processor": [recorder]})
            return written

        written = await self._state.calls.answer(request, self._served, write)
        exchange.prompt, exchange.generated = written.record.prompt, len(written.record.generated)
        tokenizer = self._served.pipe.tokenizer
        tokens = [
            {"id": each.token, "text": str(tokenizer.decode([each.token])), "logprob": each.logprob,
             "special": each.token in tokenizer.all_special_ids}
            for each in recorder.finish(0, written.record.generated)
        ]  # fmt: skip
        details = {**_details(written), "prefill": [], "tokens": tokens}
        return json_response([{"generated_text": self._before + written.text, "details": details}])

    def _check(self, view: Any, name: str, problem: str) -> None:
        check_size(self._value, self._served.spec, self._state.settings)
        if not isinstance(view, GenerationPipeline) or not view.can_stream(**self._parameters):
            raise bad_request(f"this call {problem}: leave {name} out", name)


def _details(written: WrittenText) -> dict[str, Any]:
    return {"finish_reason": written.reason, "generated_tokens": len(written.record.generated), "seed": None}
