"""The three kinds of recognisers: what one hears at once, how a batch of rows runs, and how tokens become the answer.

`CTC` gives a token a frame; `Writer` is any encoder-decoder; `WhisperWriter` knows time stamps and long recordings.
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
from onnxpipe.tasks.base.audio import SOUNDS, audio_row
from onnxpipe.tasks.speech_recognition.windows import Part, Speech, Stride

Keywords = dict[str, Any]
#: The text, and `{"chunks": [...]}` or nothing.
Transcript = tuple[str, dict[str, Any]]

#: Samples that are never heard at once: 2.3 hours of 16 kHz.
_AT_ONCE = 2**27
#: Recognisers whose answer does not change when padding that the mask hides is put behind a recording. In the others a
#: convolution or a norm over the whole row hears it, mask or not.
_HIDES_PADDING = frozenset({"hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert", "wavlm"})


class Recogniser(Protocol):
    """How a kind of model recognises speech.

    Attributes:
        type: its name in transformers.
        align_to: samples a frame; 1 where frames do not matter.
        can_pad: whether rows of unlike length may share a batch.
    """

    type: str
    align_to: int
    can_pad: bool

    def whole(self, speech: Speech, part: Part, told: Any) -> Row:
        """The row of an input that is not cut."""
        ...

    def row(self, samples: Array, part: Part) -> Row:
        """The row of samples that are heard at once."""
        ...

    def run(self, rows: Sequence[Row], keywords: Keywords, told: Any) -> list[Outputs]:
        """What the model gives for a batch, row by row, without padding.

        Args:
            rows: of one shape, unless `can_pad`.
            keywords: of `generate()`.
            told: the options of the call.
        """
        ...

    def decode(self, rows: Sequence[tuple[Part, Outputs]], told: Any) -> Transcript:
        """The answer of the rows of one input."""
        ...


class CTC:
    """A token a frame, or (with a language model) its score.

    Args:
        model: `onnxpipe.models.speech_to_text.ctc.CTCModel`.
        tokenizer, feature_extractor: its.
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

    def whole(self, speech: Speech, part: Part, told: Any) -> Row:
        """See `Recogniser`.

        Raises:
            AudioError: so long that what each frame says of each other would not fit into the memory there is.
        """
        samples = speech.read(_AT_ONCE + 1)
        row = self.row(samples[:_AT_ONCE], part)
        heads = int(self.model.config.get("num_attention_heads") or 1)
        if len(samples) > _AT_ONCE or 4 * heads * self._frames(row) ** 2 > _memory():
            raise AudioError(
                f"{len(samples) / speech.rate / 60:.0f} minutes are more than this model can hear at once: what its "
                "frames tell each other would not fit into memory. Cut the recording: pass chunk_length_s=30"
            )
        return row

    def row(self, samples: Array, part: Part) -> Row:
        """See `Recogniser`.

        Raises:
            AudioError: too short for a single frame.
        """
        row = audio_row(self.model, _features(self.feature_extractor, samples), len(samples), part)
        if self._frames(row) < 1:
            rate = self.feature_extractor.sampling_rate
            raise AudioError(f"a recording of {len(samples)} samples ({len(samples) / rate:.4f} s) is too short")
        return row

    def _frames(self, row: Row) -> int:
        return int(self.model.frames(len(row.feeds[self.model.main_input_name])))

    def run(self, rows: Sequence[Row], keywords: Keywords, told: Any) -> list[Outputs]:
        """See `Recogniser`."""
        logits = self.model.run(stack(rows, Padding(0)))["logits"]
        own = [each[: self._frames(row)] for each, row in zip(logits, rows, strict=True)]
        if self.decoder is None:
            return [{"tokens": each.argmax(-1).astype(np.int32)} for each in own]
        return [{"logits": each.astype(np.float32)} for each in own]

    def decode(self, rows: Sequence[tuple[Part, Outputs]], told: Any) -> Transcript:
        """See `Recogniser`."""
        name = "tokens" if self.decoder is None else "logits"
        cuts = [None if part.stride is None else ctc.chunk_frames(part.stride, self.align_to) for part, _ in rows]
        found = np.concatenate([ctc.own_frames(out[name], cut) for (_, out), cut in zip(rows, cuts, strict=True)])
        if self.decoder is not None:
            return self._with_language_model(found, told)
        if not told.return_timestamps:
            return str(self.tokenizer.decode(found, skip_special_tokens=False)), {}
        decoded = self.tokenizer.decode(found, skip_special_tokens=False, output_char_offsets=True)
        offsets = decoded["char_offsets"]
        if told.return_timestamps == "word":
            offsets = self.tokenizer._get_word_offsets(offsets, self.tokenizer.replace_word_delimiter_char)
        return str(decoded["text"]), self._chunks(offsets, told.return_timestamps)

    def _with_language_model(self, logits: Array, told: Any) -> Transcript:
        best = self.decoder.decode_beams(logits, **(told.decoder_kwargs or {}))[0]
        if not told.return_timestamps:
            return str(best[0]), {}
        offsets = [{"word": word, "start_offset": start, "end_offset": end} for word, (start, end) in best[2]]
        return str(best[0]), self._chunks(offsets, "word")

    def _chunks(self, offsets: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
        rate = self.feature_extractor.sampling_rate
        return {"chunks": list(ctc.seconds(offsets, name, self.align_to, rate))}


class Writer:
    """An encoder that hears and a decoder that writes.

    Args:
        model: `onnxpipe.models.speech_to_text.speech_seq2seq.SpeechSeq2Seq`.
        tokenizer, feature_extractor: its.
    """

    type = "seq2seq"
    align_to = 1
    can_pad = False

    def __init__(self, model: Any, tokenizer: Any, feature_extractor: Any) -> None:
        self.model, self.tokenizer, self.feature_extractor = model, tokenizer, feature_extractor

    def whole(self, speech: Speech, part: Part, told: Any) -> Row:
        """See `Recogniser`.

        Raises:
            ValueError: samples that are only context, which such a model cannot tell from others.
        """
        if part.stride is not None:
            raise ValueError("Stride is only usable with CTC models, try removing it !")
        return self.row(speech.read(), part)

    def row(self, samples: Array, part: Part) -> Row:
        """See `Recogniser`.

        Raises:
            AudioError: too short for the model to hear anything.
        """
        if len(samples) < self.model.min_samples:
            raise AudioError(
                f"the recording has {len(samples)} samples, and {self.model.name_or_path} needs "
                f"{self.model.min_samples}"
            )
        found = _features(self.feature_extractor, samples)
        name = self.model.main_input_name
        sounds = next((each for each in (name, *SOUNDS) if each in found), None)
        if sounds is None:
            raise ValueError(
                "Seq2Seq speech recognition model requires either a `input_features` or `input_values` key, but only "
                f"has {', '.join(found)}"
            )
        feeds = {name: np.asarray(found[sounds])[0]}
        if "attention_mask" in found:
            feeds["attention_mask"] = np.asarray(found["attention_mask"], np.int64)[0]
        return Row(feeds, len(samples), part)

    def run(self, rows: Sequence[Row], keywords: Keywords, told: Any) -> list[Outputs]:
        """See `Recogniser`."""
        tokens = np.asarray(_sequences(self.model.generate(**stack(rows, Padding(0)), **keywords)))
        if len(tokens) != len(rows):  # several a recording were asked for: the first is the best
            tokens = tokens[:: len(tokens) // len(rows)]
        return [{"tokens": row} for row in tokens]

    def decode(self, rows: Sequence[tuple[Part, Outputs]], told: Any) -> Transcript:
        """See `Recogniser`."""
        if len(rows) == 1:
            return str(self.tokenizer.decode(rows[0][1]["tokens"], skip_special_tokens=True)), {}
        special = set(self.tokenizer.all_special_ids)
        lists = [[i for i in out["tokens"].tolist() if i not in special and i >= 0] for _, out in rows]
        overlap = any(part.stride is not None and any(part.stride[1:]) for part, _ in rows)
        tokens = append_chunks(lists) if overlap else [i for each in lists for i in each]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)), {}


