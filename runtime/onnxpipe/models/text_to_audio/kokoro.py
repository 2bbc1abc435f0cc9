"""Kokoro (a StyleTTS 2, Li et al. 2023, arXiv:2306.07691), as on the Hub: one graph, and a file per voice."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from onnxpipe.bundle import Bundle
from onnxpipe.bundle.files import read_bytes
from onnxpipe.engine import Session
from onnxpipe.errors import BundleError, UnsupportedError
from onnxpipe.models.base import Array, Model, Opener
from onnxpipe.models.text_to_audio.protocol import check_names, tokenize_text
from onnxpipe.processing.arrays import to_array

_PARAMS = ("voice", "speed")
_TEXT_OPTIONS = ("is_phonemes", "language")

#: The voice if the user names none; the first one of the folder if it does not have this one.
_DEFAULT = "af_heart"

#: A voice has a style for each number of phonemes up to 510: 522 kB of float32. No voice is larger than this.
_MOST_BYTES = 1 << 24


class Kokoro(Model):
    """The graph `model`: input_ids int64 (1, phonemes), style float32 (1, size), speed float32 (1,) to a waveform
    (1, samples).

    Attributes:
        voices: the voices' names, of the files in `voices/`.
    """

    gives_spectrogram = False

    def __init__(self, bundle: Bundle, session: Session, precision: str, name_or_path: str) -> None:
        super().__init__(bundle, session, precision, name_or_path)
        if not {"input_ids", "style", "speed"} <= session.inputs.keys():
            raise UnsupportedError(
                f"{name_or_path}: the graph's inputs are {', '.join(session.inputs)}, not input_ids, style and speed"
            )
        if not self.voices:
            raise BundleError(f"{bundle.folder / 'voices'} has no voice (<name>.bin): download the model again")
        self._styles: dict[str, Array] = {}

    #: The graph draws its noise itself.
    takes_seed: ClassVar[bool] = False

    @classmethod
    def load(cls, bundle: Bundle, opener: Opener, name_or_path: str) -> Kokoro:
        """Load the model of a bundle."""
        session, precision = opener("model")
        return cls(bundle, session, precision, name_or_path)

    @cached_property
    def voices(self) -> tuple[str, ...]:
        """The voices' names, sorted."""
        return tuple(sorted(path.stem for path in (self.bundle.folder / "voices").glob("*.bin")))

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return int(self.config.get("sampling_rate", 24000))

    def encode_text(
        self, tokenizer: Any, text: str, keywords: Mapping[str, Any], forward_params: Mapping[str, Any]
    ) -> dict[str, Array]:
        """See `TextToAudioModel.encode_text`. Further keywords are `is_phonemes` (the text is phonemes already) and
        `language` (eSpeak NG's name of it; by default the voice's)."""
        from onnxpipe.processing.text.speech.phonemes import language_of, pronounce

        own = {name: value for name, value in keywords.items() if name in _TEXT_OPTIONS}
        if not own.get("is_phonemes"):
            voice = forward_params.get("voice")
            language = own.get("language") or language_of(voice if isinstance(voice, str) else self._default)
            text = pronounce(text, language)
        return tokenize_text(tokenizer, text, {k: v for k, v in keywords.items() if k not in _TEXT_OPTIONS})

    def synthesize(
        self,
        inputs: Mapping[str, Array],
        *,
        forward_params: Mapping[str, Any],
        generate_kwargs: Mapping[str, Any],
        seed: int,
    ) -> Array:
        """See `TextToAudioModel.synthesize`: float32 (1, samples). Parameters: `voice`, `speed`. The graph draws its
        noise itself, so a seed changes nothing."""
        check_names("text-to-audio with Kokoro: forward_params", forward_params, _PARAMS)
        return self(inputs["input_ids"], **forward_params)

    def __call__(self, input_ids: Any, voice: Any = None, speed: float = 1.0) -> Array:
        """Turn phonemes into speech.

        Args:
            input_ids: int (1, phonemes), with the padding token before and after.
            voice: a name of `voices`; or styles, float32: (n, 1, size), one per number of phonemes, or one (size,).
            speed: above 1 is faster.

        Returns:
            float32 (1, samples).

        Raises:
            UnsupportedError: no such voice.
            ValueError: more phonemes than the voice has styles for, or a speed that is not above 0.
        """
        ids = np.atleast_2d(np.asarray(to_array(input_ids), np.int64))
        if ids.shape[0] != 1:
            raise ValueError(f"input_ids are (1, phonemes), got {ids.shape}")
        if not speed > 0:
            raise ValueError(f"speed must be above 0, got {speed}")
        count = max(ids.shape[1] - 2, 0)
        if not count:
            raise ValueError("the text has no phoneme that the model knows: there is nothing to say")
        styles = self._style(self._default if voice is None else voice)
        if count > len(styles) and len(styles) > 1:
            raise ValueError(
                f"the text has {count} phonemes, and the model takes at most {len(styles)}: split it into sentences"
            )
        style = styles[min(count, len(styles) - 1)]
        feeds = {"input_ids": ids, "style": style[None], "speed": np.array([speed], np.float32)}
        return next(iter(self.session.run(feeds).values())).reshape(1, -1)

    @property
    def _default(self) -> str:
        return _DEFAULT if _DEFAULT in self.voices else self.voices[0]

    def _style(self, voice: Any) -> Array:
        """float32 (n, size)."""
        size = self.session.inputs["style"].shape[-1]
        if not isinstance(voice, str):
            styles = np.asarray(to_array(voice), np.float32)
            if not styles.size or (isinstance(size, int) and styles.shape[-1] != size):
                raise ValueError(
                    f"voice must be a name, or float32 of shape (n, 1, {size}) or ({size},), got {styles.shape}"
                )
            return styles.reshape(-1, styles.shape[-1])
        if voice not in self.voices:
            near = difflib.get_close_matches(voice, self.voices, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.voices)}"
            raise UnsupportedError(f"voice={voice!r}: {self.name_or_path} has no such voice; {hint}")
        if voice not in self._styles:
            self._styles[voice] = _read_voice(self.bundle, voice, size if isinstance(size, int) else 256)
        return self._styles[voice]


def _read_voice(bundle: Bundle, voice: str, size: int) -> Array:
    content = read_bytes(bundle.folder, f"voices/{voice}.bin", _MOST_BYTES)
    if not content or len(content) % (4 * size):
        path = bundle.folder / "voices" / f"{voice}.bin"
        raise BundleError(f"{path} has {len(content)} bytes, not whole rows of {size} float32: download it again")
    return np.frombuffer(content, "<f4").reshape(-1, size)
