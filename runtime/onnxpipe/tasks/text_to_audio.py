"""text-to-audio (text-to-speech): turn texts into speech or music."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.batching import Array, Padding, Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.generation.fields import FIELDS
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.auto import AutoModelForTextToSpectrogram, AutoModelForTextToWaveform
from onnxpipe.models.text_to_audio.vocoder import DEFAULT_VOCODER, SpeechT5HifiGan
from onnxpipe.tasks.base.call_types import CallOptions, Stream
from onnxpipe.tasks.base.datasets import PipelineIterator
from onnxpipe.tasks.base.generation import row_seed
from onnxpipe.tasks.base.option_rules import number_option
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec

Kwargs = Mapping[str, Any]


@dataclass(frozen=True)
class TextToAudioOptions:
    """Options of text-to-audio. Those of the constructor hold for calls that do not pass them (transformers forgets
    them).

    Attributes:
        forward_params: the model's own parameters: `speaker_embeddings` (SpeechT5), `speaker_id`, `noise_scale`,
            `speaking_rate` (VITS), `voice`, `speed` (Kokoro), ...
        generate_kwargs: parameters of `generate()`, for models that generate; they override `forward_params`.
        preprocess_params: keywords of the tokenizer's call.
        processor_kwargs: the same; `preprocess_params` overrides it.
        seed: makes noise and sampling repeatable: an input's audio depends on it and on the input's place in the call.
            None continues from `onnxpipe.set_seed`.
        squeeze: drop axes of length 1, so that speech is (samples,), as in transformers 5; False keeps the model's own
            shape, as transformers 4 does: (1, samples) of VITS, (1, channels, samples) of MusicGen.
        generate: parameters of `generate()` that were passed to the constructor by name.
    """

    forward_params: Kwargs = field(default_factory=dict)
    generate_kwargs: Kwargs = field(default_factory=dict)
    preprocess_params: Kwargs = field(default_factory=dict)
    processor_kwargs: Kwargs = field(default_factory=dict)
    seed: int | None = number_option(None, least=0)
    squeeze: bool = True
    generate: Kwargs = field(default_factory=dict)


class TextToAudioCallOptions(CallOptions, total=False):
    """The options of a call: see `TextToAudioOptions`."""

    forward_params: Mapping[str, Any] | None
    generate_kwargs: Mapping[str, Any] | None
    preprocess_params: Mapping[str, Any] | None
    processor_kwargs: Mapping[str, Any] | None
    seed: int | None
    squeeze: bool | None


class GeneratedAudio(TypedDict):
    """Audio, float32 (samples,), and its samples a second."""

    audio: NDArray[np.float32]
    sampling_rate: int


class TextToAudioPipeline(Pipeline[TextToAudioOptions]):
    """Turn texts into audio: `{"audio": float32 (samples,), "sampling_rate": int}` for each text.

    Texts are synthesized one by one, whatever `batch_size` is, so that neither length nor noise depends on neighbours.

    Args:
        *args: as in `Pipeline`.
        vocoder: for models that return spectrograms: a `SpeechT5HifiGan`, a folder or a Hub id, or anything that can be
            called with float32 (frames, mels) and has a `config.sampling_rate`. By default
            "microsoft/speecht5_hifigan".
        sampling_rate: the sampling rate of answers; by default the model's own. A vocoder's takes precedence.
        no_processor: True or None; it has no effect (transformers 4).
        **options: as in `Pipeline`; for models that generate also the parameters of `generate()`.

    Attributes:
        vocoder: the vocoder; None if the model returns audio itself.
        sampling_rate: samples a second.
    """

    Options = TextToAudioOptions
    _load_processor = None
    output_modalities = ("audio",)
    #: A text takes seconds, so a stream does not read far ahead.
    window: ClassVar[int] = 1

    def __init__(
        self,
        *args: Any,
        vocoder: Any = None,
        sampling_rate: int | None = None,
        no_processor: bool | None = None,
        **options: Any,
    ) -> None:
        if no_processor is False:
            raise UnsupportedError(
                "no_processor=False is not supported: the model's tokenizer reads the text; leave it out"
            )
        self._passed_vocoder = vocoder
        self._passed_rate = sampling_rate
        super().__init__(*args, **options)

    def prepare(self) -> None:
        self.vocoder = self._vocoder()
        rate = self._passed_rate if self._passed_rate is not None else self.model.sampling_rate
        if self.vocoder is not None:
            rate = self.vocoder.config.sampling_rate
        if rate is None:
            raise UnsupportedError(f"{self.model.name_or_path} has no sampling rate in its config: pass sampling_rate=")
        self.sampling_rate = int(rate)

    def _vocoder(self) -> Any:
        vocoder = self._passed_vocoder
        if not self.model.gives_spectrogram:
            if vocoder is not None:
                raise UnsupportedError(
                    f"{self.model.name_or_path} returns audio, not a spectrogram: leave vocoder= out"
                )
            return None
        if vocoder is None or not callable(vocoder):
            return SpeechT5HifiGan.from_pretrained(DEFAULT_VOCODER if vocoder is None else vocoder, device=self.device)
        return vocoder

    def parse(self, kwargs: Kwargs, base: TextToAudioOptions | None) -> TextToAudioOptions:
        """See `Pipeline.parse`; the constructor of a model that generates takes generation parameters by name."""
        generates = base is None and self.model.can_generate()
        by_name = {name: value for name, value in kwargs.items() if generates and name in FIELDS}
        known = {each.name for each in dataclasses.fields(TextToAudioOptions)} - {"generate"}
        for name in kwargs.keys() - by_name.keys() - known:
            raise UnknownArgumentError.among(type(self).__name__, name, known)
        options = super().parse({k: v for k, v in kwargs.items() if k not in by_name}, base)
        if kwargs.get("seed") is not None and not getattr(self.model, "takes_seed", True):
            raise UnsupportedError(
                f"seed= has no effect on {self.model.name_or_path}, whose noise is drawn inside the graph: leave it "
                "out, or export the original model with onnxpipe"
            )
        for name in ("forward_params", "generate_kwargs", "preprocess_params", "processor_kwargs"):
            if not isinstance(getattr(options, name), Mapping):
                raise TypeError(f"{name} should be a dict, got {type(getattr(options, name)).__name__}")
        if options.generate_kwargs and not self.model.can_generate():
            raise ValueError(
                "You're using the `TextToAudioPipeline` with a forward-only model, but `generate_kwargs` is non empty. "
                "For forward-only TTA models, please use `forward_params` instead of `generate_kwargs`. For reference, "
                f"the `generate_kwargs` used here are: {options.generate_kwargs.keys()}"
            )
        return replace(options, generate=by_name) if by_name else options

    # -- the call ---------------------------------------------------------------------------------------------------
    if TYPE_CHECKING:

        @overload
        def __call__(  # type: ignore[overload-overlap] # a list is a dataset too
            self, inputs: list[Any], **options: Unpack[TextToAudioCallOptions]
        ) -> list[GeneratedAudio]: ...
        @overload
        def __call__(self, inputs: str, **options: Unpack[TextToAudioCallOptions]) -> GeneratedAudio: ...
        @overload
        def __call__(
            self, inputs: Stream, **options: Unpack[TextToAudioCallOptions]
        ) -> PipelineIterator[GeneratedAudio]: ...
        def __call__(self, inputs: Any, *args: Any, **options: Any) -> Any: ...

    def dispatch(
        self,
        inputs: Any,
        options: TextToAudioOptions,
        num_workers: int | None = None,
        batch_size: int | None = None,
        on_error: OnError = "raise",
    ) -> Any:
        if options.seed is None:
            options = replace(options, seed=next_seed())
        return super().dispatch(inputs, options, num_workers, batch_size, on_error)

    def encode(self, value: Any, options: TextToAudioOptions) -> Iterator[Row]:
        if not isinstance(value, str):
            raise ValueError(f"an input of text-to-audio is a str, got {type(value).__name__}")
        kwargs = {**options.processor_kwargs, **options.preprocess_params}
        inputs = self.model.encode_text(self._tokenizer, value, kwargs, options.forward_params)
        yield Row({}, max((int(np.size(array)) for array in inputs.values()), default=1), inputs)

    def padding(self) -> Padding:
        """Any padding: every text is a batch of its own to the model."""
        return Padding(0)

    def run(self, rows: Sequence[Row], options: TextToAudioOptions) -> list[Outputs]:
        return [{"audio": self._synthesize(row, options)} for row in rows]

    def _synthesize(self, row: Row, options: TextToAudioOptions) -> Array:
        assert options.seed is not None  # dispatch has set it
        audio: Array = self.model.synthesize(
            row.extra,
            forward_params=options.forward_params,
            generate_kwargs={**options.generate, **options.generate_kwargs},
            seed=row_seed(row, options.seed),
        )
        return audio if self.vocoder is None else np.asarray(self.vocoder(audio), np.float32)

    def decode(self, rows: Answered, options: TextToAudioOptions) -> GeneratedAudio:
        ((_, outputs),) = rows
        audio = outputs["audio"]
        return {"audio": audio.squeeze() if options.squeeze else audio, "sampling_rate": self.sampling_rate}


TASK = TaskSpec(
    name="text-to-audio",
    pipeline=TextToAudioPipeline,
    auto_classes=(AutoModelForTextToWaveform, AutoModelForTextToSpectrogram),
    help="Turn texts into speech or music.",
    example='"Good morning."',
    default_model=("suno/bark-small", "1dbd7a1"),
    output="audio",
)
