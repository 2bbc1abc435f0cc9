"""Recognise speech with the three kinds of models: build rows from audio, run a batch, turn tokens into the answer.

`CTCBackend` gives a token a frame; `Seq2SeqBackend` is any encoder-decoder; `WhisperBackend` gives timestamps and reads
long recordings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from onnxpipe.engine.batching import Array, Padding, Row, stack
from onnxpipe.engine.memory import available_memory
from onnxpipe.engine.scheduler import Outputs
from onnxpipe.errors import AudioError
from onnxpipe.processing.text.speech import ctc_offsets as ctc
from onnxpipe.processing.text.speech.whisper_merge import append_chunks
from onnxpipe.tasks.base.audio import AUDIO_INPUT_NAMES, audio_row
from onnxpipe.tasks.speech_recognition.chunks import AudioInput, ChunkInfo, Stride

Keywords = dict[str, Any]
#: The text, and `{"chunks": [...]}` or nothing.
Transcript = tuple[str, dict[str, Any]]

#: Samples that are never run at once: 2.3 hours of 16 kHz.
_AT_ONCE = 2**27
#: Models whose answer does not change when padding that the mask hides is put behind a recording. In the others a
#: convolution or a norm over the whole row sees it, mask or not.
_HIDES_PADDING = frozenset({"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm"})


class SpeechBackend(Protocol):
    """Recognise speech with one kind of model.

    Attributes:
        type: its name in transformers.
        align_to: samples of a frame; 1 where frames do not matter.
        can_pad: whether rows of different lengths may share a batch.
    """

    type: str
    align_to: int
    can_pad: bool

    def whole(self, audio: AudioInput, info: ChunkInfo, options: Any) -> Row:
        """Build the row of an input that is not cut into chunks."""
        ...

    def row(self, samples: Array, info: ChunkInfo) -> Row:
        """Build the row of samples that run at once."""
        ...

    def run(self, rows: Sequence[Row], kwargs: Keywords, options: Any) -> list[Outputs]:
        """Run the model on a batch; return its outputs row by row, without padding.

        Args:
            rows: of one shape, unless `can_pad`.
            kwargs: keywords of `generate()`.
            options: the options of the call.
        """
        ...

    def decode(self, rows: Sequence[tuple[ChunkInfo, Outputs]], options: Any) -> Transcript:
        """Turn the rows of one input into its answer."""
        ...


class CTCBackend:
    """Recognise speech with a CTC model: a token a frame, or (with a language model) the scores of a frame.

    Args:
        model: `onnxpipe.models.speech_to_text.ctc.CTCModel`.
        tokenizer, feature_extractor: the model's.
        decoder: a language model with `decode_beams(logits, ...)`, as pyctcdecode has it; or None.
    """

    def __init__(self, model: Any, tokenizer: Any, feature_extractor: Any, decoder: Any = None) -> None:
        self.model, self.tokenizer, self.feature_extractor = model, tokenizer, feature_extractor
        self.decoder = decoder
        self.type = "ctc" if decoder is None else "ctc_with_lm"
        self.align_to = int(model.inputs_to_logits_ratio)
        config = model.config
        self.can_pad = bool(
            model.supports_padding and config.model_type in _HIDES_PADDING and not config.get("add_adapter")
        )

    def whole(self, audio: AudioInput, info: ChunkInfo, options: Any) -> Row:
        """See `SpeechBackend`.

        Raises:
            AudioError: so long that the attention of each frame to each other would not fit into the memory there is.
        """
        samples = audio.read(_AT_ONCE + 1)
        row = self.row(samples[:_AT_ONCE], info)
        heads = int(self.model.config.get("num_attention_heads") or 1)
        if len(samples) > _AT_ONCE or 4 * heads * self._frames(row) ** 2 > _memory():
            raise AudioError(
                f"the recording of {len(samples) / audio.rate / 60:.0f} minutes is too long to run at once: "
                "the model's attention would not fit into memory. Cut the recording: pass chunk_length_s=30"
            )
        return row

    def row(self, samples: Array, info: ChunkInfo) -> Row:
        """See `SpeechBackend`.

        Raises:
            AudioError: too short for a single frame.
        """
        row = audio_row(self.model, _features(self.feature_extractor, samples), len(samples), info)
        if self._frames(row) < 1:
            rate = self.feature_extractor.sampling_rate
            raise AudioError(f"a recording of {len(samples)} samples ({len(samples) / rate:.4f} s) is too short")
        return row

    def _frames(self, row: Row) -> int:
        return int(self.model.frames(len(row.feeds[self.model.main_input_name])))

    def run(self, rows: Sequence[Row], kwargs: Keywords, options: Any) -> list[Outputs]:
        """See `SpeechBackend`."""
        logits = self.model.run(stack(rows, Padding(0)))["logits"]
        own = [each[: self._frames(row)] for each, row in zip(logits, rows, strict=True)]
        if self.decoder is None:
            return [{"tokens": each.argmax(-1).astype(np.int32)} for each in own]
        return [{"logits": each.astype(np.float32)} for each in own]

    def decode(self, rows: Sequence[tuple[ChunkInfo, Outputs]], options: Any) -> Transcript:
        """See `SpeechBackend`."""
        name = "tokens" if self.decoder is None else "logits"
        cuts = [None if info.stride is None else ctc.chunk_frames(info.stride, self.align_to) for info, _ in rows]
        frames = np.concatenate([ctc.own_frames(out[name], cut) for (_, out), cut in zip(rows, cuts, strict=True)])
        if self.decoder is not None:
            return self._with_language_model(frames, options)
        if not options.return_timestamps:
            return str(self.tokenizer.decode(frames, skip_special_tokens=False)), {}
        decoded = self.tokenizer.decode(frames, skip_special_tokens=False, output_char_offsets=True)
        offsets = decoded["char_offsets"]
        if options.return_timestamps == "word":
            offsets = self.tokenizer._get_word_offsets(offsets, self.tokenizer.replace_word_delimiter_char)
        return str(decoded["text"]), self._chunks(offsets, options.return_timestamps)

    def _with_language_model(self, logits: Array, options: Any) -> Transcript:
        best = self.decoder.decode_beams(logits, **(options.decoder_kwargs or {}))[0]
        if not options.return_timestamps:
            return str(best[0]), {}
        offsets = [{"word": word, "start_offset": start, "end_offset": end} for word, (start, end) in best[2]]
        return str(best[0]), self._chunks(offsets, "word")

    def _chunks(self, offsets: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
        rate = self.feature_extractor.sampling_rate
        return {"chunks": list(ctc.seconds(offsets, name, self.align_to, rate))}


class Seq2SeqBackend:
    """Recognise speech with an encoder of audio and a decoder of text.

    Args:
        model: `onnxpipe.models.speech_to_text.speech_seq2seq.SpeechSeq2Seq`.
        tokenizer, feature_extractor: the model's.
    """

    type = "seq2seq"
    align_to = 1
    can_pad = False

    def __init__(self, model: Any, tokenizer: Any, feature_extractor: Any) -> None:
        self.model, self.tokenizer, self.feature_extractor = model, tokenizer, feature_extractor

    def whole(self, audio: AudioInput, info: ChunkInfo, options: Any) -> Row:
        """See `SpeechBackend`.

        Raises:
            ValueError: samples that are only context, which such a model cannot tell from others.
        """
        if info.stride is not None:
            raise ValueError("Stride is only usable with CTC models, try removing it !")
        return self.row(audio.read(), info)

    def row(self, samples: Array, info: ChunkInfo) -> Row:
        """See `SpeechBackend`.

        Raises:
            AudioError: too short for the model.
        """
        if len(samples) < self.model.min_samples:
            raise AudioError(
                f"the recording has {len(samples)} samples, and {self.model.name_or_path} needs "
                f"{self.model.min_samples}"
            )
        features = _features(self.feature_extractor, samples)
        name = self.model.main_input_name
        audio_input = next((each for each in (name, *AUDIO_INPUT_NAMES) if each in features), None)
        if audio_input is None:
            raise ValueError(
                "Seq2Seq speech recognition model requires either a `input_features` or `input_values` key, but only "
                f"has {', '.join(features)}"
            )
        feeds = {name: np.asarray(features[audio_input])[0]}
        if "attention_mask" in features:
            feeds["attention_mask"] = np.asarray(features["attention_mask"], np.int64)[0]
        return Row(feeds, len(samples), info)

    def run(self, rows: Sequence[Row], kwargs: Keywords, options: Any) -> list[Outputs]:
        """See `SpeechBackend`."""
        tokens = np.asarray(_sequences(self.model.generate(**stack(rows, Padding(0)), **kwargs)))
        if len(tokens) != len(rows):  # num_return_sequences: the first of each recording is the best
            tokens = tokens[:: len(tokens) // len(rows)]
        return [{"tokens": row} for row in tokens]

    def decode(self, rows: Sequence[tuple[ChunkInfo, Outputs]], options: Any) -> Transcript:
        """See `SpeechBackend`."""
        if len(rows) == 1:
            return str(self.tokenizer.decode(rows[0][1]["tokens"], skip_special_tokens=True)), {}
        special = set(self.tokenizer.all_special_ids)
        lists = [[i for i in out["tokens"].tolist() if i not in special and i >= 0] for _, out in rows]
        overlap = any(info.stride is not None and any(info.stride[1:]) for info, _ in rows)
        tokens = append_chunks(lists) if overlap else [i for each in lists for i in each]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)), {}


class WhisperBackend(Seq2SeqBackend):
    """Recognise speech with Whisper: windows of 30 s, timestamps of segments and words, languages.

    Args:
        model: `onnxpipe.models.speech_to_text.whisper.Whisper`.
        tokenizer, feature_extractor: the model's.
    """

    type = "seq2seq_whisper"

    def whole(self, audio: AudioInput, info: ChunkInfo, options: Any) -> Row:
        """See `SpeechBackend`. The features of a recording longer than a window are computed as they are read."""
        samples = audio.read(self.feature_extractor.n_samples + 1)
        if len(samples) <= self.feature_extractor.n_samples:
            return self.row(samples, info)
        from onnxpipe.processing.audio.long_features import LongFeatures

        length = round((audio.seconds or 0.0) * audio.rate) or len(samples)
        return Row({}, length, replace(info, features=lambda: LongFeatures(self.feature_extractor, audio.samples)))

    def run(self, rows: Sequence[Row], kwargs: Keywords, options: Any) -> list[Outputs]:
        """See `SpeechBackend`."""
        kwargs = self._with_outputs(kwargs, options)
        if all(row.extra.features is None for row in rows):
            return self._outputs(self.model.generate(**stack(rows, Padding(None)), **kwargs), len(rows), options)
        answers: list[Outputs] = []
        for row in rows:  # a long recording runs alone
            info: ChunkInfo = row.extra
            assert info.features is not None
            progress = {} if info.progress is None else {"progress": info.progress.reach}
            features = info.features()
            generated = self.model.generate(input_features=features, **progress, **kwargs)
            seconds = features.n_frames * self.feature_extractor.hop_length / self.feature_extractor.sampling_rate
            answers += [{**each, "seconds": np.array(seconds)} for each in self._outputs(generated, 1, options)]
        return answers

    def _with_outputs(self, kwargs: Keywords, options: Any) -> Keywords:
        """Add to the keywords of `generate()` those that the form of the answer needs."""
        kwargs = dict(kwargs)
        timestamps = options.return_timestamps or kwargs.get("return_timestamps") or self.default_timestamps
        if timestamps:
            kwargs["return_timestamps"] = bool(timestamps)
        if timestamps == "word":
            kwargs |= {"return_token_timestamps": True, "return_segments": True}
        if options.return_language:
            kwargs["return_segments"] = True
        return kwargs

    @property
    def default_timestamps(self) -> Any:
        """The `return_timestamps` of the model's generation_config.json."""
        return getattr(self.model.generation_config, "return_timestamps", None)

    def _outputs(self, generated: Any, count: int, options: Any) -> list[Outputs]:
        """Split the output of `generate()`: the tokens of each recording, with what its answer needs beside them."""
        return [self._output(generated, i, options) for i in range(count)]

    def _output(self, generated: Any, i: int, options: Any) -> Outputs:
        tokens = np.asarray(_sequences(generated)[i])
        segments = generated["segments"][i] if isinstance(generated, Mapping) and "segments" in generated else None
        answer: Outputs = {"tokens": tokens}
        if options.return_timestamps == "word":
            times = (
                generated["token_timestamps"][i]
                if segments is None
                else np.concatenate([np.zeros(0), *(each["token_timestamps"] for each in segments)])
            )
            answer["token_timestamps"] = np.asarray(times)
            answer["tokens"] = tokens[: len(times)] if segments is not None else tokens
        if options.return_language and segments:
            language = self._language(segments[0]["result"])
            if language is not None:
                answer["lang_id"] = np.asarray([language])
        return answer

    def _language(self, result: Any) -> int | None:
        """Find the token of the language that a window begins with: `generate` does not return it otherwise."""
        ids = getattr(self.model.generation_config, "lang_to_id", None) or {}
        sequence = result["sequences"] if isinstance(result, Mapping) else result
        return next((int(token) for token in np.ravel(sequence) if token in set(ids.values())), None)

    def decode(self, rows: Sequence[tuple[ChunkInfo, Outputs]], options: Any) -> Transcript:
        """See `SpeechBackend`."""
        rate = self.feature_extractor.sampling_rate
        precision = self.feature_extractor.chunk_length / self.model.config.max_source_positions
        answer: Transcript = self.tokenizer._decode_asr(
            list(_as_outputs(rows, rate)),
            return_timestamps=options.return_timestamps,
            return_language=options.return_language,
            time_precision=precision,
        )
        end = _end(rows, rate)
        text, more = answer
        if end is not None and "chunks" in more:
            more = {
                **more,
                "chunks": [{**chunk, "timestamp": _until(end, chunk["timestamp"])} for chunk in more["chunks"]],
            }
        return text, more


