"""text-to-audio (text-to-speech): the sound of a text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row
from onnxpipe.engine.scheduler import Answered, OnError, Outputs
from onnxpipe.errors import UnknownArgumentError, UnsupportedError
from onnxpipe.generation.fields import FIELDS
from onnxpipe.generation.seed import next_seed
from onnxpipe.models.auto import AutoModelForTextToSpectrogram, AutoModelForTextToWaveform
from onnxpipe.models.text_to_audio.vocoder import DEFAULT_VOCODER, SpeechT5HifiGan
from onnxpipe.tasks.base.generation import seed_of
from onnxpipe.tasks.base.pipeline import Pipeline
from onnxpipe.tasks.base.spec import TaskSpec

Keywords = Mapping[str, Any]


@dataclass(frozen=True)
class TextToAudioOptions:
    """Parameters of text-to-audio. Those of the constructor hold for calls that do not give them (transformers forgets
    them).

    Attributes:
        forward_params: what steers the model: `speaker_embeddings` (SpeechT5), `speaker_id`, `noise_scale`,
            `speaking_rate` (VITS), `voice`, `speed` (Kokoro), ...
        generate_kwargs: parameters of `generate()`, of models that generate; they go before `forward_params`.
        preprocess_params: keywords of the tokenizer's call.
        processor_kwargs: the same, where both are given `preprocess_params` goes first.
        seed: makes noise and sampling repeatable: an input's sound depends on it and on the input's place in the call.
            None takes what `onnxpipe.set_seed` started.
        squeeze: drop axes of length 1, so that speech is (samples,), as transformers 5 gives it; False keeps the
            model's own shape, as transformers 4 does: (1, samples) of VITS, (1, channels, samples) of MusicGen.
        generate: parameters of `generate()` that the constructor got by name.
    """

    forward_params: Keywords = field(default_factory=dict)
    generate_kwargs: Keywords = field(default_factory=dict)
    preprocess_params: Keywords = field(default_factory=dict)
    processor_kwargs: Keywords = field(default_factory=dict)
    seed: int | None = None
    squeeze: bool = True
    generate: Keywords = field(default_factory=dict)


class TextToAudioPipeline(Pipeline):
    """Speaks, sings and plays texts: `{"audio": float32 (samples,), "sampling_rate": int}` a text.

    Texts are spoken one by one, whatever `batch_size` is: so neither length nor noise depends on neighbours.

    Args:
        *args: as in `Pipeline`.
        vocoder: of models that make spectrograms: a `SpeechT5HifiGan`, a folder or a Hub id, or anything that can be
            called with float32 (frames, mels) and has a `config.sampling_rate`. By default
            "microsoft/speecht5_hifigan".
        sampling_rate: what answers say it is; by default the vocoder's or the model's own. A vocoder's goes first.
        no_processor: True or None; it has no effect (transformers 4).
        **options: as in `Pipeline`; of models that generate also the parameters of `generate()`.

    Attributes:
        vocoder: it; None where the model makes sound itself.
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
            raise UnsupportedError("no_processor=False: the model's tokenizer reads the text; leave it out")
        self._asked_vocoder = vocoder
        self._asked_rate = sampling_rate
        super().__init__(*args, **options)

    def prepare(self) -> None:
        self.vocoder = self._vocoder()
        rate = self._asked_rate if self._asked_rate is not None else self.model.sampling_rate
        if self.vocoder is not None:
            rate = self.vocoder.config.sampling_rate
        if rate is None:
            raise UnsupportedError(f"{self.model.name_or_path} does not tell its sampling rate: pass sampling_rate=")
        self.sampling_rate = int(rate)

    def _vocoder(self) -> Any:
        given = self._asked_vocoder
        if not self.model.gives_spectrogram:
            if given is not None:
                raise UnsupportedError(f"{self.model.name_or_path} makes sound itself: leave vocoder= out")
            return None
        if given is None or not callable(given):
            return SpeechT5HifiGan.from_pretrained(DEFAULT_VOCODER if given is None else given, device=self.device)
        return given

    def parse(self, given: Keywords, base: Any) -> Any:
        """Options from keywords; generation parameters by name are the constructor's of a model that generates."""
        generates = base is None and self.model.can_generate()
        by_name = {name: value for name, value in given.items() if generates and name in FIELDS}
        known = {each.name for each in dataclasses.fields(TextToAudioOptions)} - {"generate"}
        for name in given.keys() - by_name.keys() - known:
            raise UnknownArgumentError.among(type(self).__name__, name, known)
        options = super().parse({k: v for k, v in given.items() if k not in by_name}, base)
        if given.get("seed") is not None and not getattr(self.model, "takes_seed", True):
            raise UnsupportedError(
                f"{self.model.name_or_path} draws its noise inside the graph, where seed= cannot reach: leave it out, "
                "or export the original model with onnxpipe"
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
    def dispatch(
        self,
        inputs: Any,
        options: Any,
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
        keywords = {**options.processor_kwargs, **options.preprocess_params}
        inputs = self.model.encode_text(self._tokenizer, value, keywords, options.forward_params)
        yield Row({}, max((int(np.size(array)) for array in inputs.values()), default=1), inputs)

    def padding(self) -> Padding:
        """None is needed: every text is a batch of its own to the model."""
        return Padding(0)

    def run(self, rows: Sequence[Row], options: TextToAudioOptions) -> list[Outputs]:
        return [{"audio": self._speak(row, options)} for row in rows]

    def _speak(self, row: Row, options: TextToAudioOptions) -> Array:
        assert options.seed is not None  # dispatch has set it
        sound: Array = self.model.synthesize(
            row.extra,
            forward_params=options.forward_params,
            generate_kwargs={**options.generate, **options.generate_kwargs},
            seed=seed_of(options.seed, row.index),
        )
        return sound if self.vocoder is None else np.asarray(self.vocoder(sound), np.float32)

    def decode(self, rows: Answered, options: TextToAudioOptions) -> dict[str, Any]:
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
    aliases=("text-to-speech",),
    output="audio",
)
