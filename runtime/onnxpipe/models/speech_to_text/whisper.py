"""Whisper: transcribe speech in its language or translate it to English, with timestamps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnsupportedError
from onnxpipe.generation import GenerationConfig
from onnxpipe.generation.mode import generation_mode
from onnxpipe.generation.prepare import check_names
from onnxpipe.generation.streamers import as_streamer
from onnxpipe.generation.supported import check_supported
from onnxpipe.generation.validation import arguments_refused
from onnxpipe.generation.whisper import (
    Extras,
    ProgressCallbacks,
    Recordings,
    WhisperArguments,
    WhisperSettings,
    detect_language,
    transcribe,
)
from onnxpipe.generation.whisper.settings import check_window
from onnxpipe.models.seq2seq.graph import Encoded, encoder_states
from onnxpipe.models.speech_to_text.speech_seq2seq import SpeechSeq2Seq
from onnxpipe.processing.arrays import to_array

Array = NDArray[Any]


class Whisper(SpeechSeq2Seq):
    """An encoder of windows of 30 s and a decoder that generates their text."""

    _trained_with_silence: ClassVar[bool] = True

    @property
    def stride(self) -> int:
        """Frames per state of the encoder."""
        return 2

    @property
    def window(self) -> int:
        """Frames of a window: the encoder's input."""
        return self.stride * int(self.config.max_source_positions)

    @property
    def gives_word_timestamps(self) -> bool:
        """Whether words can have times: the decoder gives the attention of the heads that follow the speech."""
        heads = getattr(self.generation_config, "alignment_heads", None) or ()
        return bool(heads) and all(f"cross_attentions.{layer}" in self.session.outputs for layer, _ in heads)

    def encode_windows(self, windows: Array) -> Encoded:
        """Encode float32 (windows, mels, frames).

        On a CPU one window after the other: 1,500 states keep all cores busy, and eight windows at once take gigabytes
        for attention.
        """
        size = 1 if self.device.type == "cpu" else len(windows)
        parts = [windows[start : start + size] for start in range(0, len(windows), size)]
        states = [self.graphs.encoder.run({self.main_input_name: part}, ["last_hidden_state"]) for part in parts]
        return self.graphs.encoded(np.concatenate([each["last_hidden_state"] for each in states]), None)

    def cross_attentions(self, tokens: Array, encoded: Encoded, layers: Sequence[int]) -> Mapping[int, Array]:
        """Compute the cross-attention weights of some layers, float32 (rows, heads, length, states) each, for all
        tokens of int64 (rows, length) at once.

        Raises:
            UnsupportedError: the graph does not give them.
        """
        names = {layer: f"cross_attentions.{layer}" for layer in layers}
        known = (self.graphs.steps if encoded.cross and self.graphs.shared else self.graphs.first).outputs
        if any(name not in known for name in names.values()):
            raise UnsupportedError(
                f"{self.name_or_path}: its decoder gives no cross-attentions, from which times of words are computed. "
                "Export the model again: onnxpipe export MODEL --task automatic-speech-recognition -o DIR"
            )
        weights = self.graphs.whole(tokens, encoded, list(names.values()))
        return {layer: weights[name] for layer, name in names.items()}

    def detect_language(
        self,
        input_features: Any = None,
        encoder_outputs: Any = None,
        generation_config: GenerationConfig | None = None,
        num_segment_frames: int | None = None,
    ) -> Array:
        """Detect the language of recordings: its token, int64 (recordings,).

        Args:
            input_features: float32 (recordings, mels, frames), of which the first window is used.
            encoder_outputs: the encoder's output for it, instead.
            generation_config: whose `lang_to_id` names the languages; the model's by default.
            num_segment_frames: frames of a window; only the model's own number is possible.

        Raises:
            ValueError: both or neither are given, another window, or the model knows one language only.
        """
        if (input_features is None) == (encoder_outputs is None):
            raise ValueError("Make sure to specify one of `input_features` or `encoder_outputs`, and not both")
        check_window(num_segment_frames, self.window)
        if encoder_outputs is not None:
            encoded = self.graphs.encoded(encoder_states(encoder_outputs), None)
        else:
            encoded = self.encode_windows(Recordings(input_features, None, self.window).beginnings())
        return detect_language(self, encoded, generation_config or self.generation_config)

    def generate(  # type: ignore[override]  # the names are those of transformers' Whisper
        self,
        input_features: Any = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Sequence[Callable[[Array, Array], Any]] | None = None,
        stopping_criteria: Sequence[Callable[..., Any]] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Array], Sequence[int]] | None = None,
        synced_gpus: bool | None = None,
        return_timestamps: bool | None = None,
        task: str | None = None,
        language: str | Sequence[str] | None = None,
        is_multilingual: bool | None = None,
        prompt_ids: Any = None,
        prompt_condition_type: str | None = None,
        condition_on_prev_tokens: bool | None = None,
        temperature: float | Sequence[float] | None = None,
        compression_ratio_threshold: float | None = None,
        logprob_threshold: float | None = None,
        no_speech_threshold: float | None = None,
        num_segment_frames: int | None = None,
        attention_mask: Any = None,
        time_precision: float = 0.02,
        time_precision_features: float = 0.01,
        return_token_timestamps: bool | None = None,
        return_segments: bool = False,
        return_dict_in_generate: bool | None = None,
        force_unique_generate_call: bool | None = None,
        monitor_progress: Callable[[Array], Any] | None = None,
        *,
        inputs: Any = None,
        num_frames: int | Sequence[int] | None = None,
        encoder_outputs: Any = None,
        decoder_input_ids: Any = None,
        assistant_model: Any = None,
        streamer: Any = None,
        tokenizer: Any = None,
        progress: Callable[[float], Any] | None = None,
        seed: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Transcribe recordings to token ids.

        Args:
            input_features: float32 (recordings, mels, frames), as `WhisperFeatureExtractor` makes them; if longer
                than a window (30 s) it is transcribed window by window, each beginning at the last timestamp of the
                one before. Or one object with `n_frames`, `n_mels` and `window(start, length)` -> float32 (mels,
                length), which is called for a window at a time.
            generation_config: parameters; what it leaves unset is the model's `generation_config`'s.
            logits_processor, stopping_criteria: more of them.
            prefix_allowed_tokens_fn: (number of the recording, int64 (length,)) to the tokens that may follow.
            synced_gpus: of PyTorch only; True is refused.
            return_timestamps: whether timestamps are generated; required for more than a window.
            task: "transcribe", or "translate" (to English).
            language: a name ("french"), code ("fr") or token ("<|fr|>"), or one per recording; None to detect it.
            is_multilingual: overrides the model's config.
            prompt_ids: int (n,), the tokenizer's `get_prompt_ids`: words to expect, before the text.
            prompt_condition_type: "first-segment", or "all-segments" (with `condition_on_prev_tokens`).
            condition_on_prev_tokens: whether a window's text goes before the next one's.
            temperature: 0 or None for the likeliest tokens (or beams), above 0 for sampling; several are tried one
                after the other until a text passes the thresholds.
            compression_ratio_threshold: a text passes if zlib compresses it by less than this factor; 1.35 is usual.
            logprob_threshold: a text passes if its mean log-probability is at least this; -1.0 is usual.
            no_speech_threshold: a window whose text fails `logprob_threshold` is left out as silence if the model
                gives silence more than this probability; 0.6 is usual.
            num_segment_frames: frames of a window; only the model's own number is possible.
            attention_mask: int (recordings, frames), 1 except for padding; required for several long recordings, and
                it makes token timestamps more precise.
            time_precision: seconds of a timestamp's step.
            time_precision_features: seconds of a frame.
            return_token_timestamps: whether to give the time of each token.
            return_segments: whether to give segments.
            return_dict_in_generate: whether to give the outputs of the search by name.
            force_unique_generate_call: one window of each recording alone, with prompt and end tokens.
            monitor_progress: called before each window with int64 (recordings, 2): next frame, number of frames.
            inputs: another name of `input_features`.
            num_frames: frames of speech of each recording, where there is no `attention_mask`.
            encoder_outputs: the encoder's output for one window each, instead of `input_features`.
            decoder_input_ids: int (recordings, n): the decoder's first tokens in the first window, instead of those
                that follow from language, task, timestamps and prompt.
            assistant_model: a smaller model with the same tokenizer that guesses ahead; for one recording only.
            streamer: takes the prompt and then every token, window by window.
            tokenizer: for `stop_strings`.
            progress: called with the seconds of audio that are done, of all recordings together.
            seed: of sampling: one number, or one per recording.
            **kwargs: fields of GenerationConfig, which win.

        Returns:
            int64 (recordings, length), padded on the right, without prompt and end token. With `return_segments` or
            `return_token_timestamps` a dict of `sequences` and

            - `token_timestamps`: float32 (recordings, length), seconds in the token's window;
            - `segments`: for each recording a list of dicts `start`, `end` (seconds), `tokens`, `idxs` (their place in
              `result`), `result` (the sequence that was generated for the window, with prompt and end token, or a
              dict that has it as `sequences`) and `token_timestamps` (seconds in the recording).

            With `return_dict_in_generate` the same with the requested outputs in `result`; without timestamps, or with
            `force_unique_generate_call`, a GenerateOutput.

        Raises:
            UnsupportedError: arguments that contradict each other or the model's config, an unused argument, a prompt
                that is too long, an argument that this runtime does not support.
        """
        if synced_gpus:
            raise UnsupportedError("synced_gpus=True is of PyTorch's distributed training; leave it out")
        kwargs.pop("trust_remote_code", None)
        with arguments_refused():
            config = self._merged_config(generation_config, kwargs)
        recordings, encoded = self._recordings(input_features, inputs, attention_mask, encoder_outputs)
        arguments = WhisperArguments(
            return_timestamps=return_timestamps,
            task=task,
            language=language,
            is_multilingual=is_multilingual,
            prompt_ids=prompt_ids,
            prompt_condition_type=prompt_condition_type,
            condition_on_prev_tokens=condition_on_prev_tokens,
            temperature=temperature,
            compression_ratio_threshold=compression_ratio_threshold,
            logprob_threshold=logprob_threshold,
            no_speech_threshold=no_speech_threshold,
            num_segment_frames=num_segment_frames,
            num_frames=num_frames,
            time_precision=time_precision,
            time_precision_features=time_precision_features,
            return_token_timestamps=return_token_timestamps,
            return_segments=return_segments,
            return_dict_in_generate=return_dict_in_generate,
            force_unique_generate_call=force_unique_generate_call,
            decoder_input_ids=decoder_input_ids,
        )
        recordings.check_mask()
        with arguments_refused():
            settings = WhisperSettings.of(arguments, config, self.config, short=recordings.short, window=self.window)
            mode = generation_mode(config, assistant=assistant_model is not None)
            check_supported(config, mode, streamer=streamer is not None, custom=False)
        extras = Extras(
            processors=tuple(logits_processor or ()),
            criteria=tuple(stopping_criteria or ()),
            allowed=prefix_allowed_tokens_fn,
            streamer=as_streamer(streamer),
            assistant=assistant_model,
            tokenizer=tokenizer,
        )
        return transcribe(
            self, recordings, settings, extras, ProgressCallbacks(progress, monitor_progress), seed, encoded
        )

    def _merged_config(self, passed: GenerationConfig | None, kwargs: Mapping[str, Any]) -> GenerationConfig:
        """Merge the parameters: the call's kwargs before the config it passes, the model's own and the defaults."""
        config = (GenerationConfig() if passed is None else passed).filled(self.generation_config)
        own = {name: value for name, value in kwargs.items() if config.has(name)}
        check_names(self, {name: value for name, value in kwargs.items() if name not in own})
        config.update(**own)
        return config

    def _recordings(
        self, features: Any, inputs: Any, mask: Any, encoder_outputs: Any
    ) -> tuple[Recordings, Encoded | None]:
        """Take the recordings, and the encoder's output for them if it was passed."""
        passed = [one for one in (features, inputs, encoder_outputs) if one is not None]
        if len(passed) != 1:
            raise ValueError("Make sure to provide either `input_features` or `encoder_outputs` to `generate`.")
        if encoder_outputs is None:
            return Recordings(passed[0], mask, self.window), None
        encoded = self.graphs.encoded(to_array(encoder_states(encoder_outputs)), None)
        mels = int(self.config.get("num_mel_bins") or 0)
        silence = np.broadcast_to(np.float32(0), (len(encoded), mels, self.window))
        return Recordings(silence, mask, self.window), encoded
