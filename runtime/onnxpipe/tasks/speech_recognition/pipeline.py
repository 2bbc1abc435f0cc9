"""automatic-speech-recognition: transcribe recordings, with the times of words or segments."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NotRequired, TypedDict, Unpack, overload

from onnxpipe.engine.batching import Padding, Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.auto import AutoModelForCTC, AutoModelForSpeechSeq2Seq
from onnxpipe.tasks.base.audio import check_feature_extractor
from onnxpipe.tasks.base.call_types import AudioSource, GenerationCallOptions, Stream
from onnxpipe.tasks.base.columns import ResultColumns
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generation import GenerationOptions, GenerationPipeline, Kwargs, row_seed, seed_of
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.speech_recognition.backends import CTCBackend, Seq2SeqBackend, SpeechBackend, WhisperBackend
from onnxpipe.tasks.speech_recognition.chunks import AudioInput, ChunkInfo, cut, open_input
from onnxpipe.tasks.speech_recognition.language_model import load_language_model
from onnxpipe.tasks.speech_recognition.live import LiveText, live_text
from onnxpipe.tasks.speech_recognition.progress import Progress

logger = logging.getLogger("onnxpipe")

#: Recordings shorter than this have no progress bar.
_BAR_SECONDS = 30.0


@dataclass(frozen=True)
class SpeechRecognitionOptions(GenerationOptions):
    """Options of automatic-speech-recognition; every other keyword is `generate()`'s, as is `generate_kwargs`.

    Attributes:
        chunk_length_s: seconds of a chunk; 0 runs a recording as a whole (Whisper: window after window).
        stride_length_s: seconds at the left and right of a chunk that are only context, one number or two; a sixth of
            the chunk by default.
        return_timestamps: add the times to the answer: CTC: of "char" or "word"; Whisper: True for segments, or "word".
        return_language: add the language of each segment or word (Whisper).
        ignore_warning: do not warn of chunks with models that generate.
        decoder_kwargs: keywords of the language model's `decode_beams`.
        progress: show a progress bar for long recordings on standard error.
    """

    chunk_length_s: float = number_option(0, least=0)
    stride_length_s: float | Sequence[float] | None = number_option(None, least=0)
    return_timestamps: bool | str | None = None
    return_language: bool | None = None
    ignore_warning: bool = False
    decoder_kwargs: Mapping[str, Any] | None = None
    progress: bool = False


class SpeechRecognitionCallOptions(GenerationCallOptions, total=False):
    """The options of a call: see `SpeechRecognitionOptions`."""

    chunk_length_s: float | None
    stride_length_s: float | Sequence[float] | None
    return_timestamps: bool | Literal["char", "word"] | None
    return_language: bool | None
    ignore_warning: bool | None
    decoder_kwargs: Mapping[str, Any] | None
    progress: bool | None
    generate_kwargs: Mapping[str, Any] | None
    # arguments of Whisper's generate()
    language: str | list[str] | None
    task: Literal["transcribe", "translate"] | None
    prompt_ids: Any
    prompt_condition_type: str | None
    condition_on_prev_tokens: bool | None
    compression_ratio_threshold: float | None
    logprob_threshold: float | None
    no_speech_threshold: float | None
    is_multilingual: bool | None


class TranscriptChunk(TypedDict):
    """A piece of a transcript, and when it was said: seconds from the beginning to its start and end."""

    text: str
    timestamp: tuple[float | None, float | None]
    language: NotRequired[str | None]


class Transcription(TypedDict):
    """The text of a recording; its chunks with `return_timestamps` or `return_language`."""

    text: str
    chunks: NotRequired[list[TranscriptChunk]]


class AutomaticSpeechRecognitionPipeline(GenerationPipeline[SpeechRecognitionOptions]):
    """Transcribe recordings: `{"text": str}`, with `return_timestamps` also `"chunks"`.

    Its options are those of `SpeechRecognitionOptions`. A recording is a path, a URL, the bytes of a file, an array
    or tensor of (samples,) or (channels, samples) at the model's rate, or a dict of `raw` or `array` with its
    `sampling_rate` and perhaps `stride`; further keys of it come back, as lists of one a chunk.

    Args:
        model: a CTC model, or one that generates text.
        feature_extractor, tokenizer: the model's.
        decoder: a language model for CTC, pyctcdecode's `BeamSearchDecoderCTC` or a folder of one; by default the
            model's own, if it has one.
        device: as in `Pipeline`.
        **options: as in `GenerationPipeline`.

    Attributes:
        type: "ctc", "ctc_with_lm", "seq2seq" or "seq2seq_whisper".
        decoder: the language model, or None.
    """

    Options = SpeechRecognitionOptions
    _load_tokenizer = True
    _load_feature_extractor: ClassVar[bool | None] = True
    _load_image_processor = False
    _load_video_processor = False
    input_modalities = "audio"
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "num_beams": 5}
    always_generates = False
    lazy = True
    rows_are_tokens = False
    #: Samples of a run: some of Whisper's windows, or many short recordings.
    token_budget = 4 * 30 * 16_000
    #: Rows that are gathered at a time; one of Whisper's takes a MB.
    window = 16

    def __init__(
        self,
        model: Any,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        decoder: Any = None,
        device: Any = None,
        **options: Any,
    ) -> None:
        self.decoder = decoder
        super().__init__(model, tokenizer, feature_extractor=feature_extractor, device=device, **options)

    def prepare(self) -> None:
        super().prepare()
        check_feature_extractor(self)
        components = (self.model, self._tokenizer, self.feature_extractor)
        self.backend: SpeechBackend
        if self.model.config.model_type == "whisper" and self.model.can_generate():
            self.backend = WhisperBackend(*components)
        elif self.model.can_generate():
            self.backend = Seq2SeqBackend(*components)
        else:
            self.decoder = load_language_model(self.decoder, self.model)
            self.backend = CTCBackend(*components, self.decoder)
        if self.decoder is not None and self.model.can_generate():
            raise UnsupportedError(
                f"decoder= is for CTC models, and {self.model.name_or_path} is not one: leave it out"
            )
        self.type = self.backend.type

    # -- options ------------------------------------------------------------------------------------------------------
    def parse(self, kwargs: Mapping[str, Any], base: SpeechRecognitionOptions | None) -> SpeechRecognitionOptions:
        """See `GenerationPipeline.parse`; what `generate_kwargs` holds goes to `generate()` whatever its name.

        Raises:
            ValueError: timestamps or languages that the model does not give.
        """
        outer = dict(kwargs)
        inner = dict(outer.pop("generate_kwargs", None) or {})
        own = {each.name for each in fields(self.Options)} - {"seed", "response_format"}
        same_name = {name: inner.pop(name) for name in own & inner.keys()}
        options = super().parse({**inner, **outer}, base)
        options = replace(options, generate={**options.generate, **same_name})
        if outer.get("return_language") is not None and self.type != "seq2seq_whisper":
            raise ValueError("Only Whisper can return language for now.")
        self._check_timestamps(options.return_timestamps)
        if outer.get("chunk_length_s") is not None and self.model.can_generate() and not options.ignore_warning:
            self._warn_of_chunks()
        if not self.model.can_generate() and (unused := sorted({*inner, *same_name, *options.generate})):
            logger.warning("%s does not generate token by token: %s have no effect", self.model.name_or_path, unused)
        default = getattr(getattr(self.model, "generation_config", None), "return_timestamps", None)
        if default and not options.return_timestamps:
            self._check_timestamps(default)
            options = replace(options, return_timestamps=default)
        return options

    def arguments(self) -> Iterable[str]:
        """See `GenerationPipeline.arguments`."""
        if not self.model.can_generate():
            return ("language", "task")
        return (*self.model.input_names, *inspect.signature(self.model.generate).parameters)

    def _check_timestamps(self, timestamps: Any) -> None:
        if not timestamps:
            return
        if self.type == "seq2seq":
            raise ValueError("We cannot return_timestamps yet on non-CTC models apart from Whisper!")
        if self.type == "ctc_with_lm" and timestamps != "word":
            raise ValueError("CTC with LM can only predict word level timestamps, set `return_timestamps='word'`")
        if self.type == "ctc" and timestamps not in ("char", "word"):
            raise ValueError(
                "CTC can either predict character level timestamps, or word level timestamps. "
                "Set `return_timestamps='char'` or `return_timestamps='word'` as required."
            )
        if self.type == "seq2seq_whisper" and timestamps not in (True, "word"):
            raise ValueError(
                f"Whisper cannot return `{timestamps}` timestamps, only word level or segment level timestamps. "
                "Use `return_timestamps='word'` or `return_timestamps=True` respectively."
            )

    def _warn_of_chunks(self) -> None:
        message = (
            "Using `chunk_length_s` is very experimental with seq2seq models. The results will not necessarily be "
            "entirely accurate and will have caveats. Ignore this warning with pipeline(..., ignore_warning=True)."
        )
        if self.type == "seq2seq_whisper":
            message += " Without it Whisper reads a long recording window after window, as it was trained to."
        logger.warning(message)

    # -- the call -----------------------------------------------------------------------------------------------------
    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[SpeechRecognitionCallOptions]
        ) -> list[Transcription]: ...
        @overload
        def __call__(self, inputs: AudioSource, **options: Unpack[SpeechRecognitionCallOptions]) -> Transcription: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[SpeechRecognitionCallOptions]
        ) -> PipelineIterator[Transcription]: ...
        def __call__(self, inputs: Any, **options: Any) -> Any: ...

    def dispatch(
        self,
        inputs: Any,
        options: SpeechRecognitionOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        if not self.model.can_generate():
            return Pipeline.dispatch(self, inputs, options, num_workers, batch_size, on_error)
        if options.seed is None and _samples(self.resolved(options).get("temperature")):
            options = replace(options, seed=next_seed())
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def padding(self) -> Padding:
        """The padding with which recordings of different lengths share a batch; None where it would change answers."""
        return Padding(0 if self.backend.can_pad else None)

    def encode(self, value: Any, options: SpeechRecognitionOptions) -> Iterator[Row]:
        rate = self.feature_extractor.sampling_rate
        audio = open_input(value, rate, type(self).__name__)
        progress = self._progress(audio) if options.progress else None
        if not options.chunk_length_s:
            stride = None if audio.stride is None else (len(audio.samples), *audio.stride)
            info = ChunkInfo(stride, audio.extra, progress=progress, seconds=audio.seconds or 0.0, start=audio.start)
            yield self.backend.whole(audio, info, options)
            return
        if audio.stride is not None:
            logger.warning("chunk_length_s cuts the recording: the stride that came with it has no effect")
        length, left, right = self._chunk(options)
        for number, chunk in enumerate(cut(audio, length, left, right)):
            seconds = (chunk.stride[0] - chunk.stride[1] - chunk.stride[2]) / rate
            info = ChunkInfo(chunk.stride, audio.extra, None, progress, seconds, number, audio.start)
            yield self.backend.row(chunk.samples, info)

    def _chunk(self, options: SpeechRecognitionOptions) -> tuple[int, int, int]:
        """Count the samples of a chunk, and of its context at the left and right: multiples of a frame."""
        stride = options.chunk_length_s / 6 if options.stride_length_s is None else options.stride_length_s
        left, right = stride if isinstance(stride, Sequence) else (stride, stride)
        align = self.backend.align_to
        rate = self.feature_extractor.sampling_rate
        length, left, right = (
            int(round(each * rate / align) * align) for each in (options.chunk_length_s, left, right)
        )
        if min(length, left, right) < 0:
            raise ValueError(
                f"chunk_length_s={options.chunk_length_s} and stride_length_s={options.stride_length_s} cannot be less "
                "than 0"
            )
        return length, left, right

    def _progress(self, audio: AudioInput) -> Progress | None:
        seconds = audio.seconds
        return None if seconds is not None and seconds < _BAR_SECONDS else Progress(seconds, self.task)

    def run(self, rows: Sequence[Row], options: SpeechRecognitionOptions) -> list[Outputs]:
        kwargs: Kwargs = {}
        if self.model.can_generate():
            kwargs = self.generate_kwargs(options)
            if options.seed is not None:
                kwargs["seed"] = [seed_of(row_seed(row, options.seed), row.extra.number) for row in rows]
        outputs = self.backend.run(rows, kwargs, options)
        for row in rows:
            if row.extra.progress is not None:
                row.extra.progress.add(row.extra.seconds)
        return outputs

    def decode(self, rows: Answered, options: SpeechRecognitionOptions) -> dict[str, Any]:
        infos: list[ChunkInfo] = [row.extra for row, _ in rows]
        text, chunks = self.backend.decode([(row.extra, outputs) for row, outputs in rows], options)
        if infos[0].start and "chunks" in chunks:
            chunks = {**chunks, "chunks": [_later(chunk, infos[0].start) for chunk in chunks["chunks"]]}
        for progress in {info.progress for info in infos if info.progress is not None}:
            progress.close()
        extra: dict[str, list[Any]] = {}
        for info in infos:
            for name, value in info.extra.items():
                extra.setdefault(name, []).append(value)
        return {"text": text, **chunks, **extra}

    def live(
        self,
        chunks: Iterable[Any],
        *,
        sampling_rate: int | None = None,
        step_s: float = 1.0,
        window_s: float = 20.0,
        **options: Any,
    ) -> Iterator[LiveText]:
        """Transcribe audio while it is still coming, e.g. from a microphone; see `live.live_text`.

        Args:
            chunks: pieces of audio of any length: float or int16 of shape (samples,) or (samples, channels), bytes of
                16-bit samples, or `{"raw", "sampling_rate"}`.
            sampling_rate: samples a second of the pieces; None if they are at the model's rate.
            step_s: recognise again after so many seconds of new audio.
            window_s: the most audio that is recognised at once.
            **options: the options of a call.
        """
        return live_text(self, chunks, sampling_rate=sampling_rate, step_s=step_s, window_s=window_s, options=options)

    # -- streams of text ----------------------------------------------------------------------------------------------
    def can_stream(self, **options: Any) -> bool:
        """Return False: a recording's text is known window by window, so that `stream` cannot answer."""
        return False

    def stream(self, inputs: Any, **options: Any) -> Iterator[str]:
        """Refuse: see `can_stream`.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "speech recognition does not give text token by token: pass pieces of audio to live() instead"
        )


def _later(chunk: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Move the timestamp of a chunk."""
    if "timestamp" not in chunk:
        return dict(chunk)
    times = tuple(None if each is None else round(each + seconds, 2) for each in chunk["timestamp"])
    return {**chunk, "timestamp": times}


def _samples(temperature: Any) -> bool:
    """Whether one of several temperatures samples."""
    temperatures = temperature if isinstance(temperature, (list, tuple)) else (temperature,)
    return len(temperatures) > 1 and any(each is not None and each > 0 for each in temperatures)


def _columns(params: Mapping[str, Any], labels: int | None) -> ResultColumns:
    names = ("text", "chunks") if params.get("return_timestamps") else ("text",)
    return ResultColumns(names, lambda answer: {name: answer.get(name) for name in names})


TASK = TaskSpec(
    name="automatic-speech-recognition",
    pipeline=AutomaticSpeechRecognitionPipeline,
    auto_classes=(AutoModelForCTC, AutoModelForSpeechSeq2Seq),
    help="Transcribe recordings, with the times of words or sentences.",
    example='"talk.flac"',
    default_model=("facebook/wav2vec2-base-960h", "22aad52"),
    input="audio",
    columns=_columns,
    output="transcript",
)
