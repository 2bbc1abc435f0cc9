"""OpenAI's `/v1/audio`: transcriptions, translations into English, and speech."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from onnxpipe.processing.audio.io.subtitles import subtitles
from onnxpipe.serving.answers import encode_audio
from onnxpipe.serving.bodies import json_response, read_body, read_object
from onnxpipe.serving.dialects.errors import endpoint, openai_error
from onnxpipe.serving.dialects.openai_options import number
from onnxpipe.serving.exchange import exchange_of
from onnxpipe.serving.faults import RequestFault, bad_request
from onnxpipe.serving.limits import check_size, seconds_of
from onnxpipe.serving.parameters import unknown_field
from onnxpipe.serving.served import ServedModel
from onnxpipe.serving.sse import event, event_stream

if TYPE_CHECKING:
    from onnxpipe.serving.server import ServerState

FIELDS = frozenset({
    "file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]", "stream",
})  # fmt: skip
SPEECH_FIELDS = frozenset({"model", "input", "voice", "response_format", "speed", "seed"})
_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


class AudioRoutes:
    """The routes of sound."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/audio/transcriptions", endpoint("openai", self.transcribe), methods=["POST"]),
            Route("/v1/audio/translations", endpoint("openai", self.translate), methods=["POST"]),
            Route("/v1/audio/speech", endpoint("openai", self.speak), methods=["POST"]),
        ]

    async def transcribe(self, request: Request) -> Response:
        """Write what a recording says."""
        return await self._recognise(request, "transcribe")

    async def translate(self, request: Request) -> Response:
        """Write in English what a recording says."""
        return await self._recognise(request, "translate")

    async def _recognise(self, request: Request, task: str) -> Response:
        state = self._state
        form = await read_form(request, state.settings.max_body)
        for name in form:
            if name not in FIELDS:
                raise unknown_field(name, FIELDS, "field")
        served = state.table.for_tasks(_text(form, "model"), recognises, f"/v1/audio/{task}")
        exchange_of(request).served = served
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise bad_request("file is the recording, as a part of a multipart form", "file")
        data = await upload.read()
        if not data:
            raise bad_request("the file is empty", "file")
        written = _text(form, "response_format") or "json"
        if written not in _FORMATS:
            raise bad_request(
                f"response_format={written!r:.50}: choose one of {', '.join(_FORMATS)}", "response_format"
            )
        granularities = form.getlist("timestamp_granularities[]")
        if set(granularities) - {"word", "segment"}:
            raise bad_request("timestamp_granularities[] is word or segment", "timestamp_granularities[]")
        words = "word" in granularities or served.pipe.type != "seq2seq_whisper"
        options = _options(form, served, task)
        if written in ("srt", "vtt", "verbose_json") and served.pipe.type != "seq2seq":
            options["return_timestamps"] = "word" if words else True

        def call(view: Any) -> Any:
            check_size(data, served.spec, state.settings)
            return view(data, **options)

        answer = await state.calls.answer(request, served, call)
        if (_text(form, "stream") or "").lower() in ("true", "1"):
            return await _stream(answer)
        return _written(answer, written, data, served, task, _text(form, "language"), granularities, words)

    async def speak(self, request: Request) -> Response:
        """Speak a text."""
        state = self._state
        body = await read_object(request, state.settings.max_json)
        for name in body:
            if name not in SPEECH_FIELDS:
                raise unknown_field(name, SPEECH_FIELDS, "field")
        served = state.table.for_tasks(body.get("model"), lambda each: each.spec.output == "audio", "/v1/audio/speech")
        exchange_of(request).served = served
        text = body.get("input")
        if not isinstance(text, str) or not text.strip():
            raise bad_request("input is a text", "input")
        form = body.get("response_format") or "wav"
        options = _voice(body, served)

        def call(view: Any) -> tuple[bytes, str]:
            return encode_audio(view(text, **options), str(form))

        data, kind = await state.calls.answer(request, served, call)
        return Response(data, media_type=kind)


def recognises(served: ServedModel) -> bool:
    """Whether a model transcribes recordings."""
    return served.spec.output == "transcript"


