"""automatic-speech-recognition: what is said in a recording, and when."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from onnxpipe.engine.batching import Padding, Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnsupportedError
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.auto import AutoModelForCTC, AutoModelForSpeechSeq2Seq
from onnxpipe.tasks.base.audio import check_feature_extractor
from onnxpipe.tasks.base.columns import ResultColumns
from onnxpipe.tasks.base.generation import GeneratingPipeline, GenerationOptions, Keywords, seed_of
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.speech_recognition.backends import CTC, Recogniser, WhisperWriter, Writer
from onnxpipe.tasks.speech_recognition.language_model import load_language_model
from onnxpipe.tasks.speech_recognition.live import LiveText, live_text
from onnxpipe.tasks.speech_recognition.progress import Progress
from onnxpipe.tasks.speech_recognition.windows import Part, Speech, speech_of, windows

logger = logging.getLogger("onnxpipe")

#: Recordings shorter than this have no bar.
_BAR_SECONDS = 30.0


@dataclass(frozen=True)
class SpeechRecognitionOptions(GenerationOptions):
    """Parameters of automatic-speech-recognition; every other keyword is `generate()`'s, as is `generate_kwargs`.

    Attributes:
        chunk_length_s: seconds of a chunk; 0 hears a recording as a whole (Whisper: window after window).
        stride_length_s: seconds at the left and right of a chunk that are only context, one number or two; a sixth of
            the chunk by default.
        return_timestamps: CTC: "char" or "word"; Whisper: True for segments, or "word".
        return_language: tell the language of each segment or word (Whisper).
        ignore_warning: do not warn of chunks with models that write.
        decoder_kwargs: keywords of the language model's `decode_beams`.
        progress: show how far long recordings are, on standard error.
    """

    chunk_length_s: float = 0
    stride_length_s: float | Sequence[float] | None = None
    return_timestamps: bool | str | None = None
    return_language: bool | None = None
    ignore_warning: bool = False
    decoder_kwargs: Mapping[str, Any] | None = None
    progress: bool = False


class AutomaticSpeechRecognitionPipeline(GeneratingPipeline):
    """Writes down what is said: `{"text": str}`, with `return_timestamps` also `"chunks"`.

    Its parameters are those of `SpeechRecognitionOptions`. A recording is a path, a URL, the bytes of a file, an array
    or tensor of (samples,) or (channels, samples) at the model's rate, or a dict of `raw` or `array` with its
    `sampling_rate` and perhaps `stride`; further keys of it come back, as lists of one a chunk.

    Args:
        model: a CTC model, or one that writes.
        feature_extractor, tokenizer: its.
        decoder: a language model for CTC, pyctcdecode's `BeamSearchDecoderCTC` or a folder of one; by default the
            model's own, where it has one.
        device: as in `Pipeline`.
        **options: as in `GeneratingPipeline`.

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
    always_writes = False
    lazy = True
    rows_are_tokens = False
    #: Samples of a run: some of Whisper's windows, or many short recordings.
    token_budget = 4 * 30 * 16_000
    #: Rows that are gathered at a time; one of Whisper's has a MB.
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
        parts = (self.model, self._tokenizer, self.feature_extractor)
        self.recogniser: Recogniser
        if self.model.config.model_type == "whisper" and self.model.can_generate():
            self.recogniser = WhisperWriter(*parts)
        elif self.model.can_generate():
            self.recogniser = Writer(*parts)
        else:
            self.decoder = load_language_model(self.decoder, self.model)
            self.recogniser = CTC(*parts, self.decoder)
        if self.decoder is not None and self.model.can_generate():
            raise UnsupportedError(f"decoder= is for CTC models, and {self.model.name_or_path} writes by itself")
        self.type = self.recogniser.type

    # -- parameters ---------------------------------------------------------------------------------------------------
    def parse(self, given: Mapping[str, Any], base: Any) -> Any:
        """See `GeneratingPipeline.parse`; what `generate_kwargs` holds goes to `generate()` whatever its name.

        Raises:
            ValueError: time stamps or languages that the model does not give, or strides that are none.
        """
        loose = dict(given)
        inner = dict(loose.pop("generate_kwargs", None) or {})
        own = {each.name for each in fields(self.Options)} - {"seed", "response_format"}
        hidden = {name: inner.pop(name) for name in own & inner.keys()}
        options = super().parse({**inner, **loose}, base)
        options = replace(options, generate={**options.generate, **hidden})
        if loose.get("return_language") is not None and self.type != "seq2seq_whisper":
            raise ValueError("Only Whisper can return language for now.")
        self._check_timestamps(options.return_timestamps)
        if loose.get("chunk_length_s") is not None and self.model.can_generate() and not options.ignore_warning:
            self._warn_of_chunks()
        if not self.model.can_generate() and (given_names := sorted({*inner, *hidden, *options.generate})):
            logger.warning("%s does not write token by token: %s have no effect", self.model.name_or_path, given_names)
        default = getattr(getattr(self.model, "generation_config", None), "return_timestamps", None)
        if default and not options.return_timestamps:
            self._check_timestamps(default)
            options = replace(options, return_timestamps=default)
        return options

    def arguments(self) -> Iterable[str]:
        """See `GeneratingPipeline.arguments`."""
        if not self.model.can_generate():
            return ("language", "task")
        return (*self.model.input_names, *inspect.signature(self.model.generate).parameters)

    def _check_timestamps(self, asked: Any) -> None:
        if not asked:
            return
        if self.type == "seq2seq":
            raise ValueError("We cannot return_timestamps yet on non-CTC models apart from Whisper!")
        if self.type == "ctc_with_lm" and asked != "word":
            raise ValueError("CTC with LM can only predict word level timestamps, set `return_timestamps='word'`")
        if self.type == "ctc" and asked not in ("char", "word"):
            raise ValueError(
                "CTC can either predict character level timestamps, or word level timestamps. "
                "Set `return_timestamps='char'` or `return_timestamps='word'` as required."
            )
        if self.type == "seq2seq_whisper" and asked not in (True, "word"):
            raise ValueError(
                f"Whisper cannot return `{asked}` timestamps, only word level or segment level timestamps. "
                "Use `return_timestamps='word'` or `return_timestamps=True` respectively."
            )

    def _warn_of_chunks(self) -> None:
        message = (
            "Using `chunk_length_s` is very experimental with seq2seq models. The results will not necessarily be "
            "entirely accurate and will have caveats. Ignore this warning with pipeline(..., ignore_warning=True)."
        )
        if self.type == "seq2seq_whisper":
            message += " Without it Whisper hears a long recording window after window, as it was made to."
        logger.warning(message)

    # -- a call -------------------------------------------------------------------------------------------------------
    def dispatch(
        self,
        inputs: Any,
        options: Any,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        if not self.model.can_generate():
            return Pipeline.dispatch(self, inputs, options, num_workers, batch_size, on_error)
        if options.seed is None and _samples(self.settled(options).get("temperature")):
            options = replace(options, seed=next_seed())
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def padding(self) -> Padding:
        """Rows of unlike length share a batch where padding cannot be heard."""
        return Padding(0 if self.recogniser.can_pad else None)

    def encode(self, value: Any, options: Any) -> Iterator[Row]:
        rate = self.feature_extractor.sampling_rate
        speech = speech_of(value, rate, type(self).__name__)
        progress = self._progress(speech) if options.progress else None
        if not options.chunk_length_s:
            stride = None if speech.stride is None else (len(speech.samples), *speech.stride)
            seconds = speech.seconds or 0.0
            part = Part(stride, speech.extra, progress=progress, seconds=seconds)
            yield self.recogniser.whole(speech, part, options)
            return
        if speech.stride is not None:
            logger.warning("chunk_length_s cuts the recording: the stride that came with it has no effect")
        length, left, right = self._chunk(options)
        for number, window in enumerate(windows(speech, length, left, right)):
            seconds = (window.stride[0] - window.stride[1] - window.stride[2]) / rate
            part = Part(window.stride, speech.extra, progress=progress, seconds=seconds, number=number)
            yield self.recogniser.row(window.samples, part)

    def _chunk(self, options: Any) -> tuple[int, int, int]:
        """Samples of a chunk, and of its context at the left and right: multiples of a frame."""
        stride = options.chunk_length_s / 6 if options.stride_length_s is None else options.stride_length_s
        left, right = stride if isinstance(stride, Sequence) else (stride, stride)
        align = self.recogniser.align_to
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

    def _progress(self, speech: Speech) -> Progress | None:
        seconds = speech.seconds
        return None if seconds is not None and seconds < _BAR_SECONDS else Progress(seconds, self.task)

    def run(self, rows: Sequence[Row], options: Any) -> list[Outputs]:
        keywords: Keywords = {}
        if self.model.can_generate():
            keywords = self.keywords(options)
            if options.seed is not None:
                keywords["seed"] = [seed_of(seed_of(options.seed, row.index), row.extra.number) for row in rows]
        outputs = self.recogniser.run(rows, keywords, options)
        for row in rows:
            if row.extra.progress is not None:
                row.extra.progress.add(row.extra.seconds)
        return outputs

    def decode(self, rows: Answered, options: Any) -> dict[str, Any]:
        parts = [row.extra for row, _ in rows]
        text, chunks = self.recogniser.decode([(row.extra, found) for row, found in rows], options)
        for progress in {part.progress for part in parts if part.progress is not None}:
            progress.close()
        extra: dict[str, list[Any]] = {}
        for part in parts:
            for name, value in part.extra.items():
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
        """Text while sound is still coming, e.g. from a microphone; see `live.live_text`.

        Args:
            chunks: pieces of sound of any length: float or int16 of shape (samples,) or (samples, channels), bytes of
                16-bit samples, or `{"raw", "sampling_rate"}`.
            sampling_rate: samples a second of the pieces; None where they are at the model's rate.
            step_s: listen again after so many seconds of new sound.
            window_s: the most sound that is listened to at once.
            **options: the parameters of a call.
        """
        return live_text(self, chunks, sampling_rate=sampling_rate, step_s=step_s, window_s=window_s, options=options)

    # -- text as it comes ---------------------------------------------------------------------------------------------
    def can_stream(self, **options: Any) -> bool:
        """Whether `stream` can answer: never, as a recording's text is known window by window."""
        return False

    def stream(self, inputs: Any, **options: Any) -> Iterator[str]:
        """Refused: see `can_stream`.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "speech recognition does not give text token by token: pass pieces of sound to live() instead"
        )


def _samples(temperature: Any) -> bool:
    """Whether a temperature, or one of several, is that of sampling."""
    several = temperature if isinstance(temperature, (list, tuple)) else (temperature,)
    return len(several) > 1 and any(each is not None and each > 0 for each in several)


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