class WhisperWriter(Writer):
    """Whisper: windows of 30 s, time stamps of segments and words, languages.

    Args:
        model: `onnxpipe.models.speech_to_text.whisper.Whisper`.
        tokenizer, feature_extractor: its.
    """

    type = "seq2seq_whisper"

    def whole(self, speech: Speech, part: Part, told: Any) -> Row:
        """See `Recogniser`. What is longer than a window makes its features as they are heard."""
        samples = speech.read(self.feature_extractor.n_samples + 1)
        if len(samples) <= self.feature_extractor.n_samples:
            return self.row(samples, part)
        from onnxpipe.processing.audio.long_features import LongFeatures

        length = round((speech.seconds or 0.0) * speech.rate) or len(samples)
        return Row({}, length, replace(part, features=lambda: LongFeatures(self.feature_extractor, speech.samples)))

    def run(self, rows: Sequence[Row], keywords: Keywords, told: Any) -> list[Outputs]:
        """See `Recogniser`."""
        asked = self._asked(keywords, told)
        long = [row for row in rows if row.extra.features is not None]
        if not long:
            return self._found(self.model.generate(**stack(rows, Padding(None)), **asked), len(rows), told)
        answers: list[Outputs] = []
        for row in rows:  # a long recording is heard alone
            part: Part = row.extra
            assert part.features is not None
            more = {} if part.progress is None else {"progress": part.progress.reach}
            features = part.features()
            found = self.model.generate(input_features=features, **more, **asked)
            seconds = features.n_frames * self.feature_extractor.hop_length / self.feature_extractor.sampling_rate
            answers += [{**each, "seconds": np.array(seconds)} for each in self._found(found, 1, told)]
        return answers

    def _asked(self, keywords: Keywords, told: Any) -> Keywords:
        """The keywords of `generate()`, with those that the answer's form needs."""
        asked = dict(keywords)
        stamps = told.return_timestamps or asked.get("return_timestamps") or self.default_timestamps
        if stamps:
            asked["return_timestamps"] = bool(stamps)
        if stamps == "word":
            asked |= {"return_token_timestamps": True, "return_segments": True}
        if told.return_language:
            asked["return_segments"] = True
        return asked

    @property
    def default_timestamps(self) -> Any:
        """What the model's generation_config.json says of time stamps."""
        return getattr(self.model.generation_config, "return_timestamps", None)

    def _found(self, found: Any, count: int, told: Any) -> list[Outputs]:
        """Tokens of each recording of a batch, with what the answer needs beside them."""
        return [self._own(found, i, told) for i in range(count)]

    def _own(self, found: Any, i: int, told: Any) -> Outputs:
        tokens = np.asarray(_sequences(found)[i])
        segments = found["segments"][i] if isinstance(found, Mapping) and "segments" in found else None
        answer: Outputs = {"tokens": tokens}
        if told.return_timestamps == "word":
            times = (
                found["token_timestamps"][i]
                if segments is None
                else np.concatenate([np.zeros(0), *(each["token_timestamps"] for each in segments)])
            )
            answer["token_timestamps"] = np.asarray(times)
            answer["tokens"] = tokens[: len(times)] if segments is not None else tokens
        if told.return_language and segments:
            language = self._language(segments[0]["result"])
            if language is not None:
                answer["lang_id"] = np.asarray([language])
        return answer

    def _language(self, result: Any) -> int | None:
        """The token of the language that a window begins with: `generate` does not give it otherwise."""
        ids = getattr(self.model.generation_config, "lang_to_id", None) or {}
        sequence = result["sequences"] if isinstance(result, Mapping) else result
        return next((int(token) for token in np.ravel(sequence) if token in set(ids.values())), None)

    def decode(self, rows: Sequence[tuple[Part, Outputs]], told: Any) -> Transcript:
        """See `Recogniser`."""
        rate = self.feature_extractor.sampling_rate
        precision = self.feature_extractor.chunk_length / self.model.config.max_source_positions
        answer: Transcript = self.tokenizer._decode_asr(
            list(_as_outputs(rows, rate)),
            return_timestamps=told.return_timestamps,
            return_language=told.return_language,
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


def _as_outputs(rows: Sequence[tuple[Part, Outputs]], rate: int) -> Iterator[dict[str, Any]]:
    """Rows in the form in which Whisper's tokenizer wants them: a batch axis of 1, seconds, the language in front.

    With the language in front times would belong to the token before (so they do in transformers 5.23); here they are
    moved with their tokens.
    """
    for part, found in rows:
        language = found.get("lang_id", np.zeros(0, np.int64))
        output: dict[str, Any] = {"tokens": np.concatenate([language, found["tokens"]])[None]}
        if "token_timestamps" in found:
            times = found["token_timestamps"]
            output["token_timestamps"] = np.concatenate([np.zeros(len(language), times.dtype), times])[None]
        if part.stride is not None:
            output["stride"] = _seconds(part.stride, rate)
        yield output


def _end(rows: Sequence[tuple[Part, Outputs]], rate: int) -> float | None:
    """Where a recording of several windows ends, in seconds; None of one window, whose times are left as they are."""
    if "seconds" in rows[0][1]:
        return float(rows[0][1]["seconds"])
    strides = [part.stride for part, _ in rows if part.stride is not None]
    if len(rows) < 2 or len(strides) < len(rows):
        return None
    return sum(length - left - right for length, left, right in strides) / rate


def _until(end: float, times: tuple[Any, Any]) -> tuple[Any, Any]:
    """Times of a segment or word, not after the end: the last window is filled with silence, and the model may place
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
    """What the feature extractor makes of samples, with a batch axis of 1."""
    found: Mapping[str, Any] = feature_extractor(
        samples, sampling_rate=feature_extractor.sampling_rate, return_tensors="np", return_attention_mask=True
    )
    return found


def _sequences(found: Any) -> Any:
    return found["sequences"] if isinstance(found, Mapping) else found