def _as_outputs(rows: Sequence[tuple[ChunkInfo, Outputs]], rate: int) -> Iterator[dict[str, Any]]:
    """Give rows the form that Whisper's tokenizer reads: a batch axis of 1, seconds, the language in front.

    With the language in front, times would belong to the token before (so they do in transformers 5.23); here they are
    moved with their tokens.
    """
    for info, outputs in rows:
        language = outputs.get("lang_id", np.zeros(0, np.int64))
        output: dict[str, Any] = {"tokens": np.concatenate([language, outputs["tokens"]])[None]}
        if "token_timestamps" in outputs:
            times = outputs["token_timestamps"]
            output["token_timestamps"] = np.concatenate([np.zeros(len(language), times.dtype), times])[None]
        if info.stride is not None:
            output["stride"] = _seconds(info.stride, rate)
        yield output


def _end(rows: Sequence[tuple[ChunkInfo, Outputs]], rate: int) -> float | None:
    """Tell where a recording of several windows ends, in seconds; None for one window, whose times stay as they are."""
    if "seconds" in rows[0][1]:
        return float(rows[0][1]["seconds"])
    strides = [info.stride for info, _ in rows if info.stride is not None]
    if len(rows) < 2 or len(strides) < len(rows):
        return None
    return sum(length - left - right for length, left, right in strides) / rate


def _until(end: float, times: tuple[Any, Any]) -> tuple[Any, Any]:
    """Limit the times of a segment or word to the end: the last window is filled with silence, and the model may place
    something there."""
    start, stop = (None if each is None else min(each, round(end, 2)) for each in times)
    return start, stop


def _memory() -> float:
    """The bytes that attention may take: the container's limit or the machine's memory; no limit where unknown."""
    return available_memory() or math.inf


def _seconds(stride: Stride, rate: int) -> tuple[float, float, float]:
    length, left, right = stride
    return length / rate, left / rate, right / rate


def _features(feature_extractor: Any, samples: Array) -> Mapping[str, Any]:
    """Run the feature extractor on samples; its arrays have a batch axis of 1."""
    features: Mapping[str, Any] = feature_extractor(
        samples, sampling_rate=feature_extractor.sampling_rate, return_tensors="np", return_attention_mask=True
    )
    return features


def _sequences(generated: Any) -> Any:
    return generated["sequences"] if isinstance(generated, Mapping) else generated