async def read_form(request: Request, limit: int) -> FormData:
    """Read a multipart form, no larger than `limit`.

    Raises:
        RequestFault: 413, or 400: it is none.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RequestFault(415, "the body must be multipart/form-data", "unsupported_media_type")
    body = await read_body(request, limit)

    async def again() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        return await Request(request.scope, again).form(max_files=1, max_fields=32, max_part_size=64_000)
    except (MultiPartException, ValueError, KeyError) as error:
        raise bad_request(f"the form cannot be read: {error}") from error
    except Exception as error:  # Starlette answers a broken form by its own exception of HTTP
        raise bad_request(f"the form cannot be read: {getattr(error, 'detail', error)}") from error


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if isinstance(value, UploadFile):
        raise bad_request(f"{name} is a text, not a file", name)
    return value or None


def _options(form: FormData, served: ServedModel, task: str) -> dict[str, Any]:
    """Turn the fields of a form into keywords of the pipeline's call."""
    whisper = served.pipe.type == "seq2seq_whisper"
    language, prompt, temperature = (_text(form, name) for name in ("language", "prompt", "temperature"))
    options: dict[str, Any] = {}
    if not whisper:
        for name, value in (("language", language), ("prompt", prompt)):
            if value is not None:
                raise bad_request(f"{served.name} takes no {name}: leave it out", name)
        if task == "translate":
            raise bad_request(f"{served.name} does not translate", "model")
    else:
        if task == "translate":
            options["task"] = task
        if language is not None and task == "transcribe":
            options["language"] = language
        if prompt is not None:
            options["prompt_ids"] = served.pipe.tokenizer.get_prompt_ids(prompt)
    if temperature is not None:
        try:
            heat = float(temperature)
        except ValueError:
            raise bad_request("temperature is a number", "temperature") from None
        if not 0 <= heat <= 1:
            raise bad_request(f"temperature={heat} is not in 0 to 1", "temperature")
        if heat and not served.pipe.model.can_generate():
            raise bad_request(f"{served.name} takes no temperature: leave it out", "temperature")
        if heat:
            options |= {"temperature": heat, "do_sample": True}
    return options


def _written(
    answer: Mapping[str, Any],
    form: str,
    data: bytes,
    served: ServedModel,
    task: str,
    language: str | None,
    granularities: Sequence[Any],
    words: bool,
) -> Response:
    text = str(answer["text"]).strip()
    if form == "json":
        return json_response({"text": text})
    if form == "text":
        return Response(text + "\n", media_type="text/plain; charset=utf-8")
    chunks = answer.get("chunks")
    seconds = seconds_of(data)
    if chunks is None:
        raise bad_request(f"{served.name} gives no times: choose the response_format json or text", "response_format")
    if form in ("srt", "vtt"):
        kind = "text/vtt" if form == "vtt" else "application/x-subrip"
        written = subtitles(answer, "srt" if form == "srt" else "vtt", words=words, duration=seconds)
        return Response(written, media_type=f"{kind}; charset=utf-8")
    end = seconds if seconds is not None else max((_time(each, 1, 0.0) for each in chunks), default=0.0)
    body: dict[str, Any] = {"task": task, "language": language, "duration": end, "text": text, "segments": []}
    if not granularities or "segment" in granularities:
        body["segments"] = _segments(chunks, served, words, text, end)
    if "word" in granularities:
        body["words"] = [
            {"word": each["text"].strip(), "start": _time(each, 0, 0.0), "end": _time(each, 1, end)} for each in chunks
        ]
    return json_response(body)


def _segments(
    chunks: Sequence[Mapping[str, Any]], served: ServedModel, words: bool, text: str, end: float
) -> list[dict[str, Any]]:
    """Make the segments. What the model does not tell is null, not a number that somebody could believe."""
    if words:
        begin = _time(chunks[0], 0, 0.0) if chunks else 0.0
        chunks = [{"text": text, "timestamp": (begin, _time(chunks[-1], 1, end))}] if chunks else []
    found = []
    for number_, each in enumerate(chunks):
        said = str(each["text"])
        raw = said.encode()
        found.append({
            "id": number_, "seek": 0, "start": _time(each, 0, 0.0), "end": _time(each, 1, end), "text": said,
            "tokens": served.pipe.tokenizer(said, add_special_tokens=False)["input_ids"], "temperature": None,
            "avg_logprob": None, "compression_ratio": len(raw) / max(1, len(zlib.compress(raw))),
            "no_speech_prob": None,
        })  # fmt: skip
    return found


def _time(chunk: Mapping[str, Any], side: int, otherwise: float) -> float:
    value = chunk["timestamp"][side]
    return otherwise if value is None else float(value)


async def _stream(answer: Mapping[str, Any]) -> Response:
    text = str(answer["text"]).strip()

    async def parts() -> AsyncIterator[bytes]:
        yield event({"type": "transcript.text.delta", "delta": text})
        yield event({"type": "transcript.text.done", "text": text})

    return await event_stream(parts(), openai_error)


def _voice(body: Mapping[str, Any], served: ServedModel) -> dict[str, Any]:
    """Turn a voice and a speed into the model's own parameters."""
    model, parameters = served.pipe.model, {}
    voices = list(getattr(model, "voices", ()))
    voice = body.get("voice")
    if voice is not None and voices:
        if voice not in voices:
            raise bad_request(f"voice={voice!r:.50}: there are {', '.join(voices)}", "voice")
        parameters["voice"] = voice
    elif voice not in (None, "default"):
        raise bad_request(f"{served.name} has one voice: leave voice out, or send default", "voice")
    speed = number(body, "speed", (0.25, 4))
    if speed is not None and speed != 1:
        if not voices:
            raise bad_request(f"{served.name} has one speed: leave speed out", "speed")
        parameters["speed"] = speed
    options: dict[str, Any] = {"forward_params": parameters} if parameters else {}
    seed = number(body, "seed", (0, 2**63 - 1), whole=True)
    return options if seed is None else {**options, "seed": seed}
